"""HTTP as bytes on a socket: for what no client library would send, and for where in a request it stops.

A `Wire` is one connection. What is sent on it is exactly what the test wrote; what comes back is read with a time
limit, so that a server that says nothing is a failure and not a test that hangs.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from email.message import Message
    from types import TracebackType

TIMEOUT_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Message
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header, empty if there is none."""
        return self.headers.get(name) or ""

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object; `AssertionError` when it is none."""
        try:
            document: object = json.loads(self.body)
        except ValueError:
            raise AssertionError(f"not JSON: {self}") from None
        assert isinstance(document, dict), f"not a JSON object: {self}"
        return document

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The entries of the specification's error body."""
        entries = self.document.get("errors")
        assert isinstance(entries, list), f"no error body: {self}"
        assert entries, f"no entry in the error body: {self}"
        return entries

    @property
    def codes(self) -> list[str]:
        """The codes of the error body."""
        return [str(entry["code"]) for entry in self.errors]

    @property
    def text(self) -> str:
        """Everything that the client was told, head and body."""
        lines = [f"{name}: {value}" for name, value in self.headers.items()]
        return "\n".join([*lines, self.body.decode(errors="replace")])

    def __str__(self) -> str:
        return f"{self.status}\n{self.text[:2000]}"


def head(method: str, target: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The head of a request; `Host` is added, nothing else."""
    lines = [f"{method} {target} HTTP/1.1", "Host: registry.test"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def request(method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request with its `Content-Length`."""
    return head(method, target, {"Content-Length": str(len(body)), **(headers or {})}) + body


def chunked(method: str, target: str, pieces: Iterable[bytes], headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request with `Transfer-Encoding: chunked`."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return head(method, target, {"Transfer-Encoding": "chunked", **(headers or {})}) + body


class Wire:
    """A connection to a port of this machine."""

    def __init__(self, port: int, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        """The connection is open already."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes. A server that has answered and closed before it read all of them is no error here."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def end(self) -> None:
        """Say that nothing more will come, and stay to read."""
        self._socket.shutdown(socket.SHUT_WR)

    def has_answer(self, seconds: float) -> bool:
        """Whether something comes, or the end, within so many seconds."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def reply(self, method: str = "GET") -> Reply:
        """The next answer; `method` is what was asked with, since an answer to HEAD has no body."""
        response = http.client.HTTPResponse(self._socket, method=method)
        try:
            response.begin()
            body = response.read()
            return Reply(response.status, response.headers, body)
        finally:
            response.close()

    def ended(self) -> bytes:
        """What else comes until the server closes the connection; `TimeoutError` when it does not."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := self._socket.recv(65536):
                data += piece
        return data


def exchange(port: int, data: bytes) -> Reply:
    """Send bytes on a connection of their own and read the answer."""
    method = data.partition(b" ")[0].decode("latin-1")
    with Wire(port) as wire:
        wire.send(data)
        return wire.reply(method)
