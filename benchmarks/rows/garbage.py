"""Collection of garbage: what it costs the catalogue, what requests feel of it, and how fast files go.

The peers collect with a command, and only while nobody pushes; here all commands run with the servers stopped, on the
same files. Everything that must stay is checked afterwards.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from benchmarks.catalogue import (
    GARBAGE_BYTES,
    Content,
    add_garbage,
    garbage_digest,
    load_roadstead,
    make_catalogue,
)
from benchmarks.clients import run_clients
from benchmarks.content import Image, digest_of
from benchmarks.heads import HeadClient, ask_heads
from benchmarks.model import BETTER, ON_POSTGRESQL, REGISTRIES, SUBJECT, Result, Sample, at_least, at_most
from benchmarks.peers import DockerRegistry, PeerAbsentError, Roadstead, Server
from benchmarks.processes import environment_with, own_cpu_seconds
from benchmarks.rows.listings import FLAT
from benchmarks.rows.manifests import CONNECTIONS, LAYERS, PATH
from benchmarks.runner import Bench, Plan, Row, RowRun, describe, remove, say
from benchmarks.server_catalogue import garbage_statements, load_statements
from benchmarks.setups import Setup
from benchmarks.tagging import TagClient
from benchmarks.uploads import check_blob, check_manifest, push_image
from benchmarks.variants import filled_database

MILLION = 1_000_000
ROUNDS = 2
PUSH_CLIENTS = 4
WARM_SECONDS = 0.5
BLOBS = Path("docker/registry/v2/blobs")

# --- the catalogue's part


def _run_catalogue(bench: Bench, result: Result) -> None:
    count = bench.scale.garbage
    result.detail = f"{count:,}"
    bench.find_peers((SUBJECT,))
    if SUBJECT not in bench.versions:
        raise PeerAbsentError(bench.absent[SUBJECT])
    data = bench.folder / "garbage"
    try:
        make_catalogue(data)
        add_garbage(data, count)
        found = _collect(data, count)
    finally:
        remove(data)
    sample = {
        "catalogue_time": found["seconds"] / count * MILLION,
        "transaction": found["longest"] * 1000,
        "growth": found["growth"],
    }
    say(f"  {SUBJECT}: {describe(sample)}")
    result.samples[SUBJECT] = [sample]


def _collect(data: Path, count: int, *url: str) -> dict[str, float]:
    """Collect in a process of its own; raise unless `count` blobs went."""
    root = str(Path(__file__).resolve().parent.parent.parent)
    argv = [sys.executable, "-m", "benchmarks.collecting", str(data), *url]
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(argv, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    if found["blobs"] != count:
        raise RuntimeError(f"{found['blobs']} blobs of {count} were collected")
    return found


# --- does it grow with what stays


def _run_growth(bench: Bench, result: Result) -> None:
    """Collect as much garbage beside a hundredth of the tags as beside all, by turns."""
    count = bench.scale.garbage_growth
    content = Content(bench.scale.repositories, bench.scale.tags)
    result.detail = f"{count:,} / {bench.scale.tags:,}"
    catalogues: dict[str, _Growing] = {SUBJECT: _collect_beside, ON_POSTGRESQL: _collect_on_server}
    bench.find_peers(tuple(catalogues))
    for key in (each for each in catalogues if each in bench.versions):
        for _ in range(min(bench.rounds, ROUNDS)):
            small = catalogues[key](bench, content.hundredth(), count)
            full = catalogues[key](bench, content, count)
            sample = {"collecting_growth": full / small, "catalogue_time": full / count * MILLION}
            say(f"  {key}: {describe(sample)}")
            result.samples.setdefault(key, []).append(sample)


class _Growing(Protocol):
    """Collects `count` blobs beside a content; returns the seconds."""

    def __call__(self, bench: Bench, content: Content, count: int) -> float:
        """Collect."""


def _collect_beside(bench: Bench, content: Content, count: int) -> float:
    data = bench.folder / "growing"
    try:
        load_roadstead(data, content)
        add_garbage(data, count)
        return _collect(data, count)["seconds"]
    finally:
        remove(data)


def _collect_on_server(bench: Bench, content: Content, count: int) -> float:
    data = bench.folder / "growing"
    data.mkdir()
    try:
        with filled_database([*load_statements(content), *garbage_statements(count)]) as url:
            return _collect(data, count, url)["seconds"]
    finally:
        remove(data)


# --- what requests feel

_NO_LINKS = "links:\n  mode: on-release\n"
"""Records that were loaded have no link files yet, and writing those for the first time is other work."""

COLLECTING = Setup(settings=f"garbage:\n  interval_seconds: 0.1\n{_NO_LINKS}")
NOT_COLLECTING = Setup(settings=f"garbage:\n  collect: false\n{_NO_LINKS}")


class Load(Protocol):
    """Requests for so many seconds to a server that has the image; returns their p99 and the longest."""

    def __call__(self, server: Server, image: Image, seconds: float) -> Sample:
        """Ask."""


def _pull(server: Server, image: Image, seconds: float) -> Sample:  # noqa: ARG001 - a Load
    return ask_heads(HeadClient(server.port, PATH, CONNECTIONS, seconds))


def _push(server: Server, image: Image, seconds: float) -> Sample:
    clients = [TagClient(server.port, f"c{number}", image.manifest, seconds) for number in range(PUSH_CLIENTS)]
    found = run_clients(clients).found
    return {key: max(each[key] for each in found) for key in ("p99", "worst")}


class BesideGarbage:
    """A load on a server with garbage due, which collects it meanwhile or leaves it."""

    def __init__(self, load: Load, *, garbage: int, seconds: float) -> None:
        self.load = load
        self.garbage = garbage
        self.seconds = seconds
        self.image = Image.random(layers=LAYERS, layer_bytes=1024)

    def seed(self, peer: str, folder: Path) -> None:
        """Load the garbage."""
        if peer != SUBJECT:
            raise PeerAbsentError("collects while it is stopped")
        make_catalogue(folder / "data")
        add_garbage(folder / "data", self.garbage)

    def prepare(self, server: Server) -> None:
        """Push the image and warm up."""
        push_image(server, self.image)
        check_manifest(server, self.image)
        self._ask(server, WARM_SECONDS)

    def measure(self, server: Server) -> Sample:
        """Ask, and count what went meanwhile; raise when that did not go on to the end."""
        collects = server.setup == COLLECTING
        before = _count_garbage(server)
        found = self._ask(server, self.seconds)
        after = _count_garbage(server)
        if collects and not 0 < after < before:
            raise RuntimeError(f"{before} blobs to collect became {after}: no collection all along")
        if collects:
            freed = (before - after) / self.seconds
            return {"p99_collecting": found["p99"], "worst_collecting": found["worst"], "freed": freed}
        return {"p99": found["p99"], "worst": found["worst"]}

    def _ask(self, server: Server, seconds: float) -> Sample:
        return self.load(server, self.image, seconds)


def _count_garbage(server: Server) -> int:
    path = server.folder / "data" / "roadstead.db"
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        question = "SELECT count(*) FROM blobs WHERE size_bytes = ?"
        count: int = connection.execute(question, (GARBAGE_BYTES,)).fetchone()[0]
    return count


def _run_requests(load: Load, bench: Bench, result: Result) -> None:
    count = bench.scale.garbage_beside
    result.detail = f"{count:,}"
    rounds = min(bench.rounds, ROUNDS)
    work = BesideGarbage(load, garbage=count, seconds=bench.scale.seconds)
    found: list[list[Sample]] = []
    for setup in (NOT_COLLECTING, COLLECTING):
        part = Result(result.key, result.title, result.how, ())
        bench.alternate(work, Plan((SUBJECT,), rounds, setup=setup), part)
        result.absent |= part.absent
        result.failures |= part.failures
        found.append(part.samples.get(SUBJECT, []))
    samples: list[Sample] = [{**quiet, **busy} for quiet, busy in zip(*found, strict=False)]
    if samples:
        result.samples[SUBJECT] = samples


# --- files


class Reclaims:
    """An image that stays and blobs that nothing needs, as files; each server's own command takes these away."""

    def __init__(self, *, count: int) -> None:
        self.count = count
        self.image = Image.random(layers=LAYERS, layer_bytes=GARBAGE_BYTES // 2)

    def seed(self, peer: str, folder: Path) -> None:
        """Nothing: the image comes over the wire, the rest when the server has stopped."""

    def prepare(self, server: Server) -> None:
        """Push the image, stop, and lay the garbage down."""
        push_image(server, self.image)
        server.process.stop()
        blobs = server.peer.objects(server.folder) / BLOBS
        for number in range(self.count):
            digest = garbage_digest(number).removeprefix("sha256:")
            folder = blobs / "sha256" / digest[:2] / digest
            folder.mkdir(parents=True)
            (folder / "data").write_bytes(number.to_bytes(8, "big") * (GARBAGE_BYTES // 8))
        if server.peer.key == SUBJECT:
            add_garbage(server.folder / "data", self.count)

    def measure(self, server: Server) -> Sample:
        """Collect; then start again and look whether all that should be there is, and nothing else."""
        command, environment = _command(server), environment_with(server.peer.environment())
        before, began = own_cpu_seconds(), time.perf_counter()
        with (server.folder / "collection.log").open("wb") as log:
            subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)
        took, cpu = time.perf_counter() - began, own_cpu_seconds() - before
        left = [path for path in (server.peer.objects(server.folder) / BLOBS).rglob("data") if path.is_file()]
        kept = len(self.image.layers) + 1
        if not kept <= len(left) <= kept + 1:  # registry:2 keeps the manifest among the blobs, too
            raise RuntimeError(f"{len(left)} files are left, not {kept}")
        server.process = server.peer.start(server.folder).process
        check_manifest(server, self.image)
        check_blob(server, digest_of(self.image.layers[0]))
        return {"reclaimed": self.count / took, "cpu_blobs": cpu / self.count * 1000}


def _command(server: Server) -> list[str]:
    peer = server.peer
    if isinstance(peer, Roadstead):
        return [peer.command(), "gc", "--data", str(server.folder / "data")]
    if isinstance(peer, DockerRegistry):
        return [peer.command(), "garbage-collect", str(peer.configure(server.folder, server.process.port))]
    raise PeerAbsentError(f"{peer.key} has no command for it")


def _run_reclaim(bench: Bench, result: Result) -> None:
    result.detail = f"{bench.scale.garbage_files:,}"
    plan = Plan(REGISTRIES, min(bench.rounds, ROUNDS), is_fresh=True)
    bench.alternate(Reclaims(count=bench.scale.garbage_files), plan, result)


GARBAGE_ROWS: tuple[tuple[Row, RowRun], ...] = (
    (
        Row(
            "gc-growth",
            "collection of blobs that nothing needs, beside tags that stay: blobs / tags",
            "the catalogue's part; beside all tags and beside a hundredth of them",
            (at_most("collecting_growth", FLAT), at_most("collecting_growth", FLAT, of=ON_POSTGRESQL)),
        ),
        _run_growth,
    ),
    (
        Row(
            "gc-catalogue",
            "collection of blobs that nothing needs, the catalogue's part",
            "records alone; the storage answers at once",
            (
                at_most("catalogue_time", 60),
                at_most("growth", 16),
            ),
        ),
        _run_catalogue,
    ),
    (
        Row(
            "gc-requests",
            f"HEAD manifest by tag, {CONNECTIONS} connections, while garbage is collected",
            "the same load before, with the garbage left alone",
            (at_most("worst_collecting", 100),),
        ),
        functools.partial(_run_requests, _pull),
    ),
    (
        Row(
            "gc-pushes",
            f"PUT manifest under a new tag, {PUSH_CLIENTS} connections, while garbage is collected",
            "the same load before, with the garbage left alone",
            (at_most("worst_collecting", 100),),
        ),
        functools.partial(_run_requests, _push),
    ),
    (
        Row(
            "gc-files",
            "collection of blobs that nothing needs, with their files",
            "by command, the servers stopped; files of 4 KiB",
            (at_least("reclaimed", 1.0, BETTER),),
        ),
        _run_reclaim,
    ),
)
