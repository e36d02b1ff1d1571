"""Runs pieces of work beside each other, one statement at a time, in an order that a test chooses.

Each piece works on a ``SteppedDatabase`` of its own. Before each statement, and before a transaction begins or ends, it
waits at a gate until the order says that it is its turn. One that then neither comes to its next gate nor to its end is
taken to wait for another one's lock: the others go on meanwhile, and it does once it can.

``LocklessDatabase`` stands for code that forgot its locks: a test that cannot find what goes wrong then shows nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar

from roadstead.database import Database, LockingStatement, NameLock, Row, Statement, Transaction
from roadstead.testing.wrapped_database import WrappedDatabase

BLOCKED_SECONDS: Final = 0.03
"""After which a piece that does not come to its next gate is taken to wait for a lock; a statement takes a tenth."""

STUCK_SECONDS: Final = 40.0
"""After which all are taken to wait for ever: longer than the longest wait for a lock."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(eq=False)
class Gate:
    """The place at which one piece of work waits for its turn."""

    name: str
    is_waiting: bool = False
    _turn: asyncio.Event = field(default_factory=asyncio.Event)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    async def step(self) -> None:
        """Waits for a turn."""
        self.is_waiting = True
        self._came.set()
        await self._turn.wait()
        self._turn.clear()

    def let_go(self) -> None:
        """Gives the turn to the piece that waits."""
        self.is_waiting = False
        self._came.clear()
        self._turn.set()

    async def has_come(self, task: "asyncio.Task[Any]") -> None:
        """Returns once the piece waits again, has ended, or seems to be blocked."""
        came = asyncio.ensure_future(self._came.wait())
        await asyncio.wait([came, task], timeout=BLOCKED_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        came.cancel()


class Switches:
    """An order of turns that changes from one piece to the next after given numbers of statements.

    What goes wrong between two pieces goes wrong with few changes, at the right places; a coin before each statement
    would hardly ever let one of them go far enough.
    """

    def __init__(self, first: int, lengths: Iterable[int]) -> None:
        """``first`` is the number of the piece that begins; after the last of ``lengths`` each runs to its end."""
        self._current = first
        self._lengths = iter(lengths)
        self._left = next(self._lengths, -1)

    def choose(self, ready: Sequence[Gate]) -> Gate:
        """The one of ``ready`` whose turn it is."""
        if self._left == 0:
            self._current += 1
            self._left = next(self._lengths, -1)
        self._left -= 1
        return ready[self._current % len(ready)]


async def interleave(pieces: Mapping[Gate, Awaitable[_T]], order: "Switches") -> list[_T | BaseException]:
    """Runs ``pieces`` to their ends, each for as long as ``order`` says. Returns what each gave.

    Raises:
        TimeoutError: all of them wait for each other.
    """
    tasks = {gate: asyncio.ensure_future(piece) for gate, piece in pieces.items()}
    loop = asyncio.get_running_loop()
    moved = loop.time()
    while not all(task.done() for task in tasks.values()):
        ready = [gate for gate, task in tasks.items() if gate.is_waiting and not task.done()]
        if ready:
            gate = order.choose(ready)
            gate.let_go()
            await gate.has_come(tasks[gate])
            moved = loop.time()
        elif loop.time() - moved > STUCK_SECONDS:
            raise TimeoutError(", ".join(gate.name for gate, task in tasks.items() if not task.done()))
        else:
            await asyncio.sleep(0.001)
    return await asyncio.gather(*tasks.values(), return_exceptions=True)


class SteppedDatabase(WrappedDatabase):
    """A ``Database`` whose every statement waits for its turn; without a gate it just does what it is told."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.gate: Gate | None = None
        self.version = lambda: None  # nothing is remembered between two statements
        self.fetch_one = self._stepped(database.fetch_one)
        self.fetch_all = self._stepped(database.fetch_all)
        self.fetch_settled = self._stepped(database.fetch_settled)

    def _stepped(self, read: Callable[_P, Awaitable[_T]]) -> Callable[_P, Coroutine[Any, Any, _T]]:
        """Waits, and reads."""

        async def stepped(*arguments: _P.args, **parameters: _P.kwargs) -> _T:
            await self._step()
            return await read(*arguments, **parameters)

        return stepped

    async def write(
        self,
        work: Callable[[Transaction], Awaitable[_T]],
        *,
        locks: Iterable[NameLock] = (),
        durable: bool = True,
        is_long: bool = False,
    ) -> _T:
        """Waits before the transaction begins, before each statement, and before it ends."""
        await self._step()

        async def stepped(transaction: Transaction) -> _T:
            result = await work(SteppedTransaction(transaction, self._step))
            await self._step()
            return result

        return await self.wrapped.write(stepped, locks=locks, durable=durable, is_long=is_long)

    async def _step(self) -> None:
        if self.gate is not None:
            await self.gate.step()


class SteppedTransaction:
    """A ``Transaction`` whose every statement waits for its turn."""

    def __init__(self, transaction: Transaction, step: Callable[[], Awaitable[None]]) -> None:
        self._transaction = transaction
        self._step = step

    async def fetch_one(self, statement: Statement, **parameters: object) -> Row | None:
        """Waits, and reads."""
        await self._step()
        return await self._transaction.fetch_one(statement, **parameters)

    async def fetch_all(self, statement: Statement, **parameters: object) -> list[Row]:
        """Waits, and reads."""
        await self._step()
        return await self._transaction.fetch_all(statement, **parameters)

    async def lock_one(self, statement: LockingStatement, **parameters: object) -> Row | None:
        """Waits, and locks."""
        await self._step()
        return await self._transaction.lock_one(statement, **parameters)

    async def lock_all(self, statement: LockingStatement, **parameters: object) -> list[Row]:
        """Waits, and locks."""
        await self._step()
        return await self._transaction.lock_all(statement, **parameters)

    async def take(self, locks: Iterable[NameLock]) -> bool:
        """Waits, and takes the locks."""
        await self._step()
        return await self._transaction.take(locks)

    async def execute(self, statement: Statement, **parameters: object) -> int:
        """Waits, and changes rows."""
        await self._step()
        return await self._transaction.execute(statement, **parameters)

    async def execute_many(self, statement: Statement, rows: Sequence[Mapping[str, object]]) -> None:
        """Waits, and changes rows."""
        await self._step()
        await self._transaction.execute_many(statement, rows)


class LocklessDatabase(SteppedDatabase):
    """One that takes none of the locks it is asked for."""

    async def write(
        self,
        work: Callable[[Transaction], Awaitable[_T]],
        *,
        locks: Iterable[NameLock] = (),  # noqa: ARG002 - that is the point
        durable: bool = True,
        is_long: bool = False,
    ) -> _T:
        """As that of its base, without ``locks``."""
        return await super().write(
            lambda transaction: work(_LocklessTransaction(transaction)), durable=durable, is_long=is_long
        )


class _LocklessTransaction(SteppedTransaction):
    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, _go_on)

    async def lock_one(self, statement: LockingStatement, **parameters: object) -> Row | None:
        return await self.fetch_one(statement.unlocked, **parameters)

    async def lock_all(self, statement: LockingStatement, **parameters: object) -> list[Row]:
        return await self.fetch_all(statement.unlocked, **parameters)

    async def take(self, locks: Iterable[NameLock]) -> bool:  # noqa: ARG002 - as above
        return False


async def _go_on() -> None:
    """Waits for nothing."""
