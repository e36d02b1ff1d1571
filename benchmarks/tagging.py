"""A load of pushes, each a durable transaction of the catalogue: one manifest, under one new tag after another."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from benchmarks.clients import AMOUNT
from benchmarks.content import MANIFEST_TYPE
from benchmarks.model import Sample
from benchmarks.percentiles import percentile
from benchmarks.uploads import REPOSITORY
from benchmarks.wire import Connection


@dataclass(slots=True)
class TagClient:
    """A client that pushes `manifest` for `seconds`, to tags that begin with `stem`."""

    port: int
    stem: str
    manifest: bytes
    seconds: float
    _connections: list[Connection] = field(default_factory=list)

    def prepare(self) -> None:
        """Connect."""
        self._connections = [Connection(self.port)]

    def run(self) -> Sample:
        """Push until the time is over; latencies in milliseconds."""
        clock = time.perf_counter
        latencies: list[float] = []
        until = clock() + self.seconds
        while (began := clock()) < until:
            target = f"/v2/{REPOSITORY}/manifests/{self.stem}-{len(latencies)}"
            self._connections[0].request("PUT", target, self.manifest, {"Content-Type": MANIFEST_TYPE}).expect(201)
            latencies.append(clock() - began)
        return {AMOUNT: len(latencies), "p99": percentile(latencies, 0.99) * 1000, "worst": max(latencies) * 1000}
