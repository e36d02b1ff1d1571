"""The records of upload sessions, and the sessions that need none yet.

A session without bytes has no row: its id says what it is (``session_ids``), for ``YOUNG_SECONDS``. Why that loses
nothing, and why nobody can use an id again whose session has ended:

1. A session gets its row with its first bytes, in the transaction after which they are acknowledged. The processes
   that have begun or taken up one without bytes know it, and give it a row when it is ``RECORD_SECONDS`` old, so that
   it can be found for as long as an upload may take. A process that dies before that leaves an id that is good for as
   long as it is young: a client that comes later begins again.
2. However a session ends (its blob is recorded, it is cancelled, its bytes are damaged), the row says so from then on:
   ``offset_bytes`` is ``ENDED``. Where there was no row one is made. A row that says so never changes back, since
   every statement that writes a row leaves it alone.
3. Such a row goes only when its id is young no longer. An id that is not young and has no row is unknown, and no
   statement makes a row for it; both are decided in the transaction that does it. So there is no moment at which an
   ended session could be taken for a new one.

A session belongs to the actor who began it (``owner``), and to nobody else does it exist: neither by its row nor by its
id. One whose row was written by a version that kept no owners is of whoever may push to its repository.

Rows are lost, at worst, together with the power of the machine; no id from before that is recognised. On a server what
is lost with its power is the end of a session that was given up: its id may then stand for one without bytes again, for
as long as it is young.
"""

import asyncio
import contextlib
import functools
from collections import OrderedDict, deque
from dataclasses import replace
from typing import Final

import structlog

from roadstead.clock import Clock
from roadstead.database import Database, ScriptEndedError, Transaction
from roadstead.database.script import run_steps
from roadstead.errors import RoadsteadError
from roadstead.jobs import find_state, lock_state, save_state
from roadstead.oci import Digest, RepositoryName
from roadstead.registry.content import store
from roadstead.registry.content.blob_records import SAVE_SESSION
from roadstead.registry.content.session_ids import YOUNG_SECONDS, SessionIds, new_key
from roadstead.registry.errors import UploadUnknownError
from roadstead.registry.model import UploadSession

STATE: Final = "upload-ids"
"""Where the catalogue keeps the secret of the ids."""

RECORD_SECONDS: Final = 10.0
"""After which a session without bytes gets a row: a pushing client sends some within milliseconds."""

BEGUN_MOST: Final = 10_000
"""Sessions without a row that one process knows; whoever begins more than so many gets rows at once."""

REMEMBERED: Final = 1_000
"""Sessions of which this process knows how they stood last, which saves the next request a look."""

TIDY_BATCH: Final = 500
"""Rows written or removed in one transaction."""

ENDED: Final = store.ENDED

_log = structlog.get_logger("roadstead.uploads")


class UploadSessions:
    """Begun, found, recorded, ended."""

    def __init__(self, database: Database, clock: Clock, boot_id: bytes, *, is_shared: bool = False) -> None:
        """``is_shared``: other machines have the catalogue too, and recognise this one's ids."""
        self._is_shared = is_shared
        self._database = database
        self._clock = clock
        self._boot_id = boot_id
        self._ids: SessionIds | None = None
        self._begun: OrderedDict[str, tuple[float, UploadSession]] = OrderedDict()
        self._ended: deque[tuple[float, str]] = deque()
        self._remembered: OrderedDict[str, UploadSession] = OrderedDict()
        self._has_looked = False

    async def begin(self, repository: RepositoryName, algorithm: str, owner: str) -> UploadSession:
        """A new session of ``repository``, without bytes."""
        ids = self._ids or await self._get_ids()
        session = UploadSession(ids.issue(repository, algorithm, owner), repository, algorithm, 0, None, owner)
        self._note_begun(session)
        if len(self._begun) > BEGUN_MOST:
            await self._record_begun(0.0)
        return session

    async def get(self, repository: RepositoryName, session_id: str, actor: str) -> UploadSession:
        """A session of this repository as it stands; another repository's, or another owner's, is unknown here.

        Raises:
            UploadUnknownError: there is none, or none any more.
        """
        ids = self._ids or await self._get_ids()
        row = await self._database.fetch_one(store.FIND_UPLOAD, session_id=session_id)
        if row is None:
            algorithm = ids.find_algorithm(repository, session_id, actor)
            if algorithm is None:
                raise UploadUnknownError(session_id)
            session = UploadSession(session_id, repository, algorithm, 0, None, actor)
            if session_id not in self._begun:
                self._note_begun(session)  # another process has begun it
            return session
        self._begun.pop(session_id, None)  # it has its row, from another process if not from this one
        session = UploadSession(session_id, RepositoryName(row[0]), row[1], row[2], row[3], row[4])
        if session.offset == ENDED or not session.is_open_to(repository, actor):
            raise UploadUnknownError(session_id)
        return session

    async def recall(self, repository: RepositoryName, session_id: str, actor: str) -> UploadSession:
        """As ``get``, or as this process saw it last: whoever relies on it asks ``get`` once nobody else can write.

        Raises:
            UploadUnknownError: as ``get``.
        """
        session = self._remembered.pop(session_id, None)
        if session is None:
            session = self._begun.get(session_id, (0.0, None))[1]
        if session is not None and session.is_open_to(repository, actor):
            return session
        return await self.get(repository, session_id, actor)

    def values(self, session: UploadSession, committing: Digest | None = None) -> dict[str, object]:
        """The values by which scripts record a session; ``committing`` is the blob that it is about to become."""
        return {
            "session_id": session.id,
            "repository": session.repository,
            "algorithm": session.algorithm,
            "offset": session.offset,
            "state": session.digest_state,
            "committing": committing,
            "owner": session.owner,
            "may_be_new": int(self._ids is not None and self._ids.is_young(session.id)),
        }

    async def save(self, session: UploadSession) -> None:
        """Records how a session stands.

        Raises:
            UploadUnknownError: it has ended.
        """
        values = {**self.values(session), "now_ms": self._clock.grace_ms()}
        try:
            await self._database.run(SAVE_SESSION, values, durable=False)
        except ScriptEndedError:
            raise UploadUnknownError(session.id) from None
        self.remember(session)

    async def save_in(
        self, transaction: Transaction, session: UploadSession, *, committing: Digest | None = None
    ) -> None:
        """The same in a transaction, with the blob that it is about to become.

        Raises:
            UploadUnknownError: it has ended.
        """
        values = {**self.values(session, committing), "now_ms": self._clock.grace_ms()}
        try:
            await run_steps(SAVE_SESSION, transaction, values)
        except ScriptEndedError:
            raise UploadUnknownError(session.id) from None

    async def end(self, session: UploadSession) -> None:
        """Records that a session is over; nothing where it was already."""
        ended = replace(session, offset=ENDED, digest_state=None)
        with contextlib.suppress(UploadUnknownError):
            await self.save(ended)
        self.forget(session.id)

    async def end_any(self, session_id: str) -> None:
        """Ends a session that has a row, whatever it is; nothing where it has none or has ended."""

        async def work(transaction: Transaction) -> None:
            await transaction.execute(store.END_UPLOAD, session_id=session_id)

        await self._database.write(work, durable=False)
        self.forget(session_id)

    def remember(self, session: UploadSession) -> None:
        """A session has a row now, which says this."""
        self._begun.pop(session.id, None)
        self._remembered[session.id] = session
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    def forget(self, session_id: str) -> None:
        """A session has ended; its row is removed once its id is young no longer."""
        self._begun.pop(session_id, None)
        self._remembered.pop(session_id, None)
        self._ended.append((self._clock.monotonic_seconds(), session_id))

    def _note_begun(self, session: UploadSession) -> None:
        self._begun[session.id] = (self._clock.monotonic_seconds(), session)

    # --- beside requests

    async def keep_tidy(self) -> None:
        """Gives rows to sessions that wait for their first bytes, and removes those of ended ones, until cancelled."""
        try:
            while True:
                try:
                    await self.tidy()
                except RoadsteadError as error:  # the next round tries again, and requests report the same error
                    _log.debug("upload sessions not recorded", reason=str(error))
                await asyncio.sleep(RECORD_SECONDS / 2)
        finally:
            with contextlib.suppress(RoadsteadError):
                await asyncio.shield(self._record_begun(0.0))

    async def tidy(self) -> None:
        """One round of it; the first also sees what processes that died have left."""
        if not self._has_looked:
            await self._find_ended()
            self._has_looked = True
        await self._record_begun(RECORD_SECONDS)
        await self._remove_ended()

    async def _find_ended(self) -> None:
        after, now = "", self._clock.monotonic_seconds()
        while rows := await self._database.fetch_all(store.LIST_ENDED_UPLOADS, after=after, limit=TIDY_BATCH):
            self._ended += [(now, session_id) for (session_id,) in rows]
            after = rows[-1][0]

    async def _record_begun(self, older_than_seconds: float) -> None:
        """Gives rows to sessions that were begun so long ago; none to one that was forgotten meanwhile."""
        ids = self._ids
        if ids is None:
            return  # nobody has begun anything
        before = self._clock.monotonic_seconds() - older_than_seconds
        begun = [session for since, session in self._begun.values() if since <= before]

        for start in range(0, len(begun), TIDY_BATCH):
            batch = begun[start : start + TIDY_BATCH]
            await self._database.write(functools.partial(self._add, batch=batch, ids=ids), durable=False)
            for each in batch:
                self._begun.pop(each.id, None)

    async def _add(self, transaction: Transaction, batch: list[UploadSession], ids: SessionIds) -> None:
        now_ms = self._clock.grace_ms()
        rows = [_row(each, now_ms) for each in batch if ids.is_young(each.id)]
        await transaction.execute_many(store.ADD_UPLOAD, rows)

    async def _remove_ended(self) -> None:
        before = self._clock.monotonic_seconds() - 4 * YOUNG_SECONDS
        while self._ended and self._ended[0][0] < before:
            batch: list[dict[str, object]] = []
            while self._ended and self._ended[0][0] < before and len(batch) < TIDY_BATCH:
                batch.append({"session_id": self._ended.popleft()[1]})
            await self._remove(batch)

    async def _remove(self, ended: list[dict[str, object]]) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.execute_many(store.REMOVE_ENDED_UPLOAD, ended)

        await self._database.write(work, durable=False)

    async def _get_ids(self) -> SessionIds:
        """The ids of this registry, whose secret the first process that needs it makes."""
        text = await find_state(self._database, STATE)
        if text is None:
            text = await self._database.write(_make_key)
        self._ids = SessionIds(bytes.fromhex(text), self._boot_id, self._clock, is_shared=self._is_shared)
        return self._ids


def _row(begun: UploadSession, now_ms: int) -> dict[str, object]:
    return {
        "session_id": begun.id,
        "repository": begun.repository,
        "algorithm": begun.algorithm,
        "offset": 0,
        "state": None,
        "committing": None,
        "owner": begun.owner,
        "now_ms": now_ms,
    }


async def _make_key(transaction: Transaction) -> str:
    found = await lock_state(transaction, STATE)
    if found is None:
        found = new_key()
        await save_state(transaction, STATE, found)
    return found
