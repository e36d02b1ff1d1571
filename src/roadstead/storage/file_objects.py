"""Objects that are open files: read and written in threads; work without the disk is done at once."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from roadstead.errors import is_disk_full
from roadstead.storage.errors import ObjectUnknownError, StorageError, StorageFullError, StorageUnavailableError
from roadstead.storage.protocol import Buffer

INLINE_BYTES: Final = 32 << 10
"""Number of bytes up to which hashing and copying to the page cache take less time than a hop to a thread and back."""

WRITE_BYTES: Final = 1020 << 10
"""Number of bytes that are hashed and then written at once; whole pages, and just less than 1 MiB.

For longer writes ext4 takes pages of that size and more, of which a virtual machine may have none that its host has
given it already: measured 2.5 instead of 1.3 CPU seconds a gigabyte for all of a push.
"""

SEND_BYTES: Final = 8 << 20
"""Number of bytes after which the system is asked to write to the disk: shorter objects wait for their last flush."""

MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
"""Error numbers with which the system says that there is no object."""


@contextlib.contextmanager
def translated(key: str) -> Generator[None, None, None]:
    """Turns the operating system's errors into storage's; the file's path stays out of the message."""
    try:
        yield
    except OSError as error:
        raise error_of(error, key) from error


def error_of(error: OSError, key: str) -> StorageError:
    """Returns the storage error for a system's error about an object."""
    if is_disk_full(error):
        return StorageFullError(key)
    if error.errno in MISSING:
        return ObjectUnknownError(key)
    return StorageUnavailableError(key, os.strerror(error.errno) if error.errno else "unknown error")


class FileReader:
    """An ``ObjectReader`` of an open file."""

    def __init__(self, key: str, descriptor: int, size_bytes: int, executor: ThreadPoolExecutor) -> None:
        self._key = key
        self._descriptor = descriptor
        self._size_bytes = size_bytes
        self._executor = executor

    @property
    def size_bytes(self) -> int:
        """The file's length when it was opened; objects do not change."""
        return self._size_bytes

    def fileno(self) -> int:
        """Returns the descriptor of the open file (see ``FileObject``)."""
        return self._descriptor

    async def read(self, offset: int, length: int) -> bytes | bytearray | memoryview:
        """Reads at once if the page cache has the bytes, otherwise in a thread, which can wait for the disk."""
        buffer = bytearray(length)
        try:
            count = os.preadv(self._descriptor, [buffer], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EOPNOTSUPP}:
                raise error_of(error, self._key) from error
            count = 0
        if count == length:
            return buffer
        return await self._read_rest(memoryview(buffer), count, offset)

    async def read_once(self, offset: int, length: int) -> bytes | bytearray | memoryview:
        """Reads in a thread; bytes that the page cache did not hold before, it does not hold afterwards."""
        with translated(self._key):
            return await asyncio.get_running_loop().run_in_executor(
                self._executor, _read_once, self._descriptor, offset, length
            )

    async def _read_rest(self, buffer: memoryview, count: int, offset: int) -> memoryview:
        """Fills ``buffer`` from ``count`` on, after the page cache gave a part or nothing."""
        loop = asyncio.get_running_loop()
        while count < len(buffer):
            rest = buffer[count:]
            with translated(self._key):
                got = await loop.run_in_executor(self._executor, os.preadv, self._descriptor, [rest], offset + count)
            if got == 0:
                break
            count += got
        return buffer[:count]

    def close(self) -> None:
        """Closes the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _read_once(descriptor: int, offset: int, length: int) -> memoryview:
    """Reads past the page cache if possible; without reading ahead, which would look like another's reading."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    buffer = memoryview(bytearray(length))
    try:
        count = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno not in {errno.EAGAIN, errno.EOPNOTSUPP}:
            raise
        count = 0
    if count == length:
        return buffer  # somebody reads it often
    while count < length and (got := os.preadv(descriptor, [buffer[count:]], offset + count)):
        count += got
    os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)
    return buffer[:count]


class FileWriter:
    """An ``ObjectWriter`` of an open, locked file."""

    def __init__(
        self,
        key: str,
        descriptor: int,
        offset: int,
        executor: ThreadPoolExecutor,
        put_in_place: Callable[[str, str, int], None],
        copy_in_place: Callable[[str, str, int], None],
        *,
        is_longer: bool,
    ) -> None:
        """Keeps its arguments; ``put_in_place`` renames durably; ``is_longer``: there are bytes behind ``offset``."""
        self._put_in_place = put_in_place
        self._copy_in_place = copy_in_place
        self._key = key
        self._descriptor = descriptor
        self._offset = offset
        self._executor = executor
        self._is_longer = is_longer
        self._sent = offset

    @property
    def offset(self) -> int:
        """The number of bytes so far."""
        return self._offset

    @property
    def is_longer(self) -> bool:
        """True if there are bytes behind the offset."""
        return self._is_longer

    async def append(self, buffers: Sequence[Buffer], observe: Callable[[Buffer], None]) -> None:
        """Writes and shows each buffer to ``observe``, in one thread job for all of them; a few bytes at once."""
        with translated(self._key):
            self._cut()
            if len(buffers) == 1 and len(buffers[0]) <= INLINE_BYTES:
                self._offset += _write_all(self._descriptor, buffers, observe)
                return
            self._offset += await asyncio.get_running_loop().run_in_executor(
                self._executor, self._write, buffers, observe
            )

    def _write(self, buffers: Sequence[Buffer], observe: Callable[[Buffer], None]) -> int:
        """Writes in a thread. Long objects go to the disk as their bytes arrive, so that little is left to flush."""
        written = _write_all(self._descriptor, buffers, observe)
        end = self._offset + written
        if end - self._sent >= SEND_BYTES:
            _send_to_disk(self._descriptor, self._sent, end - self._sent)
            self._sent = end
        return written

    async def publish(self, target: str) -> None:
        """Publishes the object: see ``FilesystemStore.put_in_place``."""
        with translated(self._key):
            await asyncio.get_running_loop().run_in_executor(self._executor, self._publish, target)

    async def publish_copy(self, target: str) -> None:
        """Publishes the object and keeps its key: see ``FilesystemStore.copy_in_place``."""
        with translated(self._key):
            await asyncio.get_running_loop().run_in_executor(self._executor, self._publish_copy, target)

    def _cut(self) -> None:
        """Drops the bytes behind the offset, not before the first use, since until then the caller may give up."""
        if self._is_longer:
            os.truncate(self._descriptor, self._offset)
            self._is_longer = False

    def _publish(self, target: str) -> None:
        self._cut()
        self._put_in_place(self._key, target, self._descriptor)

    def _publish_copy(self, target: str) -> None:
        self._cut()
        self._copy_in_place(self._key, target, self._descriptor)

    def close(self) -> None:
        """Closes the file, which gives up the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _write_all(descriptor: int, buffers: Sequence[Buffer], observe: Callable[[Buffer], None]) -> int:
    """Writes bytes after observing them, while they are still in the processor's cache."""
    total = 0
    for buffer in buffers:
        for piece in _cut(buffer):
            observe(piece)
            rest = memoryview(piece)
            while rest:
                written = os.write(descriptor, rest)
                total += written
                rest = rest[written:]
    return total


def _send_to_disk(descriptor: int, offset: int, length: int) -> None:
    """Makes the system begin to write a part of a file, without waiting.

    That is what the advice does with pages that are not on the disk yet; it drops only those that are.
    """
    with contextlib.suppress(OSError):
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)


def _cut(buffer: Buffer) -> Iterator[Buffer]:
    if len(buffer) <= WRITE_BYTES or isinstance(buffer, bytes):  # a view of bytes cannot be hashed without a copy
        yield buffer
        return
    view = memoryview(buffer)
    for start in range(0, len(view), WRITE_BYTES):
        yield view[start : start + WRITE_BYTES]
