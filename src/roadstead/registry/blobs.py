"""Blobs: found, read, mounted, deleted, put into quarantine."""

from collections.abc import Callable

from roadstead.clock import Clock
from roadstead.database import Database, Transaction
from roadstead.oci import Digest, RepositoryName
from roadstead.registry import layout, store
from roadstead.registry.errors import BlobQuarantinedError, BlobReferencedError, BlobUnknownError
from roadstead.registry.model import Blob
from roadstead.registry.repositories import ensure_repository, get_repository_id
from roadstead.storage import ObjectReader, ObjectStore, ObjectUnknownError

Notice = Callable[[Digest, str], None]
"""Told which blob was put into quarantine and why."""


class Blobs:
    """The blobs of a registry's repositories."""

    def __init__(self, database: Database, storage: ObjectStore, clock: Clock, on_quarantine: Notice) -> None:
        self._database = database
        self._storage = storage
        self._clock = clock
        self._on_quarantine = on_quarantine

    async def get(self, repository: RepositoryName, digest: Digest) -> Blob:
        """A blob that a repository may read.

        Raises:
            BlobUnknownError: it has none such.
            BlobQuarantinedError: it has, but the bytes were found damaged.
        """
        row = await self._database.fetch_one(store.FIND_BLOB, repository=repository, digest=digest)
        if row is None:
            raise BlobUnknownError(digest)
        if row[1] is not None:
            raise BlobQuarantinedError(digest)
        return Blob(digest, row[0])

    async def open(self, repository: RepositoryName, digest: Digest) -> ObjectReader:
        """A blob's bytes; the caller closes the reader.

        Bytes that are missing or of the wrong length are put into quarantine instead of being served.

        Raises:
            BlobUnknownError, BlobQuarantinedError: as ``get``, or just found out.
        """
        reader = await self._open_intact(await self.get(repository, digest))
        if isinstance(reader, str):
            reader = await self._open_or_quarantine(repository, digest)
        return reader

    async def quarantine(self, digest: Digest, reason: str) -> None:
        """Stops serving a blob and puts its bytes aside; a push of the same digest brings it back."""
        async with self._storage.exclusive(digest):
            await self._put_aside(digest, reason)

    async def _open_or_quarantine(self, repository: RepositoryName, digest: Digest) -> ObjectReader:
        """Looks again while nobody can change the blob: what was damaged may have been healed by a push meanwhile."""
        async with self._storage.exclusive(digest):
            reader = await self._open_intact(await self.get(repository, digest))
            if isinstance(reader, str):
                await self._put_aside(digest, reader)
                raise BlobQuarantinedError(digest)
            return reader

    async def _open_intact(self, blob: Blob) -> ObjectReader | str:
        """The blob's bytes, or what is wrong with them."""
        try:
            reader = await self._storage.open_reader(layout.blob_key(blob.digest))
        except ObjectUnknownError:
            return "its bytes are missing"
        if reader.size_bytes == blob.size_bytes:
            return reader
        reader.close()
        return f"it has {reader.size_bytes} bytes instead of {blob.size_bytes}"

    async def _put_aside(self, digest: Digest, reason: str) -> None:
        now_ms = self._clock.now_ms()

        async def work(transaction: Transaction) -> None:
            await transaction.execute(store.QUARANTINE_BLOB, digest=digest, now_ms=now_ms)

        await self._database.write(work)
        try:
            await self._storage.move(layout.blob_key(digest), layout.quarantine_key(digest))
        except ObjectUnknownError:
            reason += "; there was nothing to put aside"
        self._on_quarantine(digest, reason)

    async def mount(self, repository: RepositoryName, digest: Digest, source: RepositoryName | None) -> bool:
        """Lets ``repository`` read a blob that ``source`` (None: any repository) holds; False if it cannot.

        Source: distribution specification, section "Mounting a blob from another repository".
        """

        async def work(transaction: Transaction) -> bool:
            blob_id = await _find_mountable(transaction, digest, source)
            if blob_id is None:
                return False
            await link_blob(transaction, repository, blob_id, self._clock)
            return True

        return await self._database.write(work)

    async def delete(self, repository: RepositoryName, digest: Digest) -> None:
        """Takes a blob out of a repository; its bytes stay for other repositories and until they are collected.

        Source: distribution specification, section "Deleting Blobs".

        Raises:
            RepositoryUnknownError, BlobUnknownError: there is none.
            BlobReferencedError: a manifest of the repository needs it.
        """

        async def work(transaction: Transaction) -> None:
            repository_id = await get_repository_id(transaction, repository)
            record = await transaction.fetch_one(store.FIND_BLOB_RECORD, digest=digest)
            if record is None:
                raise BlobUnknownError(digest)
            holder = await transaction.fetch_one(
                store.FIND_MANIFEST_OF_BLOB, repository_id=repository_id, digest=digest
            )
            if holder is not None:
                raise BlobReferencedError(digest, Digest(holder[0]))
            if not await transaction.execute(store.UNLINK_BLOB, repository_id=repository_id, blob_id=record[0]):
                raise BlobUnknownError(digest)

        await self._database.write(work)


async def _find_mountable(transaction: Transaction, digest: Digest, source: RepositoryName | None) -> int | None:
    """The key of a blob that ``source``, or any repository, can read."""
    if source is None:
        row = await transaction.fetch_one(store.FIND_BLOB_ANYWHERE, digest=digest)
        return row[0] if row is not None and row[2] is None else None
    repository = await transaction.fetch_one(store.FIND_REPOSITORY, repository=source)
    if repository is None:
        return None
    row = await transaction.fetch_one(store.FIND_LINKED_BLOB, repository_id=repository[0], digest=digest)
    return row[0] if row is not None else None


async def link_blob(transaction: Transaction, repository: RepositoryName, blob_id: int, clock: Clock) -> None:
    """Lets a repository, made if need be, read a blob."""
    repository_id = await ensure_repository(transaction, repository, clock)
    await transaction.execute(store.LINK_BLOB, repository_id=repository_id, blob_id=blob_id, linked_ms=clock.now_ms())
