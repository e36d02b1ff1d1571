"""Upload sessions: how bytes become a blob.

The life of an upload, and what is true after a crash at any point of it:

1. ``start``: a record, no bytes.
2. ``append``: bytes go to the session's object and through a running digest, in one background job while the next
   ones arrive. At the end, also when the client went away in the middle, the record says how many they are and how the
   digest stands. A crash before that leaves the old offset; bytes past it are dropped when writing goes on. After a
   loss of power the bytes may be fewer (the session is then unknown) or others than the record says, so a digest that
   was saved before this boot is not trusted: the bytes are read again.
3. ``finish``: the digest is compared; the record is marked with it; the object is published under the blob's key, which
   flushes it; then, in one durable transaction, the blob is recorded and linked to the repository and the session ends.
   Nobody reads a blob that is not recorded. A crash between publishing and recording leaves bytes that no record names:
   ``recovery`` finds them by the mark.
4. ``cancel``: the record goes, then the bytes. A crash between leaves bytes without a record, which ``recovery``
   removes.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Final

from roadstead.clock import Clock
from roadstead.database import Database, Transaction
from roadstead.events import NOBODY, Event, EventAction, Origin, Outbox
from roadstead.oci import Digest, RepositoryName
from roadstead.registry import layout, store
from roadstead.registry.blobs import OCTETS, link_blob
from roadstead.registry.errors import (
    BlobTooLargeError,
    UploadBusyError,
    UploadDigestMismatchError,
    UploadOffsetError,
    UploadUnknownError,
)
from roadstead.registry.model import UploadSession
from roadstead.registry.rules import GarbageRules
from roadstead.registry.running_digest import RunningDigest, can_resume
from roadstead.storage import (
    ObjectBusyError,
    ObjectStore,
    ObjectUnknownError,
    ObjectWriter,
    StorageAbsentError,
    StorageFullError,
    StorageUnavailableError,
)

GATHER_BYTES: Final = 1 << 20
"""Bytes written and hashed in one background job: enough to make the hop to a thread cheap."""

GATHER_LEAST_BYTES: Final = 64 << 10
"""With very many uploads at once each gathers less, but never less than this."""

GATHER_BUDGET_BYTES: Final = 12 << 20
"""Bytes being gathered by all uploads together; as many again may be on their way to the disk."""

READ_BYTES: Final = 1 << 20
"""Bytes read at once where a digest must be computed again."""

BUSY_TRIES: Final = 20
BUSY_WAIT_SECONDS: Final = 0.02
"""Together the time for which a request waits for another one that writes to its session."""

PURGE_BATCH: Final = 200
"""Sessions that one round of purging takes on."""


class Uploads:
    """The upload sessions of a registry."""

    def __init__(
        self,
        database: Database,
        storage: ObjectStore,
        clock: Clock,
        rules: GarbageRules,
        outbox: Outbox,
        *,
        boot_id: str = "",
        minimum_free_bytes: int = 0,
        maximum_blob_bytes: int = 0,
    ) -> None:
        """``boot_id`` tells one running machine from another, and from itself before it lost power.

        ``minimum_free_bytes`` of space are left alone, so that the catalogue can still record deletions. An upload
        that gets longer than ``maximum_blob_bytes`` (0: any length) is refused and gone.
        """
        self._boot_id = boot_id.encode("ascii") + b"\n"
        self._database = database
        self._storage = storage
        self._clock = clock
        self._rules = rules
        self._outbox = outbox
        self._minimum_free_bytes = minimum_free_bytes
        self._maximum_blob_bytes = maximum_blob_bytes
        self._receiving = 0

    async def start(self, repository: RepositoryName, algorithm: str) -> UploadSession:
        """Begins an upload whose digest will be of ``algorithm``.

        Raises:
            StorageFullError: there is too little space to begin anything.
        """
        await self._require_space()
        session = UploadSession(str(uuid.uuid4()), repository, algorithm, 0, None)
        now_ms = self._clock.now_ms()

        async def work(transaction: Transaction) -> None:
            await transaction.execute(
                store.ADD_UPLOAD,
                id=session.id,
                repository=repository,
                algorithm=algorithm,
                offset_bytes=0,
                now_ms=now_ms,
            )

        await self._database.write(work, durable=False)
        return session

    async def get(self, repository: RepositoryName, session_id: str) -> UploadSession:
        """A session of this repository; another repository's is unknown here.

        Raises:
            UploadUnknownError: there is none.
        """
        row = await self._database.fetch_one(store.FIND_UPLOAD, id=session_id, repository=repository)
        if row is None:
            raise UploadUnknownError(session_id)
        return UploadSession(session_id, repository, row[0], row[1], row[2])

    async def append(
        self,
        repository: RepositoryName,
        session_id: str,
        body: AsyncIterator[bytes],
        *,
        begin: int | None = None,
        length: int | None = None,
    ) -> UploadSession:
        """Adds ``body`` to a session; ``begin`` is the offset at which the client says it belongs.

        ``length`` is that of ``body`` where the client states it: what would get too large is then not read at all.
        Whatever ends ``body`` early is raised again after what came before it was recorded.

        Raises:
            UploadUnknownError: there is no such session.
            UploadBusyError: another request is writing to it.
            UploadOffsetError: it stands elsewhere than at ``begin``.
            BlobTooLargeError: it gets larger than a blob may be; the session is gone.
            StorageFullError, StorageUnavailableError: the bytes could not be kept.
        """
        session, writer = await self._open(repository, session_id, begin)
        try:
            running = await self._take_in(session, writer, body, length or 0)
            return await self._record(session, writer, running)
        finally:
            writer.close()

    async def finish(
        self,
        repository: RepositoryName,
        session_id: str,
        body: AsyncIterator[bytes],
        digest: Digest,
        *,
        begin: int | None = None,
        length: int | None = None,
        origin: Origin = NOBODY,
    ) -> None:
        """Adds ``body``, then makes the session's bytes the blob ``digest`` of the repository.

        Raises:
            UploadDigestMismatchError: they have another digest; the session is gone.
            and what ``append`` raises.
        """
        session, writer = await self._open(repository, session_id, begin)
        try:
            running = await self._take_in(session, writer, body, length or 0)
            actual = await self._digest(session, writer, running, digest.algorithm)
            if actual != digest:
                await self._forget(session_id)
                raise UploadDigestMismatchError(digest, actual)
            await self._commit(session, writer, running, digest, origin)
        finally:
            writer.close()

    async def cancel(self, repository: RepositoryName, session_id: str) -> None:
        """Ends a session and removes its bytes.

        Raises:
            UploadUnknownError: there is none.
        """
        await self.get(repository, session_id)
        await self._forget(session_id)

    async def purge(self, *, older_than_ms: int) -> int:
        """Ends sessions that nobody has touched for that long; returns how many."""
        before_ms = self._clock.now_ms() - older_than_ms
        ended = 0
        while rows := await self._database.fetch_all(store.LIST_STALE_UPLOADS, before_ms=before_ms, limit=PURGE_BATCH):
            for (session_id,) in rows:
                await self._forget(session_id)
            ended += len(rows)
        return ended

    async def list_stale(self, *, older_than_ms: int, limit: int) -> tuple[str, ...]:
        """Sessions that ``purge`` would end."""
        before_ms = self._clock.now_ms() - older_than_ms
        rows = await self._database.fetch_all(store.LIST_STALE_UPLOADS, before_ms=before_ms, limit=limit)
        return tuple(str(session_id) for (session_id,) in rows)

    async def _require_space(self) -> None:
        if self._minimum_free_bytes:
            free = await self._storage.free_bytes()
            if free is not None and free < self._minimum_free_bytes:
                raise StorageFullError

    async def _open(
        self, repository: RepositoryName, session_id: str, begin: int | None
    ) -> tuple[UploadSession, ObjectWriter]:
        """The session as it stands once nobody else can write to it, and its writer."""
        for _ in range(BUSY_TRIES):
            session = await self.get(repository, session_id)
            if begin is not None and begin > session.offset:
                raise UploadOffsetError(session_id, session.offset)
            with contextlib.suppress(ObjectBusyError):
                return session, await self._open_writer(session, begin)
            await asyncio.sleep(BUSY_WAIT_SECONDS)  # a request that broke off needs a moment to record what it had
        raise UploadBusyError(session_id)

    async def _open_writer(self, session: UploadSession, begin: int | None) -> ObjectWriter:
        """The writer, once it is certain that the record has not changed before we had the lock."""
        try:
            writer = await self._storage.open_writer(layout.upload_key(session.id), session.offset)
        except ObjectUnknownError:
            await self._forget(session.id)  # its bytes are gone: the client must begin again
            raise UploadUnknownError(session.id) from None
        try:
            await self._require_unchanged(session, begin)
        except BaseException:
            writer.close()
            raise
        return writer

    async def _require_unchanged(self, session: UploadSession, begin: int | None) -> None:
        latest = await self.get(session.repository, session.id)
        if begin is not None and begin != latest.offset:
            raise UploadOffsetError(session.id, latest.offset)
        if latest.offset != session.offset:
            raise ObjectBusyError(layout.upload_key(session.id))

    async def _take_in(
        self, session: UploadSession, writer: ObjectWriter, body: AsyncIterator[bytes], length: int
    ) -> RunningDigest | None:
        """Writes ``body``; what came of it is recorded if it ends early. The digest so far, if it can be known."""
        running = self._resume(session)
        self._receiving += 1
        try:
            await self._receive(writer, running, self._limited(session, body, length))
        except BlobTooLargeError:
            await self._forget(session.id)
            raise
        except StorageFullError:
            raise  # what was written past the record's offset is dropped when the session goes on
        except StorageUnavailableError:
            await self._forget(session.id)  # after a failed write nothing is known about the bytes
            raise
        except BaseException:
            await self._record(session, writer, running)
            raise
        finally:
            self._receiving -= 1
        return running

    def _limited(self, session: UploadSession, body: AsyncIterator[bytes], length: int) -> AsyncIterator[bytes]:
        """``body`` as long as the blob does not get too large by it."""
        limit = self._maximum_blob_bytes
        return _within(body, limit - session.offset, length, limit) if limit else body

    def _resume(self, session: UploadSession) -> RunningDigest | None:
        """The digest of what the session has so far; None where it cannot be known without reading."""
        if session.offset == 0:
            return RunningDigest(session.algorithm)
        state = session.digest_state
        if state is None or not state.startswith(self._boot_id):
            return None
        state = state.removeprefix(self._boot_id)
        return RunningDigest(session.algorithm, state) if can_resume(session.algorithm, state) else None

    def _save(self, running: RunningDigest | None) -> bytes | None:
        state = running.save() if running else None
        return None if state is None else self._boot_id + state

    async def _receive(self, writer: ObjectWriter, digest: RunningDigest | None, body: AsyncIterator[bytes]) -> None:
        """Writes ``body`` with one job in flight while the next one's bytes are gathered."""
        observe = digest.update if digest else _ignore
        gathered: list[bytes] = []
        size = 0
        job: asyncio.Task[None] | None = None
        try:
            async for piece in body:
                gathered.append(piece)
                size += len(piece)
                if size >= self._gather_bytes():
                    if job is not None:
                        await asyncio.shield(job)  # a job that is cancelled goes on in its thread, uncounted
                        await self._require_space()
                    job = asyncio.create_task(writer.append(gathered, observe))
                    gathered, size = [], 0
        finally:
            if job is not None:
                await job
            if gathered:
                await writer.append(gathered, observe)

    def _gather_bytes(self) -> int:
        return max(GATHER_LEAST_BYTES, min(GATHER_BYTES, GATHER_BUDGET_BYTES // max(1, self._receiving)))

    async def _record(
        self, session: UploadSession, writer: ObjectWriter, running: RunningDigest | None
    ) -> UploadSession:
        """Records what has been written, so that the upload can go on from there."""
        if writer.offset == session.offset:
            return session
        state, now_ms = self._save(running), self._clock.now_ms()

        async def work(transaction: Transaction) -> None:
            changed = await transaction.execute(
                store.SAVE_UPLOAD, session_id=session.id, offset=writer.offset, state=state, now_ms=now_ms
            )
            if not changed:
                raise UploadUnknownError(session.id)  # cancelled meanwhile

        await self._database.write(work, durable=False)
        return UploadSession(session.id, session.repository, session.algorithm, writer.offset, state)

    async def _digest(
        self, session: UploadSession, writer: ObjectWriter, running: RunningDigest | None, algorithm: str
    ) -> Digest:
        """The digest of a session's bytes: as computed on the way if that can be, else from the bytes."""
        if running is not None and running.algorithm == algorithm:
            return running.digest()
        digest = RunningDigest(algorithm)
        reader = await self._storage.open_reader(layout.upload_key(session.id))
        try:
            offset = 0
            while offset < writer.offset:
                piece = bytes(await reader.read(offset, min(READ_BYTES, writer.offset - offset)))
                await asyncio.to_thread(digest.update, piece)
                offset += len(piece)
        finally:
            reader.close()
        return digest.digest()

    async def _commit(
        self,
        session: UploadSession,
        writer: ObjectWriter,
        running: RunningDigest | None,
        digest: Digest,
        origin: Origin,
    ) -> None:
        """Makes the bytes a blob; one upload of a digest after the other, so that each sees what the last has done."""
        async with self._storage.exclusive(digest):
            row = await self._database.fetch_one(store.FIND_BLOB_RECORD, digest=digest)
            is_kept = row is not None and row[2] is None and row[3] is None
            is_known = row is not None and is_kept and await self._is_intact(digest, row[1])
            if not is_known:
                await self._mark(session, writer, running, digest)
                await self._publish(session, writer, digest)
            await self._conclude(session, writer.offset, digest, origin)
        if is_known:
            await self._storage.delete(layout.upload_key(session.id))

    async def _conclude(self, session: UploadSession, size_bytes: int, digest: Digest, origin: Origin) -> None:
        """The transaction by which the upload becomes a blob of its repository."""
        now_ms = self._clock.now_ms()

        async def work(transaction: Transaction) -> None:
            if not await transaction.execute(store.DELETE_UPLOAD, session_id=session.id):
                raise UploadUnknownError(session.id)  # cancelled meanwhile
            await transaction.execute(
                store.SAVE_BLOB,
                digest=digest,
                size_bytes=size_bytes,
                created_ms=now_ms,
                quarantined_ms=None,
                deleting_ms=None,
            )
            record = await transaction.fetch_one(store.FIND_BLOB_RECORD, digest=digest)
            if record is not None:
                await link_blob(transaction, session.repository, record[0], self._clock, self._rules)
            event = Event(
                action=EventAction.PUSH,
                repository=session.repository,
                digest=digest,
                media_type=OCTETS,
                size_bytes=size_bytes,
                origin=origin,
            )
            await self._outbox.record(transaction, event)

        await self._database.write(work)

    async def _publish(self, session: UploadSession, writer: ObjectWriter, digest: Digest) -> None:
        try:
            await writer.publish(layout.blob_key(digest))
        except ObjectUnknownError:
            raise UploadUnknownError(session.id) from None  # cancelled meanwhile
        except StorageAbsentError:
            raise  # the bytes are where the storage is, and the client may come again when it is back
        except StorageUnavailableError:
            await self._forget(session.id)  # after a failed flush nothing is known about the bytes
            raise

    async def _is_intact(self, digest: Digest, size_bytes: int) -> bool:
        found = await self._storage.find(layout.blob_key(digest))
        return found is not None and found.size_bytes == size_bytes

    async def _mark(
        self, session: UploadSession, writer: ObjectWriter, running: RunningDigest | None, digest: Digest
    ) -> None:
        """Records that the object is about to get the blob's key.

        Bytes that are recorded under this digest but not intact are not to be served while they are replaced.
        """
        state, now_ms = self._save(running), self._clock.now_ms()

        async def work(transaction: Transaction) -> None:
            await transaction.execute(store.QUARANTINE_BLOB, digest=digest, now_ms=now_ms)
            await transaction.execute(
                store.MARK_UPLOAD,
                session_id=session.id,
                offset=writer.offset,
                state=state,
                digest=digest,
                now_ms=now_ms,
            )

        await self._database.write(work, durable=False)

    async def _forget(self, session_id: str) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.execute(store.DELETE_UPLOAD, session_id=session_id)

        await self._database.write(work, durable=False)
        await self._storage.delete(layout.upload_key(session_id))


async def _within(body: AsyncIterator[bytes], room: int, length: int, limit_bytes: int) -> AsyncIterator[bytes]:
    if max(length, 0) > room:
        raise BlobTooLargeError(limit_bytes)
    async for piece in body:
        room -= len(piece)
        if room < 0:
            raise BlobTooLargeError(limit_bytes)
        yield piece


def _ignore(_content: bytes | bytearray) -> None:
    """Observes nothing."""
