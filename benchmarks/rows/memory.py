"""Memory at rest, and above that while twenty clients push at once.

At rest is after a whole image was pushed and pulled. The highest resident memory is the kernel's own record (VmHWM),
reset before the load, so nothing between two looks is missed.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.clients import run_clients
from benchmarks.content import Image, Source
from benchmarks.model import REGISTRIES, TIMES, Result, Sample, at_most
from benchmarks.peers import Server
from benchmarks.rows.pushes import PushClient
from benchmarks.runner import Bench, Plan, Row, RowRun
from benchmarks.uploads import check_manifest, push_as_docker, push_image

SPARE = 1.3
"""Free space that the row asks for, as a multiple of what it writes."""

SETTLE_SECONDS = 2.0


class ParallelPushes:
    """`clients` clients push one blob each, all at once."""

    def __init__(self, source: Source, *, clients: int) -> None:
        self.clients = clients
        self.source = source

    def seed(self, peer: str, folder: Path) -> None:
        """Nothing: the server starts empty."""

    def prepare(self, server: Server) -> None:
        """Push and pull an image, then let the server come to rest."""
        image = Image.random(layers=1, layer_bytes=1_000_000)
        push_image(server, image)
        check_manifest(server, image)
        time.sleep(SETTLE_SECONDS)

    def measure(self, server: Server) -> Sample:
        """Look at memory, push, and look at the highest."""
        server.process.reset_peak()
        rest = server.process.resident_mb()
        clients = [
            PushClient(server.port, self.source, [self.source.blob()], push_as_docker) for _ in range(self.clients)
        ]
        before = server.process.cpu_seconds()
        outcome = run_clients(clients)
        return {
            "rest": rest,
            "above_rest": server.process.peak_mb() - rest,
            "bytes": outcome.rate / 1e6,
            "cpu_bytes": (server.process.cpu_seconds() - before) / outcome.amount * 1e9,
            "client": outcome.cores,
        }


TARGETS = (
    at_most("rest", 100),
    at_most("above_rest", 64),
)


def _run(bench: Bench, result: Result) -> None:
    clients, size_bytes = bench.scale.parallel_pushes, bench.scale.parallel_bytes
    result.detail = f"{clients} {TIMES} {size_bytes // 2**20} MiB"
    needed = clients * size_bytes * SPARE
    if shutil.disk_usage(bench.folder).free < needed:
        raise RuntimeError(f"needs {needed / 1e9:.0f} GB of free disk space")
    work = ParallelPushes(bench.source(size_bytes), clients=clients)
    bench.alternate(work, Plan(REGISTRIES, bench.scale.parallel_rounds, is_fresh=True), result)


MEMORY_ROWS: tuple[tuple[Row, RowRun], ...] = (
    (
        Row(
            "memory",
            "memory at rest and with parallel pushes",
            "resident memory; the highest by the kernel's record",
            TARGETS,
        ),
        _run,
    ),
)
