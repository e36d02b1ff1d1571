"""Locks that tasks and processes share: files locked with ``flock``."""

import asyncio
import contextlib
import fcntl
import os
import zlib
from collections.abc import Callable, Sequence
from typing import Final

LOCK_FILES: Final = 1024
"""Number of lock files: names that share one wait for each other; twenty at once rarely do."""

LOCK_POLL_SECONDS: Final = 0.002
"""Time between two tries to lock: a holder keeps the lock for some milliseconds, the time of a flush."""


class LockFiles(contextlib.AbstractAsyncContextManager[None]):
    """Lock files, held from entering to leaving; a class, since a generator would cost a push more than the lock."""

    def __init__(self, names: Sequence[str], open_lock: Callable[[int, str], int]) -> None:
        """Keeps its arguments; ``open_lock`` opens the file of a number, on behalf of a name."""
        self._names = names
        self._open = open_lock
        self._held: list[int] = []

    async def __aenter__(self) -> None:
        """Waits until nobody else holds any of the locks, and takes them.

        Raises:
            StorageError: they cannot be opened.
        """
        try:
            for number in sorted({zlib.crc32(name.encode()) % LOCK_FILES for name in self._names}):
                self._held.append(self._open(number, self._names[0]))
                while not try_lock(self._held[-1]):  # noqa: ASYNC110 - the holder may be another process
                    await asyncio.sleep(LOCK_POLL_SECONDS)
        except BaseException:
            close_all(self._held)
            raise

    async def __aexit__(self, *_: object) -> None:
        """Releases the locks."""
        close_all(self._held)


def try_lock(descriptor: int) -> bool:
    """Locks an open file; returns False if another holder has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def close_all(descriptors: list[int]) -> None:
    """Closes open files, which gives up their locks."""
    while descriptors:
        os.close(descriptors.pop())
