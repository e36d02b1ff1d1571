"""The connections of one process to a server: opened when they are needed, up to a number, and used by turns.

asyncpg has a pool of its own, which costs more CPU than the question that a pull asks: every connection comes out of
it behind a proxy, and goes back through a task that resets it. Nothing here keeps state in a session, so there
is nothing to reset.
"""

import asyncio
import contextlib
import time
from collections import deque
from typing import Final, TypeAlias

import asyncpg

IDLE_SECONDS: Final = 300.0
"""After which a connection that nobody has used is not trusted any more: what stands between may have forgotten it."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Connections:
    """Connections of one event loop; ``take`` one, and give it back whatever happens."""

    def __init__(self, url: str, most: int, *, cached_statements: int, wait_seconds: float) -> None:
        """``most`` connections at once; whoever gets none waits, in turn, for ``wait_seconds`` at most."""
        self._url = url
        self._most = most
        self._cached_statements = cached_statements
        self._wait_seconds = wait_seconds
        self._open = 0
        self._idle: list[tuple[Connection, float]] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()

    async def take(self) -> Connection:
        """Returns a connection that nobody else uses.

        Raises:
            TimeoutError: all were in use for too long.
            asyncpg.PostgresError, OSError: the server takes no new one.
        """
        oldest = time.monotonic() - IDLE_SECONDS
        while self._idle:
            connection, since = self._idle.pop()
            if since > oldest and not connection.is_closed():
                return connection
            connection.terminate()
            self._open -= 1
        if self._open < self._most:
            return await self._connect()
        waiting: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(self._wait_seconds):
                connection_or_room = await waiting
        except BaseException:
            if waiting.done() and not waiting.cancelled():  # it was given one at the last moment
                self._pass_on(waiting.result())
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
            raise
        return connection_or_room or await self._connect(is_counted=True)

    def give_back(self, connection: Connection) -> None:
        """Lets the next one have a connection; one that is closed makes room for another."""
        if connection.is_closed():
            self._open -= 1
            self._make_room()
        else:
            self._pass_on(connection)

    def drop(self, connection: Connection) -> None:
        """Closes a connection that is lost, or in the middle of something, and gives it back."""
        connection.terminate()
        self.give_back(connection)

    async def close(self) -> None:
        """Closes those that are idle; nobody has another one any more."""
        for connection, _ in self._idle:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                await connection.close(timeout=self._wait_seconds)
        self._idle.clear()

    def _pass_on(self, connection: "Connection | None") -> None:
        if connection is None:
            self._open -= 1
            self._make_room()
            return
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return
        self._idle.append((connection, time.monotonic()))

    def _make_room(self) -> None:
        """Has the next one who waits open a connection."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                self._open += 1
                waiting.set_result(None)
                return

    async def _connect(self, *, is_counted: bool = False) -> Connection:
        self._open += not is_counted
        try:
            return await asyncpg.connect(
                self._url,
                statement_cache_size=self._cached_statements,
                max_cached_statement_lifetime=0,
                timeout=self._wait_seconds,
                command_timeout=None,
            )
        except BaseException:
            self._open -= 1
            self._make_room()
            raise
