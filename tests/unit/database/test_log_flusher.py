"""Flushes of the log: shared, begun after the commit, and believed only as long as none has failed."""

import asyncio
import errno
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, func, insert, select

from roadstead.database import (
    DatabaseFullError,
    DatabaseUnavailableError,
    SqliteDatabase,
    Statement,
    Transaction,
    parameter,
)

pytestmark = pytest.mark.anyio

NOTES = Table("notes", MetaData(), Column("id", Integer, primary_key=True), Column("text", Text))
ADD = Statement(insert(NOTES).values(text=parameter("text")))
COUNT = Statement(select(func.count()).select_from(NOTES))


async def add(database: SqliteDatabase) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.execute(ADD, text=None)

    await database.write(work)


async def count(database: SqliteDatabase) -> int:
    row = await database.fetch_one(COUNT)
    assert row is not None
    return int(row[0])


class Disk:
    """What ``os.fdatasync`` does."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: int | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self._flush = os.fdatasync

    def fdatasync(self, descriptor: int) -> None:
        """Flushes once it may, or fails."""
        self.calls += 1
        assert self.may_go_on.wait(30)
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        self._flush(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "fdatasync", disk.fdatasync)
    return disk


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - a thread makes it so
            await asyncio.sleep(0.001)


async def test_a_flush_that_runs_is_not_enough_for_a_later_commit(database: SqliteDatabase, disk: Disk) -> None:
    disk.may_go_on.clear()
    first = asyncio.create_task(add(database))
    await until(lambda: disk.calls == 1)
    later = [asyncio.create_task(add(database)) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert await count(database) == 4, "nobody waits for the disk to commit"
    assert not any(task.done() for task in (first, *later))
    disk.may_go_on.set()
    await asyncio.gather(first, *later)
    assert disk.calls == 2, "one for the first, one for the three that came while it ran"


async def test_who_gives_up_takes_nobody_along(database: SqliteDatabase, disk: Disk) -> None:
    disk.may_go_on.clear()
    first, other, third = (asyncio.create_task(add(database)) for _ in range(3))
    await until(lambda: disk.calls == 1)
    other.cancel()
    await asyncio.sleep(0.01)
    assert not other.done(), "it is committed, and what its caller does next relies on that"
    disk.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await other
    await asyncio.gather(first, third)
    assert await count(database) == 3


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.EIO, DatabaseUnavailableError), (errno.ENOSPC, DatabaseFullError)]
)
async def test_after_a_failed_flush_nothing_is_certain_until_the_log_is_folded_in(
    database: SqliteDatabase, disk: Disk, code: int, expected: type[Exception]
) -> None:
    await add(database)
    disk.error = code
    with pytest.raises(expected):
        await add(database)
    disk.error = None
    with closing(sqlite3.connect(database.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM notes").fetchone()
        await_busy = asyncio.create_task(add(database))
        await asyncio.sleep(0.2)
        assert not await_busy.done(), "a later flush that succeeds is no proof of the bytes before it"
        reader.execute("ROLLBACK")
        await await_busy
    calls = disk.calls
    await add(database)
    assert disk.calls == calls + 1
    with closing(sqlite3.connect(f"{database.path.absolute().as_uri()}?immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT count(*) FROM notes").fetchone()[0] >= 2, "what is in the database's file itself"
    assert await count(database) == 4


async def test_closing_waits_for_a_flush(path: Path, disk: Disk) -> None:
    database = SqliteDatabase.open(path)
    disk.may_go_on.clear()
    adding = asyncio.create_task(add(database))
    await until(lambda: disk.calls == 1)
    closing_it = asyncio.create_task(database.close())
    await asyncio.sleep(0.02)
    assert not closing_it.done()
    disk.may_go_on.set()
    await asyncio.gather(adding, closing_it)
