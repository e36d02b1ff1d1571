"""Events of reads: gathered in memory and written together, since a pull must cost no write.

This is the one kind of event that a crash may lose: those of the last second. Memory is bounded; what does not fit is
dropped and counted.
"""

import asyncio
import contextlib
from collections import deque
from typing import Final

import structlog

from roadstead.clock import Clock
from roadstead.database import Database, Transaction
from roadstead.errors import RoadsteadError
from roadstead.events.model import Event
from roadstead.events.order import KEPT
from roadstead.events.outbox import Outbox

MOST_WAITING: Final = 20_000
"""Events in memory: more than a process can serve pulls in the second between two writes, about 20 MB."""

BATCH: Final = 500
"""Events written in one transaction, which then keeps other writers waiting for a few milliseconds."""

INTERVAL_SECONDS: Final = 1.0

_log = structlog.get_logger("roadstead.events")


class PullLog:
    """Pulls that happened and are not yet in the outbox."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock
        self._waiting: deque[tuple[int, Event]] = deque()
        self.dropped = 0
        """Events that found no room."""

    @property
    def is_wanted(self) -> bool:
        """True if anybody waits for such events: where not, none need be made."""
        return self._outbox.wants_pulls

    def add(self, event: Event) -> None:
        """Keeps ``event`` until the next ``flush``."""
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append((self._clock.now_ms(), event))

    async def flush(self, database: Database) -> None:
        """Writes what is waiting, oldest first, without waiting for the disk.

        Raises:
            DatabaseError: the rest is still waiting.
        """
        while self._waiting:
            batch = [self._waiting[place] for place in range(min(BATCH, len(self._waiting)))]

            async def work(transaction: Transaction, batch: list[tuple[int, Event]] = batch) -> None:
                for at_ms, event in batch:
                    await self._outbox.record(transaction, event, at_ms=at_ms)

            await database.write(work, locks=[KEPT], durable=False)
            for _ in batch:
                self._waiting.popleft()

    async def keep_flushing(self, database: Database) -> None:
        """Writes what is waiting every second, and once more when cancelled."""
        told = 0
        try:
            while True:
                await asyncio.sleep(INTERVAL_SECONDS)
                try:
                    await self.flush(database)
                except RoadsteadError as error:
                    _log.error("events of pulls not written", reason=str(error))
                if self.dropped > told:
                    _log.warning("events of pulls dropped", events=self.dropped - told)
                    told = self.dropped
        finally:
            with contextlib.suppress(RoadsteadError):
                await asyncio.shield(self.flush(database))
