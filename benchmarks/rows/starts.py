"""From the start of the process to its first answer, with a million blobs on record.

The answer is a page of the catalogue, which needs the records. The reference keeps no records, so it starts with
nothing, and the ratio says what a database costs. Files that were read before are in the page cache.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.catalogue import Content, load_roadstead
from benchmarks.model import REGISTRIES, SUBJECT, Result, Sample, at_most
from benchmarks.peers import Server
from benchmarks.runner import Bench, Plan, Row, RowRun
from benchmarks.wire import Connection

REPOSITORIES = 10_000
FIRST = "/v2/_catalog?n=1"


class Starts:
    """Stops and starts each server again on what it has."""

    def __init__(self, content: Content) -> None:
        self.content = content

    def seed(self, peer: str, folder: Path) -> None:
        """Load the records."""
        if peer == SUBJECT:
            load_roadstead(folder / "data", self.content)
        else:
            (folder / "data" / "docker" / "registry" / "v2" / "repositories").mkdir(parents=True)

    def prepare(self, server: Server) -> None:
        """Ask once."""
        _first_answer(server)

    def measure(self, server: Server) -> Sample:
        """Start the server again and ask until it answers."""
        server.process.stop()
        server.process = server.peer.start(server.folder).process
        _first_answer(server)
        return {"start": time.perf_counter() - server.process.started_at, "memory": server.process.memory_mb()}


def _first_answer(server: Server) -> None:
    connection = Connection(server.port)
    connection.request("GET", FIRST).expect(200)
    connection.close()


TARGETS = (at_most("start", 1),)


def _run(bench: Bench, result: Result) -> None:
    blobs = bench.scale.blobs
    result.detail = f"{blobs:,}"
    work = Starts(Content(min(REPOSITORIES, blobs), min(REPOSITORIES, blobs) * 10, blobs))
    bench.alternate(work, Plan(REGISTRIES, bench.rounds), result)


START_ROWS: tuple[tuple[Row, RowRun], ...] = (
    (
        Row(
            "start",
            "start to first answer, by blobs on record",
            "the other servers hold no records and start empty",
            TARGETS,
        ),
        _run,
    ),
)
