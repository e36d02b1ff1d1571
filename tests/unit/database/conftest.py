"""A database with one table, as most tests here want it."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from roadstead.database import SqliteDatabase
from roadstead.database.sqlite import connect


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """The database's file."""
    path = tmp_path / "roadstead.db"
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT UNIQUE)")
    return path


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    """Open, and closed after the test."""
    database = SqliteDatabase.open(path)
    yield database
    await database.close()
