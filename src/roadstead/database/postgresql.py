"""The catalogue in a PostgreSQL database.

Reads run by themselves, outside a transaction, on any connection of a pool; a transaction has one for its time. It is
READ COMMITTED, with the locks that its work asks for (``Transaction``). No state is kept in a session, so PgBouncer may
stand in between in transaction mode: what a transaction needs is set with its ``BEGIN``, in the same round trip, and
where PgBouncer is seen (its connections have other process ids than the server's) statements are not prepared by name.

A failure before the commit undoes all and, where another transaction or a lost connection caused it, is tried again.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import SelectBase

from roadstead.database.cancelling import finished
from roadstead.database.connections import Connection, Connections
from roadstead.database.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseFullError,
    DatabaseUnavailableError,
)
from roadstead.database.functions import ENDED, ScriptFunction
from roadstead.database.locks import Lock, NameLock, in_order
from roadstead.database.protocol import Reader, Row, Transaction
from roadstead.database.script import OvertakenError, Script, ended, run_steps
from roadstead.database.server_errors import explained
from roadstead.database.statement import LockingStatement, Statement

CONNECTIONS: Final = 8
"""Of each process: about four for each processor of a database's server."""

WAIT_SECONDS: Final = 30
"""Seconds for which a transaction waits for a connection, and for a lock that another one holds."""

IDLE_SECONDS: Final = 15
"""After which the server ends a transaction whose process does nothing in it: one that was frozen holds no lock."""

SETTLING_MS: Final = 100
"""Seconds for which writers may wait for one that reads what is settled, while that one waits for those before them."""

TRIES: Final = 10
"""Of a transaction that others stood in the way of."""

PAUSE_SECONDS: Final = 0.005
"""Before a second try, on average; twice as long before each further one."""

_BEGIN: Final = (
    f"BEGIN; SET LOCAL lock_timeout = {WAIT_SECONDS * 1000};"
    f" SET LOCAL idle_in_transaction_session_timeout = {IDLE_SECONDS * 1000}"
)
_BEGIN_FAST: Final = f"{_BEGIN}; SET LOCAL synchronous_commit = off"

STILL_SECONDS: Final = 300
"""Seconds for which a reader of one moment may do nothing: so long the disk that it writes to may take."""

_BEGIN_MOMENT: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;"
    f" SET LOCAL lock_timeout = {WAIT_SECONDS * 1000};"
    f" SET LOCAL idle_in_transaction_session_timeout = {STILL_SECONDS * 1000}; SET LOCAL statement_timeout = 0;"
    " SELECT 1"  # the first question decides which moment it is
)

_IN_THE_WAY: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,  # two have inserted the same; the second look finds it
    asyncpg.ForeignKeyViolationError,  # what a row was to refer to has just gone
    OvertakenError,
)
"""Errors by which another transaction got in the way of one that may simply run again."""

_ENDED: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,  # the server has ended it while nobody asked anything
)
"""Errors of a connection that is no more: of a transaction that had not begun to commit, nothing is left."""

_LOST: Final = (*_ENDED, asyncpg.InterfaceError, OSError)
"""The same, and errors that only whoever looks at the connection can tell from others."""

_NOT_BEGUN: Final = (asyncpg.AdminShutdownError, asyncpg.IdleInTransactionSessionTimeoutError)
"""Errors by which the server says that it has ended a connection instead of doing what it was asked to."""

_MAKING: Final = "SELECT pg_advisory_xact_lock(hashtextextended('roadstead-functions', 0))"

_T = TypeVar("_T")


class PostgresqlDatabase:
    """A ``Database`` on a server; made by ``open`` and used from one event loop."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._under_way: set[asyncio.Task[Any]] = set()
        self._functions: dict[Script, ScriptFunction] = {}
        self._in_steps: set[Script] = set()
        self.retries = 0
        """Transactions that ran again because others stood in their way."""

    @classmethod
    async def open(cls, url: str, *, connections: int = CONNECTIONS) -> "PostgresqlDatabase":
        """Opens the database, whose schema must be there already (see ``roadstead.database.migrate``).

        Raises:
            ServerUnavailableError: it cannot be reached, or refuses the user.
        """
        with explained(url):
            cached = 0 if await _is_pooled(url) else 512
            pool = Connections(url, connections, cached_statements=cached, wait_seconds=WAIT_SECONDS)
            pool.give_back(await pool.take())
        return cls(pool)

    def version(self) -> bytes | None:
        """None: what other replicas have committed cannot be known without asking."""
        return None

    async def fetch_one(self, statement: Statement, **parameters: object) -> Row | None:
        """The first row of what is committed."""
        sql, values = statement.for_postgresql(parameters)
        try:
            row = await self._read(lambda connection: connection.fetchrow(sql, *values))
        except asyncpg.CharacterNotInRepertoireError:
            row = await self._read(lambda connection: connection.fetchrow(sql, *_without_nul(values)))
        return None if row is None else tuple(row)

    async def fetch_all(self, statement: Statement, **parameters: object) -> list[Row]:
        """All rows of what is committed."""
        sql, values = statement.for_postgresql(parameters)
        try:
            rows = await self._read(lambda connection: connection.fetch(sql, *values))
        except asyncpg.CharacterNotInRepertoireError:
            rows = await self._read(lambda connection: connection.fetch(sql, *_without_nul(values)))
        return [tuple(row) for row in rows]

    async def write(
        self,
        work: Callable[[Transaction], Awaitable[_T]],
        *,
        locks: Iterable[NameLock] = (),
        durable: bool = True,
        is_long: bool = False,  # noqa: ARG002 - the loop is free while the server works
    ) -> _T:
        """Runs ``work`` in a transaction, again where others stood in the way; ``durable`` waits for the disk."""
        return await self._run(work, (_BEGIN if durable else _BEGIN_FAST) + _taking(locks))

    async def run(
        self,
        script: Script,
        values: Mapping[str, object],
        *,
        locks: Iterable[NameLock] = (),
        durable: bool = True,
        is_long: bool = False,
    ) -> Row:
        """Runs ``script`` as a function of the server, or step by step where none may be made."""
        function = self._functions.get(script) or self._functions.setdefault(script, ScriptFunction(script))
        if function.script in self._in_steps:
            return await self.write(
                lambda transaction: run_steps(script, transaction, values),
                locks=locks,
                durable=durable,
                is_long=is_long,
            )
        arguments = function.arguments(values, locks, wait_ms=WAIT_SECONDS * 1000, durable=durable)
        row = await self._to_the_end(self._call(function, arguments))
        if row is not None:
            return row
        self._in_steps.add(script)
        return await self.run(script, values, locks=locks, durable=durable, is_long=is_long)

    async def _call(self, function: ScriptFunction, arguments: tuple[object, ...]) -> Row | None:
        """The row that a function returns; None if there is no such function and none may be made."""
        with _translated():
            for number in range(TRIES - 1):
                try:
                    return await self._call_or_make(function, arguments)
                except _IN_THE_WAY:
                    self.retries += 1
                    await _pause(number)
                except _NOT_BEGUN:
                    await asyncio.sleep(PAUSE_SECONDS)
            return await self._call_or_make(function, arguments)

    async def _call_or_make(self, function: ScriptFunction, arguments: tuple[object, ...]) -> Row | None:
        try:
            return await self._call_once(function, arguments)
        except asyncpg.UndefinedFunctionError as error:
            if function.name not in str(error):  # something that a step calls
                raise
        return await self._call_once(function, arguments) if await self._make(function) else None

    async def _call_once(self, function: ScriptFunction, arguments: tuple[object, ...]) -> Row:
        row = None
        try:
            row = await self._use(lambda connection: connection.fetchrow(function.call, *arguments))
        except asyncpg.PostgresError as error:
            if error.sqlstate == ENDED:
                raise ended(str(error)) from None
            raise
        if row is None:
            raise DatabaseUnavailableError(f"the function {function.name} gave nothing")
        return tuple(row)

    async def _make(self, function: ScriptFunction) -> bool:
        """Makes a function, unless somebody else does at this moment; False if this user may not."""

        async def make(connection: Connection) -> None:
            async with connection.transaction():
                await connection.execute(_MAKING)
                if not await connection.fetchval("SELECT count(*) FROM pg_proc WHERE proname = $1", function.name):
                    await connection.execute(function.creation)

        try:
            await self._use(make)
        except asyncpg.InsufficientPrivilegeError:
            return False
        return True

    async def fetch_settled(self, lock: NameLock, statement: Statement, **parameters: object) -> Row | None:
        """The first row at a moment at which nobody else holds ``lock``."""

        async def work(transaction: Transaction) -> Row | None:
            return await transaction.fetch_one(statement, **parameters)

        return await self._run(work, f"{_BEGIN_FAST}; SET LOCAL lock_timeout = {SETTLING_MS}{_taking([lock])}")

    @contextlib.asynccontextmanager
    async def at_one_moment(self) -> AsyncGenerator[Reader, None]:
        """Reads what is committed now, however long that takes and whatever others change meanwhile.

        Raises:
            DatabaseUnavailableError: the server cannot be reached.
        """
        with _translated():
            connection = await self._connections.take()
        try:
            with _translated():
                await connection.execute(_BEGIN_MOMENT)
            yield _Moment(connection)
        finally:
            self._connections.drop(connection)  # which ends the transaction, whatever it was in the middle of

    async def close(self) -> None:
        """Waits for what is under way and closes."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self._connections.close()

    async def _read(self, ask: Callable[[Connection], Awaitable[_T]]) -> _T:
        """Asks, and again if the connection turned out to be lost, as all that were idle may be together."""
        with _translated():
            for _ in range(TRIES - 1):
                with contextlib.suppress(*_LOST):
                    return await self._use(ask)
                await asyncio.sleep(PAUSE_SECONDS)  # in which it is seen that others are lost too
            return await self._use(ask)

    async def _use(self, do: Callable[[Connection], Awaitable[_T]]) -> _T:
        """Does something with a connection; one that is lost, or left in the middle of it, is replaced."""
        connection = await self._connections.take()
        try:
            result = await do(connection)
        except (*_LOST, asyncio.CancelledError):
            self._connections.drop(connection)
            raise
        except BaseException:
            self._connections.give_back(connection)
            raise
        self._connections.give_back(connection)
        return result

    async def _to_the_end(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Runs ``work`` to its end, however its caller fares; ``close`` waits for it."""
        running = asyncio.create_task(work)
        self._under_way.add(running)
        running.add_done_callback(self._under_way.discard)
        return await finished(running)

    async def _run(self, work: Callable[[Transaction], Awaitable[_T]], begin: str) -> _T:
        try:
            return await self._to_the_end(self._write(work, begin))
        except _OfWork as own:
            raise own.error from own.error.__cause__

    async def _write(self, work: Callable[[Transaction], Awaitable[_T]], begin: str) -> _T:
        with _translated():
            for number in range(TRIES - 1):
                try:
                    return await self._try(work, begin)
                except _IN_THE_WAY:
                    self.retries += 1
                    await _pause(number)
                except _BeforeCommit:
                    await asyncio.sleep(PAUSE_SECONDS)
            try:
                return await self._try(work, begin)
            except _BeforeCommit as lost:
                raise DatabaseUnavailableError(str(lost.__cause__)) from lost.__cause__

    async def _try(self, work: Callable[[Transaction], Awaitable[_T]], begin: str) -> _T:
        """One transaction; a connection that is lost before the commit has left nothing."""

        async def transact(connection: Connection) -> _T:
            async with _undone_on_failure(connection):
                await connection.execute(begin)
                result = await work(PostgresqlTransaction(connection))
            await connection.execute("COMMIT")
            return result

        return await self._use(transact)


class PostgresqlTransaction:
    """A ``Transaction`` on a connection, between ``BEGIN`` and ``COMMIT``."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch_one(self, statement: Statement, **parameters: object) -> Row | None:
        """The first row of what is committed now, or was changed here."""
        sql, values = _asking(statement, parameters)
        row = await self._connection.fetchrow(sql, *values)
        return None if row is None else tuple(row)

    async def fetch_all(self, statement: Statement, **parameters: object) -> list[Row]:
        """All rows of what is committed now, or was changed here."""
        sql, values = _asking(statement, parameters)
        return [tuple(row) for row in await self._connection.fetch(sql, *values)]

    async def lock_one(self, statement: LockingStatement, **parameters: object) -> Row | None:
        """The first row, as it is once nobody else holds it."""
        return await self.fetch_one(statement.statement, **parameters)

    async def lock_all(self, statement: LockingStatement, **parameters: object) -> list[Row]:
        """All rows, as they are once nobody else holds them."""
        return await self.fetch_all(statement.statement, **parameters)

    async def take(self, locks: Iterable[NameLock]) -> bool:
        """Waits for names, in the order in which everybody takes them."""
        if taking := _taking(locks):
            await self._connection.execute(taking)
        return True

    async def execute(self, statement: Statement, **parameters: object) -> int:
        """Changes rows and returns how many."""
        sql, values = statement.for_postgresql(parameters)
        return int((await self._connection.execute(sql, *values)).rpartition(" ")[2])

    async def execute_many(self, statement: Statement, rows: Sequence[Mapping[str, object]]) -> None:
        """Changes rows for each of ``rows`` of parameters, in one round trip."""
        if rows:
            await self._connection.executemany(*statement.many_for_postgresql(rows))


class _Moment:
    """A ``Reader`` of one moment; made by ``at_one_moment``."""

    __slots__ = ("_transaction",)

    def __init__(self, connection: Connection) -> None:
        self._transaction = PostgresqlTransaction(connection)

    async def fetch_one(self, statement: Statement, **parameters: object) -> Row | None:
        """The first row as it was at that moment."""
        with _translated():
            return await self._transaction.fetch_one(statement, **parameters)

    async def fetch_all(self, statement: Statement, **parameters: object) -> list[Row]:
        """All rows as they were at that moment."""
        with _translated():
            return await self._transaction.fetch_all(statement, **parameters)


async def _pause(number: int) -> None:
    """Waits after a failed try, the longer the more have failed."""
    await asyncio.sleep(PAUSE_SECONDS * 2**number * random.uniform(0.5, 1.5))  # noqa: S311 - no secret


def _asking(statement: Statement, parameters: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """``Statement.for_postgresql``, looked through for NUL beforehand: a statement that fails ends its transaction.

    One that changes something is left to fail: what it was given to store would not be what is read back.
    """
    sql, values = statement.for_postgresql(parameters)
    for value in values:
        if isinstance(value, str) and "\x00" in value and isinstance(statement.element, SelectBase):
            return sql, _without_nul(values)
    return sql, values


def _without_nul(values: Iterable[Any]) -> tuple[Any, ...]:
    """The values of a question, whose answer is that of a database which knows NUL, as SQLite does.

    PostgreSQL has no texts with NUL, and none that this package stores has U+0001, which sorts below all others too.
    """
    return tuple(value.replace("\x00", "\x01") if isinstance(value, str) else value for value in values)


def _taking(locks: Iterable[NameLock]) -> str:
    """Statements that take ``locks``, each begun by a semicolon; they are sent with a ``BEGIN``, in its round trip."""
    return "".join(
        f"; SELECT pg_advisory_xact_lock{'' if lock is Lock.CHANGE else '_shared'}({key})"
        for key, lock in in_order(locks)
    )


class _BeforeCommit(Exception):  # noqa: N818 - a signal between two functions here
    """The connection was lost in a transaction that had not begun to commit; the cause says how."""


class _OfWork(Exception):  # noqa: N818 - as above
    """The work raised ``error``, which only looks like one of its connection."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


@contextlib.asynccontextmanager
async def _undone_on_failure(connection: Connection) -> AsyncGenerator[None, None]:
    try:
        yield
    except _LOST as error:
        if _is_lost(connection, error):
            connection.terminate()
            raise _BeforeCommit from error
        await _undo(connection)
        raise _OfWork(error) from error
    except BaseException:
        await _undo(connection)
        raise


async def _undo(connection: Connection) -> None:
    with contextlib.suppress(asyncpg.PostgresError, *_LOST):
        await connection.execute("ROLLBACK")


def _is_lost(connection: Connection, error: Exception) -> bool:
    return isinstance(error, _ENDED) or connection.is_closed()


async def _is_pooled(url: str) -> bool:
    """True if PgBouncer, or another pool of connections, stands between: it has process ids of its own."""
    connection = await asyncpg.connect(url, statement_cache_size=0, timeout=WAIT_SECONDS)
    try:
        return bool(await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid())
    finally:
        await connection.close()


_OF_DRIVER: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@contextlib.contextmanager
def _translated() -> Generator[None, None, None]:
    """Turns the driver's errors into this package's."""
    try:
        yield
    except (*_OF_DRIVER, OvertakenError, OSError, TimeoutError) as error:
        translation = _translate(error)
        if translation is error:
            raise
        raise translation from error


def _translate(error: Exception) -> Exception:
    match error:
        case TimeoutError() | asyncpg.LockNotAvailableError() | asyncpg.QueryCanceledError():
            return DatabaseBusyError(WAIT_SECONDS)
        case asyncpg.SerializationError() | asyncpg.DeadlockDetectedError() | OvertakenError():
            return DatabaseBusyError(WAIT_SECONDS)
        case asyncpg.DiskFullError():
            return DatabaseFullError()
        case asyncpg.DataCorruptedError() | asyncpg.IndexCorruptedError():
            return DatabaseDamagedError(str(error))
        case asyncpg.IntegrityConstraintViolationError() | asyncpg.SyntaxOrAccessError() | asyncpg.DataError():
            return error  # a fault of the program, not of the database: let it be seen as such
        case _:
            return DatabaseUnavailableError(str(error) or type(error).__name__)
