"""Probes a folder of objects by reaching and writing it in the way that requests would."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from roadstead.errors import is_disk_full
from roadstead.storage.modes import SECRET_FILE, TreeModes
from roadstead.storage.plain_files import make_folders

PROBE: Final = "locks/probe"
"""Key of a file with a few bytes that each probe writes over."""


@dataclass(frozen=True, slots=True)
class Probed:
    """The result of a probe: both texts are empty when all is well, and name no path."""

    unreachable: str = ""
    unwritable: str = ""


def _find_none() -> str:
    """Returns an empty text: any folder that is there counts as the storage."""
    return ""


def probe_folder(root: Path, *, is_writing: bool, find_absence: Callable[[], str] = _find_none) -> Probed:
    """Looks at ``root`` and, with ``is_writing``, writes a few bytes below it. Blocks as long as the disk does.

    Nothing is written where ``find_absence`` says that this is not the storage. A full disk is no fault found here:
    pulls and deletions go on, and pushes are told.
    """
    try:
        root.stat()
    except OSError as error:
        return Probed(unreachable=f"the storage cannot be reached: {os.strerror(error.errno or 0)}")
    if absence := find_absence():
        return Probed(unreachable=absence)
    if not is_writing:
        return Probed()
    try:
        _write(root / PROBE)
    except OSError as error:
        if not is_disk_full(error):
            return Probed(unwritable=f"the storage cannot be written: {os.strerror(error.errno or 0)}")
    return Probed()


def _write(path: Path) -> None:
    make_folders(str(path.parent), TreeModes.of(path.parent.parent))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, SECRET_FILE)
    try:
        os.pwrite(descriptor, b"probe\n", 0)
    finally:
        os.close(descriptor)
