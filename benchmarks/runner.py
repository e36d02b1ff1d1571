"""Runs a piece of work against several peers in turn and collects the samples.

The peers of a row are started together, each on an empty folder, and are idle while it is not their turn. Every
round goes through all of them, each round in the reverse order of the one before, so that no peer is always first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from benchmarks.content import Source
from benchmarks.model import BEFORE, SUBJECT, Result, Sample, Target
from benchmarks.peers import PeerAbsentError, Server
from benchmarks.processes import machine_cpu_seconds, own_cpu_seconds
from benchmarks.servers import server_of
from benchmarks.setups import PLAIN, Setup
from benchmarks.wire import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.scale import Scale


class Work(Protocol):
    """What is measured in a row."""

    def seed(self, peer: str, folder: Path) -> None:
        """Lay data into a peer's empty folder before it starts; raise PeerAbsentError when that can't be done."""

    def prepare(self, server: Server) -> None:
        """Push and check what the load needs; not timed."""

    def measure(self, server: Server) -> Sample:
        """Do the load once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Who takes part in a row, how often, and whether each sample gets a server that is new and empty.

    `folder` is where the servers keep their data, where that is not the run's own folder.
    """

    peers: Sequence[str]
    rounds: int
    is_fresh: bool = False
    setup: Setup = PLAIN
    folder: Path | None = None


@dataclass(slots=True)
class Bench:
    """One run: where its folders are, how much it does, which peers are there."""

    folder: Path
    scale: Scale
    rounds: int
    before: str = ""
    """A commit: roadstead as it was then takes part wherever this one does."""
    versions: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    _sources: dict[int, Source] = field(default_factory=dict)

    def source(self, size_bytes: int) -> Source:
        """Return the source of blobs of a size; it is made once and lasts as long as the folder."""
        if size_bytes not in self._sources:
            self._sources[size_bytes] = Source(self.folder, size_bytes)
        return self._sources[size_bytes]

    def find_peers(self, wanted: Sequence[str]) -> None:
        """Ask each peer for its version once; remember why one is absent."""
        for key in wanted:
            if key in self.versions or key in self.absent:
                continue
            try:
                self.versions[key] = server_of(key, before=self.before).version()
            except PeerAbsentError as error:
                self.absent[key] = str(error)
            say(f"  {key}: {self.versions.get(key) or 'absent: ' + self.absent[key]}")

    def alternate(self, work: Work, plan: Plan, result: Result) -> None:
        """Measure a piece of work and add the samples to the result."""
        peers = [*plan.peers, *([BEFORE] if self.before and SUBJECT in plan.peers else [])]
        self.find_peers(peers)
        result.absent.update({key: self.absent[key] for key in peers if key in self.absent})
        present = [key for key in peers if key in self.versions]
        with ExitStack() as stack:
            servers: dict[str, Server] = {}
            if not plan.is_fresh:
                servers = self._start_all(stack, work, plan, present, result)
                present = list(servers)
            for turn in range(plan.rounds):
                for key in list(present) if turn % 2 == 0 else present[::-1]:
                    with _excluding(key, present, result):
                        sample = self._sample(work, key, servers.get(key), plan)
                        result.samples.setdefault(key, []).append(sample)
                        say(f"  {turn + 1}/{plan.rounds} {key}: {describe(sample)}")

    def _start_all(
        self, stack: ExitStack, work: Work, plan: Plan, peers: Sequence[str], result: Result
    ) -> dict[str, Server]:
        servers = {}
        for key in peers:
            with _excluding(key, [], result):
                servers[key] = stack.enter_context(self.serve(work, key, plan.setup, plan.folder))
        return servers

    def _sample(self, work: Work, key: str, server: Server | None, plan: Plan) -> Sample:
        if server is not None:
            return _measure(work, server)
        with self.serve(work, key, plan.setup, plan.folder) as fresh:
            return _measure(work, fresh)

    @contextmanager
    def serve(self, work: Work, key: str, setup: Setup = PLAIN, below: Path | None = None) -> Iterator[Server]:
        """Start a peer on a folder of its own, set up and prepared for the work; end it and remove the folder."""
        folder = (below or self.folder) / f"{key.replace(':', '-')}-{time.monotonic_ns()}"
        folder.mkdir()
        try:
            work.seed(key, folder)
            server = server_of(key, before=self.before).start(folder, setup)
            try:
                check_setup(server)
                work.prepare(server)
                # What was written until now must not be written back in the measured time.
                os.sync()
                yield server
            except Exception:
                say(server.process.log_tail())
                raise
            finally:
                server.stop()
        finally:
            remove(folder)


def check_setup(server: Server) -> None:
    """Raise unless a registry with users refuses who is none, and says so through whatever is in front of it."""
    if server.setup.htpasswd is None or not server.peer.is_registry:
        return
    for headers in ({}, {"Authorization": "Basic YmVuY2g6d3Jvbmc="}):
        connection = Connection(server.port, headers, server.setup.client_context())
        connection.request("GET", "/v2/").expect(401)
        connection.close()
    connection = server.connect()
    connection.request("GET", "/v2/").expect(200)
    connection.close()


@contextmanager
def _excluding(key: str, present: list[str], result: Result) -> Iterator[None]:
    """Go on without a peer that fails: all its samples of this row are dropped, and the result says why."""
    try:
        yield
    except PeerAbsentError as error:
        result.absent[key] = str(error)
    except Exception as error:  # noqa: BLE001 - whatever it was, the other peers are still worth measuring
        say(f"  {key} failed: {type(error).__name__}: {error}")
        result.failures[key] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        result.samples.pop(key, None)
        if key in present:
            present.remove(key)


def _measure(work: Work, server: Server) -> Sample:
    """Measure, and add how many cores something else on the machine used meanwhile."""
    process = server.process
    began, machine = time.perf_counter(), machine_cpu_seconds()
    database = server.database_cpu_seconds()
    ours = server.cpu_seconds() + own_cpu_seconds()
    sample = dict(work.measure(server))
    server.process.raise_if_dead()
    if server.process is process:
        ours = server.cpu_seconds() + own_cpu_seconds() - ours
        database = server.database_cpu_seconds() - database
        others = machine_cpu_seconds() - machine - ours - database
        seconds = time.perf_counter() - began
        sample["others"] = max(0.0, others / seconds)
        if database:
            sample["database"] = database / seconds
    return sample


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table. `how` is one sentence for the docs."""

    key: str
    title: str
    how: str
    targets: tuple[Target, ...]

    def result(self) -> Result:
        """Return an empty result for it."""
        return Result(self.key, self.title, self.how, self.targets)


class RowRun(Protocol):
    """Measures a row."""

    def __call__(self, bench: Bench, result: Result) -> None:
        """Fill the result."""


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it; `rm` takes a third of shutil's time for a million entries."""
    subprocess.run(["rm", "-rf", "--", str(folder)], check=False)


def describe(sample: Mapping[str, float]) -> str:
    """Put a sample on one line."""
    return ", ".join(f"{key} {value:.4g}" for key, value in sample.items())


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)
