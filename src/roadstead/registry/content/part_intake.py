"""Sessions in a bucket: each body becomes an object of its own, and a row says where it belongs.

1. A body is sent while it comes, under a key that was never used (``layout.new_object_key``). Nobody sees the object
   before it is whole and durable (``ObjectSink``).
2. Then one transaction records how the session stands and adds the part, if the session still stands at the offset to
   which the body was added (``was``). So any replica may take the next body, no lock is held meanwhile, and of two that
   add at the same offset one is told so: its object goes.
3. Committing moves no byte: one transaction ends the session and gives the blob's record the key of the one part, or
   hands the parts over (``blob_parts``). Where the record is in service already it stays as it is, and the parts go.
   No digest is held for it: what somebody else does to another place of the same blob does not concern this one.
4. A crash leaves objects that no row names (a part before its row, parts that were given up), which the sweep finds by
   their age, or rows of parts whose session has ended, which ``forget_lost`` finds.

The running digest in the record speaks of objects that are durable before it is, so it is trusted on every machine.
"""

import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

from roadstead.clock import Clock
from roadstead.database import Database, ScriptEndedError, Transaction
from roadstead.events import KEPT, Cause, encode_cause
from roadstead.oci import Digest, RepositoryName
from roadstead.registry import layout
from roadstead.registry.cancellation import uninterrupted
from roadstead.registry.content import place_store
from roadstead.registry.content.blob_records import RECORD_PLACED_BLOB, SAVE_PART, SWEPT
from roadstead.registry.content.places import MORE
from roadstead.registry.content.repositories import project_of
from roadstead.registry.content.traffic import Traffic
from roadstead.registry.content.upload_sessions import UploadSessions
from roadstead.registry.errors import UploadOffsetError
from roadstead.registry.locks import adding_to
from roadstead.registry.model import UploadSession
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import Change
from roadstead.storage import Buffer, ObjectSink, SinkStore, StorageError, StorageUnavailableError

READ_BYTES: Final = 1 << 20
"""Bytes read at once where a digest must be computed again."""

REMEMBERED: Final = 1_000
"""Sessions whose parts this process knows, which saves the request that closes one a look."""

LOST_BATCH: Final = 100
"""Sessions whose parts are removed in one round."""


class Part(NamedTuple):
    """An object with some of a session's bytes."""

    begin: int
    key: str
    size_bytes: int


class PartWriter:
    """Takes the bytes of one body."""

    def __init__(self, sink: ObjectSink, key: str, begin: int) -> None:
        self.sink = sink
        self.key = key
        self._begin = begin

    @property
    def offset(self) -> int:
        """The number of bytes of the session so far."""
        return self._begin + self.sink.offset

    @property
    def part(self) -> Part | None:
        """The part that has come; None if nothing has."""
        return Part(self._begin, self.key, self.sink.offset) if self.sink.offset else None

    async def append(self, buffers: Sequence[Buffer], observe: Callable[[Buffer], None]) -> None:
        """Adds ``buffers``; see ``BodyWriter``."""
        await self.sink.append(buffers, observe)


@dataclass(frozen=True, slots=True)
class PartFilling:
    """A ``Filling`` whose writer makes an object."""

    session: UploadSession
    writer: PartWriter


class PartIntake:
    """An ``Intake`` of a bucket."""

    def __init__(
        self,
        database: Database,
        storage: SinkStore,
        clock: Clock,
        rules: GarbageRules,
        traffic: Traffic,
        sessions: UploadSessions,
    ) -> None:
        self._database = database
        self._storage = storage
        self._clock = clock
        self._rules = rules
        self._traffic = traffic
        self._sessions = sessions
        self._known: OrderedDict[str, list[Part]] = OrderedDict()

    async def open(
        self, repository: RepositoryName, session_id: str, *, begin: int | None, length: int, actor: str
    ) -> PartFilling:
        """The session as it is recorded: another process, or replica, may have taken the body before this one."""
        session = await self._sessions.get(repository, session_id, actor)
        if begin is not None and begin != session.offset:
            raise UploadOffsetError(session_id, session.offset)
        key = layout.new_object_key()
        sink = self._storage.open_sink(key, size_bytes=length or None)
        return PartFilling(session, PartWriter(sink, key, session.offset))

    @contextlib.asynccontextmanager
    async def guard(self, filling: PartFilling) -> AsyncGenerator[None, None]:
        """Gives the object up unless it was finished."""
        try:
            yield
        finally:
            await uninterrupted(filling.writer.sink.abort())

    async def keep(self, filling: PartFilling, reached: UploadSession) -> UploadSession:
        """Finishes the object, then records it."""
        part = filling.writer.part
        if part is None:
            return filling.session
        await filling.writer.sink.finish()
        values = {
            **self._sessions.values(reached),
            **_values(filling.session, part),
            "own_key": filling.writer.key,
            "now_ms": self._clock.grace_ms(),
        }
        values["may_be_new"] = int(bool(values["may_be_new"]) and filling.session.offset == 0)
        try:
            await self._database.run(SAVE_PART, values, locks=[KEPT], durable=False)
        except ScriptEndedError as ended:
            await self._end_late(filling, ended.outcome)
        self._sessions.remember(reached)
        self._remember(filling.session, part)
        return reached

    async def run_short(self, filling: PartFilling) -> None:
        """Nothing: the object is given up, and the session stands where it stood."""

    async def lose(self, filling: PartFilling) -> None:
        """Nothing, for the same reason: what was recorded before is whole."""

    async def read(self, filling: PartFilling) -> AsyncIterator[bytes]:
        """Reads all parts in order; that of this request is finished before."""
        parts = await self._parts(filling.session)
        if part := filling.writer.part:
            await filling.writer.sink.finish()
            parts = [*parts, part]
        for each in parts:
            reader = await self._storage.open_reader(each.key)
            try:
                for offset in range(0, each.size_bytes, READ_BYTES):
                    yield bytes(await reader.read(offset, READ_BYTES))
            finally:
                reader.close()

    async def commit(self, filling: PartFilling, reached: UploadSession, digest: Digest, cause: Cause) -> None:
        """Finishes the object, and records the blob where its parts are.

        Raises:
            UploadUnknownError: the session has ended.
            UploadOffsetError: another request has added to it.
        """
        session, part = filling.session, filling.writer.part
        parts = await self._parts(session)
        if part is not None or not parts:  # a blob without bytes is an object too
            await filling.writer.sink.finish()
            part = part or Part(0, filling.writer.key, 0)
        everything = [*parts, *([part] if part else [])]
        place = everything[0].key + (MORE if len(everything) > 1 else "")
        values = {
            **Change.at(self._clock, cause.actor, self._rules).values(),
            **self._sessions.values(session),
            **_values(session, part if len(everything) > 1 else None),
            "state": None,
            "project": project_of(session.repository),
            "digest": digest,
            "size_bytes": reached.offset,
            "object_key": place,
            "own_key": filling.writer.key,
            "has_parts": int(len(everything) > 1),
            "cause": encode_cause(cause),
        }
        values["may_be_new"] = int(bool(values["may_be_new"]) and session.offset == 0)
        try:
            (kept,) = await self._database.run(RECORD_PLACED_BLOB, values, locks=adding_to(session.repository))
        except ScriptEndedError as ended:
            await self._end_late(filling, ended.outcome)
        self._known.pop(session.id, None)
        self._traffic.pushed(session.repository, reached.offset, is_manifest=False)
        self._sessions.forget(session.id)
        if kept != place:
            await self._remove([each.key for each in everything])

    async def forget(self, session: UploadSession) -> None:
        """Ends a session, unless it has ended, and removes its parts."""
        await self._sessions.end(session)
        await self._forget_parts(session.id)

    async def forget_any(self, session_id: str) -> None:
        """The same of a session of which only the id is known."""
        await self._sessions.end_any(session_id)
        await self._forget_parts(session_id)

    async def forget_lost(self) -> int:
        """Removes parts of sessions that have ended in the middle of something; returns of how many."""
        rows = await self._database.fetch_all(place_store.LIST_LOST_UPLOAD_PARTS, limit=LOST_BATCH)
        for (session_id,) in rows:
            await self._forget_parts(session_id)
        return len(rows)

    async def _forget_parts(self, session_id: str) -> None:
        """Removes the objects, then their rows: a crash in between leaves rows, which ``forget_lost`` finds."""
        self._known.pop(session_id, None)
        rows = await self._database.fetch_all(place_store.LIST_UPLOAD_PARTS, session_id=session_id)
        if not rows:
            return
        outcomes = await self._storage.delete_all([key for _, key, _ in rows])
        if any(isinstance(outcome, StorageError) for outcome in outcomes):
            return  # a later round tries again

        async def work(transaction: Transaction) -> None:
            await transaction.execute(place_store.DELETE_UPLOAD_PARTS, session_id=session_id)

        await self._database.write(work, durable=False)

    async def _parts(self, session: UploadSession) -> list[Part]:
        """The parts of a session as far as it is recorded."""
        if session.offset == 0:
            return []
        known = self._known.get(session.id, [])
        if sum(part.size_bytes for part in known) == session.offset:
            return known
        rows = await self._database.fetch_all(place_store.LIST_UPLOAD_PARTS, session_id=session.id)
        return [Part(*row) for row in rows]

    def _remember(self, session: UploadSession, part: Part) -> None:
        before = self._known.pop(session.id, [])
        self._known[session.id] = [*(each for each in before if each.begin < part.begin), part]
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def _end_late(self, filling: PartFilling, outcome: str) -> NoReturn:
        """The session does not stand where this body began, or its object was swept: the client is told."""
        session = filling.session
        if outcome == SWEPT:
            raise StorageUnavailableError(filling.writer.key, "it was removed before it could be recorded: push again")
        self._known.pop(session.id, None)
        await self._remove([filling.writer.key])
        latest = await self._sessions.get(session.repository, session.id, session.owner or "")
        raise UploadOffsetError(session.id, latest.offset) from None

    async def _remove(self, keys: Sequence[str]) -> None:
        """Removes objects that no row names; what cannot be removed now is swept."""
        with contextlib.suppress(StorageError):
            await self._storage.delete_all(keys)


def _values(session: UploadSession, part: Part | None) -> dict[str, object]:
    return {
        "was": session.offset,
        "begin_bytes": part.begin if part else None,
        "part_key": part.key if part else None,
        "part_bytes": part.size_bytes if part else None,
    }
