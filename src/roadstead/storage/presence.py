"""Finds out if a storage is there, and whose it is, by a small file of ours in its root.

A folder on which a disk should be mounted and is not looks like a storage that lost everything. It has no mark, so
nobody has to guess: what is missing below a mark is missing, and without the mark nothing is known about anything.

::

    ROOT/roadstead.storage    {"roadstead_storage": 1, "owner": ID, "catalogue": PATH, "released": false}

``owner`` is the identity of the one catalogue whose bytes these are; ``catalogue`` is where that one was last, for the
message to whoever comes with another. ``released`` says that another program is in charge of the bytes by now.
"""

import errno
import os
import secrets
import stat
from pathlib import Path
from time import monotonic
from typing import Final

from msgspec import MsgspecError, Struct, field, json

from roadstead.storage.errors import StorageAbsentError, StorageUnavailableError
from roadstead.storage.modes import TreeModes
from roadstead.storage.plain_files import sync_folder

MARK: Final = "roadstead.storage"
FORMAT: Final = 1

RECENT_SECONDS: Final = 0.02
"""Age in seconds that a look may have if another one follows before anything is acknowledged."""

_MARK_BYTES: Final = 64 << 10
"""Length of the mark at most: longer than any path can make it."""

_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR})


class Mark(Struct, frozen=True, kw_only=True):
    """The content of the mark: the catalogue that owns the storage."""

    owner: str
    catalogue: str = ""
    released: bool = False
    version: int = field(default=FORMAT, name="roadstead_storage")


def read_mark(root: Path) -> Mark | None:
    """Reads the mark of a storage; returns None if there is none.

    Raises:
        StorageUnavailableError: it cannot be read, or is none that this version understands.
    """
    try:
        descriptor = os.open(root / MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _MISSING:
            return None
        raise StorageUnavailableError(MARK, os.strerror(error.errno or 0)) from error
    try:
        mark = json.decode(os.read(descriptor, _MARK_BYTES), type=Mark)
    except OSError as error:
        raise StorageUnavailableError(MARK, os.strerror(error.errno or 0)) from error
    except MsgspecError as error:
        raise StorageUnavailableError(MARK, f"its mark is damaged ({error})") from error
    finally:
        os.close(descriptor)
    if mark.version > FORMAT:
        raise StorageUnavailableError(MARK, "a newer roadstead wrote its mark")
    return mark


def write_mark(root: Path, mark: Mark, modes: TreeModes) -> None:
    """Writes the mark of a storage, durably and at once for every reader.

    Raises:
        OSError: it has the one that it had before.
    """
    temporary = root / f".{MARK}.{os.getpid()}-{secrets.token_hex(4)}"  # another machine may have the same process id
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.encode(mark) + b"\n")
        modes.give_to_file(descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.rename(root / MARK)
    sync_folder(str(root))


class Presence:
    """The check for one owner's mark; if the storage is there, a look costs two ``stat`` calls."""

    def __init__(self, root: Path, owner: str, known_folder: str, *, recent_seconds: float = RECENT_SECONDS) -> None:
        """Keeps its arguments; ``known_folder`` below ``root`` was made with the mark and is never removed."""
        self._recent_seconds = recent_seconds
        self._recent_until = 0.0
        self._root = root
        self._owner = owner
        self._mark = f"{root}/{MARK}"
        self._known_folder = f"{root}/{known_folder}"
        self._seen: tuple[int, int, int] | None = None
        """Identity of the file that was read and found to be the right one."""

    def find_absence(self) -> str:
        """Returns the reason why the storage is not there, without any path; empty if it is. From any thread."""
        now = monotonic()
        absence = self._look()
        self._recent_until = 0.0 if absence else now + self._recent_seconds
        return absence

    def find_recent_absence(self) -> str:
        """Returns the same as ``find_absence``, or the result of a look a moment ago."""
        return "" if monotonic() < self._recent_until else self.find_absence()

    def _look(self) -> str:
        try:
            status = os.lstat(self._mark)
            folder = os.stat(self._known_folder)
        except OSError as error:
            if error.errno in _MISSING:
                return "the storage is not there: its folder is empty, or its disk is not mounted"
            return f"the storage cannot be read: {os.strerror(error.errno or 0)}"
        if not stat.S_ISDIR(folder.st_mode):
            return "the storage is not there: its folder of blobs is none"
        seen = (status.st_dev, status.st_ino, status.st_mtime_ns)
        return "" if seen == self._seen else self._read(seen)

    def require(self, key: str = "", *, is_recent_enough: bool = False) -> None:
        """Raises unless the storage is there, or with ``is_recent_enough`` was a moment ago.

        Raises:
            StorageAbsentError: it is not.
        """
        if reason := self.find_recent_absence() if is_recent_enough else self.find_absence():
            raise StorageAbsentError(reason, key)

    def _read(self, seen: tuple[int, int, int]) -> str:
        try:
            mark = read_mark(self._root)
        except StorageUnavailableError as error:
            return str(error)
        if mark is None:
            return "the storage is not there: its mark is gone"
        if mark.owner != self._owner:
            return "the storage belongs to another catalogue"
        self._seen = seen
        return ""
