"""A small blocking HTTP/1.1 client on a plain socket, so that the load generator costs little.

It speaks just what the loads need: bodies with a length or chunked, keep-alive, bodies that are thrown away inside
the kernel (MSG_TRUNC) so that receiving a gigabyte costs the client next to nothing.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_SECONDS = 300.0
"""Longer than any single answer of a peer at the sizes used here."""

RECEIVE_BYTES = 256 * 1024
DISCARD_BYTES = 1024 * 1024


class UnexpectedResponseError(RuntimeError):
    """A response had another status, length or form than the load asked for."""


@dataclass(frozen=True, slots=True)
class Response:
    """Status, headers with lower-case names, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def expect(self, *statuses: int) -> Response:
        """Return itself, or raise when the status is none of those."""
        if self.status not in statuses:
            raise UnexpectedResponseError(f"status {self.status}, not {statuses}: {self.body[:300]!r}")
        return self

    def location(self) -> str:
        """Return the path and query of the Location header."""
        parts = urlsplit(self.headers["location"])
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


class Connection:
    """One keep-alive connection to a port of this machine; `headers` go with each request."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
        self._headers = dict(headers or {})
        self._is_tls = tls is not None
        # Blocking mode proper: a Python time-out would add a poll() to every call.
        self.socket.settimeout(None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self._host = f"127.0.0.1:{port}"
        self._rest = b""

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def head(self, method: str, target: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Build the head of a request."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}", "User-Agent: roadstead-bench"]
        lines += [f"{name}: {value}" for name, value in {**self._headers, **(headers or {})}.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def request(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request with a small body (or none) and read the whole response."""
        extra = dict(headers or {})
        if body is not None:
            extra["Content-Length"] = str(len(body))
        self.socket.sendall(self.head(method, target, extra) + (body or b""))
        return self.read(has_body=method != "HEAD")

    def read(self, *, has_body: bool = True) -> Response:
        """Read one whole response."""
        response = self.read_head()
        if not has_body or response.status in {204, 304}:
            return response
        if response.headers.get("transfer-encoding", "").lower() == "chunked":
            return Response(response.status, response.headers, self._read_chunks())
        length = int(response.headers.get("content-length", "0"))
        return Response(response.status, response.headers, self._read_exactly(length))

    def read_head(self) -> Response:
        """Read up to the end of the headers; the body stays to be read."""
        while b"\r\n\r\n" not in self._rest:
            self._fill()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return Response(int(status_line.split()[1]), headers)

    def discard(self, length: int) -> None:
        """Throw away exactly `length` bytes of a body without copying them out of the kernel."""
        taken = min(length, len(self._rest))
        self._rest = self._rest[taken:]
        left = length - taken
        view = bytearray(DISCARD_BYTES)
        while left:
            flags = 0 if self._is_tls else socket.MSG_TRUNC
            count = self.socket.recv_into(view, min(left, DISCARD_BYTES), flags)
            if not count:
                raise UnexpectedResponseError(f"{left} bytes short")
            left -= count

    def _fill(self) -> None:
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise UnexpectedResponseError("connection closed inside a response")
        self._rest += data

    def _read_exactly(self, length: int) -> bytes:
        parts, have = [self._rest], len(self._rest)
        while have < length:
            data = self.socket.recv(RECEIVE_BYTES)
            if not data:
                raise UnexpectedResponseError(f"{length - have} bytes short")
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self._rest = whole[length:]
        return whole[:length]

    def _read_chunks(self) -> bytes:
        parts = []
        while True:
            while b"\r\n" not in self._rest:
                self._fill()
            size_line, _, self._rest = self._rest.partition(b"\r\n")
            size = int(size_line.split(b";")[0], 16)
            parts.append(self._read_exactly(size))
            self._read_exactly(2)
            if size == 0:
                return b"".join(parts)
