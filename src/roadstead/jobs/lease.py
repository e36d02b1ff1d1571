"""Leases: one process at a time does a piece of background work, and another takes over when it dies.

A lease is a row (see ``lease_rows``), which its holder renews before each round of work. A holder that was frozen, and
wakes up after another has taken over, changes nothing in a transaction that begins with ``require_fence``. What a round
does outside of such transactions may happen once more beside the successor, so it must do no harm when it runs twice.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from roadstead.clock import Clock
from roadstead.database import Database, Transaction
from roadstead.errors import RoadsteadError
from roadstead.jobs import lease_rows
from roadstead.jobs.errors import LeaseLostError
from roadstead.jobs.lease_rows import Held, Watch

LEASE_SECONDS: Final = 30
"""The time after which the holder of a row that stands still counts as dead: longer than any round, yet short."""

_log = structlog.get_logger("roadstead.jobs")


class Lease:
    """The right to do the work called ``name``, for this object's life."""

    def __init__(self, database: Database, clock: Clock, name: str) -> None:
        self._database = database
        self._clock = clock
        self.name = name
        self.holder = uuid.uuid4().hex
        self.fence = 0
        """Grows each time that the lease changes hands; 0 where this process does not hold it, as far as it knows."""
        self._watch = Watch(clock.monotonic_seconds, LEASE_SECONDS)

    async def take(self) -> bool:
        """Takes the lease or renews it; False while another holds it.

        Another's is taken over once its row has stood still for ``LEASE_SECONDS`` between two calls of this.
        """
        if self.fence and await self.renew():
            return True
        asked = self._watch.now()
        held = await lease_rows.find_held(self._database, self.name)
        if held is not None and not self._may_take(held, asked):
            return False
        self.fence = await self._database.write(lambda transaction: self._take(transaction, held), durable=False)
        return bool(self.fence)

    def _may_take(self, held: Held, asked: float) -> bool:
        is_free = held.holder in {"", self.holder}  # this one's: the answer to an earlier taking was lost
        return is_free or self._watch.has_lapsed(self.name, held, asked=asked)

    async def _take(self, transaction: Transaction, seen: Held | None) -> int:
        if seen is None:
            await lease_rows.add_held(transaction, [self.name], self.holder, expires_ms=self._expires_ms())
        else:
            await lease_rows.take_over(transaction, self.name, seen, self.holder, expires_ms=self._expires_ms())
        held = await lease_rows.find_held(transaction, self.name)
        return held.fence if held is not None and held.holder == self.holder else 0

    async def renew(self) -> bool:
        """Says that the holder lives; False, and nothing is changed, if this process does not hold the lease."""
        fence = self.fence

        async def work(transaction: Transaction) -> bool:
            expires_ms = self._expires_ms()
            return await lease_rows.beat(transaction, self.name, self.holder, fence, expires_ms=expires_ms)

        is_held = bool(fence) and await self._database.write(work, durable=False)
        if not is_held:
            self.fence = 0
        return is_held

    async def give_up(self) -> None:
        """Lets another process go on at once."""
        fence, self.fence = self.fence, 0

        async def work(transaction: Transaction) -> None:
            await lease_rows.free(transaction, self.name, self.holder, fence)

        if fence:
            await self._database.write(work, durable=False)

    def _expires_ms(self) -> int:
        """For processes of versions that go by it, which share a machine and its clock with this one."""
        return self._clock.grace_ms() + LEASE_SECONDS * 1000


async def require_fence(transaction: Transaction, lease: Lease) -> None:
    """Sees that nobody has taken the lease over, and that nobody does until the transaction ends.

    Raises:
        LeaseLostError: somebody has; let nothing of the transaction happen.
    """
    held = await lease_rows.keep_held(transaction, lease.name)
    if held is None or not lease.fence or (held.holder, held.fence) != (lease.holder, lease.fence):
        raise LeaseLostError(lease.name)


async def delete_leases(transaction: Transaction) -> None:
    """Ends the leases of processes that are no more; only while this process alone uses the catalogue."""
    await lease_rows.remove_all(transaction)


async def run_alone(lease: Lease, work: Callable[[], Awaitable[bool]], *, interval_seconds: float, name: str) -> None:
    """Runs rounds of ``work`` while this process holds ``lease``, until cancelled.

    A round takes less than half of ``LEASE_SECONDS`` and says whether more is waiting: then the next one follows at
    once, else after ``interval_seconds``. What it raises is logged, and the next round tries again.
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
