"""An object store that times another one, under the action names of registry:2's storage drivers."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from roadstead.clock import Clock
from roadstead.storage.errors import StorageError
from roadstead.storage.protocol import FolderStore, ObjectReader, ObjectWriter, StoredObject


class Observer(Protocol):
    """A measure that takes durations, in seconds."""

    def observe(self, amount: float) -> None:
        """Adds a duration."""
        ...


class MeasuredStore:
    """An ``FolderStore`` around another; reads and writes of an open object are not timed, since they are many."""

    def __init__(self, store: FolderStore, clock: Clock, observer_of: Callable[[str], Observer]) -> None:
        """Keeps its arguments; ``observer_of`` gives the observer of an action: Reader, Writer, Move, Delete, Stat."""
        self._store = store
        self._now = clock.monotonic_seconds
        self._reader = observer_of("Reader")
        self._writer = observer_of("Writer")
        self._moved = observer_of("Move")
        self._deleted = observer_of("Delete")
        self._stat = observer_of("Stat")

    async def open_writer(self, key: str, offset: int = 0) -> ObjectWriter:
        """Starts or takes up an object."""
        started = self._now()
        try:
            return await self._store.open_writer(key, offset)
        finally:
            self._writer.observe(self._now() - started)

    async def put(self, key: str, content: bytes) -> None:
        """Makes a small object."""
        started = self._now()
        try:
            await self._store.put(key, content)
        finally:
            self._writer.observe(self._now() - started)

    async def open_reader(self, key: str) -> ObjectReader:
        """Opens an object."""
        started = self._now()
        try:
            return await self._store.open_reader(key)
        finally:
            self._reader.observe(self._now() - started)

    async def move(self, source: str, target: str) -> None:
        """Gives an object a new key."""
        started = self._now()
        try:
            await self._store.move(source, target)
        finally:
            self._moved.observe(self._now() - started)

    async def delete(self, key: str) -> bool:
        """Removes an object."""
        started = self._now()
        try:
            return await self._store.delete(key)
        finally:
            self._deleted.observe(self._now() - started)

    async def delete_all(self, keys: Sequence[str]) -> Sequence[bool | StorageError]:
        """Removes many objects; each counts with its share of the time."""
        started = self._now()
        try:
            return await self._store.delete_all(keys)
        finally:
            share = (self._now() - started) / max(1, len(keys))
            for _ in keys:
                self._deleted.observe(share)

    async def remove_as(self, token: str, keys: Sequence[str]) -> Sequence[bool | StorageError]:
        """Removes many objects, unless barred; each counts with its share of the time."""
        started = self._now()
        try:
            return await self._store.remove_as(token, keys)
        finally:
            share = (self._now() - started) / max(1, len(keys))
            for _ in keys:
                self._deleted.observe(share)

    async def move_as(self, token: str, source: str, target: str) -> None:
        """Gives an object a new key, unless barred."""
        started = self._now()
        try:
            await self._store.move_as(token, source, target)
        finally:
            self._moved.observe(self._now() - started)

    async def bar(self, token: str, key: str) -> None:
        """Bars a token; not timed, since it happens after a death."""
        await self._store.bar(token, key)

    async def sweep_aside(self, *, older_than_ms: int) -> int:
        """Removes what unfinished removals have left."""
        return await self._store.sweep_aside(older_than_ms=older_than_ms)

    async def find(self, key: str) -> StoredObject | None:
        """Returns an object's size and time as a listing would, or None."""
        started = self._now()
        try:
            return await self._store.find(key)
        finally:
            self._stat.observe(self._now() - started)

    def iter_objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Yields all objects below a folder; not timed, since the caller decides how long it takes."""
        return self._store.iter_objects(prefix)

    def exclusive(self, *names: str) -> AbstractAsyncContextManager[None]:
        """Keeps other holders of the names out."""
        return self._store.exclusive(*names)

    def find_absence(self, *, is_recent_enough: bool = True) -> str:
        """Returns the reason why the store is not there; empty if it is."""
        return self._store.find_absence(is_recent_enough=is_recent_enough)

    async def free_bytes(self) -> int | None:
        """Returns the bytes of space left, or None."""
        return await self._store.free_bytes()

    async def close(self) -> None:
        """Ends background work."""
        await self._store.close()
