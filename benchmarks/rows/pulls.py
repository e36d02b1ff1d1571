"""Pull of big blobs: bytes per second and CPU seconds per gigabyte, with one client and with four.

Clients throw the bytes away inside the kernel: what is measured is the server. nginx with sendfile shows what the
machine and the load generator can do at most.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.clients import AMOUNT, Client, run_clients
from benchmarks.content import Source
from benchmarks.model import BETTER, REGISTRIES, Result, Sample, at_least, at_most
from benchmarks.runner import Bench, Plan, Row, RowRun
from benchmarks.uploads import REPOSITORY, bring_blob, check_blob
from benchmarks.wire import Connection, UnexpectedResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.peers import Server


@dataclass(slots=True)
class PullClient:
    """A client that pulls one blob `repeats` times on one connection."""

    port: int
    digest: str
    size_bytes: int
    repeats: int
    headers: Mapping[str, str] = field(default_factory=dict)
    _connections: list[Connection] = field(default_factory=list)

    def prepare(self) -> None:
        """Connect."""
        self._connections = [Connection(self.port, self.headers)]

    def run(self) -> Sample:
        """Pull."""
        connection = self._connections[0]
        request = connection.head("GET", f"/v2/{REPOSITORY}/blobs/{self.digest}")
        for _ in range(self.repeats):
            connection.socket.sendall(request)
            response = connection.read_head().expect(200)
            if response.headers.get("content-length") != str(self.size_bytes):
                raise UnexpectedResponseError(f"length {response.headers.get('content-length')}")
            connection.discard(self.size_bytes)
        return {AMOUNT: self.size_bytes * self.repeats}


class BigPulls:
    """`clients` clients pull `repeats` times each."""

    def __init__(self, source: Source, *, clients: int, repeats: int) -> None:
        self.clients = clients
        self.repeats = repeats
        self.source = source
        self.digests: dict[str, str] = {}

    def seed(self, peer: str, folder: Path) -> None:
        """Nothing: the blob comes over the wire."""

    def prepare(self, server: Server) -> None:
        """Push the blob and hash what comes back, which also brings it into the page cache."""
        digest = bring_blob(server, self.source).digest
        check_blob(server, digest)
        self.digests[server.peer.key] = digest
        self._pull(server, 1)

    def measure(self, server: Server) -> Sample:
        """Pull."""
        return self._pull(server, self.repeats)

    def client(self, server: Server, digest: str, repeats: int) -> Client:
        """Return one client."""
        return PullClient(server.port, digest, self.source.size_bytes, repeats, server.setup.headers)

    def _pull(self, server: Server, repeats: int) -> Sample:
        digest = self.digests[server.peer.key]
        before = server.cpu_seconds()
        outcome = run_clients([self.client(server, digest, repeats)] * self.clients)
        cpu = server.cpu_seconds() - before
        return {
            "bytes": outcome.rate / 1e6,
            "cpu_bytes": cpu / outcome.amount * 1e9,
            "memory": server.memory_mb(),
            "client": outcome.cores,
        }


TARGETS = (
    at_least("bytes", 1.3, BETTER),
    at_most("cpu_bytes", 0.5, BETTER),
)
PARTIES = (*REGISTRIES, "nginx")


def _row(clients: int) -> tuple[Row, RowRun]:
    title = f"pull 256 MiB, {clients} client{'s' if clients > 1 else ''}"
    row = Row(f"pull-{clients}", title, "from the page cache; nginx: sendfile of the same bytes", TARGETS)

    def run(bench: Bench, result: Result) -> None:
        repeats = max(1, bench.scale.pull_blobs // clients)
        work = BigPulls(bench.source(bench.scale.big_bytes), clients=clients, repeats=repeats)
        bench.alternate(work, Plan(PARTIES, bench.rounds), result)

    return row, run


PULL_ROWS = (_row(1), _row(4))
