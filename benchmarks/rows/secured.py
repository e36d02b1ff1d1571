"""The same work with users, with TLS and behind nginx: each side set up with the same files (`benchmarks.setups`).

With TLS a client reads the head of an answer and throws the rest away inside the kernel, still encrypted: what is
measured is the server. What comes back is decrypted and hashed beforehand.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.clients import AMOUNT, Client
from benchmarks.model import REFERENCE, REGISTRIES, SUBJECT, Result, Sample, Target, at_least, at_most
from benchmarks.rows.manifests import CONNECTIONS, Manifests
from benchmarks.rows.pulls import BigPulls
from benchmarks.runner import Bench, Plan, Row, RowRun
from benchmarks.setups import CIPHER, Setup, with_tls, with_users
from benchmarks.uploads import REPOSITORY
from benchmarks.wire import DISCARD_BYTES, Connection, UnexpectedResponseError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.peers import Server

ROUNDS = 3
"""Rounds at most: these ratios are large, or between servers that nothing else disturbs."""

WORKERS = 2
"""As many as the machine of the table has cores, and as nginx takes there."""

RECEIVE_BYTES = 65536
RECORD_BYTES = 16 * 1024
RECORD_OVERHEAD = 22
"""What TLS 1.3 adds to a record of that size, the largest (RFC 8446, section 5.2)."""


class EncryptedConnection:
    """A TLS connection whose records are read by hand, so that most of them need not be decrypted."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        self.socket = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    def handshake(self) -> None:
        """Agree on keys; raise unless by TLS 1.3 and CIPHER."""
        self._repeat(self._tls.do_handshake)
        agreed = self._tls.cipher()
        if self._tls.version() != "TLSv1.3" or agreed is None or agreed[0] != CIPHER:
            raise UnexpectedResponseError(f"the server speaks {self._tls.version()} with {agreed}")

    def ask(self, request: bytes) -> bytes:
        """Send a request; return what was decrypted until its head was whole."""
        self._tls.write(request)
        self._flush()
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._repeat(lambda: self._tls.read(RECEIVE_BYTES))
        return answer

    def discard(self, length: int) -> None:
        """Throw away the rest of a body of which so much is left; smaller records may leave a thousandth of it."""
        view, left = bytearray(DISCARD_BYTES), length + length // RECORD_BYTES * RECORD_OVERHEAD
        left -= self._incoming.pending
        while left > 0:
            got = self.socket.recv_into(view, min(left, DISCARD_BYTES), socket.MSG_TRUNC)
            if not got:
                raise UnexpectedResponseError(f"{left} bytes short")
            left -= got

    def _repeat(self, step: Callable[[], bytes | None]) -> bytes:
        while True:
            try:
                found = step()
            except ssl.SSLWantReadError:
                self._flush()
                received = self.socket.recv(RECEIVE_BYTES)
                if not received:
                    raise UnexpectedResponseError("connection closed inside a response") from None
                self._incoming.write(received)
            else:
                self._flush()
                return found or b""

    def _flush(self) -> None:
        self.socket.sendall(self._outgoing.read())


@dataclass(slots=True)
class EncryptedPullClient:
    """A client that pulls one blob `repeats` times, each on a connection of its own."""

    port: int
    digest: str
    size_bytes: int
    repeats: int
    setup: Setup
    _contexts: list[ssl.SSLContext] = field(default_factory=list)

    def prepare(self) -> None:
        """Read the certificate."""
        context = self.setup.client_context()
        if context is None:
            raise UnexpectedResponseError("a set-up without TLS")
        self._contexts = [context]

    def run(self) -> Sample:
        """Pull."""
        for _ in range(self.repeats):
            self._pull()
        return {AMOUNT: self.size_bytes * self.repeats}

    def _pull(self) -> None:
        plain = Connection(self.port)
        connection = EncryptedConnection(plain.socket, self._contexts[0])
        connection.handshake()
        path = f"/v2/{REPOSITORY}/blobs/{self.digest}"
        answer = connection.ask(plain.head("GET", path))
        head, _, begin = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200") or f"content-length: {self.size_bytes}".encode() not in head.lower():
            raise UnexpectedResponseError(f"GET was answered {head[:300]!r}")
        connection.discard(self.size_bytes - len(begin))
        plain.close()


class EncryptedPulls(BigPulls):
    """Pulls with TLS."""

    def client(self, server: Server, digest: str, repeats: int) -> Client:
        """Return one client."""
        return EncryptedPullClient(server.port, digest, self.source.size_bytes, repeats, server.setup)


class AcceleratedPulls(BigPulls):
    """Pulls of which nginx sends the bytes, where the registry tells it to."""

    def prepare(self, server: Server) -> None:
        """Also ask roadstead past nginx, which shows that it names a file."""
        super().prepare(server)
        if server.peer.key == SUBJECT:
            connection = Connection(server.process.port, server.setup.headers)
            path = f"/v2/{REPOSITORY}/blobs/{self.digests[SUBJECT]}"
            answer = connection.request("GET", path).expect(200)
            connection.close()
            if "x-accel-redirect" not in answer.headers:
                raise UnexpectedResponseError("no X-Accel-Redirect")


FASTER = at_least("requests", 10, REFERENCE)
SOONER = at_most("p99", 0.1, REFERENCE)
AS_NGINX = at_least("bytes", 0.95, "nginx")


def _with_tls_and_workers(folder: Path) -> Setup:
    return with_tls(folder, workers=WORKERS)


def _behind_nginx(folder: Path) -> Setup:
    return with_users(folder, has_proxy=True)


def _accelerated(folder: Path) -> Setup:
    return with_users(folder, has_proxy=True, is_accelerated=True)


def _manifests(
    key: str, where: str, make: Callable[[Path], Setup], targets: tuple[Target, ...], peers: tuple[str, ...]
) -> tuple[Row, RowRun]:
    row = Row(key, f"GET manifest by tag, {CONNECTIONS} connections, {where}", "wrk, 1 thread, keep-alive", targets)

    def run(bench: Bench, result: Result) -> None:
        work = Manifests(method="GET", seconds=bench.scale.seconds)
        plan = Plan(peers, min(bench.rounds, ROUNDS), setup=make(bench.folder))
        bench.alternate(work, plan, result)

    return row, run


@dataclass(frozen=True, slots=True)
class _Pull:
    key: str
    title: str
    kind: type[BigPulls]
    make: Callable[[Path], Setup]
    clients: int = 1
    targets: tuple[Target, ...] = ()
    peers: tuple[str, ...] = REGISTRIES


def _pulls(pull: _Pull) -> tuple[Row, RowRun]:
    row = Row(pull.key, pull.title, "from the page cache", pull.targets)

    def run(bench: Bench, result: Result) -> None:
        repeats = max(1, bench.scale.pull_blobs // 2 // pull.clients)
        work = pull.kind(bench.source(bench.scale.big_bytes), clients=pull.clients, repeats=repeats)
        plan = Plan(pull.peers, min(bench.rounds, ROUNDS), setup=pull.make(bench.folder))
        bench.alternate(work, plan, result)

    return row, run


WITH_CEILING = (*REGISTRIES, "nginx")

SECURED_ROWS: tuple[tuple[Row, RowRun], ...] = (
    _manifests("users-get", "htpasswd with bcrypt", with_users, (FASTER, SOONER), REGISTRIES),
    _manifests("tls-get", "TLS 1.3", with_tls, (), WITH_CEILING),
    _manifests("nginx-get", "htpasswd, behind nginx", _behind_nginx, (FASTER,), REGISTRIES),
    _pulls(
        _Pull("tls-pull-1", "pull 256 MiB, TLS 1.3, 1 client", EncryptedPulls, with_tls, 1, (AS_NGINX,), WITH_CEILING)
    ),
    _pulls(_Pull("tls-pull-4", "pull 256 MiB, TLS 1.3, 4 clients", EncryptedPulls, with_tls, 4, (), WITH_CEILING)),
    _pulls(
        _Pull(
            "tls-pull-4-workers",
            f"pull 256 MiB, TLS 1.3, 4 clients, {WORKERS} server processes",
            EncryptedPulls,
            _with_tls_and_workers,
            4,
            (AS_NGINX,),
            WITH_CEILING,
        )
    ),
    _pulls(_Pull("nginx-pull", "pull 256 MiB, htpasswd, behind nginx, 1 client", BigPulls, _behind_nginx)),
    _pulls(
        _Pull(
            "nginx-pull-accel",
            "pull 256 MiB, htpasswd, behind nginx that sends the bytes of roadstead's (X-Accel-Redirect), 1 client",
            AcceleratedPulls,
            _accelerated,
        )
    ),
)
