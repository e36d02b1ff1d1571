"""Objects as files below a folder.

Promises: what was published or moved survives a loss of power (the data, and every folder that got a new name); a
writer holds an exclusive ``flock``, so two processes never write one file. What is no plain file in plain folders is
neither opened nor followed. While the storage is not there (``Presence``) nothing is made, and nothing counts as
missing. Blocking calls run in threads of their own; reads that the page cache can answer do not.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar

from roadstead.storage.errors import ObjectBusyError, ObjectUnknownError, StorageError
from roadstead.storage.file_objects import MISSING, FileReader, FileWriter, error_of, translated
from roadstead.storage.lock_files import LockFiles, close_all, try_lock
from roadstead.storage.modes import TreeModes
from roadstead.storage.plain_files import (
    is_plain_folder,
    make_folders,
    open_folder,
    open_or_make,
    open_plain,
    path_of_open_file,
)
from roadstead.storage.presence import Presence
from roadstead.storage.protocol import INCOMING, StoredObject
from roadstead.storage.set_aside import ASIDE, SetAside

_T = TypeVar("_T")

THREADS: Final = 16
"""Number of threads: more than a disk's useful queue depth on small machines, few enough to bound memory in flight."""

CREATION_TRIES: Final = 100
"""Number of tries to make a file; each fails only if somebody else removed the folder within microseconds."""

LOCKS: Final = "locks"

COPY: Final = "+"
"""Between an object's key and what makes the name of a second link to it, which lives for a moment."""

LISTING_BATCH: Final = 1000
"""Number of files that a listing reads in one background job."""


class _PutName(Protocol):
    """``os.rename`` or ``os.link``."""

    def __call__(self, source: str, target: str, /, *, dst_dir_fd: int) -> None: ...


class FilesystemStore:
    """A ``FolderStore`` in a folder of a POSIX file system."""

    def __init__(
        self,
        root: Path,
        *,
        presence: Presence | None = None,
        trusted: Collection[str] = (),
        known_folder: str = "",
    ) -> None:
        """Keeps its arguments; ``root`` is made, with its parents, when the first object is written.

        ``presence`` tells whether it is there at all; without one it always is. ``trusted`` folders below it may be
        symbolic links. What is made looks like ``known_folder``.
        """
        self.root = root
        self._presence = presence
        self._trusted = frozenset(trusted)
        self._known_folder = known_folder
        self._modes: TreeModes | None = None
        self._resolved: dict[str, str] = {}
        self._aside = SetAside(root)
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="storage")

    async def open_writer(self, key: str, offset: int = 0) -> "FileWriter":
        """Starts or continues an object, in the event loop: a hop to a thread costs more than it saves, as measured."""
        self._require_present_lately(key)
        with translated(key):
            return self._open_writer(key, offset)

    async def put(self, key: str, content: bytes) -> None:
        """Writes a small object under another key, then publishes it."""
        writer = await self.open_writer(f"{INCOMING}/put-{secrets.token_hex(8)}")
        try:
            await writer.append([content], lambda _content: None)
            await writer.publish(key)
        finally:
            writer.close()

    async def open_reader(self, key: str) -> "FileReader":
        """Opens an object, in the event loop: opening a file in a folder read lately does not wait for a disk."""
        try:
            with translated(key):
                descriptor, size_bytes = self._open_in_place(key)
        except ObjectUnknownError:
            self._require_present(key)
            raise
        return FileReader(key, descriptor, size_bytes, self._executor)

    async def move(self, source: str, target: str) -> None:
        """Renames, then makes the new name durable."""
        await self._run(source, lambda: self._move(source, target))

    async def delete(self, key: str) -> bool:
        """Unlinks the file and the folders that this leaves empty; nothing in a storage that is another's by now."""
        self._require_present_lately(key)
        is_deleted = await self._run(key, lambda: self._delete(key))
        if not is_deleted:
            self._require_present(key)
        return is_deleted

    async def delete_all(self, keys: Sequence[str]) -> Sequence[bool | StorageError]:
        """Unlinks one file after the other in one background job."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._delete_all, keys)

    async def remove_as(self, token: str, keys: Sequence[str]) -> Sequence[bool | StorageError]:
        """Takes each file out of the tree with its folder, then unlinks it, in one background job."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._remove_as, token, keys)

    async def move_as(self, token: str, source: str, target: str) -> None:
        """Takes the file out of the tree with its folder, then renames it."""
        await self._run(source, lambda: self._move_as(token, source, target))

    async def bar(self, token: str, key: str) -> None:
        """Puts something where the folder would have to go."""
        await self._run(key, lambda: self._aside.bar(token, key))

    async def sweep_aside(self, *, older_than_ms: int) -> int:
        """Unlinks files that stand aside, if the storage is there."""
        self._require_present(ASIDE)
        return await self._run(ASIDE, lambda: self._aside.sweep(older_than_ms))

    async def find(self, key: str) -> StoredObject | None:
        """Returns the file's size and time from the file system."""
        found = await self._run(key, lambda: self._find(key))
        if found is None:
            self._require_present(key)
        return found

    async def iter_objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Walks the folder ``prefix``."""
        walk = self._walk(self._path(prefix)) if self._is_plain(prefix) else iter(())
        while batch := await self._run(prefix, lambda: list(itertools.islice(walk, LISTING_BATCH))):
            for found in batch:
                yield found
        self._require_present(prefix)

    def exclusive(self, *names: str) -> "LockFiles":
        """Holds lock files: ``flock`` knows processes and, since each holder opens it anew, tasks alike.

        In the order of their numbers, each once.
        """
        return LockFiles(names, self._open_lock)

    def _open_lock(self, number: int, name: str) -> int:
        self._require_present_lately(name)
        with translated(name):
            return self._open_or_create(f"{LOCKS}/{number}")

    def find_absence(self, *, is_recent_enough: bool = True) -> str:
        """Returns the answer of the mark in the root."""
        if self._presence is None:
            return ""
        return self._presence.find_recent_absence() if is_recent_enough else self._presence.find_absence()

    async def free_bytes(self) -> int | None:
        """Returns the bytes that the file system lets this user write."""
        self._require_present_lately()
        folder = self.root
        while True:
            with contextlib.suppress(FileNotFoundError):
                status = os.statvfs(folder)
                return status.f_bavail * status.f_frsize
            folder = folder.parent

    async def close(self) -> None:
        """Waits for background jobs."""
        await asyncio.to_thread(self._executor.shutdown)

    async def _run(self, key: str, job: Callable[[], _T]) -> _T:
        with translated(key):
            return await asyncio.get_running_loop().run_in_executor(self._executor, job)

    def _path(self, key: str) -> str:
        return f"{self.root}/{key}"

    def _require_present(self, key: str = "") -> None:
        if self._presence is not None:
            self._presence.require(key)

    def _require_present_lately(self, key: str = "") -> None:
        """Raises if the store was absent a moment ago; ``_require_present`` must follow before work counts."""
        if self._presence is not None:
            self._presence.require(key, is_recent_enough=True)

    def _is_plain(self, folder: str) -> bool:
        return is_plain_folder(str(self.root), folder, self._trusted)

    def _require_plain(self, key: str) -> None:
        """Raises unless writing to ``key`` writes to a plain file in plain folders."""
        if not self._is_plain(os.path.dirname(key)):
            raise OSError(errno.ELOOP, "one of its folders is a symbolic link")

    def _open_in_place(self, key: str) -> tuple[int, int]:
        """Opens an object for reading: its descriptor and its length."""
        descriptor, status = open_plain(self._path(key), os.O_RDONLY)
        if not self._is_in_place(descriptor, key):
            os.close(descriptor)
            raise ObjectUnknownError(key)
        return descriptor, status.st_size

    def _is_in_place(self, descriptor: int, key: str) -> bool:
        """Returns True if an open file is the one under ``key``, and was not reached through a symbolic link.

        One call asks where it is, which costs less than a look at each folder.
        """
        try:
            actual = path_of_open_file(descriptor)
        except OSError:
            return self._is_plain(os.path.dirname(key))
        top = self._known_folder if key.startswith(self._known_folder) else ""
        below = key[len(top) :]
        if actual == self._resolved.get(top, "") + below:
            return True
        folder = os.path.realpath(self._path(top))  # it was not known yet, or the root has got another place
        self._resolved[top] = folder if top else f"{folder}/"
        return actual == self._resolved[top] + below

    def modes(self) -> TreeModes:
        """The modes of new files and folders, those of the tree when they were first needed."""
        if self._modes is None:
            self._modes = TreeModes.of(self.root, self._known_folder)
        return self._modes

    def _open_or_create(self, key: str) -> int:
        with contextlib.suppress(FileNotFoundError):
            return open_plain(self._path(key), os.O_RDWR)[0]
        return self._create(key)

    def _create(self, key: str) -> int:
        """Opens a file, made with its folder if need be; that folder may be removed as empty at any moment."""
        path = self._path(key)
        for _ in range(CREATION_TRIES):
            self._require_plain(key)
            try:
                with contextlib.suppress(FileNotFoundError):
                    return open_or_make(path, self.modes())
                self._require_present(key)
                make_folders(os.path.dirname(path), self.modes())
            except NotADirectoryError as error:  # no object is missing: there can be none
                raise OSError(errno.EIO, os.strerror(errno.EIO)) from error
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _open_writer(self, key: str, offset: int) -> "FileWriter":
        if offset == 0:
            descriptor = self._create(key)
        elif self._is_plain(os.path.dirname(key)):
            descriptor, _ = open_plain(self._path(key), os.O_RDWR)
        else:
            raise ObjectUnknownError(key)
        try:
            _lock(descriptor, key)
            size_bytes = _seek(descriptor, offset, key)
        except BaseException:
            os.close(descriptor)
            raise
        return FileWriter(
            key,
            descriptor,
            offset,
            self._executor,
            self.put_in_place,
            self.copy_in_place,
            is_longer=size_bytes > offset,
        )

    def _move(self, source: str, target: str) -> None:
        self._require_present_lately(source)
        if not self._is_plain(os.path.dirname(source)):
            raise ObjectUnknownError(source)
        self.put_in_place(source, target)

    def put_in_place(self, source: str, target: str, descriptor: int | None = None) -> None:
        """Gives an object another key, durably, flushing the bytes behind ``descriptor`` too. Blocks.

        Renames before it flushes: one commit of a file system's journal covers all. By way of open folders, so that
        nobody can put another folder in their place meanwhile.

        Raises:
            StorageAbsentError: the storage was not there before, or is not there afterwards.
            OSError: nothing is known about the object any more.
        """
        self._require_present_lately(target)
        opened: list[int] = []
        try:
            self._rename(source, target, opened)
            if descriptor is not None:
                os.fsync(descriptor)
            for folder in reversed(opened):
                os.fsync(folder)
        finally:
            close_all(opened)
            self._require_present(target)

    def copy_in_place(self, source: str, target: str, descriptor: int) -> None:
        """Gives an object another key as well, durably. Blocks.

        Where the target is there already it may be somebody's durable bytes, so ours are flushed before they take its
        place. Else one flush does for bytes and name, as in ``put_in_place``: nobody relies on what was not there.

        Raises:
            StorageAbsentError, OSError: as ``put_in_place``.
        """
        self._require_present_lately(target)
        opened: list[int] = []
        try:
            try:
                self._put_name(source, target, opened, os.link)
            except FileExistsError:
                os.fsync(descriptor)
                copy = f"{source}{COPY}{secrets.token_hex(4)}"
                os.link(self._path(source), self._path(copy))
                try:
                    self._put_name(copy, target, opened, os.rename)
                finally:
                    with contextlib.suppress(FileNotFoundError):  # where both were one file nothing was renamed
                        os.unlink(self._path(copy))
            os.fsync(descriptor)
            for folder in reversed(opened):
                os.fsync(folder)
        finally:
            close_all(opened)
            self._require_present(target)

    def _remove_as(self, token: str, keys: Sequence[str]) -> list[bool | StorageError]:
        return [self._remove_one_as(token, key) for key in keys]

    def _remove_one_as(self, token: str, key: str) -> bool | StorageError:
        try:
            self._require_present_lately(key)
            is_removed = self._is_plain(os.path.dirname(key)) and self._aside.remove(token, key)
            if not is_removed:
                self._require_present(key)
        except OSError as error:
            return error_of(error, key)
        except StorageError as error:
            return error
        return is_removed

    def _move_as(self, token: str, source: str, target: str) -> None:
        self._require_present_lately(source)
        if not self._is_plain(os.path.dirname(source)):
            raise ObjectUnknownError(source)
        with self._aside.taken(token, source) as aside:
            self.put_in_place(aside, target)

    def _rename(self, source: str, target: str, opened: list[int]) -> None:
        self._put_name(source, target, opened, os.rename)

    def _put_name(self, source: str, target: str, opened: list[int], put: "_PutName") -> None:
        """Renames or links a file; adds to ``opened`` the folders that may have got a new name."""
        for _ in range(CREATION_TRIES):
            try:
                self._open_parents(target, opened)
                put(self._path(source), os.path.basename(target), dst_dir_fd=opened[-1])
            except NotADirectoryError as error:  # a link or a file stands where a folder should
                raise OSError(errno.ELOOP, "one of its folders is none") from error
            except FileNotFoundError:  # somebody found the folder empty and removed it, or there is no such object
                if not os.path.lexists(self._path(source)):
                    raise
                close_all(opened)
            else:
                return
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _open_parents(self, key: str, opened: list[int]) -> None:
        """Opens the folder of a key, made if need be, after those in which it may be new."""
        folder = os.path.dirname(key)
        parent = os.path.dirname(folder)
        try:
            opened.append(open_folder(self._path(parent)))
        except FileNotFoundError:
            self._require_present(key)
            if parent:
                self._open_parents(folder, opened)
            else:
                opened += _make_root(self.root, self.modes())
        if parent and not self._is_in_place(opened[-1], parent) and not self._is_plain(parent):
            raise OSError(errno.ELOOP, "one of its folders is a symbolic link")
        if folder:
            name = os.path.basename(folder)
            with contextlib.suppress(FileExistsError):
                self.modes().make_folder(name, opened[-1])
            is_trusted = folder in self._trusted
            opened.append(open_folder(self._path(folder)) if is_trusted else open_folder(name, opened[-1]))

    def _delete(self, key: str) -> bool:
        if not self._is_plain(os.path.dirname(key)):
            return False
        path = self._path(key)
        try:
            os.unlink(path)
        except OSError as error:
            if error.errno in MISSING:
                return False
            raise
        self._remove_empty(os.path.dirname(path))
        return True

    def _delete_all(self, keys: Sequence[str]) -> list[bool | StorageError]:
        return [self._delete_or_tell(key) for key in keys]

    def _delete_or_tell(self, key: str) -> bool | StorageError:
        try:
            self._require_present_lately(key)
            is_deleted = self._delete(key)
            if not is_deleted:
                self._require_present(key)
        except OSError as error:
            return error_of(error, key)
        except StorageError as error:
            return error
        return is_deleted

    def _remove_empty(self, folder: str) -> None:
        """Removes ``folder`` when empty; its parents are shared by many objects and stay."""
        if folder != str(self.root):
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def _find(self, key: str) -> StoredObject | None:
        if not self._is_plain(os.path.dirname(key)):
            return None
        try:
            status = os.lstat(self._path(key))
        except OSError as error:
            if error.errno in MISSING:
                return None
            raise
        if not stat.S_ISREG(status.st_mode):
            return None
        return StoredObject(key, status.st_size, status.st_mtime_ns // 1_000_000)

    def _walk(self, folder: str) -> Iterator[StoredObject]:
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            if error.errno in MISSING:
                return
            raise
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(entry.path)
                continue
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    continue
                key = os.path.relpath(entry.path, self.root)
                yield StoredObject(key, status.st_size, status.st_mtime_ns // 1_000_000)


def _lock(descriptor: int, key: str) -> None:
    if not try_lock(descriptor):
        raise ObjectBusyError(key)


def _seek(descriptor: int, offset: int, key: str) -> int:
    """Goes to ``offset``; returns the file's length."""
    status = os.fstat(descriptor)
    if not status.st_nlink:  # the last holder of the lock has deleted the file
        raise ObjectBusyError(key)
    if status.st_size < offset:
        raise ObjectUnknownError(key)
    if offset:
        os.lseek(descriptor, offset, os.SEEK_SET)
    return status.st_size


def _make_root(root: Path, modes: TreeModes) -> list[int]:
    """Opens a root, made if need be, after the parents that were made for it."""
    changed = make_folders(str(root), modes)
    return [open_folder(folder) for folder in (*changed, str(root))]
