"""Whole small pushes: an image with a layer of 1 MB, its config and its manifest, eight connections at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.clients import AMOUNT, run_clients
from benchmarks.content import MANIFEST_TYPE, Image, digest_of
from benchmarks.model import REFERENCE, REGISTRIES, Result, Sample, at_least
from benchmarks.runner import Bench, Plan, Row, RowRun
from benchmarks.uploads import TAG, check_blob, check_manifest, frame, push_image, push_small_blob, put_manifest
from benchmarks.wire import Connection

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers import Server

CONNECTIONS = 8
LAYER_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image with its bodies framed and its digests known."""

    blobs: tuple[tuple[str, bytes], ...]
    manifest: bytes

    @classmethod
    def of(cls, image: Image) -> Prepared:
        """Do ahead of time what is not the server's work."""
        contents = (*image.layers, image.config)
        return cls(tuple((digest_of(content), frame(content)) for content in contents), image.manifest)


@dataclass(slots=True)
class ImageClient:
    """A client that pushes images, each to a repository and a tag of its own."""

    port: int
    name: str
    count: int
    layer_bytes: int = LAYER_BYTES
    stem: str = "t"
    """What its tags begin with."""
    _connections: list[Connection] = field(default_factory=list)
    _images: list[Prepared] = field(default_factory=list)

    def prepare(self) -> None:
        """Make the images, then connect: a server does not wait for ever for a first request."""
        images = (Image.random(layers=1, layer_bytes=self.layer_bytes) for _ in range(self.count))
        self._images = [Prepared.of(image) for image in images]
        self._connections = [Connection(self.port)]

    def run(self) -> Sample:
        """Push all: for each blob HEAD, POST, PATCH, PUT; then the manifest."""
        connection = self._connections[0]
        for number, image in enumerate(self._images):
            for digest, framed in image.blobs:
                push_small_blob(connection, self.name, digest, framed)
            put_manifest(connection, self.name, f"{self.stem}{number}", image.manifest)
        return {AMOUNT: self.count}


class SmallPushes:
    """Eight clients push images; each sample to repositories that are new."""

    def __init__(self, *, images: int, layer_bytes: int = LAYER_BYTES) -> None:
        self.images = images
        self.layer_bytes = layer_bytes
        self.turn = 0

    def seed(self, peer: str, folder: Path) -> None:
        """Nothing: the server starts empty."""

    def prepare(self, server: Server) -> None:
        """Push one image, check it, and warm up."""
        if server.peer.is_registry:
            image = Image.random(layers=1, layer_bytes=LAYER_BYTES)
            push_image(server, image, TAG)
            check_manifest(server, image, TAG)
            check_blob(server, digest_of(image.layers[0]))
        self._push(server, 2)

    def measure(self, server: Server) -> Sample:
        """Push."""
        return self._push(server, self.images)

    def _push(self, server: Server, count: int) -> Sample:
        self.turn += 1
        before = server.cpu_seconds()
        names = [f"bench/small-{self.turn}-{number}" for number in range(CONNECTIONS)]
        ports = server.ports
        outcome = run_clients(
            [
                ImageClient(ports[number % len(ports)], name, count, self.layer_bytes)
                for number, name in enumerate(names)
            ]
        )
        cpu = server.cpu_seconds() - before
        if server.peer.is_registry:
            self._check(server, names, count)
        return {
            "images": outcome.rate,
            "cpu_images": cpu / outcome.amount * 1000,
            "memory": server.memory_mb(),
            "client": outcome.cores,
        }

    def _check(self, server: Server, names: list[str], count: int) -> None:
        connection = Connection(server.port)
        for name in names:
            for number in range(count):
                target = f"/v2/{name}/manifests/t{number}"
                connection.request("HEAD", target, headers={"Accept": MANIFEST_TYPE}).expect(200)
        connection.close()


TARGETS = (at_least("images", 3, REFERENCE), at_least("images", 1.8, "registry:3"))
PARTIES = (*REGISTRIES, "sink")


def _run(bench: Bench, result: Result) -> None:
    work = SmallPushes(images=bench.scale.images_per_client)
    bench.alternate(work, Plan(PARTIES, bench.rounds), result)


SMALL_ROWS: tuple[tuple[Row, RowRun], ...] = (
    (
        Row(
            "small-push",
            f"whole small push, {CONNECTIONS} connections",
            "1 MB layer, config, manifest, all new; for each blob HEAD, POST, chunked PATCH, PUT",
            TARGETS,
        ),
        _run,
    ),
)
