"""A wire to PostgreSQL on which one statement of a transaction fails, as real servers and networks fail.

What a client sends is passed on as it is, until the statement that is to fail. An error comes from the server itself,
in that very transaction, since another statement that raises it is sent instead; so the client, its driver and the
server are all in the state in which they are after such an error. A connection is cut for both ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType


class Fault(enum.Enum):
    """How a statement fails; the SQLSTATE of an error, or when the connection is cut."""

    SERIALIZATION = "40001"
    DEADLOCK = "40P01"
    UNIQUE = "23505"
    FOREIGN_KEY = "23503"
    CUT_BEFORE = "before the server had it"
    CUT_AFTER = "after the server had done it"

    @property
    def is_cut(self) -> bool:
        """Whether the connection is lost with it."""
        return self in {Fault.CUT_BEFORE, Fault.CUT_AFTER}


@dataclass(slots=True)
class Order:
    """Which statement is to fail: the number `step`, from 1, of those in transactions, and `times - 1` after it."""

    fault: Fault
    step: int
    times: int = 1
    commits_alone: bool = False
    """Whether nothing but COMMIT is counted."""
    seen: int = 0
    """Statements that have come."""
    failed: int = 0
    at_commit: bool = False
    """Whether one that failed was a COMMIT, or a function that is a transaction of its own."""

    def is_next(self, *, is_commit: bool) -> bool:
        """Count a statement; whether it is to fail."""
        if self.commits_alone and not is_commit:
            return False
        self.seen += 1
        return self.step <= self.seen < self.step + self.times


def nothing_fails(*, commits_alone: bool = False) -> Order:
    """An order that only counts."""
    return Order(Fault.CUT_BEFORE, step=0, times=0, commits_alone=commits_alone)


_VERSION: Final = 3 << 16
"""Of the protocol, in the message after which each says its kind."""

_HELD: Final = frozenset({b"P", b"B", b"D", b"E", b"C"})
"""Kinds of messages that make up a statement together with those that follow."""

_HEAD_BYTES: Final = 5

_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class FaultyWire:
    """Listens where a database is, as far as a client can tell."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._listener: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.order = nothing_fails()

    @property
    def url(self) -> str:
        """The address of the database through this wire."""
        assert self._listener is not None
        port = self._listener.sockets[0].getsockname()[1]
        return self._parts._replace(netloc=f"{self._parts.username}:{self._parts.password}@127.0.0.1:{port}").geturl()

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; the connections through it are cut."""
        assert self._listener is not None
        self._listener.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        server = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await _Connection(self, (reader, writer), server).run()


class _Connection:
    """One connection of a client, and that to the server which stands for it."""

    def __init__(self, wire: FaultyWire, client: _Ends, server: _Ends) -> None:
        self._wire = wire
        self._requests, self._to_client = client
        self._answers, self._to_server = server
        self._in_transaction = False
        self._functions: set[bytes] = set()
        """Names of prepared statements that call a function of ours."""
        self._keeps_answers_back = False

    async def run(self) -> None:
        """Pass on until either end closes, or it is cut."""
        passing = [asyncio.create_task(self._pass_requests()), asyncio.create_task(self._pass_answers())]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in passing:
                task.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            self._to_client.transport.abort()
            self._to_server.transport.abort()

    async def _pass_requests(self) -> None:
        await self._pass_opening()
        held = b""
        executes = calls = False
        while True:
            head = await self._requests.readexactly(5)
            kind, body = head[:1], await self._requests.readexactly(int.from_bytes(head[1:]) - 4)
            held += head + body
            executes |= kind == b"E"
            calls |= self._is_call(kind, body)
            if kind in _HELD:
                continue
            if kind == b"Q" or (kind == b"S" and executes):
                text = body.rstrip(b"\0").decode() if kind == b"Q" else ""
                if not await self._pass_statement(held, text, is_call=calls and not self._in_transaction):
                    return
                executes = calls = False
            else:
                self._to_server.write(held)
            held = b""

    def _is_call(self, kind: bytes, body: bytes) -> bool:
        """Whether a message binds a statement that calls a function of ours; notes which do when they are parsed."""
        name, _, rest = body.partition(b"\0")
        if kind == b"P" and b" FROM roadstead_" in rest:
            self._functions.add(name)
        return kind == b"B" and rest.partition(b"\0")[0] in self._functions

    async def _pass_opening(self) -> None:
        """The messages before the first that says its kind: does the server encrypt; who asks, for which database."""
        version = 0
        while version != _VERSION:
            head = await self._requests.readexactly(8)
            self._to_server.write(head + await self._requests.readexactly(int.from_bytes(head[:4]) - 8))
            version = int.from_bytes(head[4:])

    async def _pass_statement(self, messages: bytes, text: str, *, is_call: bool) -> bool:
        """Pass a statement on, or have it fail; False if the connection is cut."""
        text = text.rstrip(";")  # the driver's own transactions end their words with one
        is_begin, is_commit = text.startswith("BEGIN"), text == "COMMIT"
        counts = is_call or ((self._in_transaction or is_begin) and text != "ROLLBACK")
        order = self._wire.order
        is_failing = counts and order.is_next(is_commit=is_commit or is_call)
        self._in_transaction = (self._in_transaction or is_begin) and not is_commit and text != "ROLLBACK"
        if not is_failing:
            self._to_server.write(messages)
            return True
        order.failed += 1
        order.at_commit |= is_commit or is_call
        return await self._fail(order.fault, messages, is_commit=is_commit)

    async def _fail(self, fault: Fault, messages: bytes, *, is_commit: bool) -> bool:
        match fault:
            case Fault.CUT_BEFORE:
                return False
            case Fault.CUT_AFTER:
                self._keeps_answers_back = True
                self._to_server.write(messages)
                return True
            case _:  # a COMMIT that fails has ended its transaction
                code = f"DO $$ BEGIN RAISE EXCEPTION 'of a test' USING ERRCODE = '{fault.value}'; END $$"
                query = f"{'ROLLBACK; ' if is_commit else ''}{code}".encode() + b"\0"
                self._to_server.write(b"Q" + (len(query) + 4).to_bytes(4) + query)
                return True

    async def _pass_answers(self) -> None:
        """Until the server closes, or has done the statement whose answer nobody is to get."""
        kept = b""
        while answer := await self._answers.read(1 << 16):
            if not self._keeps_answers_back:
                self._to_client.write(answer)
                continue
            kept += answer
            while len(kept) >= _HEAD_BYTES and len(kept) > (end := int.from_bytes(kept[1:_HEAD_BYTES])):
                if kept[:1] == b"Z":
                    return
                kept = kept[end + 1 :]
