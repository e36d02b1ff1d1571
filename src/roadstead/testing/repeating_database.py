"""A database that runs all work twice, as PostgreSQL may, so that a change outside the transaction is found out."""

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from roadstead.database import NameLock, Transaction
from roadstead.testing.wrapped_database import WrappedDatabase

_T = TypeVar("_T")


class RepeatingDatabase(WrappedDatabase):
    """A ``Database`` whose ``write`` runs the work in a transaction that is undone, then in one that is kept."""

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
            await self.wrapped.write(rehearse, locks=locks, durable=False, is_long=is_long)
        return await self.wrapped.write(work, locks=locks, durable=durable, is_long=is_long)


class _RehearsedError(Exception):
    """The work has been run, and is to be undone."""
