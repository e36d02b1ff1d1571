"""Small files in a folder that another program also uses: listed, read, written and removed by threads.

Beside ``FilesystemStore`` because the demands differ: a tree that somebody else has written may hold anything, so what
is no plain file or folder is named instead of followed; and links are many and tiny, so that a caller does hundreds of
them in one job of a thread. Another kind of store brings another class with the methods of
``roadstead.registry2.links.LinkFiles``.
"""

import contextlib
import enum
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from roadstead.errors import is_disk_full
from roadstead.storage.errors import StorageError, StorageFullError, StorageUnavailableError
from roadstead.storage.modes import TreeModes
from roadstead.storage.plain_files import is_plain_folder, make_folders, open_plain, sync_file, sync_folder
from roadstead.storage.presence import Presence

_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_CANNOT_LINK: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})


class EntryKind(enum.Enum):
    """The kind of an entry in a folder."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symbolic link"
    OTHER = "special file"


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a folder."""

    name: str
    kind: EntryKind


@dataclass(frozen=True, slots=True)
class SmallFile:
    """The first bytes of a file, its whole length, and when it was written."""

    content: bytes
    size_bytes: int
    modified_ms: int


class SmallFiles:
    """Files below a folder; keys are relative paths."""

    def __init__(
        self,
        root: Path,
        *,
        trusted: frozenset[str] = frozenset(),
        presence: Presence | None = None,
        known_folder: str = "",
    ) -> None:
        """Keeps its arguments; ``trusted`` folders may be symbolic links, as an administrator makes for another disk.

        While ``presence`` says that the root is not there nothing is written. New files look like ``known_folder``.
        """
        self._root = str(root)
        self._trusted = trusted
        self._presence = presence
        self._modes = TreeModes.of(root, known_folder)

    def entries(self, folder: str) -> list[Entry]:
        """Lists a folder, in order of names; nothing if there is none.

        Raises:
            StorageUnavailableError: it cannot be read.
        """
        if not self._is_plain(folder):
            return []
        with _translated(folder):
            try:
                with os.scandir(self._path(folder)) as entries:
                    return sorted((_entry(entry) for entry in entries), key=lambda entry: entry.name)
            except OSError as error:
                if error.errno in _MISSING:
                    return []
                raise

    def read(self, key: str, limit: int) -> SmallFile | None:
        """Reads up to ``limit`` bytes of a plain file; None if there is none.

        Raises:
            StorageUnavailableError: it cannot be read.
        """
        with _translated(key), self._opened(key) as descriptor:
            if descriptor is None:
                return None
            status = os.fstat(descriptor)
            content = _read_up_to(descriptor, min(limit, status.st_size))
            return SmallFile(content, status.st_size, status.st_mtime_ns // 1_000_000)

    def read_piece(self, key: str, offset: int, length: int) -> bytes:
        """Reads up to ``length`` bytes of a plain file from ``offset``; none at its end, or without such a file.

        Raises:
            StorageUnavailableError: it cannot be read.
        """
        with _translated(key), self._opened(key) as descriptor:
            if descriptor is None:
                return b""
            return os.pread(descriptor, length, offset)

    @contextlib.contextmanager
    def _opened(self, key: str) -> Generator[int | None, None, None]:
        """Opens a file; yields None if there is no plain one, or only through a symbolic link."""
        descriptor = None
        if self._is_plain(os.path.dirname(key)):
            try:
                descriptor, _ = open_plain(self._path(key), os.O_RDONLY)
            except OSError as error:
                if error.errno not in _MISSING:
                    raise
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def find(self, key: str) -> tuple[int, int] | None:
        """Returns length and time in milliseconds of a plain file; None if there is none.

        Raises:
            StorageUnavailableError: the file system would not tell.
        """
        if not self._is_plain(os.path.dirname(key)):
            return None
        with _translated(key):
            try:
                status = os.lstat(self._path(key))
            except OSError as error:
                if error.errno in _MISSING:
                    return None
                raise
        return (status.st_size, status.st_mtime_ns // 1_000_000) if stat.S_ISREG(status.st_mode) else None

    def write(self, key: str, content: bytes, modified_ms: int, *, is_durable: bool) -> bool:
        """Gives a file this content, at once for every reader; False if it had it already.

        ``is_durable``: the file survives a loss of power when this returns; otherwise once ``flush`` has returned, and
        until then it may be found empty after one.

        Raises:
            StorageFullError, StorageUnavailableError: it was not written.
        """
        found = self.read(key, len(content) + 1)
        if found is not None and found.content == content:
            return False
        path = self._path(key)
        folder = os.path.dirname(path)
        self._require_plain(os.path.dirname(key))
        with _translated(key):
            changed = {folder, *make_folders(folder, self._modes)}
            if len(changed) == 1:
                _remove_leftovers(path)
            temporary = f"{path}.{uuid.uuid4()}.tmp"  # as registry:3 names them, so that its eyes pass over them
            try:
                _create(temporary, content, modified_ms, self._modes, is_durable=is_durable)
                os.rename(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            for each in changed if is_durable else ():
                sync_folder(each)
        return True

    def add_name(self, key: str, name: str) -> None:
        """Gives a file another key, durably.

        Both are the same bytes on the disk, or a copy where the file system cannot do that.

        Raises:
            StorageFullError, StorageUnavailableError: there is no file under ``name``.
        """
        self._require_plain(os.path.dirname(key))
        self._require_plain(os.path.dirname(name))
        path = self._path(name)
        folder = os.path.dirname(path)
        with _translated(name):
            changed = {folder, *make_folders(folder, self._modes)}
            _remove_leftovers(path)
            temporary = f"{path}.{uuid.uuid4()}.tmp"
            try:
                _link_or_copy(self._path(key), temporary)
                os.rename(temporary, path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
            for each in changed:
                sync_folder(each)

    def make_folder(self, folder: str) -> None:
        """Makes a folder, with its parents.

        Raises:
            StorageFullError, StorageUnavailableError: it was not made.
        """
        self._require_plain(folder)
        with _translated(folder):
            make_folders(self._path(folder), self._modes)

    def remove(self, key: str) -> bool:
        """Removes a file and then its folder if that is empty; False if there was no file.

        Raises:
            StorageUnavailableError: it is still there.
        """
        self._require_plain(os.path.dirname(key))
        with _translated(key):
            try:
                os.unlink(self._path(key))
            except OSError as error:
                if error.errno in _MISSING:
                    return False
                raise
        self.remove_folder(os.path.dirname(key))
        return True

    def remove_folder(self, folder: str) -> bool:
        """Removes a folder if it is empty; False otherwise."""
        with contextlib.suppress(OSError):
            os.rmdir(self._path(folder))
            return True
        return False

    def flush(self) -> None:
        """Makes everything that was written so far survive a loss of power."""
        os.sync()  # one pass over what is dirty, where a flush for each of a million files would take hours

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _is_plain(self, folder: str) -> bool:
        return is_plain_folder(self._root, folder, self._trusted)

    def _require_plain(self, folder: str) -> None:
        """Raises if ``folder`` is reached through a symbolic link: changes must be made there and nowhere else."""
        if self._presence is not None:
            self._presence.require(folder)
        if not self._is_plain(folder):
            raise StorageUnavailableError(folder, "a folder of the tree is a symbolic link")


def _entry(entry: os.DirEntry[str]) -> Entry:
    if entry.is_symlink():
        return Entry(entry.name, EntryKind.SYMLINK)
    if entry.is_dir(follow_symlinks=False):
        return Entry(entry.name, EntryKind.FOLDER)
    return Entry(entry.name, EntryKind.FILE if entry.is_file(follow_symlinks=False) else EntryKind.OTHER)


def _read_up_to(descriptor: int, length: int) -> bytes:
    content = os.read(descriptor, length)
    while len(content) < length and (more := os.read(descriptor, length - len(content))):
        content += more
    return content


def _remove_leftovers(path: str) -> None:
    """Removes files that a writer of this file left when it died."""
    start = f"{os.path.basename(path)}."
    with os.scandir(os.path.dirname(path)) as entries:
        for entry in entries:
            if entry.name.startswith(start) and entry.name.endswith(".tmp"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)


def _create(path: str, content: bytes, modified_ms: int, modes: TreeModes, *, is_durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        modes.give_to_file(descriptor)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.utime(descriptor, ns=(modified_ms * 1_000_000, modified_ms * 1_000_000))
        if is_durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.copy2(source, target, follow_symlinks=False)
        sync_file(target)


@contextlib.contextmanager
def _translated(key: str) -> Generator[None, None, None]:
    """Turns the operating system's errors into storage's; the file's path stays out of the message."""
    try:
        yield
    except OSError as error:
        raise _error(error, key) from error


def _error(error: OSError, key: str) -> StorageError:
    if is_disk_full(error):
        return StorageFullError(key)
    return StorageUnavailableError(key, os.strerror(error.errno) if error.errno else "unknown error")
