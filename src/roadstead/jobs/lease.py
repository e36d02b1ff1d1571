"""Leases: one process at a time does a piece of background work, and another takes over when it dies.

A lease is a row with a time at which it ends. Whoever holds it renews it before each round of work; a holder that was
frozen past that time may run one more round beside its successor, so a round must do no harm when it runs twice.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from sqlalchemy import delete, or_, select

from roadstead.clock import Clock
from roadstead.database import Database, Statement, Transaction, parameter, upsert
from roadstead.errors import RoadsteadError
from roadstead.jobs.tables import leases

LEASE_MS: Final = 30_000
"""How long a lease lasts without renewal: longer than any round, short enough that nobody misses a dead process."""

_insert = upsert(leases).values(name=parameter("name"), holder=parameter("holder"), expires_ms=parameter("expires_ms"))
_TAKE: Final = Statement(
    _insert.on_conflict_do_update(
        index_elements=["name"],
        set_={"holder": _insert.excluded.holder, "expires_ms": _insert.excluded.expires_ms},
        where=or_(leases.c.holder == _insert.excluded.holder, leases.c.expires_ms < parameter("now_ms")),
    )
)
_FIND: Final = Statement(select(leases.c.holder).where(leases.c.name == parameter("name")))
_GIVE_UP: Final = Statement(
    delete(leases).where(leases.c.name == parameter("name"), leases.c.holder == parameter("holder"))
)
_DELETE_ALL: Final = Statement(delete(leases))

_log = structlog.get_logger("roadstead.jobs")


class Lease:
    """The right to do the work called ``name``, for this object's life."""

    def __init__(self, database: Database, clock: Clock, name: str) -> None:
        self._database = database
        self._clock = clock
        self._name = name
        self._holder = uuid.uuid4().hex

    async def take(self) -> bool:
        """Takes the lease or renews it; False while another holds it."""
        now_ms = self._clock.grace_ms()

        async def work(transaction: Transaction) -> bool:
            await transaction.execute(
                _TAKE, name=self._name, holder=self._holder, expires_ms=now_ms + LEASE_MS, now_ms=now_ms
            )
            row = await transaction.fetch_one(_FIND, name=self._name)
            return row is not None and row[0] == self._holder

        return await self._database.write(work, durable=False)

    async def give_up(self) -> None:
        """Lets another process go on at once."""

        async def work(transaction: Transaction) -> None:
            await transaction.execute(_GIVE_UP, name=self._name, holder=self._holder)

        await self._database.write(work, durable=False)


async def delete_leases(transaction: Transaction) -> None:
    """Ends the leases of processes that are no more; only while this process alone uses the catalogue."""
    await transaction.execute(_DELETE_ALL)


async def run_alone(lease: Lease, work: Callable[[], Awaitable[bool]], *, interval_seconds: float, name: str) -> None:
    """Runs rounds of ``work`` while this process holds ``lease``, until cancelled.

    A round takes less than half of ``LEASE_MS`` and says whether more is waiting: then the next one follows at once,
    else after ``interval_seconds``. What it raises is logged, and the next round tries again.
    """
    try:
        while True:
            has_more = False
            try:
                has_more = await lease.take() and await work()
            except RoadsteadError as error:
                _log.error("background work failed", work=name, reason=str(error))
            await asyncio.sleep(0 if has_more else interval_seconds)
    finally:
        try:
            await asyncio.shield(lease.give_up())
        except RoadsteadError:
            _log.info("lease not given up", work=name)
