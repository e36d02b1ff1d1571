"""An object store in memory: as fast as tests want it, as strict as the contract.

It never blocks and never fails by itself; ``fail_next`` makes the next appends fail as a disk would.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from roadstead.storage import (
    Buffer,
    ObjectBarredError,
    ObjectBusyError,
    ObjectReader,
    ObjectUnknownError,
    ObjectWriter,
    StorageError,
    StoredObject,
)


class _Object:
    """The bytes of an object, which readers keep alive after the key is gone."""

    __slots__ = ("content", "is_locked", "modified_ms")

    def __init__(self) -> None:
        self.content = bytearray()
        self.is_locked = False
        self.modified_ms = time.time_ns() // 1_000_000


class MemoryStore:
    """A ``FolderStore`` in a dictionary."""

    def __init__(self) -> None:
        self._objects: dict[str, _Object] = {}
        self._failures: deque[StorageError] = deque()
        self._exclusive: dict[str, asyncio.Lock] = {}
        self._barred: set[tuple[str, str]] = set()
        self.open_handles = 0
        """Number of readers and writers that nobody has closed."""

    def fail_next(self, *errors: StorageError) -> None:
        """Makes the next appends raise ``errors``, one each, after half of their first buffer was kept."""
        self._failures.extend(errors)

    async def open_writer(self, key: str, offset: int = 0) -> ObjectWriter:
        """Starts or takes up an object."""
        found = self._objects.get(key)
        if found is None or len(found.content) < offset:
            if offset:
                raise ObjectUnknownError(key)
            found = self._objects[key] = _Object()
        if found.is_locked:
            raise ObjectBusyError(key)
        return _MemoryWriter(self, key, found, offset, self._failures)

    async def put(self, key: str, content: bytes) -> None:
        """Makes a small object."""
        made = self._objects[key] = _Object()
        made.content += content

    async def open_reader(self, key: str) -> ObjectReader:
        """Opens an object."""
        found = self._objects.get(key)
        if found is None:
            raise ObjectUnknownError(key)
        return _MemoryReader(self, bytes(found.content))

    def is_current(self, key: str, candidate: _Object) -> bool:
        """Returns True if ``candidate`` is still the object under ``key``."""
        return self._objects.get(key) is candidate

    async def move(self, source: str, target: str) -> None:
        """Gives an object a new key."""
        found = self._objects.pop(source, None)
        if found is None:
            raise ObjectUnknownError(source)
        self._objects[target] = found

    async def delete(self, key: str) -> bool:
        """Forgets an object."""
        return self._objects.pop(key, None) is not None

    async def delete_all(self, keys: Sequence[str]) -> Sequence[bool | StorageError]:
        """Forgets many objects."""
        return [await self.delete(key) for key in keys]

    async def remove_as(self, token: str, keys: Sequence[str]) -> Sequence[bool | StorageError]:
        """Forgets many objects, but those that the token is barred from."""
        return [ObjectBarredError(key) if (token, key) in self._barred else await self.delete(key) for key in keys]

    async def move_as(self, token: str, source: str, target: str) -> None:
        """Gives an object a new key, unless the token is barred from the old one."""
        if (token, source) in self._barred:
            raise ObjectBarredError(source)
        await self.move(source, target)

    async def bar(self, token: str, key: str) -> None:
        """Remembers it."""
        self._barred.add((token, key))

    async def sweep_aside(self, *, older_than_ms: int) -> int:  # noqa: ARG002 - as declared
        """Finds nothing: here removals come to their end."""
        return 0

    def add_key(self, source: str, target: str) -> None:
        """Gives an object another key as well."""
        self._objects[target] = self._objects[source]

    async def find(self, key: str) -> StoredObject | None:
        """Returns an object's size and time as a listing would, or None."""
        found = self._objects.get(key)
        return None if found is None else StoredObject(key, len(found.content), found.modified_ms)

    async def iter_objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Walks the keys below ``prefix``."""
        below = f"{prefix}/" if prefix else ""
        for key, found in list(self._objects.items()):
            if key.startswith(below):
                yield StoredObject(key, len(found.content), found.modified_ms)

    @contextlib.asynccontextmanager
    async def exclusive(self, *names: str) -> AsyncGenerator[None, None]:
        """Keeps other holders of the names out."""
        async with contextlib.AsyncExitStack() as held:
            for name in sorted(set(names)):
                await held.enter_async_context(self._exclusive.setdefault(name, asyncio.Lock()))
            yield

    def find_absence(self, *, is_recent_enough: bool = True) -> str:  # noqa: ARG002 - as the protocol has it
        """Returns an empty text: memory is always there."""
        return ""

    async def free_bytes(self) -> int | None:
        """Returns None: memory has no limit that a test should rely on."""
        return None

    async def close(self) -> None:
        """Does nothing: there is no background work."""


class _MemoryReader:
    def __init__(self, store: MemoryStore, content: bytes) -> None:
        self._store: MemoryStore | None = store
        self._content = content
        store.open_handles += 1

    @property
    def size_bytes(self) -> int:
        return len(self._content)

    async def read(self, offset: int, length: int) -> bytes | bytearray | memoryview:
        return self._content[offset : offset + length]

    async def read_once(self, offset: int, length: int) -> bytes | bytearray | memoryview:
        return self._content[offset : offset + length]

    def close(self) -> None:
        if self._store is not None:
            self._store.open_handles -= 1
            self._store = None


class _MemoryWriter:
    def __init__(
        self, store: MemoryStore, key: str, target: _Object, offset: int, failures: deque[StorageError]
    ) -> None:
        self._store: MemoryStore | None = store
        self._key = key
        self._target = target
        self._offset = offset
        self._failures = failures
        target.is_locked = True
        store.open_handles += 1

    @property
    def offset(self) -> int:
        return self._offset

    @property
    def is_longer(self) -> bool:
        return len(self._target.content) > self._offset

    async def append(self, buffers: Sequence[Buffer], observe: Callable[[Buffer], None]) -> None:
        del self._target.content[self._offset :]
        for buffer in buffers:
            observe(buffer)
            if self._failures:
                self._target.content += buffer[: len(buffer) // 2]
                raise self._failures.popleft()
            self._target.content += buffer
            self._offset += len(buffer)
        self._target.modified_ms = time.time_ns() // 1_000_000

    async def publish(self, target: str) -> None:
        if self._store is None or not self._store.is_current(self._key, self._target):
            raise ObjectUnknownError(self._key)
        del self._target.content[self._offset :]
        await self._store.move(self._key, target)

    async def publish_copy(self, target: str) -> None:
        if self._store is None or not self._store.is_current(self._key, self._target):
            raise ObjectUnknownError(self._key)
        del self._target.content[self._offset :]
        self._store.add_key(self._key, target)

    def close(self) -> None:
        if self._store is not None:
            self._store.open_handles -= 1
            self._store = None
            self._target.is_locked = False
