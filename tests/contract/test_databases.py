"""Every database keeps the contract: SQLite's file, PostgreSQL, and PostgreSQL behind PgBouncer."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roadstead.database import SqliteDatabase, migrate
from roadstead.database.postgresql import PostgresqlDatabase
from roadstead.testing.database_contract import DatabaseContract, Replicas

pytestmark = pytest.mark.anyio


class TestSqlite(DatabaseContract):
    """Two processes on one file."""

    @pytest.fixture
    async def replicas(self, tmp_path: Path) -> AsyncIterator[Replicas]:
        """Two on a file."""
        path = tmp_path / "roadstead.db"
        migrate(path)
        one, two = SqliteDatabase.open(path), SqliteDatabase.open(path)
        yield one, two
        await one.close()
        await two.close()


async def on_server(url: str) -> AsyncIterator[Replicas]:
    one, two = await PostgresqlDatabase.open(url), await PostgresqlDatabase.open(url)
    yield one, two
    await one.close()
    await two.close()


class TestPostgresql(DatabaseContract):
    """Two replicas on a server."""

    @pytest.fixture
    async def replicas(self, catalogue_url: str) -> AsyncIterator[Replicas]:
        """Two on an empty catalogue."""
        async for replicas in on_server(catalogue_url):
            yield replicas


class TestPgBouncer(DatabaseContract):
    """Two replicas whose transactions get any of a few sessions."""

    @pytest.fixture
    async def replicas(self, pooled_catalogue_url: str) -> AsyncIterator[Replicas]:
        """Two on an empty catalogue behind PgBouncer."""
        async for replicas in on_server(pooled_catalogue_url):
            yield replicas
