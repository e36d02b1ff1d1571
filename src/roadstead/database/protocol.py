"""The contract of a catalogue's database, which SQLite and PostgreSQL both keep.

Work is written as coroutines that await nothing but the reader or transaction they are given. On SQLite such an await
never suspends, so a statement costs microseconds and many pushes can be run one after the other in one commit; on
PostgreSQL the same coroutine waits for the network.

**Serial equivalence.** What is proven of transactions that run one after the other holds for any number of them on any
replica, if their work keeps three rules. SQLite has one writer, so there they cost nothing; PostgreSQL runs them side
by side (READ COMMITTED), where each statement sees what was committed before it began:

1. What belongs together has a name (a repository, a state), and ``write`` is told which names its work keeps as they
   are and which it changes (``NameLock``). They are taken before the first statement, so that all of them see what
   those who were waited for have committed. Two that meet in a name which one of them changes run one after the other.
2. Of rows that have no such name, who relies on one, because of something that it does elsewhere, locks that very row
   in the statement that reads it (``lock_one`` with ``Lock.KEEP``).
3. Who removes such a row, or changes what others rely on, locks it first (``Lock.CHANGE``), and asks in a *new*
   statement whether it may: only that one sees what was committed while it waited. Several rows are locked in the order
   of their keys, names before rows.
4. Who inserts a row that may be there already, and needs it to stay, updates it where it is: to do nothing on a
   conflict waits for nobody.

Work that reads a row and writes it back locks it as one that changes it. Foreign keys, an ``UPDATE … WHERE NOT EXISTS``
and a lock in the statement that asks are no substitutes; ``tests/system/database`` shows what each of them loses.

**Work may run more than once**, since on PostgreSQL another transaction may stand in its way (a deadlock, the same row
inserted twice, a lost connection before the commit). So it changes nothing outside itself, and returns what it found.

**Cancellation.** A ``CancelledError`` that comes out of ``write`` means that nothing was changed. Work that has begun
is brought to its end, ``write`` returns or raises as if nobody had cancelled, and the cancellation is raised where the
caller awaits next.

**No state in a session**: PgBouncer may give every transaction another one.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from roadstead.database.locks import NameLock
from roadstead.database.statement import LockingStatement, Statement

if TYPE_CHECKING:  # which knows transactions
    from roadstead.database.script import Script

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

    async def lock_one(self, statement: LockingStatement, **parameters: object) -> Row | None:
        """The first row, locked until the transaction ends; as it is once nobody else holds it otherwise."""
        ...

    async def lock_all(self, statement: LockingStatement, **parameters: object) -> list[Row]:
        """All rows, each locked; they are to be asked for in the order of their key, else two may wait for each other.

        A row that was removed, or no longer fits, by the time its lock is there is left out.
        """
        ...

    async def take(self, locks: Iterable[NameLock]) -> bool:
        """Takes locks on names that became known only now; each statement from here on sees what that waited for.

        False if nobody else can have changed anything since this transaction began.
        """
        ...

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
        self,
        work: Callable[[Transaction], Awaitable[T]],
        *,
        locks: Iterable[NameLock] = (),
        durable: bool = True,
        is_long: bool = False,
    ) -> T:
        """Runs ``work`` in a transaction and returns what it returned once the transaction is committed.

        ``locks`` are taken before it begins. Whatever ``work`` raises undoes its changes and is raised here. With
        ``durable`` the changes survive a loss of power when this returns; without, they survive the death of this
        process. Work that ``is_long``, because what a client sent decides how many rows it touches, may be run in
        another thread, so that others need not wait.

        Raises:
            DatabaseBusyError: others stood in the way, or held a lock, for too long; nothing happened.
            DatabaseFullError, DatabaseDamagedError: nothing happened; or, of the first with ``durable`` on SQLite, it
                is committed and may be lost with the power.
            DatabaseUnavailableError: nothing happened; or the connection was lost, or the disk failed, in the middle of
                the commit, and the change may have been kept.
        """
        ...

    async def run(
        self,
        script: "Script",
        values: Mapping[str, object],
        *,
        locks: Iterable[NameLock] = (),
        durable: bool = True,
        is_long: bool = False,
    ) -> Row:
        """Runs a script, given the values that it asks for, in a transaction of its own; what it ``returns``.

        On a server that is one round trip.

        Raises:
            ScriptEndedError: it came to an end before its last step; nothing happened.
            and what ``write`` raises.
        """
        ...

    async def fetch_settled(self, lock: NameLock, statement: Statement, **parameters: object) -> Row | None:
        """The first row at a moment at which nobody else holds ``lock``: what was begun under it before is committed.

        Writers wait for that moment, so it is short: whoever does not get it at once gives up.

        Raises:
            DatabaseBusyError: somebody held it for too long; nothing was changed.
        """
        ...

    async def close(self) -> None:
        """Finishes what was begun and closes."""
        ...
