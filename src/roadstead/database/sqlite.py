"""The catalogue in an SQLite file.

Reads run in the event loop on a connection of their own (WAL: they never wait for a writer), and so do writes, since
statements take microseconds and a thread would have to fight for the interpreter lock between any two of them. A commit
waits for no disk; whoever must be certain of it waits for a flush that it shares with others (``log_flusher``).

Only what waits for another process's lock, or says that it is long, runs in a thread. What comes meanwhile queues up
and runs as savepoints of a single transaction; between short works of such a group the loop has its turn. Checkpoints
run in a thread too, on a third connection.
"""

import asyncio
import contextlib
import functools
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from roadstead.database.cancelling import defer_cancellation, finished
from roadstead.database.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseFullError,
    DatabaseUnavailableError,
)
from roadstead.database.locks import NameLock
from roadstead.database.log_flusher import LogFlusher
from roadstead.database.protocol import Row, Transaction
from roadstead.database.script import Script, run_steps
from roadstead.database.statement import LockingStatement, Statement
from roadstead.database.wal_index import find_wal_index

BUSY_SECONDS: Final = 30
"""The time that a writer waits for another process (the command line, another worker) before it gives up."""

GROUP_LIMIT: Final = 128
"""Transactions that share a commit: bounds how long the loop is busy between two commits to a few milliseconds."""

TURN_SECONDS: Final = 0.01
"""Time for which short works run one after the other before the loop looks after others."""

CHECKPOINT_COMMITS: Final = 256
"""Commits after which the write-ahead log is folded into the database: it then has some megabytes."""

CACHE_KIB: Final = 8192
"""Page cache of each connection: upper levels of every index of a catalogue with millions of rows."""

T = TypeVar("T")


@dataclass(slots=True)
class _Pending:
    work: Callable[[Transaction], Awaitable[Any]]
    is_long: bool
    outcome: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class SqliteDatabase:
    """A ``Database`` in a file; made by ``open`` and used from one event loop."""

    def __init__(self, path: Path, reading: sqlite3.Connection, writing: sqlite3.Connection) -> None:
        self.path = path
        self._reading = reading
        self._writing = writing
        self._transaction = SqliteTransaction(writing)
        self._queue: deque[_Pending] = deque()
        self._committer: asyncio.Task[None] | None = None
        self._checkpointing: asyncio.Future[None] | None = None
        self._executor = ThreadPoolExecutor(3, thread_name_prefix="catalogue")
        self._flusher = LogFlusher(path, self._executor, lambda: _fold(path))
        self._commits = 0
        writing.execute("PRAGMA synchronous = NORMAL")
        with contextlib.suppress(sqlite3.DatabaseError):  # what is damaged is reported by whoever needs it
            reading.execute("SELECT count(*) FROM sqlite_master").fetchone()  # which maps the index
        self._index = find_wal_index(path)

    @classmethod
    def open(cls, path: Path) -> "SqliteDatabase":
        """Opens the database, whose schema must be there already (see ``roadstead.database.migrate``).

        Raises:
            DatabaseDamagedError: the file is no database.
            DatabaseUnavailableError: it cannot be opened.
        """
        with translated():
            return cls(path, connect(path), connect(path))

    def version(self) -> bytes | None:
        """A value that the next commit, of whatever process, changes; see ``Database``."""
        return self._index.header() if self._index is not None else None

    async def fetch_one(self, statement: Statement, **parameters: object) -> Row | None:
        """The first row of what is committed."""
        with translated():
            return cast("Row | None", self._reading.execute(*statement.for_sqlite(parameters)).fetchone())

    async def fetch_all(self, statement: Statement, **parameters: object) -> list[Row]:
        """All rows of what is committed."""
        with translated():
            return self._reading.execute(*statement.for_sqlite(parameters)).fetchall()

    async def fetch_settled(self, lock: NameLock, statement: Statement, **parameters: object) -> Row | None:  # noqa: ARG002
        """As ``fetch_one``: a number that is given by one transaction is committed before the next one begins."""
        return await self.fetch_one(statement, **parameters)

    async def write(
        self,
        work: Callable[[Transaction], Awaitable[T]],
        *,
        locks: Iterable[NameLock] = (),  # noqa: ARG002 - a transaction has the whole file for itself
        durable: bool = True,
        is_long: bool = False,
    ) -> T:
        """Runs ``work`` here and now, or in the next group; ``durable`` waits for a flush after it."""
        is_now = not is_long and self._is_idle() and self._begin_now()
        result = self._write_now(work) if is_now else await finished(self._queue_up(work, is_long=is_long))
        if durable:
            try:
                await self._flusher.flush()
            except asyncio.CancelledError:  # it is committed: its caller learns that, and is cancelled after it
                await finished(self._flusher.flush())
                defer_cancellation()
        return result

    async def run(
        self,
        script: Script,
        values: Mapping[str, object],
        *,
        locks: Iterable[NameLock] = (),
        durable: bool = True,
        is_long: bool = False,
    ) -> Row:
        """Runs the steps of ``script`` in a transaction."""
        work = functools.partial(run_steps, script, values=values)
        return await self.write(work, locks=locks, durable=durable, is_long=is_long)

    async def close(self) -> None:
        """Commits what is queued, folds the log into the database and closes."""
        if self._committer is not None:
            await self._committer
        if self._checkpointing is not None:
            await self._checkpointing
        await self._flusher.close()
        self._index = None
        self._reading.close()
        self._writing.close()
        self._executor.shutdown()

    def _is_idle(self) -> bool:
        """Returns True if no group is queued or running, and no checkpoint is due."""
        is_free = not self._queue and (self._committer is None or self._committer.done())
        folding = self._checkpointing
        is_due = self._commits >= CHECKPOINT_COMMITS if folding is None else folding.done()
        return is_free and not is_due

    def _begin_now(self) -> bool:
        """Begins a transaction; False if another process is writing."""
        with translated():
            try:
                self._writing.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                return False
        return True

    def _queue_up(self, work: Callable[[Transaction], Awaitable[T]], *, is_long: bool) -> "asyncio.Future[T]":
        """Has ``work`` run in the next group."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Pending(work, is_long, outcome))
        if self._committer is None or self._committer.done():
            self._committer = asyncio.create_task(self._commit_groups(), name="catalogue-commits")
        return outcome

    def _write_now(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        try:
            with translated():
                result = run_now(work(self._transaction))
                self._writing.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._writing.execute("ROLLBACK")
            raise
        self._commits += 1
        return result

    async def _commit_groups(self) -> None:
        while self._queue:
            group = [self._queue.popleft() for _ in range(min(len(self._queue), GROUP_LIMIT))]
            try:
                await self._commit_group(group)
            except Exception as error:  # noqa: BLE001 - it is raised again where each work came from
                for pending in group:
                    pending.error = error
            for pending in group:
                _settle(pending)

    async def _commit_group(self, group: list[_Pending]) -> None:
        await self._begin()
        try:
            if len(group) == 1 and not group[0].is_long:
                self._run_alone(group[0])
            else:
                await self._run_group(group)
            with translated():  # in a thread: the first commit to a log that begins anew waits for the disk
                await asyncio.get_running_loop().run_in_executor(self._executor, self._writing.execute, "COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._writing.execute("ROLLBACK")
            raise
        await self._checkpoint_when_due()

    async def _begin(self) -> None:
        if not self._begin_now():
            with translated():
                await asyncio.get_running_loop().run_in_executor(self._executor, _begin_patiently, self._writing)

    async def _run_group(self, group: list[_Pending]) -> None:
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + TURN_SECONDS
        for pending in group:
            if pending.is_long:
                await loop.run_in_executor(self._executor, self._run, pending)
            else:
                self._run(pending)
            if loop.time() >= turn_ends:
                await asyncio.sleep(0)
                turn_ends = loop.time() + TURN_SECONDS

    def _run_alone(self, pending: _Pending) -> None:
        """Runs the only transaction of a group: what it fails with ends the group."""
        with translated():
            pending.result = run_now(pending.work(self._transaction))

    def _run(self, pending: _Pending) -> None:
        """Runs one transaction as a savepoint, so that its failure leaves its neighbours alone."""
        self._writing.execute("SAVEPOINT work")
        try:
            with translated():
                pending.result = run_now(pending.work(self._transaction))
        except Exception as error:
            if not self._writing.in_transaction:
                raise  # SQLite has undone the whole group, as it does when the disk is full
            self._writing.execute("ROLLBACK TO work")
            pending.error = error
        self._writing.execute("RELEASE work")

    async def _checkpoint_when_due(self) -> None:
        """Folds the log in beside the next commits, then what these have added, with nobody writing.

        Only a log that is folded in to its last page begins anew, so under constant writes it would grow without end.
        """
        self._commits += 1
        loop = asyncio.get_running_loop()
        if self._checkpointing is not None:
            if self._checkpointing.done():
                self._checkpointing = None
                await loop.run_in_executor(self._executor, _checkpoint, self.path)
        elif self._commits >= CHECKPOINT_COMMITS:
            self._commits = 0
            self._checkpointing = loop.run_in_executor(self._executor, _checkpoint, self.path)


class SqliteTransaction:
    """A ``Transaction`` on the writing connection, between the ``SAVEPOINT`` and the ``RELEASE`` of its work."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch_one(self, statement: Statement, **parameters: object) -> Row | None:
        """The first row, as this transaction sees it."""
        return cast("Row | None", self._connection.execute(*statement.for_sqlite(parameters)).fetchone())

    async def fetch_all(self, statement: Statement, **parameters: object) -> list[Row]:
        """All rows, as this transaction sees them."""
        return self._connection.execute(*statement.for_sqlite(parameters)).fetchall()

    async def lock_one(self, statement: LockingStatement, **parameters: object) -> Row | None:
        """As ``fetch_one``: a transaction has the whole file for itself."""
        return await self.fetch_one(statement.statement, **parameters)

    async def lock_all(self, statement: LockingStatement, **parameters: object) -> list[Row]:
        """As ``fetch_all``."""
        return await self.fetch_all(statement.statement, **parameters)

    async def take(self, locks: Iterable[NameLock]) -> bool:  # noqa: ARG002
        """Does nothing: a transaction has the whole file for itself."""
        return False

    async def execute(self, statement: Statement, **parameters: object) -> int:
        """Changes rows and returns how many."""
        return self._connection.execute(*statement.for_sqlite(parameters)).rowcount

    async def execute_many(self, statement: Statement, rows: Sequence[Mapping[str, object]]) -> None:
        """Changes rows for each of ``rows`` of parameters."""
        if rows:
            self._connection.executemany(*statement.many_for_sqlite(rows))


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode with this project's settings; for other threads too, one at a time."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rwc",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        timeout=0,
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA mmap_size = 0")  # a truncated file must be an error, not a SIGBUS
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def connect_immutable(path: Path) -> sqlite3.Connection:
    """A connection that only reads a file that nobody changes; no file is made beside it."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def run_now(work: Awaitable[T]) -> T:
    """The result of a coroutine that awaits nothing but a transaction on SQLite, which never suspends.

    Raises:
        RuntimeError: it awaited something else; work in a transaction must not wait.
    """
    coroutine = cast("Coroutine[Any, Any, T]", work)
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return cast("T", finished.value)
    coroutine.close()
    raise RuntimeError("work in a transaction awaited something other than its transaction")


def _begin_patiently(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    try:
        connection.execute("BEGIN IMMEDIATE")
    finally:
        connection.execute("PRAGMA busy_timeout = 0")


def _checkpoint(path: Path) -> None:
    """Folds the log into the database as far as readers allow; the log's file is reused from its start."""
    with contextlib.closing(connect(path)) as connection, contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _fold(path: Path) -> bool:
    """Copies all of the log into the database, durably; False if somebody still reads from the log."""
    with translated(), contextlib.closing(connect(path)) as connection:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]


def _settle(pending: _Pending) -> None:
    if pending.outcome.done():
        return
    if pending.error is None:
        pending.outcome.set_result(pending.result)
    else:
        pending.outcome.set_exception(pending.error)


class translated(contextlib.AbstractContextManager[None]):  # noqa: N801 - reads as a statement
    """Turns SQLite's errors into this package's; a class, since a generator would cost a microsecond a read."""

    __slots__ = ()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raises the translation of an error of sqlite3; lets others pass."""
        if isinstance(error, sqlite3.DatabaseError):
            raise _translate(error) from error


def _translate(error: sqlite3.DatabaseError) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return DatabaseFullError()
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return DatabaseBusyError(BUSY_SECONDS)
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return DatabaseDamagedError(str(error))
    if code in {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE}:
        return error  # a fault of the program, not of the database: let it be seen as such
    return DatabaseUnavailableError(str(error))
