"""Push of big blobs: bytes per second and CPU seconds per gigabyte, with one client and with four.

Each sample has a new and empty server on the disk, warmed up by a push that does not count, so that no peer profits
from what is there and the disk does not fill. What was written before is on the disk before the time starts.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.clients import AMOUNT, run_clients
from benchmarks.content import Blob, Source
from benchmarks.model import REFERENCE, REGISTRIES, Result, Sample, at_least, at_most
from benchmarks.runner import Bench, Plan, Row, RowRun, remove
from benchmarks.scale import MIB
from benchmarks.uploads import REPOSITORY, check_blob, push_as_docker, push_whole
from benchmarks.wire import Connection

if TYPE_CHECKING:
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
    at_least("bytes", 1.0, "registry:3"),
    at_most("cpu_bytes", 0.9, "registry:3"),
    at_least("bytes", 1.8, REFERENCE),
    at_most("cpu_bytes", 0.4, REFERENCE),
)
PARTIES = (*REGISTRIES, "sink")
MEMORY = Path("/dev/shm")
SPARE = 1.3
"""Free space that a row in memory asks for, as a multiple of what it writes."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to push a blob, as the table names it."""

    key: str
    title: str
    how: str
    push: Push


DOCKER = _Way(
    "push", "push 256 MiB", "POST, PATCH with a body in chunks of 32 KiB, PUT: docker, podman, skopeo", push_as_docker
)
WHOLE = _Way("push-whole", "push 256 MiB in one PUT", "POST, PUT with the whole body: containerd, BuildKit", push_whole)


def _row(way: _Way, clients: int, *, is_in_memory: bool = False) -> tuple[Row, RowRun]:
    def run(bench: Bench, result: Result) -> None:
        repeats = max(1, bench.scale.push_blobs // clients)
        work = BigPushes(bench, clients=clients, repeats=repeats, push=way.push)
        with _memory(clients * repeats * bench.scale.big_bytes) if is_in_memory else nullcontext() as folder:
            bench.alternate(work, Plan(PARTIES, bench.rounds, is_fresh=True, folder=folder), result)

    key = f"{way.key}-{clients}{'-memory' if is_in_memory else ''}"
    where = " on a memory folder" if is_in_memory else ""
    return Row(key, f"{way.title}{where}, {clients} client{'s' if clients > 1 else ''}", way.how, TARGETS), run


@contextmanager
def _memory(size_bytes: int) -> Iterator[Path]:
    """Make a folder in memory, where a flush costs nothing, and remove it; raise where it is too small."""
    needed = size_bytes * SPARE
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < needed:
        raise RuntimeError(f"needs {needed / 1e9:.1f} GB in {MEMORY}")
    folder = Path(tempfile.mkdtemp(prefix="roadstead-bench-", dir=MEMORY))
    try:
        yield folder
    finally:
        remove(folder)


PUSH_ROWS = tuple(
    _row(way, clients, is_in_memory=is_in_memory)
    for is_in_memory in (False, True)
    for way in (DOCKER, WHOLE)
    for clients in (1, 4)
)
