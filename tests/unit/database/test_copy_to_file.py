"""A copy of a catalogue on a server is of one moment, whole, and a file of its own; through PgBouncer too."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from roadstead.database import DatabaseFullError, SqliteDatabase, migrate
from roadstead.database.copy_to_file import FileObserver, copy_to_file
from roadstead.database.migrate_server import migrate_server
from roadstead.database.postgresql import PostgresqlDatabase
from roadstead.jobs import find_state, save_state

if TYPE_CHECKING:
    from pathlib import Path

    from roadstead.database import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgresql")]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def silent() -> FileObserver:
    return FileObserver(begin=lambda _stage, _total, _is_bytes: None, advance=lambda _count: None)


def value_in(file: Path) -> str:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        return str(connection.execute("SELECT value FROM states WHERE name = 'it'").fetchone()[0])


async def put(database: PostgresqlDatabase, value: str) -> None:
    async def work(transaction: Transaction) -> None:
        await save_state(transaction, "it", value)

    await database.write(work)


@pytest.mark.parametrize("through", ["postgres_url", "pgbouncer_url"])
async def test_others_write_meanwhile(request: pytest.FixtureRequest, tmp_path: Path, through: str) -> None:
    if through == "pgbouncer_url":
        request.node.add_marker(pytest.mark.needs("pgbouncer"))
    url = str(request.getfixturevalue(through))
    await asyncio.to_thread(migrate_server, url)
    database = await PostgresqlDatabase.open(url, connections=3)
    await put(database, "before")
    begun: list[str] = []

    def begin(stage: str, _total: int, _is_bytes: bool) -> None:  # noqa: FBT001 - as it is called
        begun.append(stage)

    async with database.at_one_moment() as moment:
        await put(database, "meanwhile")
        assert await find_state(moment, "it") == "before"
        assert await find_state(database, "it") == "meanwhile"
    file = tmp_path / "copy.db"
    await copy_to_file(database, file, FileObserver(begin=begin, advance=lambda _count: None))
    assert value_in(file) == "meanwhile"
    assert "copying states" in begun
    assert os.listdir(tmp_path) == ["copy.db"], "no log belongs to it"  # noqa: PTH208 - names are enough
    assert file.stat().st_mode & 0o077 == 0
    await database.close()
    assert not migrate(file), "it has this version's schema"


async def test_a_connection_goes_back_to_the_pool_also_after_a_failure(catalogue_url: str) -> None:
    database = await PostgresqlDatabase.open(catalogue_url, connections=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with database.at_one_moment():
                raise ZeroDivisionError
    await put(database, "later")
    assert await find_state(database, "it") == "later"
    await database.close()


async def test_no_space_for_the_copy(catalogue_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await PostgresqlDatabase.open(catalogue_url, connections=1)
    opening = SqliteDatabase.open

    def small(path: Path) -> SqliteDatabase:
        opened = opening(path)
        opened._writing.execute("PRAGMA max_page_count = 60")
        return opened

    monkeypatch.setattr(SqliteDatabase, "open", small)
    await put(database, "x" * 400_000)
    with pytest.raises(DatabaseFullError):
        await copy_to_file(database, tmp_path / "copy.db", silent())
    await database.close()
