"""An object store that times what another one does, under the action names of registry:2's storage drivers."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from roadstead.clock import Clock
from roadstead.storage.protocol import ObjectReader, ObjectStore, ObjectWriter, StoredObject


class Observer(Protocol):
    """Takes durations, in seconds."""

    def observe(self, amount: float) -> None:
        """Adds one."""
        ...


class MeasuredStore:
    """An ``ObjectStore`` around another; reads and writes of an open object are not timed, since they are many."""

    def __init__(self, store: ObjectStore, clock: Clock, observer_of: Callable[[str], Observer]) -> None:
        """``observer_of`` gives the observer of an action: Reader, Writer, Move, Delete, Stat."""
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

    async def find(self, key: str) -> StoredObject | None:
        """What a listing would say of this key."""
        started = self._now()
        try:
            return await self._store.find(key)
        finally:
            self._stat.observe(self._now() - started)

    def iter_objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        """All objects below a folder; not timed, since the caller decides how long it takes."""
        return self._store.iter_objects(prefix)

    def exclusive(self, *names: str) -> AbstractAsyncContextManager[None]:
        """Keeps everybody else out."""
        return self._store.exclusive(*names)

    def find_absence(self) -> str:
        """Why the store is not there."""
        return self._store.find_absence()

    async def free_bytes(self) -> int | None:
        """Space left."""
        return await self._store.free_bytes()

    async def close(self) -> None:
        """Ends background work."""
        await self._store.close()
