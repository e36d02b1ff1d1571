"""Upload sessions: how bytes come in.

The life of an upload, and what is true after a crash at any point of it:

1. ``start``: an id, no bytes, and no record yet (``upload_sessions`` says why none is needed).
2. ``append``: bytes go to the session's object and through a running digest, in one background job while the next
   ones arrive. At the end, also when the client went away in the middle, the record says how many they are and how the
   digest stands. A crash before that leaves the old offset, 0 where there was no record; bytes past it are dropped when
   writing goes on, and an object without a record is removed by ``recovery``. After a
   loss of power the bytes may be fewer (the session is then unknown) or others than the record says, so a digest that
   was saved before this boot is not trusted: the bytes are read again.
3. ``finish``: the digest is compared, and the bytes become a blob: ``blob_commits`` says how. Where the first bytes of
   a session cannot be recorded they are dropped, since nothing would name them.
4. ``cancel``: the record says that the session is over, then the bytes go. A crash between leaves bytes without a
   session, which ``recovery`` removes.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final

from roadstead.access import VisibleRepositories
from roadstead.clock import Clock
from roadstead.database import Database, DatabaseError
from roadstead.events import Cause
from roadstead.oci import Digest, RepositoryName
from roadstead.registry import layout
from roadstead.registry.content import store
from roadstead.registry.content.blob_commits import BlobCommits, FilledSession
from roadstead.registry.content.exclusive import Exclusive
from roadstead.registry.content.receiving import Body, FilledBody, FilledWithin, Receiving, within
from roadstead.registry.content.running_digest import DigestStates, RunningDigest
from roadstead.registry.content.traffic import Traffic
from roadstead.registry.content.upload_sessions import UploadSessions
from roadstead.registry.errors import (
    BlobTooLargeError,
    UploadBusyError,
    UploadDigestMismatchError,
    UploadOffsetError,
    UploadUnknownError,
)
from roadstead.registry.model import UploadSession
from roadstead.registry.removal.rules import GarbageRules
from roadstead.storage import (
    Buffer,
    ObjectBusyError,
    ObjectStore,
    ObjectUnknownError,
    ObjectWriter,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

READ_BYTES: Final = 1 << 20
"""Bytes read at once where a digest must be computed again."""

BUSY_TRIES: Final = 20
BUSY_WAIT_SECONDS: Final = 0.02
"""Together the time for which a request waits for another one that writes to its session."""

PURGE_BATCH: Final = 200
"""Sessions that one round of purging takes on."""


class Uploads:
    """The upload sessions of a registry, each open to the actor alone who began it."""

    def __init__(
        self,
        database: Database,
        storage: ObjectStore,
        exclusive: Exclusive,
        clock: Clock,
        rules: GarbageRules,
        traffic: Traffic,
        *,
        boot_id: str = "",
        minimum_free_bytes: int = 0,
        maximum_blob_bytes: int = 0,
    ) -> None:
        """``boot_id`` tells one running machine from another, and from itself before it lost power.

        ``minimum_free_bytes`` of space are left alone, so that the catalogue can still record deletions. An upload
        that gets longer than ``maximum_blob_bytes`` (0: any length) is refused and gone.
        """
        run_id = boot_id.encode("ascii") + b"\n"
        self.sessions = UploadSessions(database, clock, run_id, is_shared=exclusive.is_fenced)
        self._states = DigestStates(run_id)
        self.commits = BlobCommits(
            database, storage, exclusive, clock, rules, traffic, self.sessions, forget=self._forget
        )
        self._database = database
        self._storage = storage
        self._exclusive = exclusive
        self._clock = clock
        self._minimum_free_bytes = minimum_free_bytes
        self._maximum_blob_bytes = maximum_blob_bytes
        self._receiving = Receiving(self._require_space)

    async def start(self, repository: RepositoryName, algorithm: str, *, cause: Cause) -> UploadSession:
        """Begins an upload whose digest will be of ``algorithm``.

        Raises:
            StorageFullError: there is too little space to begin anything.
        """
        await self._require_space()
        return await self.sessions.begin(repository, algorithm, cause.actor)

    async def get(
        self, repository: RepositoryName, session_id: str, *, visible: VisibleRepositories, cause: Cause
    ) -> UploadSession:
        """A session of this repository; another repository's, and one that another actor began, is unknown here.

        Raises:
            UploadUnknownError: there is none.
        """
        if repository not in visible:
            raise UploadUnknownError(session_id)
        return await self.sessions.get(repository, session_id, cause.actor)

    async def append(
        self,
        repository: RepositoryName,
        session_id: str,
        body: Body,
        *,
        begin: int | None = None,
        length: int | None = None,
        cause: Cause,
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
        session, writer = await self._open(repository, session_id, begin, cause.actor)
        async with self._dropping(session, writer):
            running = await self._take_in(session, writer, body, length or 0)
            return await self._record(session, writer, running)

    async def finish(
        self,
        repository: RepositoryName,
        session_id: str,
        body: Body,
        digest: Digest,
        *,
        begin: int | None = None,
        length: int | None = None,
        cause: Cause,
    ) -> None:
        """Adds ``body``, then makes the session's bytes the blob ``digest`` of the repository.

        Raises:
            UploadDigestMismatchError: they have another digest; the session is gone.
            and what ``append`` raises.
        """
        session, writer = await self._open(repository, session_id, begin, cause.actor)
        async with self._dropping(session, writer):
            running = await self._take_in(session, writer, body, length or 0)
            actual = await self._digest(session, writer, running, digest.algorithm)
            if actual != digest:
                await self._forget(session)
                raise UploadDigestMismatchError(digest, actual)
            filled = FilledSession(session, self._reached(session, writer, running), writer, digest)
            await self.commits.commit(filled, cause)

    @contextlib.asynccontextmanager
    async def _dropping(self, session: UploadSession, writer: ObjectWriter) -> AsyncGenerator[None, None]:
        """Closes the writer; bytes that nothing would name any more go before.

        Where replicas share the catalogue an object without a record is found by itself (``takeover``), and says which
        blob it may have been published as; and its record may have been written though nobody could say so.
        """
        try:
            yield
        except DatabaseError:
            if not self._exclusive.is_fenced:
                await self._drop_first_bytes(session)
            raise
        except UploadUnknownError:  # it had ended, and writing to it has made its object again
            self.sessions.forget(session.id)
            with contextlib.suppress(StorageError):
                await self._storage.delete(layout.upload_key(session.id))
            raise
        finally:
            writer.close()

    async def cancel(self, repository: RepositoryName, session_id: str, *, cause: Cause) -> None:
        """Ends a session and removes its bytes.

        Raises:
            UploadUnknownError: there is none.
        """
        await self._forget(await self.sessions.get(repository, session_id, cause.actor))

    async def purge(self, *, older_than_ms: int) -> int:
        """Ends sessions that nobody has touched for that long; returns how many."""
        before_ms = self._clock.grace_ms() - older_than_ms
        ended = 0
        while rows := await self._database.fetch_all(store.LIST_STALE_UPLOADS, before_ms=before_ms, limit=PURGE_BATCH):
            for (session_id,) in rows:
                await self.sessions.end_any(session_id)
                await self._storage.delete(layout.upload_key(session_id))
            ended += len(rows)
        return ended

    async def list_stale(self, *, older_than_ms: int, limit: int) -> tuple[str, ...]:
        """Sessions that ``purge`` would end."""
        before_ms = self._clock.grace_ms() - older_than_ms
        rows = await self._database.fetch_all(store.LIST_STALE_UPLOADS, before_ms=before_ms, limit=limit)
        return tuple(str(session_id) for (session_id,) in rows)

    async def _require_space(self) -> None:
        if self._minimum_free_bytes:
            free = await self._storage.free_bytes()
            if free is not None and free < self._minimum_free_bytes:
                raise StorageFullError

    async def _open(
        self, repository: RepositoryName, session_id: str, begin: int | None, actor: str
    ) -> tuple[UploadSession, ObjectWriter]:
        """The session as it stands once nobody else can write to it, and its writer."""
        for _ in range(BUSY_TRIES):
            session = await self.sessions.recall(repository, session_id, actor)
            if begin is not None and begin > session.offset:
                session = await self.sessions.get(repository, session_id, actor)
                if begin > session.offset:
                    raise UploadOffsetError(session_id, session.offset)
            with contextlib.suppress(ObjectBusyError):
                return session, await self._open_writer(session, begin, actor)
            await asyncio.sleep(BUSY_WAIT_SECONDS)  # a request that broke off needs a moment to record what it had
        raise UploadBusyError(session_id)

    async def _open_writer(self, session: UploadSession, begin: int | None, actor: str) -> ObjectWriter:
        """The writer, once it is certain that the record has not changed before we had the lock.

        Nobody has added bytes to an object that is as long as we know it; that the session has not ended is seen when
        it is recorded.
        """
        try:
            writer = await self._storage.open_writer(layout.upload_key(session.id), session.offset)
        except ObjectUnknownError:
            await self._forget(session)  # its bytes are gone: the client must begin again
            raise UploadUnknownError(session.id) from None
        except ObjectBusyError:
            raise
        except StorageError:
            await self._drop_first_bytes(session)
            raise
        try:
            latest = session
            if writer.is_longer:
                latest = await self.sessions.get(session.repository, session.id, actor)
            _require_unchanged(session, latest, begin)
        except BaseException as error:
            if isinstance(error, UploadUnknownError):  # it has ended, and opening it has made its object again
                await self._storage.delete(layout.upload_key(session.id))
            writer.close()
            raise
        return writer

    async def _take_in(
        self, session: UploadSession, writer: ObjectWriter, body: Body, length: int
    ) -> RunningDigest | None:
        """Writes ``body``; what came of it is recorded if it ends early. The digest so far, if it can be known."""
        running = self._resume(session)
        try:
            limited = self._limited(session, body, length)
            await self._receiving.receive(writer, running.update if running else _ignore, limited)
        except BlobTooLargeError:
            await self._forget(session)
            raise
        except StorageFullError:
            await self._drop_first_bytes(session)  # later ones, past the record's offset, when the session goes on
            raise
        except StorageUnavailableError:
            await self._forget(session)  # after a failed write nothing is known about the bytes
            raise
        except BaseException:
            await self._record(session, writer, running)
            raise
        return running

    async def _drop_first_bytes(self, session: UploadSession) -> None:
        """Removes the object of a session without bytes: there may be no record that would name it."""
        if not session.offset:
            with contextlib.suppress(StorageError):  # what stays is found by ``recovery``
                await self._storage.delete(layout.upload_key(session.id))

    def _limited(self, session: UploadSession, body: Body, length: int) -> Body:
        """``body`` as long as the blob does not get too large by it.

        Raises:
            BlobTooLargeError: the client states that it would.
        """
        limit = self._maximum_blob_bytes
        if not limit:
            return body
        room = limit - session.offset
        if max(length, 0) > room:
            raise BlobTooLargeError(limit)
        return FilledWithin(body, room, limit) if isinstance(body, FilledBody) else within(body, room, limit)

    def _resume(self, session: UploadSession) -> RunningDigest | None:
        """The digest of what the session has so far; None where it cannot be known without reading."""
        if session.offset == 0:
            return RunningDigest(session.algorithm)
        return self._states.resume(session.algorithm, session.digest_state)

    def _reached(self, session: UploadSession, writer: ObjectWriter, running: RunningDigest | None) -> UploadSession:
        """The session as it stands with what has been written."""
        return replace(session, offset=writer.offset, digest_state=self._states.save(running))

    async def _record(
        self, session: UploadSession, writer: ObjectWriter, running: RunningDigest | None
    ) -> UploadSession:
        """Records what has been written, so that the upload can go on from there."""
        if writer.offset == session.offset:
            await self._drop_first_bytes(session)
            return session
        reached = self._reached(session, writer, running)
        await self.sessions.save(reached)
        return reached

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

    async def _forget(self, session: UploadSession) -> None:
        """Ends a session, unless it has ended, and removes its bytes."""
        await self.sessions.end(session)
        await self._storage.delete(layout.upload_key(session.id))


def _require_unchanged(session: UploadSession, latest: UploadSession, begin: int | None) -> None:
    if begin is not None and begin != latest.offset:
        raise UploadOffsetError(session.id, latest.offset)
    if latest.offset != session.offset:
        raise ObjectBusyError(layout.upload_key(session.id))


def _ignore(_content: Buffer) -> None:
    """Observes nothing."""
