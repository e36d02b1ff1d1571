"""Upload sessions: how bytes come in.

The life of an upload, and what is true after a crash at any point of it:

1. ``start``: an id, no bytes, and no record yet (``upload_sessions`` says why none is needed).
2. ``append``: bytes go into storage and through a running digest, in one background job while the next ones arrive. At
   the end, also when the client went away in the middle, the record says how many they are and how the digest stands.
   A crash before that leaves the old offset, 0 where there was no record.
3. ``finish``: the digest is compared, and the bytes become a blob.
4. ``cancel``: the record says that the session is over, then the bytes go.

How bytes are kept meanwhile, and what a crash leaves of them, is the store's: see ``intake``.
"""

import asyncio
from dataclasses import replace
from typing import Final

from roadstead.access import VisibleRepositories
from roadstead.clock import Clock
from roadstead.database import Database
from roadstead.events import Cause
from roadstead.oci import Digest, RepositoryName
from roadstead.registry.content import store
from roadstead.registry.content.intake import Filling
from roadstead.registry.content.keeping import Keeping
from roadstead.registry.content.receiving import Body, FilledBody, FilledWithin, Receiving, within
from roadstead.registry.content.running_digest import DigestStates, RunningDigest
from roadstead.registry.errors import (
    BlobTooLargeError,
    UploadDigestMismatchError,
    UploadUnknownError,
)
from roadstead.registry.model import UploadSession
from roadstead.storage import (
    Buffer,
    ObjectStore,
    StorageFullError,
    StorageUnavailableError,
)

PURGE_BATCH: Final = 200
"""Sessions that one round of purging takes on."""


class Uploads:
    """The upload sessions of a registry, each open to the actor alone who began it."""

    def __init__(
        self,
        database: Database,
        storage: ObjectStore,
        clock: Clock,
        keeping: Keeping,
        *,
        minimum_free_bytes: int = 0,
        maximum_blob_bytes: int = 0,
    ) -> None:
        """``minimum_free_bytes`` of space are left alone, so that the catalogue can still record deletions.

        An upload that gets longer than ``maximum_blob_bytes`` (0: any length) is refused and gone.
        """
        self.sessions = keeping.sessions
        self.intake = keeping.intake
        self._states = DigestStates(keeping.run_id)
        self._database = database
        self._storage = storage
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
        filling = await self._open(repository, session_id, begin, length, cause)
        async with self.intake.guard(filling):
            running = await self._take_in(filling, body, length or 0)
            return await self.intake.keep(filling, self._reached(filling, running))

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
        filling = await self._open(repository, session_id, begin, length, cause)
        async with self.intake.guard(filling):
            running = await self._take_in(filling, body, length or 0)
            actual = await self._digest(filling, running, digest.algorithm)
            if actual != digest:
                await self.intake.forget(filling.session)
                raise UploadDigestMismatchError(digest, actual)
            await self.intake.commit(filling, self._reached(filling, running), digest, cause)

    async def _open(
        self, repository: RepositoryName, session_id: str, begin: int | None, length: int | None, cause: Cause
    ) -> Filling:
        filling: Filling = await self.intake.open(
            repository, session_id, begin=begin, length=length or 0, actor=cause.actor
        )
        return filling

    async def cancel(self, repository: RepositoryName, session_id: str, *, cause: Cause) -> None:
        """Ends a session and removes its bytes.

        Raises:
            UploadUnknownError: there is none.
        """
        await self.intake.forget(await self.sessions.get(repository, session_id, cause.actor))

    async def purge(self, *, older_than_ms: int) -> int:
        """Ends sessions that nobody has touched for that long; returns how many."""
        before_ms = self._clock.grace_ms() - older_than_ms
        ended = 0
        while rows := await self._database.fetch_all(store.LIST_STALE_UPLOADS, before_ms=before_ms, limit=PURGE_BATCH):
            for (session_id,) in rows:
                await self.intake.forget_any(session_id)
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

    async def _take_in(self, filling: Filling, body: Body, length: int) -> RunningDigest | None:
        """Writes ``body``; what came of it is recorded if it ends early. The digest so far, if it can be known."""
        session = filling.session
        running = self._resume(session)
        try:
            limited = self._limited(session, body, length)
            await self._receiving.receive(filling.writer, running.update if running else _ignore, limited)
        except BlobTooLargeError:
            await self.intake.forget(session)
            raise
        except StorageFullError:
            await self.intake.run_short(filling)
            raise
        except StorageUnavailableError:
            await self.intake.lose(filling)
            raise
        except BaseException:
            await self.intake.keep(filling, self._reached(filling, running))
            raise
        return running

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

    def _reached(self, filling: Filling, running: RunningDigest | None) -> UploadSession:
        """The session as it stands with what has been written."""
        return replace(filling.session, offset=filling.writer.offset, digest_state=self._states.save(running))

    async def _digest(self, filling: Filling, running: RunningDigest | None, algorithm: str) -> Digest:
        """The digest of a session's bytes: as computed on the way if that can be, else from the bytes."""
        if running is not None and running.algorithm == algorithm:
            return running.digest()
        digest = RunningDigest(algorithm)
        async for piece in self.intake.read(filling):
            await asyncio.to_thread(digest.update, piece)
        return digest.digest()


def _ignore(_content: Buffer) -> None:
    """Observes nothing."""
