"""A load of HEAD requests: many keep-alive connections, one request in flight on each, in one epoll loop.

It runs in a process of its own, which does nothing else. Each response must be a 200 and arrive whole.
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.clients import AMOUNT, run_clients
from benchmarks.content import MANIFEST_TYPE
from benchmarks.percentiles import percentile
from benchmarks.wire import Connection, UnexpectedResponseError

if TYPE_CHECKING:
    import socket

    from benchmarks.model import Sample

RECEIVE_BYTES = 65536


@dataclass(slots=True)
class HeadClient:
    """A client that keeps `connections` requests in flight for `seconds`."""

    port: int
    path: str
    connections: int
    seconds: float
    _request: bytes = b""
    _sockets: dict[int, socket.socket] = field(default_factory=dict)

    def prepare(self) -> None:
        """Connect."""
        opened = [Connection(self.port) for _ in range(self.connections)]
        self._request = opened[0].head("HEAD", self.path, {"Accept": MANIFEST_TYPE})
        self._sockets = {connection.socket.fileno(): connection.socket for connection in opened}

    def run(self) -> Sample:
        """Ask until the time is over."""
        latencies = self._ask()
        return {AMOUNT: len(latencies), "p99": percentile(latencies, 0.99) * 1000, "worst": max(latencies) * 1000}

    def _ask(self) -> list[float]:
        poll, clock, request, sockets = select.epoll(), time.perf_counter, self._request, self._sockets
        latencies: list[float] = []
        add, sent, until = latencies.append, {}, clock() + self.seconds
        for file, server in sockets.items():
            poll.register(file, select.EPOLLIN)
            sent[file] = clock()
            server.send(request)
        while clock() < until:
            for file, _ in poll.poll(1.0):
                server = sockets[file]
                answer = server.recv(RECEIVE_BYTES)
                if not (answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n")):
                    raise UnexpectedResponseError(f"HEAD was answered {answer[:300]!r}")
                now = clock()
                add(now - sent[file])
                sent[file] = now
                server.send(request)
        return latencies


def ask_heads(client: HeadClient) -> Sample:
    """Run the client in a process of its own and return count, rate, p99, the longest and what the client cost."""
    outcome = run_clients([client])
    return {
        "count": outcome.amount,
        "requests": outcome.rate,
        "p99": outcome.found[0]["p99"],
        "worst": outcome.found[0]["worst"],
        "client": outcome.cores,
    }
