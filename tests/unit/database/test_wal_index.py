"""The catalogue's version: each commit changes it, whoever commits, and nothing else does."""

import asyncio
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, func, insert, select

from roadstead.database import SqliteDatabase, Statement, Transaction, parameter
from roadstead.database.sqlite import connect
from roadstead.database.wal_index import HEADER_BYTES, find_wal_index

pytestmark = pytest.mark.anyio

NOTES = Table("notes", MetaData(), Column("id", Integer, primary_key=True), Column("text", Text, unique=True))
ADD = Statement(insert(NOTES).values(text=parameter("text")))
COUNT = Statement(select(func.count()).select_from(NOTES))


async def add(database: SqliteDatabase, text: str, *, durable: bool = True) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.execute(ADD, text=text)

    await database.write(work, durable=durable)


@pytest.mark.parametrize("durable", [True, False])
async def test_each_commit_changes_it(database: SqliteDatabase, durable: bool) -> None:  # noqa: FBT001
    seen = {database.version()}
    for number in range(300):  # with a checkpoint in between
        await add(database, str(number), durable=durable)
        seen.add(database.version())
    assert len(seen) == 301


async def test_reading_does_not(database: SqliteDatabase) -> None:
    await add(database, "one")
    before = database.version()
    assert await database.fetch_one(COUNT) == (1,)
    assert database.version() == before


async def test_what_is_undone_does_not(database: SqliteDatabase) -> None:
    before = database.version()

    async def failing(transaction: Transaction) -> None:
        await transaction.execute(ADD, text="undone")
        assert database.version() == before
        raise LookupError("on purpose")

    for durable in (True, False):
        with pytest.raises(LookupError):
            await database.write(failing, durable=durable)
    assert database.version() == before
    assert await database.fetch_one(COUNT) == (0,)


async def test_another_connection_s_commit_changes_it(database: SqliteDatabase) -> None:
    before = database.version()
    with closing(connect(database.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO notes (text) VALUES ('other')")
        assert database.version() == before
        other.execute("COMMIT")
        assert database.version() != before


async def test_another_process_s_commit_changes_it(database: SqliteDatabase) -> None:
    before = database.version()
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"
    statement = "INSERT INTO notes (text) VALUES ('other')"
    command = [sys.executable, "-c", program, str(database.path), statement]
    await asyncio.to_thread(lambda: subprocess.run(command, check=True))
    assert database.version() != before
    assert await database.fetch_one(COUNT) == (1,)


async def test_a_checkpoint_hides_no_commit(database: SqliteDatabase) -> None:
    """The log begins anew after it, and so does much of the header, but not the counter."""
    seen = {database.version()}
    for number in range(20):
        await add(database, str(number))
        with closing(connect(database.path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        seen.add(database.version())
    assert len(seen) == 21


async def test_a_closed_database_has_none(tmp_path: Path) -> None:
    path = tmp_path / "roadstead.db"
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT UNIQUE)")
    database = SqliteDatabase.open(path)
    version = database.version()
    assert version is not None
    assert len(version) == HEADER_BYTES
    await database.close()
    assert database.version() is None


def test_a_database_that_nobody_has_open_has_none(tmp_path: Path) -> None:
    assert find_wal_index(tmp_path / "roadstead.db") is None
    (tmp_path / "roadstead.db-shm").write_bytes(bytes(HEADER_BYTES))
    assert find_wal_index(tmp_path / "roadstead.db") is None
