"""The base of what stands between a registry and its database in a test: it passes everything on."""

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from roadstead.database import Database, NameLock, Row, Script, Transaction
from roadstead.database.script import run_steps

_T = TypeVar("_T")


class WrappedDatabase:
    """A ``Database`` that another one is; scripts go through ``write``, so that a wrapper sees each of their steps."""

    def __init__(self, database: Database) -> None:
        """``database`` does the work, and is closed with this one."""
        self.wrapped = database
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
        """Runs ``work``."""
        return await self.wrapped.write(work, locks=locks, durable=durable, is_long=is_long)

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
