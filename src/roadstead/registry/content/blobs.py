"""Blobs: found, read, mounted, deleted, put into quarantine."""

from collections.abc import Callable
from types import EllipsisType
from typing import Final

from roadstead.access import VisibleRepositories
from roadstead.clock import Clock
from roadstead.database import Database, Row, Statement, Transaction
from roadstead.events import KEPT, Cause, Event, EventAction, Outbox
from roadstead.oci import Digest, RepositoryName
from roadstead.registry.cancellation import uninterrupted
from roadstead.registry.content import place_store, store
from roadstead.registry.content.blob_records import OCTETS, link_blob
from roadstead.registry.content.exclusive import Exclusive, Hold
from roadstead.registry.content.places import Places
from roadstead.registry.content.repositories import get_repository_id
from roadstead.registry.errors import BlobQuarantinedError, BlobReferencedError, BlobUnknownError
from roadstead.registry.locks import adding_to, removing_from
from roadstead.registry.model import Blob
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import Change, forget_link_review, postpone_link, review_blob
from roadstead.storage import ObjectReader, ObjectUnknownError, StoredObject

Notice = Callable[[Digest, str], None]
"""Told which blob was put into quarantine and why."""


BY_QUARANTINE: Final = Cause.of_work("quarantine")
"""The cause of a quarantine: whoever came upon the damage did not make it."""


class _HealedError(Exception):
    """A push has put right bytes in place of those that were seen to be damaged."""


class Blobs:
    """The blobs of a registry's repositories."""

    def __init__(
        self,
        database: Database,
        places: Places,
        exclusive: Exclusive,
        clock: Clock,
        rules: GarbageRules,
        outbox: Outbox,
        on_quarantine: Notice,
    ) -> None:
        self._database = database
        self._rules = rules
        self._outbox = outbox
        self._places = places
        self._exclusive = exclusive
        self._clock = clock
        self._on_quarantine = on_quarantine

    async def get(self, repository: RepositoryName, digest: Digest, *, visible: VisibleRepositories) -> Blob:
        """A blob that a repository may read.

        Raises:
            BlobUnknownError: it has none such.
            BlobQuarantinedError: it has, but the bytes were found damaged.
        """
        row = await self._find(store.FIND_BLOB, repository, digest, visible)
        return Blob(digest, row[0], row[2])

    async def open(self, repository: RepositoryName, digest: Digest, *, visible: VisibleRepositories) -> ObjectReader:
        """A blob's bytes; the caller closes the reader.

        Bytes that are missing or of the wrong length are put into quarantine instead of being served.

        Raises:
            BlobUnknownError, BlobQuarantinedError: as ``get``, or just found out.
        """
        return await self._open(repository, await self.get(repository, digest, visible=visible), visible)

    async def confirm(self, repository: RepositoryName, digest: Digest, *, visible: VisibleRepositories) -> int:
        """The size of a blob that is there with all its bytes; it stays while a manifest that names it is awaited.

        A client that asks does not push the blob again. Costs a write only where nothing names it and its time is
        half over.

        Raises:
            BlobUnknownError, BlobQuarantinedError: as ``open``.
        """
        row = await self._find(store.FIND_BLOB_UNDER_REVIEW, repository, digest, visible)
        blob = Blob(digest, row[0], row[5])
        if not await self._places.is_whole(blob):
            (await self._open(repository, blob, visible)).close()
        change = Change.at(self._clock, "", self._rules)
        if row[4] is not None and row[4] - change.grace_ms <= self._rules.upload_ms // 2:
            await self._database.write(
                lambda transaction: postpone_link(transaction, row[2], row[3], change),
                locks=adding_to(repository),
                durable=False,
            )
        return blob.size_bytes

    async def _find(
        self, statement: Statement, repository: RepositoryName, digest: Digest, visible: VisibleRepositories
    ) -> Row:
        row = None
        if repository in visible:
            row = await self._database.fetch_one(statement, repository=repository, digest=digest)
        if row is None:
            raise BlobUnknownError(digest)
        if row[1] is not None:
            raise BlobQuarantinedError(digest)
        return row

    async def _open(self, repository: RepositoryName, blob: Blob, visible: VisibleRepositories) -> ObjectReader:
        reader = await self._open_intact(blob)
        if isinstance(reader, str):
            reader = await self._open_or_quarantine(repository, blob.digest, visible)
        return reader

    async def quarantine(self, digest: Digest, reason: str, *, seen: StoredObject | EllipsisType | None = ...) -> bool:
        """Stops serving a blob and puts its bytes aside; a push of the same digest brings it back.

        ``seen`` is what the storage had (None: nothing) when the bytes were found damaged: if it has something else
        now, a push has healed the blob, which is left alone. Returns whether it was put aside.
        """
        async with self._exclusive.hold(digest) as hold:
            place = await self._places.find_place(digest)
            if not isinstance(seen, EllipsisType) and await self._places.find(digest, place) != seen:
                return False
            return await uninterrupted(self._put_aside(hold, Blob(digest, 0, place), reason, seen))

    async def take_back(self, digest: Digest, *, seen: StoredObject) -> bool:
        """Serves a blob again whose bytes, read as ``seen``, are right; whether they are still the same."""
        async with self._exclusive.hold(digest) as hold:

            async def work(transaction: Transaction) -> None:
                await hold.require(transaction)
                await transaction.execute(store.TAKE_OUT_OF_QUARANTINE, digest=digest)

            if await self._places.find(digest, await self._places.find_place(digest)) != seen:
                return False
            await self._database.write(work)
            return True

    async def _open_or_quarantine(
        self, repository: RepositoryName, digest: Digest, visible: VisibleRepositories
    ) -> ObjectReader:
        """Looks again while nobody can remove the blob: what was damaged may have been healed by a push meanwhile."""
        async with self._exclusive.hold(digest) as hold:
            blob = await self.get(repository, digest, visible=visible)
            seen = await self._places.find(digest, blob.object_key)  # before the look that decides
            reader = await self._open_intact(blob)
            if isinstance(reader, str) and not await uninterrupted(self._put_aside(hold, blob, reader, seen)):
                reader = await self._open_intact(await self.get(repository, digest, visible=visible))
            if isinstance(reader, str):
                raise BlobQuarantinedError(digest)
            return reader

    async def _open_intact(self, blob: Blob) -> ObjectReader | str:
        """The blob's bytes, or what is wrong with them."""
        try:
            reader = await self._places.open(blob)
        except ObjectUnknownError:
            return "its bytes are missing"
        if reader.size_bytes == blob.size_bytes:
            return reader
        reader.close()
        return f"it has {reader.size_bytes} bytes instead of {blob.size_bytes}"

    async def _put_aside(self, hold: Hold, blob: Blob, reason: str, seen: StoredObject | EllipsisType | None) -> bool:
        """Takes a blob out of service, then its bytes out of their place; whether they are the ones that were ``seen``.

        A push that holds nothing may put its bytes in place at any moment. It records them after that, for which it
        waits while the record is being changed here: so either its bytes are seen here, or it sees the quarantine.
        """
        digest, statement = blob.digest, store.QUARANTINE_BLOB
        values: dict[str, object] = {"digest": digest, "now_ms": self._clock.now_ms()}
        if blob.object_key is not None:
            statement, values["object_key"] = place_store.QUARANTINE_PLACED_BLOB, blob.object_key

        async def work(transaction: Transaction) -> bool:
            await hold.require(transaction)
            if not await transaction.execute(statement, **values):
                return False
            is_certain = isinstance(seen, EllipsisType) or not self._exclusive.is_fenced
            if not is_certain and await self._places.find(digest, None) != seen:
                raise _HealedError
            event = Event(
                action=EventAction.QUARANTINE, repository="", digest=digest, media_type=OCTETS, cause=BY_QUARANTINE
            )
            await self._outbox.record(transaction, event)
            return True

        try:
            is_out = await self._database.write(work, locks=[KEPT])
        except _HealedError:
            return False
        if not is_out and blob.object_key is not None:
            return False  # it has another place by now
        if not is_out and self._exclusive.is_fenced:
            return True  # nothing serves these bytes, and somebody may be about to record them
        try:
            await hold.put_aside(digest)
        except ObjectUnknownError:
            reason += "; there was nothing to put aside"
        self._on_quarantine(digest, reason)
        return True

    async def mount(
        self,
        repository: RepositoryName,
        digest: Digest,
        source: RepositoryName | None,
        *,
        visible: VisibleRepositories,
        cause: Cause,
    ) -> bool:
        """Lets ``repository`` read a blob that ``source`` (None: any repository) holds; False if it cannot.

        Sources are visible repositories alone: what the client may pull from.

        Source: distribution specification, section "Mounting a blob from another repository".
        """

        async def work(transaction: Transaction) -> bool:
            found = await _find_mountable(transaction, digest, source, visible)
            if found is None:
                return False
            blob_id, size_bytes = found
            await link_blob(transaction, repository, blob_id, self._clock, self._rules)
            event = Event(
                action=EventAction.MOUNT,
                repository=repository,
                digest=digest,
                media_type=OCTETS,
                size_bytes=size_bytes,
                source_repository=source or "",
                cause=cause,
            )
            await self._outbox.record(transaction, event)
            return True

        return await self._database.write(work, locks=adding_to(repository))

    async def delete(self, repository: RepositoryName, digest: Digest, *, cause: Cause) -> None:
        """Takes a blob out of a repository; its bytes stay for other repositories and until they are collected.

        Source: distribution specification, section "Deleting Blobs".

        Raises:
            RepositoryUnknownError, BlobUnknownError: there is none.
            BlobReferencedError: a manifest of the repository names it.
        """

        async def work(transaction: Transaction) -> None:
            repository_id = await get_repository_id(transaction, repository)
            record = await transaction.fetch_one(store.FIND_BLOB_RECORD, digest=digest)
            if record is None:
                raise BlobUnknownError(digest)
            if not await transaction.execute(store.UNLINK_BLOB, repository_id=repository_id, blob_id=record[0]):
                raise BlobUnknownError(digest)  # also where a manifest names what the repository does not have
            holder = await transaction.fetch_one(
                store.FIND_MANIFEST_OF_BLOB, repository_id=repository_id, digest=digest
            )
            if holder is not None:
                raise BlobReferencedError(digest, Digest(holder[0]))  # which undoes the above
            await forget_link_review(transaction, repository_id, record[0])
            await review_blob(transaction, record[0], Change.at(self._clock, cause.actor, self._rules))
            event = Event(
                action=EventAction.DELETE, repository=repository, digest=digest, media_type=OCTETS, cause=cause
            )
            await self._outbox.record(transaction, event)

        await self._database.write(work, locks=removing_from(repository))


async def _find_mountable(
    transaction: Transaction, digest: Digest, source: RepositoryName | None, visible: VisibleRepositories
) -> tuple[int, int] | None:
    """Key and size of a blob that ``source``, or any repository, can read; both visible."""
    if source is None and not visible.is_all:
        return await _find_in(transaction, digest, visible)
    if source is None:
        row = await transaction.lock_one(store.FIND_BLOB_ANYWHERE, digest=digest)
        return (row[0], row[1]) if row is not None and row[2] is None else None
    if source not in visible:
        return None
    repository = await transaction.fetch_one(store.FIND_REPOSITORY, repository=source)
    if repository is None:
        return None
    row = await transaction.lock_one(store.FIND_LINKED_BLOB, repository_id=repository[0], digest=digest)
    return (row[0], row[1]) if row is not None else None


async def _find_in(transaction: Transaction, digest: Digest, visible: VisibleRepositories) -> tuple[int, int] | None:
    """Key and size of a blob that a visible repository can read."""
    for low, high in visible.ranges:
        row = await transaction.lock_one(store.FIND_BLOB_IN_RANGE, digest=digest, low=low, high=high)
        if row is not None:
            return (row[0], row[1]) if row[2] is None else None
    if visible.has_unslashed:
        row = await transaction.lock_one(store.FIND_BLOB_IN_UNSLASHED, digest=digest)
        return (row[0], row[1]) if row is not None and row[2] is None else None
    return None
