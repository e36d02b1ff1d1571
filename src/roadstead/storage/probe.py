"""Whether a folder of objects can be reached and written, found out the way that requests would."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROBE: Final = "locks/probe"
"""A file of a few bytes that each probe writes over."""

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found: both texts are empty when all is well, and name no path."""

    unreachable: str = ""
    unwritable: str = ""


def probe_folder(root: Path, *, is_writing: bool) -> Probed:
    """Looks at ``root`` and, with ``is_writing``, writes a few bytes below it. Blocks as long as the disk does.

    The start of a server has made the folder: where it is missing, somebody took it away. A full disk is no fault found
    here: pulls and deletions go on, and pushes are told.
    """
    try:
        root.stat()
    except OSError as error:
        return Probed(unreachable=f"the storage cannot be reached: {os.strerror(error.errno or 0)}")
    if not is_writing:
        return Probed()
    try:
        _write(root / PROBE)
    except OSError as error:
        if error.errno not in _NO_SPACE:
            return Probed(unwritable=f"the storage cannot be written: {os.strerror(error.errno or 0)}")
    return Probed()


def _write(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, b"probe\n", 0)
    finally:
        os.close(descriptor)
