"""Empty databases for any test: on a real PostgreSQL, directly or through PgBouncer.

The servers are started once a worker, and only when a test asks for one; each test has a database of its own, which is
dropped after it. Where the programs are absent the test is skipped, and says what would install them. Enabled by
`pytest_plugins = ["tests.databases"]` in `tests/conftest.py`.

A test that has `database_kind` among its fixtures, as whoever asks for an `instance` does, runs once for each kind in
its module's `DATABASES`: on both databases where the module has none. Of the tests of commands, those whose answers
come from the catalogue ask for both.
"""

from __future__ import annotations

import functools
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import ClauseElement, delete

from roadstead.database import Database, Statement, Transaction, metadata
from roadstead.database.migrate_server import migrate_server
from roadstead.events import KEPT
from tests.skips import require
from tests.system.postgresql import PgBouncer, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH: Final = ("sqlite", "postgresql")
REPEATING_TOO: Final = (*BOTH, "sqlite-twice")
"""And on SQLite with each transaction run twice (`roadstead.testing.repeating_database`)."""

IN_BUCKETS_TOO: Final = (*REPEATING_TOO, "sqlite-bucket")
"""And with the bytes in a bucket in memory; `postgresql-bucket` is another kind."""

OF_COMMANDS: Final = "tests.api.cli."

SQLITE_ALONE: Final = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
"""For a single test of a module; the test says why."""

IN_FOLDERS: Final = pytest.mark.parametrize("database_kind", REPEATING_TOO, indirect=True)
"""For a single test that looks at files, or is about who may be at one digest at a time."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = (mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "database_kind" in metafunc.fixturenames and "database_kind" not in chosen:
        default = BOTH[:1] if metafunc.module.__name__.startswith(OF_COMMANDS) else BOTH
        metafunc.parametrize("database_kind", getattr(metafunc.module, "DATABASES", default), indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """One of `IN_BUCKETS_TOO`."""
    return str(request.param)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, database_kind: str) -> str:
    """An empty catalogue on a server; empty for a file."""
    return str(request.getfixturevalue("catalogue_url")) if database_kind.startswith("postgresql") else ""


@functools.cache
def _deletions() -> list[Statement]:
    """Of every table; asked for when all that is tested has been imported."""
    return [Statement(delete(table)) for table in reversed(metadata.sorted_tables)]


async def change(database: Database, element: ClauseElement, **parameters: object) -> int:
    """Changes rows behind the registry's back and returns how many."""
    statement = Statement(element)
    return await database.write(lambda transaction: transaction.execute(statement, **parameters))


async def empty(database: Database) -> None:
    """Removes every row: for a few of them faster than to make a catalogue, or to truncate its tables."""

    async def work(transaction: Transaction) -> None:
        for statement in _deletions():
            await transaction.execute(statement)

    await database.write(work, locks=[KEPT], durable=False)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The PostgreSQL of this worker; a test that stops one starts its own."""
    require("postgresql")
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """The PgBouncer of this worker, in front of its PostgreSQL."""
    require("pgbouncer")
    with PgBouncer(postgres_server) as pool:
        yield pool


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of an empty database."""
    with _new_database(postgres_server) as name:
        yield postgres_server.url(name)


@pytest.fixture
def pgbouncer_url(postgres_server: PostgresServer, pgbouncer: PgBouncer) -> Iterator[str]:
    """The address of an empty database behind PgBouncer; another one than that of `postgres_url`."""
    with _new_database(postgres_server) as name:
        yield pgbouncer.url(name)


@pytest.fixture(scope="session")
def _catalogue(postgres_server: PostgresServer) -> Iterator[str]:
    with _new_database(postgres_server) as name:
        migrate_server(postgres_server.url(name))
        yield name


@pytest.fixture
def catalogue_url(postgres_server: PostgresServer, _catalogue: str) -> str:
    """The address of a catalogue with this version's schema and nothing in it: emptied, which is faster than new."""
    tables = ", ".join(table.name for table in metadata.sorted_tables)
    postgres_server.execute(f"TRUNCATE {tables} RESTART IDENTITY", _catalogue)
    return postgres_server.url(_catalogue)


@pytest.fixture
def pooled_catalogue_url(catalogue_url: str, pgbouncer: PgBouncer, _catalogue: str) -> str:
    """The same behind PgBouncer."""
    assert catalogue_url
    return pgbouncer.url(_catalogue)


@contextmanager
def _new_database(server: PostgresServer) -> Iterator[str]:
    name = f"test-{secrets.token_hex(6)}"
    server.create_database(name)
    try:
        yield name
    finally:
        server.drop_database(name)
