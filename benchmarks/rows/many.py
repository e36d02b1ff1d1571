"""The catalogue on PostgreSQL beside the one in a file, many pushes into one repository, and replicas.

All ratios are between forms of roadstead in the same run. Where the catalogue or the processor decides, contents are
small: what a disk does with bytes is in the other rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.clients import run_clients
from benchmarks.model import (
    ON_POSTGRESQL,
    ONE_REPLICA,
    SUBJECT,
    TWO_REPLICAS,
    Result,
    Sample,
    Target,
    at_least,
    at_most,
)
from benchmarks.rows.manifests import CONNECTIONS, Manifests
from benchmarks.rows.small import ImageClient, SmallPushes
from benchmarks.runner import Bench, Plan, Row, RowRun
from benchmarks.variants import SHARE, DatabaseServer

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers import Server

CROWD = 32
SMALL_BYTES = 1024
CATALOGUES = (SUBJECT, ON_POSTGRESQL)
REPLICAS = (ONE_REPLICA, TWO_REPLICAS)


class Crowd:
    """As many clients push small images at once, first into repositories of their own, then into one."""

    def __init__(self, *, images: int) -> None:
        self.images = images
        self.turn = 0

    def seed(self, peer: str, folder: Path) -> None:
        """Nothing: the server starts empty."""

    def prepare(self, server: Server) -> None:
        """Warm up."""
        self._push(server, [f"bench/warm-{number}" for number in range(CROWD)], 1)

    def measure(self, server: Server) -> Sample:
        """Push both ways; the share of transactions that ran again is that of one repository."""
        self.turn += 1
        apart = self._push(server, [f"bench/own-{self.turn}-{number}" for number in range(CROWD)], self.images)
        before = _transactions(server)
        together = self._push(server, [f"bench/one-{self.turn}"] * CROWD, self.images)
        sample = {"apart": apart, "together": together, "crowding": apart / together}
        after = _transactions(server)
        if after is not None and before is not None:
            sample["retried"] = 100 * (after[0] - before[0]) / (after[1] - before[1])
        return sample

    def _push(self, server: Server, names: list[str], count: int) -> float:
        ports = server.ports
        clients = [
            ImageClient(ports[number % len(ports)], name, count, SMALL_BYTES, f"c{number}-")
            for number, name in enumerate(names)
        ]
        return run_clients(clients).rate


def _transactions(server: Server) -> tuple[int, int] | None:
    """Return how many transactions have run again, and how many there were; None without a server of databases."""
    return (server.retries(), server.written()) if isinstance(server, DatabaseServer) else None


def _get(peers: tuple[str, ...], key: str, title: str, target: Target) -> tuple[Row, RowRun]:
    row = Row(key, title, "wrk, a thread for each server process, keep-alive", (target,))

    def run(bench: Bench, result: Result) -> None:
        bench.alternate(Manifests(method="GET", seconds=bench.scale.seconds), Plan(peers, bench.rounds), result)

    return row, run


def _run_push(bench: Bench, result: Result) -> None:
    bench.alternate(SmallPushes(images=bench.scale.images_per_client), Plan(CATALOGUES, bench.rounds), result)


def _run_replicas_push(bench: Bench, result: Result) -> None:
    work = SmallPushes(images=bench.scale.images_per_client, layer_bytes=SMALL_BYTES)
    bench.alternate(work, Plan(REPLICAS, bench.rounds), result)


def _run_crowd(bench: Bench, result: Result) -> None:
    work = Crowd(images=max(1, bench.scale.images_per_client // 4))
    bench.alternate(work, Plan(CATALOGUES, bench.rounds), result)


MANY_ROWS: tuple[tuple[Row, RowRun], ...] = (
    _get(
        CATALOGUES,
        "postgresql-get",
        f"GET manifest by tag, {CONNECTIONS} connections, the catalogue in a file : on PostgreSQL",
        at_most("requests", 3, ON_POSTGRESQL),
    ),
    (
        Row(
            "postgresql-push",
            "whole small push, 8 connections, the catalogue in a file : on PostgreSQL",
            "as the row of small pushes",
            (at_most("images", 2, ON_POSTGRESQL),),
        ),
        _run_push,
    ),
    (
        Row(
            "crowd",
            f"{CROWD} clients push into one repository, and each into its own",
            "layer of 1 KiB, config, manifest, all new; for each blob HEAD, POST, chunked PATCH, PUT",
            (at_most("crowding", 1.3), at_most("crowding", 1.3, of=ON_POSTGRESQL)),
        ),
        _run_crowd,
    ),
    _get(
        REPLICAS,
        "replicas-get",
        f"GET manifest by tag, {CONNECTIONS} connections, two replicas : one, each held to {SHARE:.0%} of a core",
        at_least("requests", 1.7, ONE_REPLICA, of=TWO_REPLICAS),
    ),
    (
        Row(
            "replicas-push",
            f"small push, 8 connections, two replicas : one, each held to {SHARE:.0%} of a core",
            "as the row of small pushes, with a layer of 1 KiB",
            (at_least("images", 1.7, ONE_REPLICA, of=TWO_REPLICAS),),
        ),
        _run_replicas_push,
    ),
)
