"""Which replicas are there: a row for each process, that it raises while it lives.

A row that has stood still for ``LEASE_SECONDS``, by the clock of the process that watches, is a dead process's, or that
of one which is frozen: it makes its row anew when it wakes up, and learns by the fences of what it held what it lost.
"""

import asyncio
import contextlib
import functools
import uuid
from typing import Final

import structlog

from roadstead.clock import Clock
from roadstead.database import Database, Transaction
from roadstead.errors import RoadsteadError
from roadstead.jobs import lease_rows
from roadstead.jobs.lease import LEASE_SECONDS
from roadstead.jobs.lease_rows import Watch

PREFIX: Final = "replica/"
"""Of the names of their rows among the leases."""

BEAT_SECONDS: Final = LEASE_SECONDS / 6
"""Between two signs of life."""

_log = structlog.get_logger("roadstead.jobs")


class Presence:
    """This process's row, and what it knows of the others'."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.replica = uuid.uuid4().hex
        """This process among all."""
        self._database = database
        self._watch = Watch(clock.monotonic_seconds, LEASE_SECONDS)

    async def beat(self) -> None:
        """Says that this process lives."""

        async def work(transaction: Transaction) -> None:
            name = PREFIX + self.replica
            if not await lease_rows.beat(transaction, name, self.replica, 1):
                await lease_rows.add_held(transaction, [name], self.replica)

        await self._database.write(work, durable=False)

    async def list_alive(self) -> frozenset[str]:
        """The replicas that live, or whose death is not certain yet; the rows of others are removed, each once."""
        alive: set[str] = set()
        asked = self._watch.now()
        for name, held in (await lease_rows.list_held_below(self._database, PREFIX)).items():
            if not self._watch.has_lapsed(name, held, asked=asked):
                alive.add(name.removeprefix(PREFIX))
                continue
            is_dead = await self._database.write(
                functools.partial(lease_rows.remove_as_seen, name=name, seen=held), durable=False
            )
            self._watch.forget(name)
            if is_dead:
                _log.warning("a replica has died", replica=held.holder)
        return frozenset(alive)

    async def keep(self) -> None:
        """Beats and looks after the others until cancelled; then this process's row goes."""
        try:
            while True:
                try:
                    await self.beat()
                    await self.list_alive()
                except RoadsteadError as error:
                    _log.info("no sign of life given", reason=str(error))
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            with contextlib.suppress(RoadsteadError):
                await asyncio.shield(self._database.write(self._leave, durable=False))

    async def _leave(self, transaction: Transaction) -> None:
        await lease_rows.remove(transaction, [PREFIX + self.replica], self.replica)
