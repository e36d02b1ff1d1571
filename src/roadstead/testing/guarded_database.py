"""A database that refuses what would break an order of events: a change that is noted, made by who does not say so.

Whoever writes an event, or changes what the triggers that note changes of links look at, has to hold ``events.KEPT``.
On SQLite nothing goes wrong without it, so tests on SQLite would not find out.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from sqlalchemy import Delete, Insert, Update

from roadstead.database import NameLock, Row, Statement, Transaction
from roadstead.database.script import Script, Step, statement_of
from roadstead.events import KEPT, SETTLED
from roadstead.testing.wrapped_database import WrappedDatabase

_T = TypeVar("_T")

NOTED: Final[Mapping[str, tuple[type, ...]]] = {
    "events": (Insert,),
    "repository_blobs": (Insert, Delete),
    "repository_manifests": (Insert, Delete),
    "tags": (Insert, Update, Delete),
    "manifests": (Delete,),
    "blobs": (Delete,),
}
"""The changes of each table that are, or cause, a row in an order that is followed (migrations 0002 and 0005)."""


class GuardedDatabase(WrappedDatabase):
    """A ``Database`` whose transactions refuse such changes unless they hold ``events.KEPT``."""

    async def write(
        self,
        work: Callable[[Transaction], Awaitable[_T]],
        *,
        locks: Iterable[NameLock] = (),
        durable: bool = True,
        is_long: bool = False,
    ) -> _T:
        """Runs ``work``.

        Raises:
            AssertionError: it changed what is noted, and did not hold the events.
        """
        locks = tuple(locks)

        async def guarded(transaction: Transaction) -> _T:
            return await work(_GuardedTransaction(transaction, locks))

        return await self.wrapped.write(guarded, locks=locks, durable=durable, is_long=is_long)

    async def run(
        self,
        script: Script,
        values: Mapping[str, object],
        *,
        locks: Iterable[NameLock] = (),
        durable: bool = True,
        is_long: bool = False,
    ) -> Row:
        """Runs ``script``.

        Raises:
            AssertionError: as ``write``, whatever its conditions say.
        """
        locks = tuple(locks)
        for step in script.steps:
            if isinstance(step, Step):
                _require_held(statement_of(step), locks)
        return await self.wrapped.run(script, values, locks=locks, durable=durable, is_long=is_long)


class _GuardedTransaction:
    """A ``Transaction`` that knows which locks it was given."""

    def __init__(self, transaction: Transaction, locks: Iterable[NameLock]) -> None:
        self._transaction = transaction
        self._held = set(locks)
        self.fetch_all = transaction.fetch_all
        self.lock_one = transaction.lock_one
        self.lock_all = transaction.lock_all

    async def fetch_one(self, statement: Statement, **parameters: object) -> Row | None:
        """Also for what inserts a row and returns its key."""
        self._require(statement)
        return await self._transaction.fetch_one(statement, **parameters)

    async def take(self, locks: Iterable[NameLock]) -> bool:
        locks = tuple(locks)
        self._held.update(locks)
        return await self._transaction.take(locks)

    async def execute(self, statement: Statement, **parameters: object) -> int:
        self._require(statement)
        return await self._transaction.execute(statement, **parameters)

    async def execute_many(self, statement: Statement, rows: Sequence[Mapping[str, object]]) -> None:
        if rows:
            self._require(statement)
        await self._transaction.execute_many(statement, rows)

    def _require(self, statement: Statement) -> None:
        _require_held(statement, self._held)


def _require_held(statement: Statement, held: Iterable[NameLock]) -> None:
    table = str(getattr(getattr(statement.element, "table", None), "name", ""))
    if isinstance(statement.element, NOTED.get(table, ())):
        assert {KEPT, SETTLED} & set(held), f"a change of {table} without events.KEPT"
