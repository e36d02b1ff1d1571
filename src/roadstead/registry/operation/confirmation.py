"""Nothing is removed from storage before an administrator has confirmed what the catalogue knows.

A catalogue that was restored, rebuilt, or taken over from a standby may know less than the bytes beside it: what was
pushed since has bytes and no record, what was restored from the trash is there as deleted. To collect by it would make
final what a second look could still mend. So a row of ``states`` says that it waits, and while that is there nothing is
collected, swept, put aside or unlinked; clients push, pull and delete as ever. ``confirm`` takes it away.

Who writes the row: a restoration and a rebuild, in the catalogue that they put in place; and a replica that notices
that the catalogue is no longer the one that it was:

- the server's cluster or timeline is another than when the catalogue was last seen (``ServerIdentity``): a standby has
  taken over, the cluster was recovered to a point in time, a dump was brought into another one;
- the catalogue is behind the storage. A number in the catalogue is raised again and again, durably, and then written
  beside the bytes. So the storage is never ahead, unless the catalogue went back: by a dump that was brought back, by a
  snapshot of a disk.

What removes bytes asks in the transaction that decides about them (``is_waiting``), which the row's writer locks out by
the same name as a hold (``COLLECTION_CHANGED``), and which sees a server that has changed itself, noticed or not.
"""

from dataclasses import dataclass
from typing import Final

import structlog
from msgspec import MsgspecError, Struct, json
from sqlalchemy import Select, literal, select

from roadstead.clock import Clock
from roadstead.database import Database, Reader, Statement, Transaction
from roadstead.database.server_identity import ServerIdentity, is_identifiable
from roadstead.errors import RoadsteadError
from roadstead.jobs import delete_state, find_state, lock_state, save_state
from roadstead.jobs.tables import states
from roadstead.registry import layout
from roadstead.registry.locks import COLLECTION_CHANGED
from roadstead.registry.operation.storage_owner import find_owner
from roadstead.storage import ObjectStore, ObjectUnknownError

STATE: Final = "unconfirmed"
"""The row that says that confirmation is awaited, and why."""

SERVER: Final = "catalogue-server"
"""The row that keeps cluster and timeline as they were last seen; a copy of a catalogue is without it."""

STAMP: Final = "catalogue-stamp"
"""The row of the number that the storage never is ahead of."""

STAMP_SECONDS: Final = 60.0
"""Between two raises: what was pushed since the last one may be lost unnoticed if the catalogue goes back by less."""

REMEDY: Final = "`roadstead gc --dry-run` shows what would go, `roadstead gc --confirm` lets it go"

_log = structlog.get_logger("roadstead.confirmation")


class StorageUnconfirmedError(RoadsteadError):
    """Something was asked for that removes bytes or links, before what the catalogue knows was confirmed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"nothing is removed from storage until it is confirmed, since {reason}: {REMEDY}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """Why confirmation is awaited (the end of a sentence), and since when, in milliseconds."""

    reason: str
    since_ms: int


class _Row(Struct, frozen=True):
    reason: str
    since_ms: int


class _Stamp(Struct, frozen=True):
    owner: str
    stamp: int


def _asking(identity: object) -> Select[tuple[object, ...]]:
    """A select of the row that waits, of the server as it was seen, and of ``identity``."""
    values = (
        select(states.c.value).where(states.c.name == literal(name)).scalar_subquery() for name in (STATE, SERVER)
    )
    return select(*values, identity)  # type: ignore[call-overload,no-any-return]


_ASK_FILE: Final = Statement(_asking(literal("")))
_ASK_SERVER: Final = Statement(_asking(ServerIdentity()))


async def find_unconfirmed(reader: Reader) -> Unconfirmed | None:
    """Returns why confirmation is awaited, as far as somebody has noticed; None if it is not."""
    value = await find_state(reader, STATE)
    if value is None:
        return None
    try:
        row = json.decode(value, type=_Row)
    except MsgspecError:  # a later version's
        return Unconfirmed("another version of roadstead says so", 0)
    return Unconfirmed(row.reason, row.since_ms)


async def await_confirmation(transaction: Transaction, reason: str, now_ms: int) -> None:
    """Has everything wait that removes bytes; the first reason stays. ``transaction`` changes the collection's name."""
    if await find_state(transaction, STATE) is None:
        await save_state(transaction, STATE, json.encode(_Row(reason, now_ms)).decode())


async def forget_server(transaction: Transaction) -> None:
    """Forgets where the catalogue was: it is a copy, which has not been anywhere."""
    await delete_state(transaction, SERVER)
    await delete_state(transaction, STAMP)


class Confirmation:
    """Watches the catalogue's server and the storage's number, for one process."""

    def __init__(self, database: Database, storage: ObjectStore, clock: Clock, *, is_shared: bool) -> None:
        """``is_shared``: the catalogue is on a server; a file is not watched."""
        self._database = database
        self._storage = storage
        self._clock = clock
        self._is_shared = is_shared
        self._ask: Statement | None = None if is_shared else _ASK_FILE

    async def is_waiting(self, reader: Reader | None = None) -> bool:
        """True if nothing may be removed: somebody has said so, or the catalogue's server is another than before.

        ``reader`` is the transaction in which to ask.
        """
        waiting, known, found = await self._look(reader or self._database)
        return waiting is not None or bool(known and found and known != found)

    async def require(self) -> None:
        """Sees that something may be removed.

        Raises:
            StorageUnconfirmedError: nothing may.
        """
        found = await self.notice()
        if found is not None:
            raise StorageUnconfirmedError(found.reason)

    async def round(self) -> bool:
        """Looks if the catalogue is still the one that it was, and raises the number if it is; False.

        Raises:
            DatabaseError, StorageError: the look failed; it is repeated.
        """
        if await self.notice() is None:
            await self._raise_stamp()
        return False

    async def notice(self) -> Unconfirmed | None:
        """Returns why confirmation is awaited; first records it, if this is the first to notice."""
        reason = await self._find_reason() if self._is_shared else ""
        if reason and await find_unconfirmed(self._database) is None:

            async def work(transaction: Transaction) -> None:
                await await_confirmation(transaction, reason, self._clock.now_ms())

            await self._database.write(work, locks=[COLLECTION_CHANGED])
            _log.warning("nothing is removed from storage until it is confirmed", reason=reason, remedy=REMEDY)
        return await find_unconfirmed(self._database)

    async def confirm(self) -> None:
        """Believes the catalogue as it is: what waits goes on, and what is known of its server begins anew."""
        _, _, found = await self._look(self._database)
        ahead = await self._read_stamp()

        async def work(transaction: Transaction) -> int:
            stamp = max(ahead, await self._own_stamp(transaction)) + 1
            await save_state(transaction, STAMP, str(stamp))
            if found:
                await save_state(transaction, SERVER, found)
            await delete_state(transaction, STATE)
            return stamp

        stamp = await self._database.write(work, locks=[COLLECTION_CHANGED])
        if self._is_shared:
            await self._write_stamp(stamp)

    async def _look(self, reader: Reader) -> tuple[str | None, str, str]:
        """The row that waits, the server as it was seen last, and as it is now; empty where nobody may know."""
        if self._ask is None:
            self._ask = _ASK_SERVER if await is_identifiable(self._database) else _ASK_FILE
        row = await reader.fetch_one(self._ask)
        return (row[0], row[1] or "", row[2] or "") if row else (None, "", "")

    async def _find_reason(self) -> str:
        _, known, found = await self._look(self._database)
        if known and found and known != found:
            return _difference(known, found)
        if await self._read_stamp() > await self._own_stamp(self._database):
            return "the catalogue is older than the storage: it went back to an earlier state"
        return ""

    # ── The number ────────────────────────────────────────────────────────────────────────────────────────────

    async def _raise_stamp(self) -> None:
        """Raises the number in the catalogue, durably, and only then that in the storage."""
        _, known, found = await self._look(self._database)
        if not await find_owner(self._database):
            return

        async def work(transaction: Transaction) -> int:
            await lock_state(transaction, STAMP)
            stamp = await self._own_stamp(transaction) + 1
            await save_state(transaction, STAMP, str(stamp))
            if found and not known:
                await save_state(transaction, SERVER, found)
            return stamp

        await self._write_stamp(await self._database.write(work))

    async def _own_stamp(self, reader: Reader) -> int:
        value = await find_state(reader, STAMP)
        return int(value) if value and value.isdecimal() else 0

    async def _read_stamp(self) -> int:
        """The number that the storage has of this catalogue; 0 if it has none, or another catalogue's."""
        try:
            reader = await self._storage.open_reader(layout.STAMP)
        except ObjectUnknownError:
            return 0
        try:
            found = json.decode(bytes(await reader.read(0, reader.size_bytes)), type=_Stamp)
        except MsgspecError:  # written anew with the next raise
            return 0
        finally:
            reader.close()
        return found.stamp if found.owner == await find_owner(self._database) else 0

    async def _write_stamp(self, stamp: int) -> None:
        content = json.encode(_Stamp(await find_owner(self._database), stamp))
        await self._storage.put(layout.STAMP, content)


def _difference(known: str, found: str) -> str:
    cluster, _, timeline = known.partition("/")
    new_cluster, _, new_timeline = found.partition("/")
    if cluster != new_cluster:
        return "the catalogue is on another PostgreSQL server than before"
    return (
        f"PostgreSQL went from timeline {int(timeline, 16)} to {int(new_timeline, 16)}, as after a failover or a"
        " recovery to a point in time"
    )
