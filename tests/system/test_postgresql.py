"""The PostgreSQL and the PgBouncer of tests do what tests rely on, and leave nothing running."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest

from tests.system.postgresql import PgBouncer, PostgresServer
from tests.system.process import processes_below, until
from tests.system.tools import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.system.postgresql import StopMode

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgresql", "pgbouncer")]

# Starts both, says where they are and which processes they have, and waits to be killed.
_RUN_THAT_IS_KILLED: Final = """
    import time
    from tests.system.postgresql import PgBouncer, PostgresServer
    with PostgresServer() as server, PgBouncer(server) as pool:
        print(server.folder, pool.folder, flush=True)
        time.sleep(600)
"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server of this test alone, which writes to the disk what it says is there."""
    with PostgresServer(fsync=True) as server:
        yield server


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Any]:
    """A connection without prepared statements that outlive a transaction, which PgBouncer would not know."""
    connection = await asyncpg.connect(url, statement_cache_size=0, timeout=10)
    try:
        yield connection
    finally:
        await connection.close()


async def _write(url: str, value: str) -> None:
    async with _connected(url) as connection:
        await connection.execute("CREATE TABLE note (text text)")
        await connection.execute("INSERT INTO note VALUES ($1)", value)


async def _read(url: str) -> list[str]:
    async with _connected(url) as connection:
        return [row["text"] for row in await connection.fetch("SELECT text FROM note")]


async def test_it_is_a_postgresql_with_an_ordinary_owner(postgres_url: str) -> None:
    async with _connected(postgres_url) as connection:
        assert (await connection.fetchval("SELECT version()")).startswith("PostgreSQL ")
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        role = "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
        assert await connection.fetchval(role) is False


async def test_it_sorts_by_a_language_unless_told_to_sort_by_bytes(postgres_url: str) -> None:
    async with _connected(postgres_url) as connection:
        rows = "SELECT array_agg(x ORDER BY x {}) FROM unnest(ARRAY['a-c', 'B', 'ab', '_']) AS x"
        assert await connection.fetchval(rows.format('COLLATE "C"')) == ["B", "_", "a-c", "ab"]
        assert await connection.fetchval(rows.format("")) != ["B", "_", "a-c", "ab"]


async def test_a_wrong_password_is_refused(postgres_url: str, pgbouncer_url: str) -> None:
    for url in (postgres_url, pgbouncer_url):
        with pytest.raises(asyncpg.PostgresError):
            await asyncpg.connect(url, password="wrong", timeout=10)


async def test_databases_are_independent(postgres_url: str, pgbouncer_url: str) -> None:
    await _write(postgres_url, "one")
    await _write(pgbouncer_url, "two")

    assert await _read(postgres_url) == ["one"]
    assert await _read(pgbouncer_url) == ["two"]


async def test_a_database_is_dropped_under_its_clients(postgres_server: PostgresServer, pgbouncer: PgBouncer) -> None:
    for of in (postgres_server, pgbouncer):
        postgres_server.create_database("in-use")
        async with _connected(of.url("in-use")) as connection:
            await connection.execute("SELECT 1")
            postgres_server.drop_database("in-use")
    assert postgres_server.execute("SELECT count(*) FROM pg_database WHERE datname = 'in-use'") == "0"


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_keeps_the_data(own_server: PostgresServer, mode: StopMode) -> None:
    url = own_server.create_database("kept")
    await _write(url, "written")
    before = own_server.pid

    async with _connected(url):  # a client does not hold it up
        own_server.restart(mode)

    assert own_server.pid != before
    assert await _read(url) == ["written"]
    recovered = "database system was not properly shut down; automatic recovery in progress" in own_server.log()
    assert recovered == (mode == "immediate")


async def test_it_starts_after_it_was_killed(own_server: PostgresServer) -> None:
    url = own_server.create_database("kept")
    await _write(url, "written")

    own_server.kill()
    own_server.start()

    assert await _read(url) == ["written"]


async def test_a_pool_of_one_serves_two_clients_in_turn(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database("pooled")
    backend = "SELECT pg_backend_pid()"
    with PgBouncer(postgres_server, pool_size=1) as pool:
        async with _connected(pool.url("pooled")) as one, _connected(pool.url("pooled")) as other:
            assert await one.fetchval(backend) == await other.fetchval(backend)
            async with one.transaction():
                await one.execute("SELECT 1")
                with pytest.raises(TimeoutError):
                    await other.fetchval(backend, timeout=0.2)
        async with _connected(url) as one, _connected(url) as other:
            assert await one.fetchval(backend) != await other.fetchval(backend)
    postgres_server.drop_database("pooled")


async def test_nothing_is_left(postgres_server: PostgresServer) -> None:
    with PostgresServer() as server, PgBouncer(server) as pool:
        folders, pids = (server.folder, pool.folder), (server.pid, pool.pid)
        async with _connected(pool.url("postgres")):
            assert set(pids) < {pid for folder in folders for pid in processes_below(folder)}

    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not any(list(processes_below(folder)) or folder.exists() for folder in folders)
    assert postgres_server.exit_code is None


def test_neither_outlives_a_run_that_is_killed() -> None:
    command = [sys.executable, "-c", textwrap.dedent(_RUN_THAT_IS_KILLED)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        folders = [Path(word) for word in killed.stdout.readline().split()]
        assert all(list(processes_below(folder)) for folder in folders)
        killed.send_signal(signal.SIGKILL)

    until(lambda: not any(list(processes_below(folder)) for folder in folders), what="both have ended")
    for folder in folders:
        shutil.rmtree(folder)
