"""Where the bytes of blobs are: under the key of their digest, under a key of their own, or in several parts.

A record without ``object_key`` is the first: blobs in a folder, and those of a bucket that registry:2 wrote. One whose
key ends in ``+`` is the last: the key is that of the first part, all of which are rows (``blob_parts``).
"""

import bisect
from collections.abc import Sequence
from typing import Final

from roadstead.database import Database
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.content import place_store
from roadstead.registry.model import Blob
from roadstead.storage import ObjectReader, ObjectStore, ObjectUnknownError, StoredObject

MORE: Final = "+"


class Places:
    """Finds and opens the bytes of blobs."""

    def __init__(self, database: Database, storage: ObjectStore, *, has_own_keys: bool = False) -> None:
        """``has_own_keys``: blobs may be elsewhere than under the keys of their digests, as in a bucket."""
        self._database = database
        self._storage = storage
        self.has_own_keys = has_own_keys

    async def open(self, blob: Blob) -> ObjectReader:
        """Opens a blob's bytes, whatever their number.

        Raises:
            ObjectUnknownError: they, or one part, are not there.
        """
        if blob.object_key is None or not blob.object_key.endswith(MORE):
            return await self._storage.open_reader(key_of(blob.digest, blob.object_key))
        parts = await self._parts(blob.digest, blob.object_key)
        if not parts:
            raise ObjectUnknownError(blob.object_key)
        return PartsReader(self._storage, parts)

    async def find(self, digest: Digest, object_key: str | None) -> StoredObject | None:
        """The bytes that the storage has of a blob; its size is that of all parts. None if any of them is missing."""
        if object_key is None or not object_key.endswith(MORE):
            return await self._storage.find(key_of(digest, object_key))
        size_bytes = modified_ms = 0
        parts = await self._parts(digest, object_key)
        for key, _ in parts:
            found = await self._storage.find(key)
            if found is None:
                return None
            size_bytes += found.size_bytes
            modified_ms = max(modified_ms, found.modified_ms)
        return StoredObject(object_key, size_bytes, modified_ms) if parts else None

    async def is_whole(self, blob: Blob) -> bool:
        """True if a look is enough to say that all bytes are there; of a folder, where opening costs less, never."""
        if not self.has_own_keys:
            return False
        found = await self.find(blob.digest, blob.object_key)
        return found is not None and found.size_bytes == blob.size_bytes

    async def find_place(self, digest: Digest) -> str | None:
        """The ``object_key`` of a blob's record; None where it has none, as in a folder."""
        row = await self._database.fetch_one(place_store.FIND_PLACE, digest=digest) if self.has_own_keys else None
        return row[0] if row else None

    async def keys(self, digest: Digest, object_key: str | None) -> list[str]:
        """The keys of all objects that a blob is made of."""
        if object_key is None or not object_key.endswith(MORE):
            return [key_of(digest, object_key)]
        return [key for key, _ in await self._parts(digest, object_key)]

    async def _parts(self, digest: Digest, object_key: str) -> list[tuple[str, int]]:
        """The parts of one place of a blob; none where its record says by now that it is elsewhere."""
        rows = await self._database.fetch_all(place_store.LIST_BLOB_PARTS, digest=digest, object_key=object_key)
        return [(str(key), int(size_bytes)) for key, size_bytes in rows]


def key_of(digest: Digest, object_key: str | None) -> str:
    """The key of a blob that is one object."""
    return layout.blob_key(digest) if object_key is None else object_key


class PartsReader:
    """Several objects, one after the other, as if they were one; each is opened when it is first read."""

    def __init__(self, storage: ObjectStore, parts: Sequence[tuple[str, int]]) -> None:
        """``parts`` are keys and lengths in bytes, as they are recorded."""
        self._storage = storage
        self._keys = [key for key, _ in parts]
        self._begins = [0]
        for _, size_bytes in parts:
            self._begins.append(self._begins[-1] + size_bytes)
        self._open: tuple[int, ObjectReader] | None = None

    @property
    def size_bytes(self) -> int:
        """The length of all parts together."""
        return self._begins[-1]

    async def read(self, offset: int, length: int) -> bytes:
        """Reads up to ``length`` bytes from ``offset``; fewer only at the end of the last part.

        Raises:
            ObjectUnknownError: a part is missing, or shorter than it was recorded.
        """
        pieces: list[bytes] = []
        end = min(offset + length, self.size_bytes)
        while offset < end:
            number = bisect.bisect_right(self._begins, offset) - 1
            reader = await self._reader(number)
            wanted = min(end, self._begins[number + 1]) - offset
            piece = bytes(await reader.read(offset - self._begins[number], wanted))
            if not piece:
                raise ObjectUnknownError(self._keys[number])
            pieces.append(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    read_once = read

    async def _reader(self, number: int) -> ObjectReader:
        if self._open is None or self._open[0] != number:
            self.close()
            self._open = (number, await self._storage.open_reader(self._keys[number]))
        return self._open[1]

    def close(self) -> None:
        """Closes the part that is open. May be called twice."""
        if self._open is not None:
            self._open[1].close()
            self._open = None
