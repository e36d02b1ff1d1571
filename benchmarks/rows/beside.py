"""What a small request feels of big ones: a manifest is asked for while others pull big blobs as fast as they can.

The one who asks waits for each answer before it asks again, on one connection, so that a latency is the server's (and
the machine's) and not that of a queue of its own. On a machine whose cores the pulls fill, part of it is the wait for
a core; nginx, which has nothing else to wait for, shows how much.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.clients import AMOUNT, Client, run_clients
from benchmarks.content import MANIFEST_TYPE, Image, Source
from benchmarks.model import REGISTRIES, Result, Sample, at_most
from benchmarks.percentiles import percentile
from benchmarks.rows.manifests import LAYERS, PATH
from benchmarks.rows.pulls import PullClient
from benchmarks.runner import Bench, Plan, Row, RowRun
from benchmarks.uploads import bring_blob, check_blob, check_manifest, push_image
from benchmarks.wire import Connection, UnexpectedResponseError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers import Server

PULLS = 8
WARM_SECONDS = 1.0


@dataclass(slots=True)
class SteadyPullClient(PullClient):
    """A client that begins to pull again until `seconds` are over, and ends with the pull that it is in."""

    seconds: float = 0.0

    def run(self) -> Sample:
        """Pull."""
        until, amount = time.perf_counter() + self.seconds, 0.0
        while time.perf_counter() < until:
            amount += super(SteadyPullClient, self).run()[AMOUNT]
        return {AMOUNT: amount}


@dataclass(slots=True)
class ManifestClient:
    """A client that asks for a manifest, one request after another, for `seconds`."""

    port: int
    manifest: bytes
    seconds: float
    _connections: list[Connection] = field(default_factory=list)

    def prepare(self) -> None:
        """Connect."""
        self._connections = [Connection(self.port)]

    def run(self) -> Sample:
        """Ask; AMOUNT is none of this, since the rate is that of the pulls."""
        connection, clock, latencies = self._connections[0], time.perf_counter, []
        until = clock() + self.seconds
        while (began := clock()) < until:
            answer = connection.request("GET", PATH, headers={"Accept": MANIFEST_TYPE}).expect(200)
            latencies.append(clock() - began)
            if answer.body != self.manifest:
                raise UnexpectedResponseError("another manifest came back")
        return {AMOUNT: 0.0, "p99": percentile(latencies, 0.99) * 1000, "worst": max(latencies) * 1000}


class ManifestBesidePulls:
    """A manifest asked for beside PULLS clients that pull a big blob."""

    def __init__(self, source: Source, *, seconds: float) -> None:
        self.source = source
        self.seconds = seconds
        self.image = Image.random(layers=LAYERS, layer_bytes=1024)
        self.digests: dict[str, str] = {}

    def seed(self, peer: str, folder: Path) -> None:
        """Nothing: image and blob come over the wire."""

    def prepare(self, server: Server) -> None:
        """Push both, check what comes back, and warm up."""
        push_image(server, self.image)
        check_manifest(server, self.image)
        digest = bring_blob(server, self.source).digest
        check_blob(server, digest)
        self.digests[server.peer.key] = digest
        self._load(server, WARM_SECONDS)

    def measure(self, server: Server) -> Sample:
        """Pull and ask."""
        return self._load(server, self.seconds)

    def _load(self, server: Server, seconds: float) -> Sample:
        digest, size = self.digests[server.peer.key], self.source.size_bytes
        pulls: list[Client] = [SteadyPullClient(server.port, digest, size, 1, seconds=seconds) for _ in range(PULLS)]
        before = server.cpu_seconds()
        outcome = run_clients([ManifestClient(server.port, self.image.manifest, seconds), *pulls])
        cpu = server.cpu_seconds() - before
        asked = next(found for found in outcome.found if "p99" in found)
        return {
            "p99": asked["p99"],
            "worst": asked["worst"],
            "bytes": outcome.rate / 1e6,
            "cpu_bytes": cpu / outcome.amount * 1e9,
            "client": outcome.cores,
        }


def _run(bench: Bench, result: Result) -> None:
    work = ManifestBesidePulls(bench.source(bench.scale.big_bytes), seconds=bench.scale.seconds)
    bench.alternate(work, Plan((*REGISTRIES, "nginx"), bench.rounds), result)


BESIDE_ROWS: tuple[tuple[Row, RowRun], ...] = (
    (
        Row(
            "get-beside-pulls",
            f"GET manifest by tag, 1 connection, while {PULLS} clients pull 256 MiB each",
            "one request after another; the blob from the page cache",
            (at_most("p99", 10),),
        ),
        _run,
    ),
)
