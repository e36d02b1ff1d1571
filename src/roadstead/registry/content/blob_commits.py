"""Commits of upload sessions, whose bytes become blobs: the last step of the life that ``uploads`` describes.

The object is published under the blob's key, which flushes it; then, in one durable transaction, the blob is recorded
and linked to the repository and the session ends. Nobody reads a blob that is not recorded. A crash between publishing
and recording leaves bytes that no record of a blob names: ``recovery`` finds them by the session's record.

Where replicas share the catalogue the object stays when it is published, until the session has ended: the client may
come again whatever happens in between, and a commit that turns out to need the digest for itself can begin anew.

Before an object gets a blob's key, the session's record says which blob: either by the running digest that the last
``append`` has saved, where the request that closes the upload has added nothing to it, or, where that is not so, by a
mark (``committing_digest``). Where the blob has a record already, the mark's transaction also puts it into quarantine,
since its bytes are about to be replaced. From there to its end a commit holds the blob's digest exclusively, so that
whoever holds it too sees either the state before, or the one after, or what a crash has left.
"""

import contextlib
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from types import EllipsisType

from roadstead.clock import Clock
from roadstead.database import Database, Row, Script, ScriptEndedError, Transaction
from roadstead.database.script import run_steps
from roadstead.events import Cause, encode_cause
from roadstead.jobs import find_state
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.content import store
from roadstead.registry.content.blob_records import RECORD_BLOB, RECORD_HELD_BLOB, REMOVALS, SESSION_OVER
from roadstead.registry.content.exclusive import Exclusive, Hold
from roadstead.registry.content.repositories import project_of
from roadstead.registry.content.traffic import Traffic
from roadstead.registry.content.upload_sessions import UploadSessions
from roadstead.registry.errors import UploadUnknownError
from roadstead.registry.locks import adding_to
from roadstead.registry.model import UploadSession
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import Change, record_for_removal
from roadstead.storage import (
    FolderStore,
    ObjectUnknownError,
    ObjectWriter,
    StorageAbsentError,
    StorageUnavailableError,
)


@dataclass(frozen=True, slots=True)
class FilledSession:
    """A session with all its bytes, which have this digest: as it is recorded, and as it could be."""

    recorded: UploadSession
    reached: UploadSession
    writer: ObjectWriter
    digest: Digest

    @property
    def is_named(self) -> bool:
        """True if the record says already, by the digest that it has saved, which blob the bytes are."""
        is_saved = self.recorded.digest_state is not None and self.recorded.offset == self.reached.offset
        return is_saved and self.reached.digest_state is not None and self.recorded.algorithm == self.digest.algorithm


class BlobCommits:
    """Makes blobs of what the upload sessions of a registry have received."""

    def __init__(
        self,
        database: Database,
        storage: FolderStore,
        exclusive: Exclusive,
        clock: Clock,
        rules: GarbageRules,
        traffic: Traffic,
        sessions: UploadSessions,
        forget: Callable[[UploadSession], Awaitable[None]],
    ) -> None:
        """``forget`` ends a session and removes its bytes."""
        self._database = database
        self._storage = storage
        self._exclusive = exclusive
        self._clock = clock
        self._rules = rules
        self._traffic = traffic
        self._sessions = sessions
        self._forget = forget
        self._removals: str | EllipsisType | None = ...

    async def commit(self, filled: FilledSession, cause: Cause) -> None:
        """Makes the bytes a blob; one upload of a digest after the other, so that each sees what the last has done.

        Where replicas share the catalogue, most do so without keeping others out: see ``exclusive``.

        Raises:
            UploadUnknownError: the session has ended.
            StorageError: the bytes could not be published.
        """
        if self._exclusive.is_fenced and await self._commit_beside(filled, cause):
            return
        digest = filled.digest
        async with self._exclusive.hold(digest) as hold:
            row = await self._database.fetch_one(store.FIND_BLOB_RECORD, digest=digest)
            is_known = await self._is_in_service(digest, row)
            if not is_known and (row is not None or not filled.is_named):
                await self._mark(filled, hold)
            if not is_known or self._exclusive.is_fenced:  # what another has just put there may not be durable yet
                await self._publish(filled)
            await self._conclude(filled, cause, hold)
        if is_known or self._exclusive.is_fenced:
            await self._storage.delete(layout.upload_key(filled.recorded.id))

    async def _commit_beside(self, filled: FilledSession, cause: Cause) -> bool:
        """The same beside others who do so; False, and the session is as it was, if the digest must be held.

        A session without a record needs no mark: its object stays until the blob is recorded, and says which it is.
        """
        removals = await self._find_removals()
        if filled.recorded.digest_state is not None and not filled.is_named:
            await self._mark(filled, None)
        await self._publish(filled)
        try:
            await self._record_blob(RECORD_BLOB, filled, cause, removals_before=removals)
        except _OutOfServiceError:
            self._removals = ...
            return False
        except UploadUnknownError:  # only now is it seen that the session has ended
            change = Change.at(self._clock, cause.actor, self._rules)
            await self._database.write(lambda transaction: record_for_removal(transaction, filled.digest, change))
            raise
        await self._storage.delete(layout.upload_key(filled.recorded.id))
        return True

    async def _find_removals(self) -> str | None:
        """The mark of removals as it was at some moment before this one; see ``blob_records``."""
        if self._removals is ...:
            self._removals = await find_state(self._database, REMOVALS)
        return self._removals

    async def _is_in_service(self, digest: Digest, row: Row | None) -> bool:
        """True if a blob is neither in quarantine nor going, and its bytes are there."""
        return row is not None and row[2] is None and row[3] is None and await self._is_intact(digest, row[1])

    async def _is_intact(self, digest: Digest, size_bytes: int) -> bool:
        found = await self._storage.find(layout.blob_key(digest))
        return found is not None and found.size_bytes == size_bytes

    async def _mark(self, filled: FilledSession, hold: Hold | None) -> None:
        """Records that the object is about to get the blob's key.

        Bytes that are recorded under this digest but not intact are not to be served while they are replaced, which
        only one who holds it does.
        """
        now_ms = self._clock.now_ms()

        async def work(transaction: Transaction) -> None:
            if hold is not None:
                await hold.require(transaction)
                await transaction.execute(store.QUARANTINE_BLOB, digest=filled.digest, now_ms=now_ms)
            await self._sessions.save_in(transaction, filled.reached, committing=filled.digest)

        await self._database.write(work, durable=False)

    async def _publish(self, filled: FilledSession) -> None:
        session, key = filled.recorded, layout.blob_key(filled.digest)
        try:
            if self._exclusive.is_fenced:
                await filled.writer.publish_copy(key)
            else:
                await filled.writer.publish(key)
        except ObjectUnknownError:
            raise UploadUnknownError(session.id) from None  # cancelled meanwhile
        except StorageAbsentError:
            raise  # the bytes are where the storage is, and the client may come again when it is back
        except StorageUnavailableError:
            await self._forget(session)  # after a failed flush nothing is known about the bytes
            raise

    async def _conclude(self, filled: FilledSession, cause: Cause, hold: Hold) -> None:
        """The transaction by which the upload becomes a blob of its repository, of one who holds the digest.

        Raises:
            LeaseLostError: ``hold`` was taken over.
        """
        if not self._exclusive.is_fenced:
            await self._record_blob(RECORD_HELD_BLOB, filled, cause)
            return
        values = self._values(filled, cause)

        async def work(transaction: Transaction) -> None:
            await hold.require(transaction)
            await run_steps(RECORD_HELD_BLOB, transaction, values)

        with _translated(filled.recorded):
            await self._database.write(work, locks=adding_to(filled.recorded.repository))
        self._note(filled)

    async def _record_blob(self, script: Script, filled: FilledSession, cause: Cause, **more: object) -> None:
        """Runs a script by which the upload becomes a blob of its repository.

        Raises:
            UploadUnknownError: the session has ended.
            _OutOfServiceError: it takes one who holds the digest.
        """
        values = {**self._values(filled, cause), **more}
        with _translated(filled.recorded):
            await self._database.run(script, values, locks=adding_to(filled.recorded.repository))
        self._note(filled)

    def _values(self, filled: FilledSession, cause: Cause) -> dict[str, object]:
        return {
            **Change.at(self._clock, cause.actor, self._rules).values(),
            **self._sessions.values(filled.recorded),
            "state": None,
            "quarantined_ms": None,
            "deleting_ms": None,
            "project": project_of(filled.recorded.repository),
            "digest": filled.digest,
            "size_bytes": filled.reached.offset,
            "cause": encode_cause(cause),
        }

    def _note(self, filled: FilledSession) -> None:
        """A session has become a blob."""
        self._traffic.pushed(filled.recorded.repository, filled.reached.offset, is_manifest=False)
        self._sessions.forget(filled.recorded.id)


class _OutOfServiceError(Exception):
    """A blob cannot be recorded beside others: its record, or its bytes, must be decided about alone."""


@contextlib.contextmanager
def _translated(session: UploadSession) -> Generator[None, None, None]:
    """Raises what the outcome of a script means."""
    try:
        yield
    except ScriptEndedError as ended:
        if ended.outcome == SESSION_OVER:
            raise UploadUnknownError(session.id) from None
        raise _OutOfServiceError from None
