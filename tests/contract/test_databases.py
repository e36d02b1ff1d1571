"""Every database keeps the contract: SQLite's file, PostgreSQL, and PostgreSQL behind PgBouncer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import literal, select

from roadstead.database import DatabaseBusyError, SqliteDatabase, Statement, Transaction, migrate
from roadstead.database.postgresql import PostgresqlDatabase
from roadstead.events import KEPT, SETTLED
from roadstead.jobs import save_state
from roadstead.jobs.tables import states
from roadstead.testing.database_contract import DatabaseContract, Replicas
from tests.system.postgresql import PostgresServer

pytestmark = pytest.mark.anyio

FIND_HELD = Statement(select(states.c.name).where(states.c.name == literal("held")))
END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'roadstead'"


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


@pytest.mark.parametrize("reader", ["catalogue_url", "pooled_catalogue_url"])
async def test_who_reads_what_is_settled_gives_up_while_somebody_holds_it(
    catalogue_url: str, reader: str, request: pytest.FixtureRequest
) -> None:
    """Writers behind it wait no longer than that."""
    one = await PostgresqlDatabase.open(catalogue_url)
    two = await PostgresqlDatabase.open(str(request.getfixturevalue(reader)))
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def hold(transaction: Transaction) -> None:
        await save_state(transaction, "held", "")
        has_begun.set()
        await may_end.wait()

    holding = asyncio.create_task(one.write(hold, locks=[KEPT]))
    await has_begun.wait()
    with pytest.raises(DatabaseBusyError):
        await two.fetch_settled(SETTLED, FIND_HELD)
    may_end.set()
    await holding
    assert await two.fetch_settled(SETTLED, FIND_HELD) == ("held",)
    await two.close()
    await one.close()


async def test_a_connection_lost_in_a_transaction_is_replaced(
    catalogue_url: str, postgres_server: PostgresServer
) -> None:
    """The server ends all connections: what had not begun to commit runs again, a settled read too."""
    database = await PostgresqlDatabase.open(catalogue_url)
    runs = 0

    async def work(transaction: Transaction) -> None:
        nonlocal runs
        runs += 1
        await save_state(transaction, "held", str(runs))
        if runs == 1:
            await asyncio.to_thread(postgres_server.execute, END_ALL)
            await transaction.fetch_one(FIND_HELD)

    await database.write(work)
    assert runs == 2
    await asyncio.to_thread(postgres_server.execute, END_ALL)
    assert await database.fetch_settled(SETTLED, FIND_HELD) == ("held",)
    await asyncio.to_thread(postgres_server.execute, END_ALL)
    assert await database.fetch_one(FIND_HELD) == ("held",)
    await database.close()
