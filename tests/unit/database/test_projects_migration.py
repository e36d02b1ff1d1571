"""The step to 0006 on both databases: beside running servers, interrupted, twice at once, and with old code after."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from roadstead.clock import SystemClock
from roadstead.database import Database, DatabaseUnavailableError, SqliteDatabase, Transaction, metadata, migrate
from roadstead.database.migrate import FOLDER, HEAD
from roadstead.database.migrate_server import BEFORE_SERVERS, migrate_server
from roadstead.database.postgresql import PostgresqlDatabase
from roadstead.database.server import find_server_revision
from roadstead.database.sqlite import connect
from roadstead.oci import RepositoryName
from roadstead.registry import tables
from roadstead.registry.content.repositories import ensure_repository
from roadstead.secrets import tables as secret_tables
from roadstead.webhooks import tables as webhook_tables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

BEFORE: Final = "0005"

ROWS: Final = int(os.environ.get("ROADSTEAD_MIGRATED_TAGS", "20000"))
"""Tags of the catalogue that is migrated; the long form has more."""
TAGS_OF_EACH: Final = 20

NAMES: Final = ("myapp", "library/myapp", "my__team/app", "my--team/app", "my--team/tools/app", "a.b/c")
PROJECTS: Final = {
    "myapp": "library",
    "library/myapp": "library",
    "my__team/app": "my__team",
    "my--team/app": "my--team",
    "my--team/tools/app": "my--team",
    "a.b/c": "a.b",
}

OLD_STATEMENTS: Final = (
    "INSERT INTO repositories (name, created_ms) VALUES ('old/code', 1) ON CONFLICT DO NOTHING",
    """
    INSERT INTO blobs (digest, size_bytes, created_ms, quarantined_ms, deleting_ms)
    VALUES ('sha256:0', 1, 1, NULL, NULL)
    ON CONFLICT (digest) DO UPDATE SET size_bytes = excluded.size_bytes RETURNING blobs.id
    """,
    """
    INSERT INTO upload_sessions
        (id, repository, algorithm, offset_bytes, digest_state, committing_digest, created_ms, updated_ms)
    VALUES ('1', 'old/code', 'sha256', 0, NULL, NULL, 1, 1)
    ON CONFLICT (id) DO UPDATE SET offset_bytes = 1 WHERE upload_sessions.offset_bytes != -1
    """,
    "DELETE FROM upload_sessions",
    "UPDATE repositories SET removed_ms = 1 WHERE name = 'old/code'",
)
"""Of version 0.2, which knows nothing of projects, places and owners."""

OF_REPOSITORIES: Final = (
    "SELECT repositories.name, projects.name FROM repositories LEFT JOIN projects ON projects.id = project_id"
)


class OldCatalogue:
    """A catalogue with the schema of the version before, on either database."""

    def __init__(self, *, path: Path | None = None, url: str = "") -> None:
        self._path = path
        self.url = url
        self._to(BEFORE)

    def _to(self, revision: str) -> None:
        if self._path is not None:
            self.on_file(lambda config: command.upgrade(config, revision))
            return

        def upgrade(config: Config) -> None:
            command.stamp(config, BEFORE_SERVERS)
            command.upgrade(config, revision)

        asyncio.run(self.on_server(upgrade))

    def migrate(self) -> bool:
        """Brings it to this version's schema."""
        return migrate(self._path) if self._path else migrate_server(self.url)

    def downgrade(self) -> None:
        """Takes the last step back."""
        if self._path is not None:
            self.on_file(lambda config: command.downgrade(config, BEFORE))
        else:
            asyncio.run(self.on_server(lambda config: command.downgrade(config, BEFORE)))

    def on_file(self, work: Callable[[Config], object]) -> None:
        """Runs Alembic on a file."""
        assert self._path is not None
        path = self._path
        engine = create_engine("sqlite://", creator=lambda: connect(path))
        with engine.begin() as connection:
            work(configured(connection))
        engine.dispose()

    async def on_server(self, work: Callable[[Config], object]) -> None:
        """Runs Alembic on a server."""
        engine = create_async_engine(make_url(self.url).set(drivername="postgresql+asyncpg"))
        async with engine.connect() as connection:
            await connection.run_sync(lambda sync: work(configured(sync)))
            await connection.commit()
        await engine.dispose()

    def ask(self, *statements: str) -> list[tuple[Any, ...]]:
        """Runs statements; the rows of the last."""
        if self._path is not None:
            with contextlib.closing(sqlite3.connect(self._path)) as connection, connection:
                return [connection.execute(statement).fetchall() for statement in statements][-1]
        return asyncio.run(self._ask(statements))

    async def _ask(self, statements: Sequence[str]) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.url)
        try:
            return [[tuple(row) for row in await connection.fetch(statement)] for statement in statements][-1]
        finally:
            await connection.close()

    def add(self, names: Sequence[str]) -> None:
        """Adds repositories."""
        values = ", ".join(f"('{name}', {number})" for number, name in enumerate(names))
        self.ask(f"INSERT INTO repositories (name, created_ms) VALUES {values}")

    def projects(self) -> dict[str, str | None]:
        """The project of each repository."""
        return dict(self.ask(OF_REPOSITORIES))

    async def opened(self) -> Database:
        """The catalogue as the registry opens it."""
        return SqliteDatabase.open(self._path) if self._path else await PostgresqlDatabase.open(self.url)

    def fill(self, tags: int) -> None:
        """Adds repositories with tags, as many as asked for."""
        count = tags // TAGS_OF_EACH
        series = "SELECT n FROM generate_series(1, {0}) AS n"
        if self._path is not None:
            series = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {0}) SELECT n FROM s"
        of_repositories, of_tags = series.format(count), series.format(TAGS_OF_EACH)
        text = "CAST(n AS TEXT)"
        self.ask(
            f"INSERT INTO repositories (name, created_ms) SELECT 'p' || CAST(n % 97 AS TEXT) || '/r' || {text}, n"
            f" FROM ({of_repositories}) AS numbers",
            "INSERT INTO manifests (digest, media_type, artifact_type, size_bytes, created_ms, body)"
            " VALUES ('sha256:1', '', '', 1, 1, CAST('x' AS " + ("BLOB" if self._path is not None else "BYTEA") + "))",
            "INSERT INTO repository_manifests SELECT repositories.id, manifests.id, 1 FROM repositories, manifests",
            "INSERT INTO tags SELECT repositories.id, 'v' || CAST(numbers.n AS TEXT), manifests.id, 1"
            f" FROM repositories, manifests, ({of_tags}) AS numbers",
        )


def configured(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config


@pytest.fixture
def old(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> OldCatalogue:
    if database_kind == "sqlite":
        return OldCatalogue(path=tmp_path / "roadstead.db")
    return OldCatalogue(url=request.getfixturevalue("postgres_url"))


@pytest.fixture
def old_server(postgres_url: str) -> OldCatalogue:
    return OldCatalogue(url=postgres_url)


@contextlib.contextmanager
def a_reader(url: str) -> Iterator[None]:
    """A transaction that reads ``repositories`` and does not end, as a long report's."""
    is_there, is_over = threading.Event(), threading.Event()

    async def read() -> None:
        connection = await asyncpg.connect(url)
        async with connection.transaction():
            await connection.fetch("SELECT FROM repositories")
            is_there.set()
            await asyncio.to_thread(is_over.wait)
        await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(read()))
    thread.start()
    assert is_there.wait(10)
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_each_repository_gets_its_project(old: OldCatalogue) -> None:
    old.add(NAMES)
    assert old.migrate()
    assert old.projects() == PROJECTS
    assert min(old.ask("SELECT name, created_ms FROM projects")) == ("a.b", 5)
    assert not old.migrate()


def test_many_rows_take_seconds(old: OldCatalogue) -> None:
    old.fill(ROWS)
    started = time.monotonic()
    assert old.migrate()
    assert time.monotonic() - started < 10 + ROWS / 10_000
    assert old.ask("SELECT count(*) FROM repositories WHERE project_id IS NULL") == [(0,)]
    assert old.ask("SELECT count(*) FROM projects") == [(97,)]
    assert old.ask("SELECT count(*) FROM tags") == [(ROWS,)]


def test_statements_of_the_version_before_run_on_the_new_schema(old: OldCatalogue) -> None:
    assert old.migrate()
    old.ask(*OLD_STATEMENTS)
    assert old.projects() == {"old/code": None}

    async def push() -> None:
        database = await old.opened()

        async def work(transaction: Transaction) -> int:
            return await ensure_repository(transaction, RepositoryName("old/code"), SystemClock().now_ms())

        await database.write(work)
        await database.close()

    asyncio.run(push())
    assert old.projects() == {"old/code": "old"}


def test_down_and_up_keeps_what_the_version_before_had(old: OldCatalogue) -> None:
    old.add(NAMES)
    before = old.ask("SELECT id, name, created_ms FROM repositories ORDER BY id")
    assert old.migrate()
    old.downgrade()
    assert old.ask("SELECT * FROM repositories ORDER BY id") == [(*row, None, None) for row in before]
    assert old.migrate()
    assert old.projects() == PROJECTS


@pytest.mark.anyio
async def test_first_pushes_at_once_make_one_project(old: OldCatalogue) -> None:
    await asyncio.to_thread(old.migrate)
    database = await old.opened()

    def pushed(name: str) -> Awaitable[int]:
        async def work(transaction: Transaction) -> int:
            return await ensure_repository(transaction, RepositoryName(name), SystemClock().now_ms())

        return database.write(work)

    try:
        names = [f"team/app{number // 2}" for number in range(40)]
        found = await asyncio.gather(*map(pushed, names))
        assert len(set(found)) == 20
    finally:
        await database.close()
    assert await asyncio.to_thread(old.ask, "SELECT name FROM projects") == [("team",)]
    assert set((await asyncio.to_thread(old.projects)).values()) == {"team"}


def test_the_code_s_tables_are_those_of_a_server(catalogue_url: str) -> None:
    known = (tables.projects, secret_tables.secrets, webhook_tables.parked_events)
    assert {table.metadata for table in known} == {metadata}

    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async def run() -> list[Any]:
        engine = create_async_engine(make_url(catalogue_url).set(drivername="postgresql+asyncpg"))
        async with engine.connect() as connection:
            found = await connection.run_sync(compare)
        await engine.dispose()
        return found

    assert asyncio.run(run()) == [], "change the tables and write a migration, both"


def test_two_migrations_at_once_do_not_race(old_server: OldCatalogue) -> None:
    old_server.fill(2000)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(old_server.migrate())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, False, False, True]
    assert asyncio.run(find_server_revision(old_server.url)) == HEAD


@pytest.mark.parametrize("steps", range(13))
def test_a_migration_that_ended_anywhere_is_taken_up(
    old_server: OldCatalogue, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Each of its transactions is the last one once."""
    old_server.add([f"team{number % 7}/app{number}" for number in range(5000)])
    committed = 0
    commit = Connection.commit

    def count(connection: Connection) -> None:
        nonlocal committed
        if committed == steps:
            raise DatabaseUnavailableError("killed")
        committed += 1
        commit(connection)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "commit", count)
        with pytest.raises(DatabaseUnavailableError):
            old_server.migrate()
    assert asyncio.run(find_server_revision(old_server.url)) == BEFORE
    old_server.ask(*OLD_STATEMENTS)
    assert old_server.migrate()
    assert None not in old_server.projects().values()
    constraints = "SELECT convalidated FROM pg_constraint WHERE conname = 'fk_repositories_project_id'"
    assert old_server.ask(constraints) == [(True,)]


def test_nobody_waits_behind_a_migration_that_waits(old_server: OldCatalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report holds the table, so the migration waits; a pull that comes after both is not held up."""
    old_server.add(NAMES)
    is_waiting = threading.Event()
    monkeypatch.setattr(time, "sleep", lambda _seconds: is_waiting.set())
    migrating = threading.Thread(target=old_server.migrate)
    with a_reader(old_server.url):
        migrating.start()
        assert is_waiting.wait(10)
        waited = 0.0
        for _ in range(20):
            started = time.monotonic()
            old_server.ask("SELECT name FROM repositories")
            waited = max(waited, time.monotonic() - started)
    migrating.join()
    assert waited < 1
    assert old_server.projects() == PROJECTS
    assert asyncio.run(find_server_revision(old_server.url)) == HEAD
