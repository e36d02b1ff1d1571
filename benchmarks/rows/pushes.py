"""Push of big blobs: bytes per second and CPU seconds per gigabyte, with one client and with four.

Each sample has a new and empty server on the disk, warmed up by a push that does not count, so that no peer profits
from what is there and the disk does not fill. What was written before is on the disk before the time starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.clients import AMOUNT, run_clients
from benchmarks.content import Blob, Source
from benchmarks.model import Bound, Kind, Result, Sample, Target
from benchmarks.runner import Bench, Plan, Row, RowRun
from benchmarks.scale import MIB
from benchmarks.uploads import REPOSITORY, check_blob, push_as_docker, push_whole
from benchmarks.wire import Connection

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers import Server

Push = Callable[[Connection, str, Source, Blob], None]
WARM_BYTES = 8 * MIB


@dataclass(slots=True)
class PushClient:
    """A client that pushes blobs one after another on one connection."""

    port: int
    source: Source
    blobs: list[Blob]
    push: Push
    _connections: list[Connection] = field(default_factory=list)

    def prepare(self) -> None:
        """Connect."""
        self._connections = [Connection(self.port)]

    def run(self) -> Sample:
        """Push all."""
        for blob in self.blobs:
            self.push(self._connections[0], REPOSITORY, self.source, blob)
        return {AMOUNT: sum(blob.size_bytes for blob in self.blobs)}


class BigPushes:
    """`clients` clients push `repeats` blobs each."""

    def __init__(self, bench: Bench, *, clients: int, repeats: int, push: Push) -> None:
        self.clients = clients
        self.repeats = repeats
        self.push = push
        self.source = bench.source(bench.scale.big_bytes)
        self.warm = bench.source(WARM_BYTES)
        self.checked: set[str] = set()

    def seed(self, peer: str, folder: Path) -> None:
        """Nothing: the server starts empty."""

    def prepare(self, server: Server) -> None:
        """Push small blobs, so that no first time is timed."""
        connection = Connection(server.port)
        for _ in range(3):
            self.push(connection, REPOSITORY, self.warm, self.warm.blob())
        connection.close()

    def measure(self, server: Server) -> Sample:
        """Push, then see that every blob is there; hash one of each peer."""
        blobs = [[self.source.blob() for _ in range(self.repeats)] for _ in range(self.clients)]
        os.sync()
        before = server.process.cpu_seconds()
        outcome = run_clients([PushClient(server.port, self.source, own, self.push) for own in blobs])
        cpu = server.process.cpu_seconds() - before
        memory = server.process.memory_mb()
        if server.peer.is_registry:
            self._check(server, [blob.digest for own in blobs for blob in own])
        return {
            "bytes": outcome.rate / 1e6,
            "cpu_bytes": cpu / outcome.amount * 1e9,
            "memory": memory,
            "client": outcome.cores,
        }

    def _check(self, server: Server, digests: list[str]) -> None:
        connection = Connection(server.port)
        for digest in digests:
            connection.request("HEAD", f"/v2/{REPOSITORY}/blobs/{digest}").expect(200)
        connection.close()
        if server.peer.key not in self.checked:
            check_blob(server, digests[0])
            self.checked.add(server.peer.key)


TARGETS = (
    Target("bytes", Kind.RATIO, Bound.AT_LEAST, 1.5),
    Target("cpu_bytes", Kind.RATIO, Bound.AT_MOST, 0.6),
)
PEERS = ("roadstead", "docker-registry", "registry:3", "zot", "sink")


def _row(key: str, title: str, how: str, push: Push, clients: int) -> tuple[Row, RowRun]:
    def run(bench: Bench, result: Result) -> None:
        repeats = max(1, bench.scale.push_blobs // clients)
        work = BigPushes(bench, clients=clients, repeats=repeats, push=push)
        bench.alternate(work, Plan(PEERS, bench.rounds, is_fresh=True), result)

    return Row(key, title, how, TARGETS), run


DOCKER = "POST, PATCH with a body in chunks of 32 KiB, PUT: docker, podman, skopeo"
WHOLE = "POST, PUT with the whole body: containerd, BuildKit"

PUSH_ROWS = (
    _row("push-1", "push 256 MiB, 1 client", DOCKER, push_as_docker, 1),
    _row("push-4", "push 256 MiB, 4 clients", DOCKER, push_as_docker, 4),
    _row("push-whole-1", "push 256 MiB in one PUT, 1 client", WHOLE, push_whole, 1),
)
