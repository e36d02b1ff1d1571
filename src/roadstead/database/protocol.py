"""What the domain packages ask of a database, in a form that SQLite and PostgreSQL can both keep.

Work is written as coroutines that await nothing but the reader or transaction they are given. On SQLite such an await
never suspends, so a statement costs microseconds and many pushes can be run one after the other in one commit; on
PostgreSQL the same coroutine waits for the network.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from roadstead.database.statement import Statement

Row = tuple[Any, ...]
T = TypeVar("T")


class Reader(Protocol):
    """Reads what has been committed."""

    async def fetch_one(self, statement: Statement, **parameters: object) -> Row | None:
        """The first row, None if there is none."""
        ...

    async def fetch_all(self, statement: Statement, **parameters: object) -> list[Row]:
        """All rows: only for statements with a limit."""
        ...


class Transaction(Reader, Protocol):
    """Reads and writes of which all happen or none."""

    async def execute(self, statement: Statement, **parameters: object) -> int:
        """Changes rows and returns how many."""
        ...

    async def execute_many(self, statement: Statement, rows: Sequence[Mapping[str, object]]) -> None:
        """The same statement for each of ``rows`` of parameters, for less than the cost of as many calls."""
        ...


class Database(Reader, Protocol):
    """A catalogue."""

    def version(self) -> bytes | None:
        """A value that each commit of whatever process changes; None where none can be had.

        What was read after ``version`` gave a value is still what a new read would find if it gives the same value now.
        """
        ...

    async def write(
        self, work: Callable[[Transaction], Awaitable[T]], *, durable: bool = True, is_long: bool = False
    ) -> T:
        """Runs ``work`` in a transaction and returns what it returned once the transaction is committed.

        Whatever ``work`` raises undoes its changes and is raised here. With ``durable`` the changes survive a loss of
        power when this returns; without, they survive the death of this process. Work that ``is_long``, because what
        a client sent decides how many rows it touches, may be run in another thread, so that others need not wait.

        Raises:
            DatabaseFullError, DatabaseBusyError, DatabaseDamagedError, DatabaseUnavailableError: nothing happened;
                or, of the first and the last with ``durable``, it is committed and may be lost with the power.
        """
        ...

    async def close(self) -> None:
        """Finishes what was begun and closes."""
        ...
