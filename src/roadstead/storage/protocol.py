"""The interface of an object store, as the registry needs it.

An object store knows keys and bytes; it has never heard of digests, repositories or uploads. Keys are relative paths of
plain ASCII components. The life of an object that is written here:

1. ``open_writer(key, offset)`` makes it, or takes it up again, and locks it against every other writer. Bytes past
   ``offset`` are dropped when the first are added or the object is published, not before: closing changes nothing. It
   is visible to ``iter_objects`` from now on, and to nobody that goes by a catalogue.
2. ``append`` adds bytes. After a failure the object holds some prefix of what was appended; nobody should rely on how
   much, which is why offsets are records.
3. ``publish`` gives it its final key and promises: the whole of it survives a loss of power, under that key. Until
   ``publish`` has returned nobody may rely on either key; after a loss of power in the middle of it the final key may
   hold a part of the object.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from roadstead.storage.errors import StorageError

Buffer = bytes | bytearray | memoryview
"""A buffer of bytes in memory that do not change while they are written."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a listing: its key, size and time."""

    key: str
    size_bytes: int
    modified_ms: int


class ObjectReader(Protocol):
    """An open object. It can still be read after the object is deleted."""

    @property
    def size_bytes(self) -> int:
        """The object's length."""
        ...

    async def read(self, offset: int, length: int) -> bytes | bytearray | memoryview:
        """Reads up to ``length`` bytes from ``offset``; fewer only at the end of the object."""
        ...

    async def read_once(self, offset: int, length: int) -> bytes | bytearray | memoryview:
        """Reads bytes that are not needed again, without taking memory that others use well."""
        ...

    def close(self) -> None:
        """Frees the resources of reading. May be called twice."""
        ...


@runtime_checkable
class FileObject(Protocol):
    """The further interface of an ``ObjectReader`` whose object is a file, which the kernel can send by itself."""

    def fileno(self) -> int:
        """Returns the open file's descriptor, valid until the reader closes; the object begins where the file does."""
        ...


class ObjectWriter(Protocol):
    """An object being written, by one writer at a time."""

    @property
    def offset(self) -> int:
        """The number of bytes so far."""
        ...

    @property
    def is_longer(self) -> bool:
        """True if the object has bytes behind the offset, which go with the first use of the writer."""
        ...

    async def append(self, buffers: Sequence[Buffer], observe: Callable[[Buffer], None]) -> None:
        """Adds ``buffers`` in order and shows each to ``observe`` (a running digest) in the same background job.

        Raises:
            StorageFullError: there is no space.
            StorageUnavailableError: the bytes could not be written.
        """
        ...

    async def publish(self, target: str) -> None:
        """Gives the object the key ``target``, replacing what was there, and makes bytes and key durable.

        Raises:
            ObjectUnknownError: the object was deleted meanwhile.
            StorageUnavailableError: nothing is known about the bytes any more.
        """
        ...

    async def publish_copy(self, target: str) -> None:
        """Gives the object the key ``target`` as well, and makes bytes and key durable; its own key stays.

        For those who publish equal bytes under one key without keeping each other out, at whatever moment: what is
        there is replaced by bytes that are durable already.

        Raises:
            ObjectUnknownError, StorageUnavailableError: as ``publish``.
        """
        ...

    def close(self) -> None:
        """Ends writing and gives up the lock; the object stays as it is. May be called twice."""
        ...


class ObjectSink(Protocol):
    """An object on its way in. Nobody sees it before ``finish`` has returned, and then the whole of it."""

    @property
    def offset(self) -> int:
        """The number of bytes so far."""
        ...

    async def append(self, buffers: Sequence[Buffer], observe: Callable[[Buffer], None]) -> None:
        """Adds ``buffers`` in order and shows each to ``observe``; they may be filled again afterwards.

        Raises:
            StorageFullError, StorageUnavailableError: the object cannot be made any more.
        """
        ...

    async def finish(self) -> None:
        """Makes the object visible and durable.

        Raises:
            StorageFullError, StorageUnavailableError: it is not known whether it is there; nobody may rely on it.
        """
        ...

    async def abort(self) -> None:
        """Gives the object up; nothing of it stays. May be called after ``finish``, and then does nothing."""
        ...


INCOMING: Final = "uploads"
"""The folder of objects that are not whole yet, where they must be somewhere meanwhile."""


@runtime_checkable
class ObjectStore(Protocol):
    """Immutable objects under keys: what every store can."""

    async def put(self, key: str, content: bytes) -> None:
        """Makes a small object, in place of any that has the key; visible whole, and durable on return.

        Raises:
            StorageFullError, StorageUnavailableError: the old one is there, or the new one.
        """
        ...

    async def open_reader(self, key: str) -> ObjectReader:
        """Opens an object for reading.

        Raises:
            ObjectUnknownError: there is none.
        """
        ...

    async def delete(self, key: str) -> bool:
        """Removes an object; False if it is known that there was none."""
        ...

    async def delete_all(self, keys: Sequence[str]) -> Sequence[bool | StorageError]:
        """Removes many objects at a fraction of the cost; returns for each the result of ``delete``, or its error."""
        ...

    async def find(self, key: str) -> StoredObject | None:
        """Returns an object's size and time as a listing would, or None."""
        ...

    def iter_objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Yields all objects whose key lies below the folder ``prefix``, in no particular order."""
        ...

    def find_absence(self, *, is_recent_enough: bool = True) -> str:
        """Returns a sentence without paths why the store as a whole is not there; empty if it is. Cheap.

        It may be a moment old, unless that is not recent enough: looking may wait for a disk.

        While it is not there every method raises ``StorageAbsentError`` instead of saying that an object is missing,
        and nothing is made.
        """
        ...

    async def free_bytes(self) -> int | None:
        """Returns the bytes of space left, or None if the store has no such limit.

        Raises:
            StorageAbsentError: the store is not there.
        """
        ...

    async def close(self) -> None:
        """Ends background work; open readers and writers must be closed before."""
        ...


@runtime_checkable
class SinkStore(ObjectStore, Protocol):
    """A store in which an object appears whole, under the key that it keeps: a bucket."""

    def open_sink(self, key: str, *, size_bytes: int | None = None) -> ObjectSink:
        """Starts an object of ``size_bytes``, if that is known, under a key that was never used."""
        ...


@runtime_checkable
class FolderStore(ObjectStore, Protocol):
    """A store that can append, rename and lock, as a file system does."""

    async def open_writer(self, key: str, offset: int = 0) -> ObjectWriter:
        """Starts or takes up an object; see the module's docstring.

        Raises:
            ObjectUnknownError: ``offset`` is not 0 and the object is missing or shorter than that.
            ObjectBusyError: another writer has it.
            StorageFullError: there is no space.
        """
        ...

    async def move(self, source: str, target: str) -> None:
        """Gives an object a new key, replacing what was there, durably.

        Raises:
            ObjectUnknownError: there is no ``source``.
        """
        ...

    async def remove_as(self, token: str, keys: Sequence[str]) -> Sequence[bool | StorageError]:
        """As ``delete_all``, unless ``token`` was barred from a key before: then ``ObjectBarredError``, and it stays.

        Each key has a folder of its own, in which nothing else is; a token removes or moves a key once.
        """
        ...

    async def move_as(self, token: str, source: str, target: str) -> None:
        """As ``move``, unless ``token`` was barred from ``source`` before.

        Raises:
            ObjectBarredError: it was; nothing has moved.
            ObjectUnknownError: there is no ``source``.
        """
        ...

    async def bar(self, token: str, key: str) -> None:
        """When this has returned, nothing that ``token`` removes or moves ever takes effect on ``key`` again.

        It holds for calls under way too, of processes that are frozen in the middle of one.
        """
        ...

    async def sweep_aside(self, *, older_than_ms: int) -> int:
        """Removes objects that ``remove_as`` or ``move_as`` has taken away and, since it died, never removed or moved.

        Only those that were taken away so long ago, by the store's own clock; returns their number.
        """
        ...

    def exclusive(self, *names: str) -> AbstractAsyncContextManager[None]:
        """Waits until nobody else, in any process that uses this store, is inside with one of the same ``names``.

        Whoever enters with several gets their locks in one order, so that no two wait for each other.

        Not to be entered twice by one task: names share a limited number of locks.
        """
        ...
