"""An order that is safe to follow: how far rows with growing ids are all there.

On PostgreSQL ids are given when rows are inserted and seen when their transactions commit, so whoever follows the
highest id that it sees skips what commits late. Everybody who inserts such a row holds ``KEPT`` until its transaction
ends; at a moment at which nobody does, all ids up to the highest one are there, or will never be.
"""

import asyncio
import contextlib
from typing import Final

from roadstead.database import Database, DatabaseBusyError, Lock, NameLock, Statement

KEPT: Final = NameLock(Lock.KEEP, "events")
"""Whoever writes an event, or changes what notes of links are made of, holds this until its transaction ends."""

SETTLED: Final = NameLock(Lock.CHANGE, "events")
"""Whoever gets this for a moment sees every event whose id was given before (``Database.fetch_settled``)."""

PAUSE_SECONDS: Final = 0.2
"""Time between two tries to find such a moment: writers wait for half of it at most."""

TRIES: Final = 150
"""Number of tries of ``wait``: half a minute, after which a command rather fails than waits."""


class SettledOrder:
    """Finds how far the ids of one table are settled."""

    def __init__(self, database: Database, last_id: Statement) -> None:
        """``last_id`` asks for the highest id of the table, 0 if it is empty."""
        self._database = database
        self._last_id = last_id
        self._upto = 0

    async def find(self) -> int:
        """Returns an id up to which no row comes late; writers are only kept waiting if there is anything new.

        While writers stand in the way it is the id of before: the caller asks again after a pause.
        """
        last = await self._database.fetch_one(self._last_id)
        if last is not None and last[0] > self._upto:
            with contextlib.suppress(DatabaseBusyError):
                await self._settle()
        return self._upto

    async def wait(self) -> int:
        """Returns an id up to which no row comes late, and which is not lower than any that is seen now.

        Raises:
            DatabaseBusyError: writers stood in the way all the time.
        """
        for _ in range(TRIES - 1):
            try:
                return await self._settle()
            except DatabaseBusyError:
                await asyncio.sleep(PAUSE_SECONDS)
        return await self._settle()

    async def _settle(self) -> int:
        row = await self._database.fetch_settled(SETTLED, self._last_id)
        self._upto = max(self._upto, int(row[0]) if row else 0)
        return self._upto
