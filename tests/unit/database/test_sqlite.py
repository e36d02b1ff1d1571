"""The catalogue in SQLite: commits are shared, failures are not, readers do not wait, errors are named."""

import asyncio
import multiprocessing
import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, func, insert, select

from roadstead.database import (
    DatabaseDamagedError,
    DatabaseFullError,
    DatabaseUnavailableError,
    SqliteDatabase,
    Statement,
    Transaction,
    parameter,
)
from roadstead.database.sqlite import CHECKPOINT_COMMITS, GROUP_LIMIT, TURN_SECONDS

pytestmark = pytest.mark.anyio

NOTES = Table("notes", MetaData(), Column("id", Integer, primary_key=True), Column("text", Text, unique=True))
ADD = Statement(insert(NOTES).values(text=parameter("text")))
COUNT = Statement(select(func.count()).select_from(NOTES))
FIND = Statement(select(NOTES.c.text).where(NOTES.c.text == parameter("text")))


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length that each file had that this process has flushed."""
    seen: list[int] = []
    flush = os.fdatasync

    def note(descriptor: int) -> None:
        seen.append(os.fstat(descriptor).st_size)
        flush(descriptor)

    monkeypatch.setattr(os, "fdatasync", note)
    return seen


def size_of(path: Path) -> int:
    return path.stat().st_size


async def add(database: SqliteDatabase, text: str, *, durable: bool = True) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.execute(ADD, text=text)

    await database.write(work, durable=durable)


async def count(database: SqliteDatabase) -> int:
    row = await database.fetch_one(COUNT)
    assert row is not None
    return int(row[0])


def commits(database: SqliteDatabase) -> list[str]:
    """The statements that the writing connection runs from now on and that end a group."""
    seen: list[str] = []

    def trace(statement: str) -> None:
        if statement == "COMMIT":
            seen.append(statement)

    database._writing.set_trace_callback(trace)
    return seen


async def long_work(transaction: Transaction) -> None:
    """What others queue up behind."""
    await transaction.execute(ADD, text="long")


async def test_writes_that_queue_up_share_commits(database: SqliteDatabase) -> None:
    seen = commits(database)
    adding = (add(database, str(number)) for number in range(200))
    await asyncio.gather(database.write(long_work, is_long=True), *adding)
    assert await count(database) == 201
    assert len(seen) <= 200 // GROUP_LIMIT + 2


async def test_concurrent_writes_share_flushes(database: SqliteDatabase, flushes: list[int]) -> None:
    await asyncio.gather(*(add(database, str(number)) for number in range(200)))
    assert await count(database) == 200
    assert len(flushes) <= 2


async def test_one_after_the_other_is_one_commit_each(database: SqliteDatabase) -> None:
    seen = commits(database)
    for number in range(5):
        await add(database, str(number))
    assert len(seen) == 5


@pytest.mark.parametrize("is_queued", [False, True])
async def test_a_failure_leaves_its_neighbours_alone(database: SqliteDatabase, is_queued: bool) -> None:  # noqa: FBT001
    async def failing(transaction: Transaction) -> None:
        await transaction.execute(ADD, text="undone")
        raise LookupError("on purpose")

    first = [database.write(long_work, is_long=True)] if is_queued else []
    results = await asyncio.gather(
        add(database, "before"),
        *first,
        database.write(failing),
        add(database, "before"),
        add(database, "after"),
        return_exceptions=True,
    )
    kinds = [type(result) for result in results if result is not None]
    assert kinds == [LookupError, sqlite3.IntegrityError]
    assert await count(database) == 2 + is_queued
    assert await database.fetch_one(FIND, text="undone") is None
    assert await database.fetch_one(FIND, text="after") == ("after",)


async def test_a_transaction_sees_its_own_changes_and_others_do_not(database: SqliteDatabase) -> None:
    inside: list[object] = []

    async def work(transaction: Transaction) -> str:
        await transaction.execute(ADD, text="new")
        inside.append(await transaction.fetch_one(FIND, text="new"))
        inside.append(await transaction.fetch_all(COUNT))
        inside.append(await database.fetch_one(FIND, text="new"))
        return "result"

    with pytest.raises(RuntimeError):  # the reader is no transaction: awaiting it works only as it never waits
        await database.write(lambda _transaction: asyncio.sleep(0))
    assert await database.write(work) == "result"
    assert inside == [("new",), [(1,)], None]
    assert await database.fetch_one(FIND, text="new") == ("new",)


async def test_long_work_leaves_the_loop_to_others(database: SqliteDatabase) -> None:
    """What it waits for happens in the loop, which therefore goes on meanwhile."""
    others = threading.Event()

    async def long(transaction: Transaction) -> bool:
        await transaction.execute(ADD, text="long")
        return others.wait(10)

    async def short(transaction: Transaction) -> None:
        assert await transaction.fetch_one(FIND, text="long"), "works of a group run one after the other"
        await transaction.execute(ADD, text="short")

    writing = asyncio.gather(database.write(long, is_long=True), database.write(short))
    await asyncio.sleep(0.01)
    assert await database.fetch_one(FIND, text="long") is None
    others.set()
    assert list(await writing) == [True, None]
    assert await count(database) == 2


async def test_long_work_that_fails_is_undone_alone(database: SqliteDatabase) -> None:
    async def failing(transaction: Transaction) -> None:
        await transaction.execute(ADD, text="undone")
        raise LookupError("on purpose")

    results = await asyncio.gather(database.write(failing, is_long=True), add(database, "kept"), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError, type(None)]
    assert await database.fetch_one(FIND, text="undone") is None
    assert await database.fetch_one(FIND, text="kept") == ("kept",)


async def test_the_loop_has_its_turn_between_short_works(database: SqliteDatabase) -> None:
    turns = 0

    async def work(_transaction: Transaction) -> int:
        time.sleep(2 * TURN_SECONDS)  # noqa: ASYNC251 - as long as many statements
        return turns

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count_turns())
    first = asyncio.create_task(database.write(long_work, is_long=True))
    await asyncio.sleep(0)
    seen = await asyncio.gather(*(database.write(work) for _ in range(4)))
    await first
    counting.cancel()
    assert sorted(set(seen)) == seen, "each work began after another turn of the loop"


async def test_work_that_waits_for_something_else_is_refused(database: SqliteDatabase) -> None:
    async def waiting(transaction: Transaction) -> None:
        await transaction.execute(ADD, text="undone")
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="awaited something other"):
        await database.write(waiting)
    assert await count(database) == 0
    await add(database, "later")
    assert await count(database) == 1


async def test_a_caller_that_is_cancelled_does_not_stop_its_group(database: SqliteDatabase) -> None:
    given_up = asyncio.create_task(add(database, "given up"))
    kept = asyncio.create_task(add(database, "kept"))
    await asyncio.sleep(0)
    given_up.cancel()
    await kept
    assert await count(database) == 2


async def test_a_failure_that_nobody_waits_for_is_silent(database: SqliteDatabase) -> None:
    async def failing(_transaction: Transaction) -> None:
        raise LookupError("on purpose")

    task = asyncio.create_task(database.write(failing))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises((asyncio.CancelledError, LookupError)):
        await task


async def test_closing_commits_what_is_queued(database: SqliteDatabase, path: Path) -> None:
    task = asyncio.create_task(add(database, "queued"))
    await asyncio.sleep(0)
    await database.close()
    await task
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT text FROM notes").fetchall() == [("queued",)]
    assert not path.with_name("roadstead.db-wal").exists(), "the log is folded in"


async def test_durable_writes_are_flushed_and_others_are_not(database: SqliteDatabase, flushes: list[int]) -> None:
    await add(database, "1", durable=False)
    assert flushes == []
    await add(database, "2")
    assert flushes == [size_of(database.path.with_name("roadstead.db-wal"))], "all of the log, after the commit"
    await database.write(long_work, durable=False, is_long=True)
    assert len(flushes) == 1
    await asyncio.gather(add(database, "3", durable=False), add(database, "4", durable=True))
    assert len(flushes) == 2


async def test_readers_are_not_blocked_by_a_writer_elsewhere(database: SqliteDatabase, path: Path) -> None:
    await add(database, "old")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO notes (text) VALUES ('uncommitted')")
        assert await asyncio.wait_for(count(database), 1) == 1
        other.execute("ROLLBACK")


def hold_lock(path: Path, ready: "multiprocessing.synchronize.Event", go: "multiprocessing.synchronize.Event") -> None:
    """Another process that writes for a while."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO notes (text) VALUES ('of the other')")
        ready.set()
        go.wait(30)
        connection.execute("COMMIT")


async def test_a_writer_waits_for_another_process(database: SqliteDatabase, path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(path, ready, go))
    other.start()
    assert await asyncio.to_thread(ready.wait, 30)
    writing = asyncio.create_task(add(database, "mine"))
    await asyncio.sleep(0.1)
    assert not writing.done()
    assert await count(database) == 0, "the loop goes on meanwhile"
    go.set()
    await writing
    await asyncio.to_thread(other.join)
    assert await count(database) == 2


async def test_a_full_database_undoes_the_group_and_recovers(database: SqliteDatabase) -> None:
    await add(database, "before")
    pages = database._writing.execute("PRAGMA page_count").fetchone()[0]
    database._writing.execute(f"PRAGMA max_page_count = {pages}")
    results = await asyncio.gather(add(database, "small"), add(database, "x" * 1_000_000), return_exceptions=True)
    assert isinstance(results[1], DatabaseFullError)
    database._writing.execute("PRAGMA max_page_count = 1000000")
    await add(database, "after")
    found = {text for text in ("small", "after") if await database.fetch_one(FIND, text=text)}
    assert found == {"after"} | ({"small"} if results[0] is None else set()), "told and done agree"


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
async def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.db"
    path.write_bytes(content)
    with pytest.raises(DatabaseDamagedError):
        SqliteDatabase.open(path)


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError):
        SqliteDatabase.open(tmp_path / "missing" / "roadstead.db")


async def test_a_page_that_is_damaged(database: SqliteDatabase, path: Path) -> None:
    for number in range(50):
        await add(database, f"{number:04}" + "x" * 2000)
    await database.close()
    with path.open("r+b") as file:
        file.seek(4096 * 4)
        file.write(b"\xff" * 4096 * 10)
    damaged = SqliteDatabase.open(path)
    with pytest.raises(DatabaseDamagedError):
        await damaged.fetch_all(Statement(select(NOTES.c.text).order_by(NOTES.c.id)))
    damaged._reading.close()
    damaged._writing.close()
    damaged._executor.shutdown()


async def test_the_log_does_not_grow_under_constant_writes(database: SqliteDatabase, path: Path) -> None:
    log = path.with_name("roadstead.db-wal")
    sizes: list[int] = []
    for number in range(CHECKPOINT_COMMITS * 8):
        await add(database, f"{number}" + "x" * 3000, durable=False)
        await asyncio.sleep(0)
        sizes.append(size_of(log))
    assert sizes[-1] <= 2 * sizes[CHECKPOINT_COMMITS * 2]
    await database.close()
    assert size_of(path) > CHECKPOINT_COMMITS * 8 * 3000
