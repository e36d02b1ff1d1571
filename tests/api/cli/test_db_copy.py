"""``roadstead db copy``: a catalogue with something in every table, there and back, interrupted, and then in use."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import LargeBinary, Table, insert, select, text

from roadstead.access import visible_to_operator
from roadstead.app import open_registry
from roadstead.cli import program
from roadstead.cli.terminal.progress import ProgressBar
from roadstead.cli.terminal.refusal import CommandRefusedError
from roadstead.config import Settings, load_settings
from roadstead.database import Database, SqliteDatabase, Statement, Transaction, metadata, migrate
from roadstead.database.copy_errors import CopyDiffersError, CopyUnfinishedError
from roadstead.database.copying import CatalogueCopy, CopyObserver
from roadstead.database.postgresql import PostgresqlDatabase
from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry import Registry
from tests.factories.access import BY_TEST
from tests.factories.images import image, index, layer
from tests.factories.registries import make_folder, on_registry, push_blob, push_image, push_referrer
from tests.system.postgresql import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Mapping

SMALL, OTHER = image([layer({"a": b"one"})]), image([layer({"a": b"two"})])
APP: Final = RepositoryName("team/app")


async def _fill(registry: Registry) -> None:
    """By the registry's own ways as far as they lead; the rest by rows."""
    await push_image(registry, "team/app", SMALL, "1.0", "latest")
    await push_image(registry, "team/app", OTHER, "latest", "old")
    await push_image(registry, "myapp", index([SMALL, OTHER]), "all")
    await push_referrer(registry, "team/app", SMALL, note="ä")
    await push_blob(registry, "library/myapp", b"alone")
    await registry.tags.delete(APP, Tag("old"), cause=BY_TEST)
    await registry.manifests.delete(APP, Digest(OTHER.digest), cause=BY_TEST)

    async def work(transaction: Transaction) -> None:
        for table in metadata.sorted_tables:
            if not await transaction.fetch_all(Statement(select(table).limit(1))):
                await transaction.execute(Statement(insert(table).values(_row(table))))
        await transaction.execute(Statement(text("INSERT INTO events SELECT 9000, 1, '', '', '', '', 1, '', '', ''")))
        await transaction.execute(Statement(text("DELETE FROM events WHERE id = 9000")))

    await registry.database.write(work)


def _row(table: Table) -> Mapping[str, Any]:
    """Something for each column; keys that other rows have."""
    numbers = {column.key: 1 for column in table.columns}
    texts = {column.key: f"é {column.key}" for column in table.columns if column.type.python_type is str}
    bytes_ = {column.key: b"\x00\xff" for column in table.columns if isinstance(column.type, LargeBinary)}
    return {**numbers, **texts, **bytes_}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make_folder(tmp_path / "data")
    on_registry(made, _fill)
    return made


@pytest.fixture
def back(tmp_path: Path) -> Path:
    """Where a copy in a file goes."""
    return tmp_path / "back.db"


def copy(folder: Path, *arguments: str) -> Result:
    """The outcome of a copy from or to the registry in a folder."""
    return CliRunner().invoke(program, ["db", "copy", "--data", str(folder), *arguments])


def rows_of_file(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables that are copied."""
    with closing(sqlite3.connect(path)) as connection:
        found = {
            table.name: sorted(connection.execute(f"SELECT * FROM {table.name}"), key=repr)
            for table in metadata.sorted_tables
            if table.name != "leases"
        }
        found["sqlite_sequence"] = sorted(connection.execute("SELECT name, seq FROM sqlite_sequence"))
        return found


def settings_of(folder: Path, url: str) -> Settings:
    return load_settings(None, {}, {"data.folder": folder, "database.url": url})


def test_there_and_back(folder: Path, postgres_url: str, back: Path) -> None:
    before = rows_of_file(folder / "roadstead.db")
    assert all(before.values()), "every table has a row"
    there = copy(folder, "--to", postgres_url, "--json")
    assert there.exit_code == 0, there.output
    tables = [json.loads(line) for line in there.stdout.splitlines()]
    assert {each["table"] for each in tables} == {table.name for table in metadata.sorted_tables} - {"leases"}
    assert all(each["rows"] and len(each["checksum"]) == 32 for each in tables)
    again = copy(folder, "--from", postgres_url, "--to", f"sqlite:///{back}", "--json")
    assert again.exit_code == 0, again.output
    assert again.stdout == there.stdout, "the same checksums"
    assert rows_of_file(back) == before


def test_a_password_in_the_settings_is_for_the_server_whichever_side_it_is(
    folder: Path, postgres_url: str, back: Path
) -> None:
    file, bare = f"sqlite:///{folder / 'roadstead.db'}", postgres_url.replace(f":{PASSWORD}@", "@")
    environment = {"ROADSTEAD_DATABASE__URL": bare, "ROADSTEAD_DATABASE__PASSWORD": PASSWORD}
    for arguments in (["--from", file, "--to", bare], ["--to", f"sqlite:///{back}"]):
        command = ["db", "copy", "--data", str(folder), *arguments]
        result = CliRunner().invoke(program, command, env=environment)
        assert result.exit_code == 0, result.output
    assert rows_of_file(back) == rows_of_file(folder / "roadstead.db")


@pytest.mark.parametrize("url", ["mysql://server/name", "postgresql://server:99999999/name"])
def test_a_wrong_url_is_named_by_its_option(folder: Path, url: str) -> None:
    result = copy(folder, "--to", url)
    assert result.exit_code == 2
    assert "--to" in result.stderr


def test_the_registry_on_the_copy_serves_and_counts_on(folder: Path, postgres_url: str) -> None:
    assert copy(folder, "--to", postgres_url).exit_code == 0

    async def use() -> None:
        async with open_registry(settings_of(folder, postgres_url)) as registry:
            found = await registry.manifests.get(APP, Tag("1.0"), visible=visible_to_operator())
            assert found.digest == SMALL.digest
            await push_image(registry, "team/new", image([layer({"a": b"three"})]), "v1")
            row = await registry.database.fetch_one(Statement(text("SELECT nextval('events_id_seq')")))
            assert row is not None
            assert row[0] > 9000, "an id of an event is never given out again"

    asyncio.run(use())


def test_a_target_with_something_in_it_is_left_alone(folder: Path, postgres_url: str, back: Path) -> None:
    migrate(back)
    with closing(sqlite3.connect(back)) as connection, connection:
        connection.execute("INSERT INTO states VALUES ('mine', '1')")
    result = copy(folder, "--to", f"sqlite:///{back}")
    assert result.exit_code != 0
    assert "not empty" in result.stderr
    assert copy(folder, "--to", postgres_url).exit_code == 0
    result = copy(folder, "--to", postgres_url)
    assert "not empty" in result.stderr, "a copy that has come to its end is a catalogue"


def test_another_schema_is_refused(folder: Path, back: Path) -> None:
    migrate(back)
    with closing(sqlite3.connect(back)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0005'")
    result = copy(folder, "--to", f"sqlite:///{back}")
    assert result.exit_code != 0
    assert "schema 0005" in result.stderr


def test_a_nul_is_named_with_its_row_and_the_remedy(folder: Path, postgres_url: str) -> None:
    with closing(sqlite3.connect(folder / "roadstead.db")) as connection, connection:
        connection.execute("UPDATE manifests SET media_type = 'a' || char(0) || 'b' WHERE id = 1")
    result = copy(folder, "--to", postgres_url)
    assert result.exit_code != 0
    assert "media_type of the row (1) of manifests has a NUL" in result.stderr
    assert "roadstead rm" in result.stderr


def test_a_server_that_may_change_something_is_in_the_way(folder: Path, postgres_url: str) -> None:
    async def serve(registry: Registry) -> None:
        await registry.maintenance.obey()

    on_registry(folder, serve)
    result = copy(folder, "--to", postgres_url)
    assert result.exit_code != 0
    assert "maintenance read-only --wait" in result.stderr
    on_registry(folder, _close_for_changes)
    assert copy(folder, "--to", postgres_url).exit_code == 0


async def _close_for_changes(registry: Registry) -> None:
    from roadstead.registry.operation.maintenance import MaintenanceMode  # noqa: PLC0415 - of this alone

    await registry.database.write(
        lambda transaction: transaction.execute(Statement(text("DELETE FROM states WHERE name LIKE 'serving/%'")))
    )
    await registry.maintenance.set(MaintenanceMode.READ_ONLY)
    await registry.maintenance.obey()


# ── Interrupted ───────────────────────────────────────────────────────────────────────────────────────────────


class _KilledError(Exception):
    """The process ends here."""


async def _still() -> None:
    """Nobody changes the source."""


async def _interrupted(source: Database, target: Database, name: str, writes: int) -> bool:
    """Copies until so many transactions were committed; whether it came to its end before."""
    done = 0
    write = target.write

    async def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal done
        if done == writes:
            raise _KilledError
        done += 1
        return await write(*arguments, **more)

    target.write = counted  # type: ignore[method-assign]
    observer = CopyObserver(begin=lambda _stage, _total: None, advance=lambda _rows: None)
    try:
        await CatalogueCopy(source, target, source_name=name, observer=observer, require_still=_still).run()
    except _KilledError:
        return False
    finally:
        target.write = write  # type: ignore[method-assign]
    return True


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("roadstead.database.table_pages.PAGE_ROWS", 2)
    monkeypatch.setattr("roadstead.database.table_pages.PAGE_OF_BYTES_ROWS", 1)
    return iter([None])


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("step", [1, 2, 7])
def test_killed_again_and_again_it_goes_on(folder: Path, catalogue_url: str, back: Path, step: int) -> None:
    """Each run gets a few transactions further; in both directions the end is that of a copy in one go."""
    before = rows_of_file(folder / "roadstead.db")
    migrate(back)

    async def run() -> None:
        source, server = SqliteDatabase.open(folder / "roadstead.db"), await PostgresqlDatabase.open(catalogue_url)
        file = SqliteDatabase.open(back)
        for each, other in ((source, server), (server, file)):
            runs = 1
            while not await _interrupted(each, other, "it", step + runs % 2):
                runs += 1
                assert runs < 500
            assert runs > 3
        for each in (source, server, file):
            await each.close()

    asyncio.run(run())
    assert rows_of_file(back) == before


def test_a_part_of_a_copy_is_no_catalogue_and_of_no_other_source(folder: Path, postgres_url: str, back: Path) -> None:
    migrate(back)

    async def begin() -> None:
        source, target = SqliteDatabase.open(folder / "roadstead.db"), SqliteDatabase.open(back)
        assert not await _interrupted(source, target, str(folder / "roadstead.db"), 3)
        await source.close()
        await target.close()

    asyncio.run(begin())

    async def use() -> None:
        async with open_registry(settings_of(folder, f"sqlite:///{back}")):
            raise AssertionError("it was opened")

    with pytest.raises(CopyUnfinishedError, match="db copy"):
        asyncio.run(use())
    assert copy(folder, "--to", postgres_url).exit_code == 0
    result = copy(folder, "--from", postgres_url, "--to", f"sqlite:///{back}")
    assert result.exit_code != 0
    assert "a part of a copy of" in result.stderr
    assert copy(folder, "--to", f"sqlite:///{back}").exit_code == 0
    assert rows_of_file(back) == rows_of_file(folder / "roadstead.db")


@pytest.mark.parametrize("is_on_a_server", [False, True])
def test_what_servers_note_meanwhile_does_no_harm(
    folder: Path, postgres_url: str, back: Path, monkeypatch: pytest.MonkeyPatch, *, is_on_a_server: bool
) -> None:
    """Beside the pulls that go on they keep the time, and places of endpoints, and forget what is old."""
    if is_on_a_server:
        assert copy(folder, "--to", postgres_url).exit_code == 0
    noted = [
        "UPDATE states SET value = value || '!'",
        "DELETE FROM events",
        "UPDATE project_days SET pulls = pulls + 1",
    ]

    def note(_bar: ProgressBar, _stage: str, _total: int, **_more: bool) -> None:
        if is_on_a_server:
            tell_server(postgres_url, *noted)
            return
        with closing(sqlite3.connect(folder / "roadstead.db")) as connection, connection:
            for statement in noted:
                connection.execute(statement)

    before = rows_of_file(folder / "roadstead.db")
    monkeypatch.setattr(ProgressBar, "begin", note)
    source = ["--from", postgres_url] if is_on_a_server else []
    result = copy(folder, *source, "--to", f"sqlite:///{back}")
    assert result.exit_code == 0, result.output
    assert rows_of_file(back) == before


def tell_server(url: str, *statements: str) -> None:
    async def tell() -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    with ThreadPoolExecutor(1) as pool:  # a loop is running here
        pool.submit(asyncio.run, tell()).result()


def test_a_source_that_changes_meanwhile_is_noticed_and_the_target_is_no_catalogue(folder: Path, back: Path) -> None:
    """By the checksums, or because a server may do so by the time the copy ends."""
    migrate(back)

    async def copy_while(work: Callable[[Database], Awaitable[None]], *, is_still: bool) -> None:
        source, target = SqliteDatabase.open(folder / "roadstead.db"), SqliteDatabase.open(back)
        has_begun = asyncio.Event()

        def begin(stage: str, _total: int) -> None:
            if stage == "copying tag_history":
                has_begun.set()

        async def require_still() -> None:
            if not is_still:
                raise CommandRefusedError("a server has started")

        observer = CopyObserver(begin=begin, advance=lambda _rows: None)
        copying = CatalogueCopy(source, target, source_name="it", observer=observer, require_still=require_still)
        try:
            begun = asyncio.create_task(copying.run())
            await asyncio.wait_for(has_begun.wait(), 10)
            await work(source)
            await begun
        finally:
            await source.close()
            await target.close()

    async def rename(source: Database) -> None:
        renamed = Statement(text("UPDATE projects SET name = 'other' WHERE name = 'team'"))
        await source.write(lambda transaction: transaction.execute(renamed))

    async def nothing(_source: Database) -> None:
        return

    with pytest.raises(CopyDiffersError, match="projects"):
        asyncio.run(copy_while(rename, is_still=True))
    with closing(sqlite3.connect(folder / "roadstead.db")) as connection, connection:
        connection.execute("UPDATE projects SET name = 'team' WHERE name = 'other'")
    back.unlink()
    migrate(back)
    with pytest.raises(CommandRefusedError):
        asyncio.run(copy_while(nothing, is_still=False))
    with closing(sqlite3.connect(back)) as connection:
        assert connection.execute("SELECT count(*) FROM states WHERE name = 'database-copy'").fetchone() == (1,)
