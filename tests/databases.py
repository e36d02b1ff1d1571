"""Empty databases for any test: on a real PostgreSQL, directly or through PgBouncer.

The servers are started once a worker, and only when a test asks for one; each test has a database of its own, which is
dropped after it. Where the programs are absent the test is skipped, and says what would install them. Enabled by
`pytest_plugins = ["tests.databases"]` in `tests/conftest.py`.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from roadstead.database import metadata
from roadstead.database.migrate_server import migrate_server
from tests.skips import require
from tests.system.postgresql import PgBouncer, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    postgres_server.execute(f"TRUNCATE {tables}", _catalogue)
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
