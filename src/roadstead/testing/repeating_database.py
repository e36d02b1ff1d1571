"""A database that runs all work twice, as PostgreSQL may, so that a change outside the transaction is found out."""

import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from roadstead.database import Database, NameLock, Row, Transaction
from roadstead.database.script import Script, run_steps

_T = TypeVar("_T")


class RepeatingDatabase:
    """A ``Database`` whose ``write`` runs the work in a transaction that is undone, then in one that is kept."""

    def __init__(self, database: Database) -> None:
        """``database`` does the work, and is closed with this one."""
        self._database = database
        self.version = database.version
        self.fetch_one = database.fetch_one
        self.fetch_all = database.fetch_all
        self.fetch_settled = database.fetch_settled
        self.close = database.close

    async def write(
        self,
        work: Callable[[Transaction], Awaitable[_T]],
        *,
        locks: Iterable[NameLock] = (),
        durable: bool = True,
        is_long: bool = False,
    ) -> _T:
        """Runs ``work`` for nothing, then for good; what it raises the first time is raised."""
        locks = tuple(locks)

        async def rehearse(transaction: Transaction) -> None:
            await work(transaction)
            raise _RehearsedError

        with contextlib.suppress(_RehearsedError):
            await self._database.write(rehearse, locks=locks, durable=False, is_long=is_long)
        return await self._database.write(work, locks=locks, durable=durable, is_long=is_long)

    async def run(
        self,
        script: Script,
        values: Mapping[str, object],
        *,
        locks: Iterable[NameLock] = (),
        durable: bool = True,
        is_long: bool = False,
    ) -> Row:
        """Runs the steps one by one, each as a statement of its own."""
        work = functools.partial(run_steps, script, values=values)
        return await self.write(work, locks=locks, durable=durable, is_long=is_long)


class _RehearsedError(Exception):
    """The work has been run, and is to be undone."""
