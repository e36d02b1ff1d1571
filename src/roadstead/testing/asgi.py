"""A client of an ASGI application in the same process: no sockets, no threads, every message under control.

It keeps the server's side of ASGI as uvicorn does: the body comes in the pieces given, ``receive`` waits after its end
until the answer is complete, and an answer to HEAD loses its body. It fails when the application breaks the protocol
or states a length that is not the body's.
"""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from roadstead.web.context import SCOPE_KEY, RequestContext
from roadstead.web.http import Message, Receive, Scope, Send

Body = bytes | Iterable[bytes] | AsyncIterable[bytes]
"""A body in one piece, or in several, which are then sent without ``Content-Length``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of an application."""

    status: int
    raw_headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """Returns the value of a header, empty if it was not sent.

        Raises:
            AssertionError: it was sent more than once.
        """
        values = self.headers(name)
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else ""

    def headers(self, name: str) -> list[str]:
        """Returns all values of a header, in order."""
        return [value for key, value in self.raw_headers if key == name.lower()]

    def json(self) -> Any:  # noqa: ANN401 - a test knows what it asked for
        """Returns the parsed body."""
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        """The codes of the specification's error body."""
        return [entry["code"] for entry in self.json()["errors"]]

    @property
    def next_link(self) -> str:
        """The target of ``Link`` with ``rel="next"``, empty if there is none."""
        link = self.header("link")
        if not link:
            return ""
        target, _, relation = link.partition(">; ")
        assert relation == 'rel="next"', link
        return target.removeprefix("<")


class AsgiClient:
    """A client that sends requests to an application."""

    def __init__(self, application: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._application = application

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        content_length: int | None = None,
        disconnects: bool = False,
    ) -> Answer:
        """Sends a request and returns the whole answer.

        ``target`` is a path with or without a query, sent as it stands. ``content_length`` says another length than the
        body has. With ``disconnects`` the client goes away where the body would end.
        """
        pieces = [body] if isinstance(body, bytes) else body
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if content_length is not None:
            sent["content-length"] = str(content_length)
        elif isinstance(body, bytes) and (body or method in {"POST", "PUT", "PATCH"}):
            sent.setdefault("content-length", str(len(body)))
        exchange = _Exchange(method, pieces, disconnects=disconnects)
        await self._application(_scope(method, target, sent), exchange.receive, exchange.send)
        return exchange.answer()


def _scope(method: str, target: str, headers: Mapping[str, str]) -> Scope:
    raw_path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path, errors="replace"),
        "raw_path": raw_path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 5000),
        SCOPE_KEY: RequestContext("0" * 32),
    }


class _Exchange:
    """A request and its answer, as the server sees them."""

    def __init__(self, method: str, pieces: Iterable[bytes] | AsyncIterable[bytes], *, disconnects: bool) -> None:
        self._method = method
        self._disconnects = disconnects
        self._incoming = _messages(pieces, disconnects=disconnects)
        self._complete = asyncio.Event()
        self._status = 0
        self._headers: tuple[tuple[str, str], ...] = ()
        self._body = bytearray()

    async def receive(self) -> Message:
        async for message in self._incoming:
            return message
        await self._complete.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await asyncio.sleep(0)  # a connection takes its time too
        assert not self._complete.is_set(), "something was sent after the end of the answer"
        if message["type"] == "http.response.start":
            assert not self._status, "the answer began twice"
            self._status = message["status"]
            self._headers = tuple(
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
            )
            return
        assert message["type"] == "http.response.body", message["type"]
        assert self._status, "a body came before its head"
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            self._complete.set()

    def answer(self) -> Answer:
        assert self._complete.is_set(), "the answer is incomplete"
        assert all(name == name.lower() for name, _ in self._headers), "ASGI wants header names in lower case"
        body = b"" if self._method == "HEAD" else bytes(self._body)
        answer = Answer(self._status, self._headers, body)
        stated = answer.header("content-length")
        if self._status in {204, 304}:
            assert not stated, "an answer without a body must not state a length"
            assert not body, "this status has no body"
        elif self._method != "HEAD" and not self._disconnects:
            assert stated == str(len(body)), f"Content-Length is {stated}, the body has {len(body)} bytes"
        return answer


async def _messages(pieces: Iterable[bytes] | AsyncIterable[bytes], *, disconnects: bool) -> AsyncIterator[Message]:
    if isinstance(pieces, AsyncIterable):
        async for piece in pieces:
            yield {"type": "http.request", "body": piece, "more_body": True}
    else:
        for piece in pieces:
            yield {"type": "http.request", "body": piece, "more_body": True}
    if disconnects:
        yield {"type": "http.disconnect"}
    else:
        yield {"type": "http.request", "body": b"", "more_body": False}
