"""GET and HEAD of a manifest by tag at 32 connections.

GET is asked by wrk. HEAD is asked by benchmarks.heads, since wrk waits for a body that never comes.
"""

from __future__ import annotations

import re
import resource
import subprocess
from typing import TYPE_CHECKING

from benchmarks.content import MANIFEST_TYPE, Image
from benchmarks.heads import HeadClient, ask_heads
from benchmarks.model import REFERENCE, REGISTRIES, Result, Sample, Target, at_least, at_most
from benchmarks.peers import Server, find_command
from benchmarks.runner import Bench, Plan, Row, RowRun
from benchmarks.uploads import REPOSITORY, TAG, check_manifest, push_image
from benchmarks.wire import UnexpectedResponseError

if TYPE_CHECKING:
    from pathlib import Path

CONNECTIONS = 32
LAYERS = 5
"""A usual image: its manifest has 1.7 kB."""

PATH = f"/v2/{REPOSITORY}/manifests/{TAG}"
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
WARM_SECONDS = 0.5


class Manifests:
    """One image on each server, asked for its manifest by tag."""

    def __init__(self, *, method: str, seconds: float) -> None:
        self.method = method
        self.seconds = seconds
        self.image = Image.random(layers=LAYERS, layer_bytes=1024)

    def seed(self, peer: str, folder: Path) -> None:
        """Nothing: the image comes over the wire."""

    def prepare(self, server: Server) -> None:
        """Push the image, check that it comes back, warm the server up."""
        push_image(server, self.image)
        check_manifest(server, self.image)
        self._ask(server, WARM_SECONDS)

    def measure(self, server: Server) -> Sample:
        """Ask for `seconds` and return rate, p99 and CPU per 1,000 requests."""
        before = server.cpu_seconds()
        sample = self._ask(server, self.seconds)
        cpu = server.cpu_seconds() - before
        return {
            "requests": sample["requests"],
            "p99": sample["p99"],
            "cpu_requests": cpu / sample["count"] * 1000,
            "memory": server.memory_mb(),
            "client": sample["client"],
        }

    def _ask(self, server: Server, seconds: float) -> Sample:
        if self.method == "HEAD":
            return ask_heads(HeadClient(server.port, PATH, CONNECTIONS, seconds))
        return ask_wrk(server, seconds)


def ask_wrk(server: Server, seconds: float) -> Sample:
    """Run wrk, one for each port of the server, and read the reports; raise when any response was not 2xx."""
    before = _children_cpu()
    ports = server.ports
    running = [subprocess.Popen(_wrk(server, port, len(ports), seconds), stdout=subprocess.PIPE) for port in ports]
    reports = [process.communicate()[0].decode() for process in running]
    client = _children_cpu() - before
    if any(process.returncode for process in running):
        raise UnexpectedResponseError(f"wrk failed: {reports}")
    samples = [_read(report) for report in reports]
    return {
        "count": sum(sample["count"] for sample in samples),
        "requests": sum(sample["requests"] for sample in samples),
        "p99": max(sample["p99"] for sample in samples),
        "client": client / max(sample["seconds"] for sample in samples),
    }


def _wrk(server: Server, port: int, ports: int, seconds: float) -> list[str]:
    """Return the command for one of `ports`, which share the connections."""
    argv = [find_command("wrk", "wrk"), "--threads", "1", "--connections", str(CONNECTIONS // ports), "--latency"]
    argv += ["--duration", f"{max(1, round(seconds))}s", "--timeout", "30s", "--header", f"Accept: {MANIFEST_TYPE}"]
    argv += [part for name, value in server.setup.headers.items() for part in ("--header", f"{name}: {value}")]
    return [*argv, f"{server.setup.scheme}://127.0.0.1:{port}{PATH}"]


def _read(report: str) -> Sample:
    if "Non-2xx" in report or "Socket errors" in report:
        raise UnexpectedResponseError(report)
    count, took, unit = _find(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", report)
    wall = float(took) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[unit]
    p99, p99_unit = _find(r"99%\s+([\d.]+)(us|ms|s)", report)
    return {
        "count": float(count),
        "seconds": wall,
        "requests": float(count) / wall,
        "p99": float(p99) * UNITS[p99_unit],
    }


def _find(pattern: str, report: str) -> tuple[str, ...]:
    match = re.search(pattern, report)
    if match is None:
        raise UnexpectedResponseError(f"wrk said:\n{report}")
    return match.groups()


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


SOONER = at_most("p99", 0.1, REFERENCE)


def _row(method: str, how: str, targets: tuple[Target, ...]) -> tuple[Row, RowRun]:
    row = Row(f"manifest-{method.lower()}", f"{method} manifest by tag, {CONNECTIONS} connections", how, targets)

    def run(bench: Bench, result: Result) -> None:
        work = Manifests(method=method, seconds=bench.scale.seconds)
        bench.alternate(work, Plan(PARTIES, bench.rounds), result)

    return row, run


PARTIES = (*REGISTRIES, "nginx")

MANIFEST_ROWS = (
    _row(
        "GET",
        "wrk, 1 thread, keep-alive; nginx gives the same bytes as a file",
        (at_least("requests", 12, REFERENCE, is_strict=True), SOONER),
    ),
    _row("HEAD", "an epoll loop in one process, keep-alive", (at_least("requests", 12, REFERENCE), SOONER)),
)
