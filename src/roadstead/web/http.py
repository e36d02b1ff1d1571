"""Requests and responses over plain ASGI: just as much as the endpoints need, without a framework's cost."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

from roadstead.errors import RoadsteadError
from roadstead.registry.content.receiving import FilledBody
from roadstead.web.transfer import OFFER_KEY, BufferOffer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

PIECE_BYTES: Final = 64 << 10
"""Bytes of a body sent at once: a client that does not read keeps one or two such pieces in its connection's buffer."""

QUERY_FIELDS: Final = 200
"""Number of parameters in one URL at most: a push may carry many tags, nothing else more than a few."""

JSON: Final = (b"content-type", b"application/json")


class ClientDisconnectedError(RoadsteadError):
    """The client went away before its body was complete; nobody is left to be answered."""

    def __init__(self) -> None:
        super().__init__("the client closed the connection before the end of its request")


class QueryInvalidError(RoadsteadError):
    """The URL's query cannot be read."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"invalid query: {reason}")


class BodyTooLargeError(RoadsteadError):
    """A body is longer than its endpoint accepts."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is longer than the limit of {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class Request:
    """A request: its scope, and its body as a stream."""

    __slots__ = ("_at_end", "_query", "_receive", "method", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self._receive = receive
        self._query: dict[str, list[str]] | None = None
        self._at_end: list[Callable[[], None]] = []

    def at_end(self, call: Callable[[], None]) -> None:
        """Registers ``call`` to be made once the request is answered, however that ends."""
        self._at_end.append(call)

    def end(self) -> None:
        """Makes the registered calls, after the answer was sent."""
        for call in self._at_end:
            call()

    def header(self, name: bytes) -> str:
        """Returns the value of a header (``name`` in lower case), empty if it was not sent."""
        for key, value in self.scope["headers"]:
            if key == name:
                return bytes(value).decode("latin-1")
        return ""

    @property
    def content_length(self) -> int | None:
        """The length that the client states; None if the body is chunked."""
        value = self.header(b"content-length")
        return int(value) if value.isdecimal() else None

    def query_values(self, name: str) -> list[str]:
        """Returns all values of a query parameter, in order; ``+`` stands for itself, as in ``application/spdx+json``.

        Only forms write a space so, and nothing that a parameter names here has a space.

        Raises:
            QueryInvalidError: the query has too many fields or is no UTF-8.
        """
        if self._query is None:
            self._query = _parse_query(self.scope["query_string"])
        return self._query.get(name, [])

    def query(self, name: str) -> str | None:
        """Returns the first value of a query parameter, None if there is none."""
        values = self.query_values(name)
        return values[0] if values else None

    async def iter_body(self) -> AsyncIterator[bytes]:
        """Yields the body in the pieces in which it arrives.

        Raises:
            ClientDisconnectedError: it ended too early.
        """
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnectedError
            piece = message.get("body", b"")
            if piece:
                yield piece
            if not message.get("more_body", False):
                return

    def upload_body(self) -> "AsyncIterator[bytes] | ReceivedBody":
        """Returns the body of a push: received into buffers if the connection can do that, else in pieces."""
        offer = self.scope.get(OFFER_KEY)
        return self.iter_body() if offer is None else ReceivedBody(self._receive, offer)

    async def wait_for_disconnect(self) -> None:
        """Waits until the client has gone; to be called only after the body has been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def read_body(self, limit_bytes: int, on_size: Callable[[int], None] | None = None) -> bytes:
        """Reads the whole body; ``on_size`` gets its length so far, and may raise.

        Raises:
            BodyTooLargeError: it is longer than ``limit_bytes``; said without reading it where the client states it.
            ClientDisconnectedError: it ended too early.
        """
        stated = self.content_length
        if stated is not None and stated > limit_bytes:
            raise BodyTooLargeError(limit_bytes)
        pieces: list[bytes] = []
        size = 0
        async for piece in self.iter_body():
            size += len(piece)
            if size > limit_bytes:
                raise BodyTooLargeError(limit_bytes)
            if on_size is not None:
                on_size(size)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class ReceivedBody(FilledBody):
    """A body that is received into the application's buffers."""

    __slots__ = ("_has_more", "_offer", "_receive")

    def __init__(self, receive: Receive, offer: BufferOffer) -> None:
        self._receive = receive
        self._offer = offer
        self._has_more = True

    async def fill(self, buffer: memoryview) -> bytes | memoryview:
        """Returns the next piece of the body, mostly the beginning of ``buffer``; empty after its end.

        It comes when ``buffer`` is full, when the body ends, and when the client goes away.

        Raises:
            ClientDisconnectedError: the body ended too early; what came before was returned.
        """
        while self._has_more:
            self._offer.buffer = buffer
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnectedError
            self._has_more = message.get("more_body", False)
            body: bytes | memoryview = message.get("body", b"")
            if body:
                return body
        return b""


def _parse_query(query_string: bytes) -> dict[str, list[str]]:
    if not query_string:
        return {}
    try:
        return parse_qs(
            query_string.decode("ascii").replace("+", "%2B"),
            keep_blank_values=True,
            max_num_fields=QUERY_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise QueryInvalidError(f"it must be percent-encoded UTF-8 with at most {QUERY_FIELDS} fields") from None


@dataclass(slots=True)
class Response:
    """An answer whose body is in memory; ``size_bytes`` is its length if an answer to HEAD has not read it."""

    status: int
    headers: Headers = field(default_factory=list[tuple[bytes, bytes]])
    body: bytes = b""
    size_bytes: int | None = None

    async def send(self, send: Send) -> None:
        """Sends the answer; the server leaves the body out for HEAD and states its length all the same."""
        headers = self.headers
        if self.status not in {204, 304}:
            size_bytes = len(self.body) if self.size_bytes is None else self.size_bytes
            headers = [*headers, (b"content-length", b"%d" % size_bytes)]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if len(self.body) <= PIECE_BYTES:
            await send({"type": "http.response.body", "body": self.body})
        else:
            await self._send_pieces(send)

    async def _send_pieces(self, send: Send) -> None:
        """Sends a long body, a piece when the client has room for it: nothing is copied, and little waits elsewhere."""
        view = memoryview(self.body)
        for start in range(0, len(view), PIECE_BYTES):
            more = start + PIECE_BYTES < len(view)
            await send({"type": "http.response.body", "body": view[start : start + PIECE_BYTES], "more_body": more})


def json_response(status: int, document: object, headers: Headers | None = None) -> Response:
    """Returns an answer with a JSON document."""
    return Response(status, [JSON, *(headers or [])], json_line(document))


def json_line(document: object) -> bytes:
    """Returns a JSON document as a line, so that whatever follows on a terminal, such as a prompt, begins a new one."""
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def warning(text: str) -> tuple[bytes, bytes]:
    """Returns a ``Warning`` header (distribution spec, "Warnings"); ``text`` is plain ASCII without quotes."""
    return b"warning", f'299 - "{text}"'.encode("ascii")
