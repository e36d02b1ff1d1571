"""Real pushes race the collector: two workers, several clients, and `roadstead gc --grace 0 --untagged` all the time.

The clients share their layers, so that what one deletes another is about to name. Without any grace the collector may
take a blob between its upload and its manifest: then the manifest is refused, and the client pushes again. What was
acknowledged and not deleted is whole at every moment.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.faults.client import Client, descriptor, digest_of, index_of, manifest_of
from tests.system.faults.server import PROGRAM, FaultyServer, environment, serving
from tests.system.process import run

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS: Final = 60.0 if "ROADSTEAD_CRASH_CYCLES" in os.environ else 6.0
CLIENTS: Final = 4
LAYERS: Final = tuple(random.Random(number).randbytes(20_000) for number in range(5))
TRIES: Final = 200
SETTINGS: Final = {
    "listen.workers": 2,
    "garbage.interval_seconds": 0.1,
    "garbage.grace_seconds": 0,
    "garbage.untagged": "collect",
}


@dataclass(slots=True)
class Image:
    """An image or index that was acknowledged under a tag: its manifests, the tagged one last, and their blobs."""

    manifests: list[bytes]
    blobs: dict[str, bytes] = field(default_factory=dict)

    def forget(self, digest: str) -> None:
        """A platform was deleted: the index names what is not there, and blobs that only it named may go."""
        self.manifests = [body for body in self.manifests if digest_of(body) != digest]
        named = {each["digest"] for body in self.manifests for each in _descriptors(body)}
        self.blobs = {blob: data for blob, data in self.blobs.items() if blob in named}


def _descriptors(body: bytes) -> list[dict[str, str]]:
    document = json.loads(body)
    return [*document.get("layers", ()), document["config"]] if "config" in document else []


class Worker:
    """One client with a repository of its own, which nobody else changes."""

    def __init__(self, number: int, port: int) -> None:
        self.repository = f"race/own-{number}"
        self.images: dict[str, Image] = {}
        self.refused = 0
        self.pushed = 0
        self.deleted = 0
        self._random = random.Random(number)
        self._client = Client(port)
        self._actions: list[Callable[[], None]] = [
            self._push_image,
            self._push_image,
            self._push_index,
            self._push_referrer,
            self._delete,
            self._delete,
            self._pull,
        ]

    def act(self) -> None:
        """Something, at random."""
        self._random.choice(self._actions)()

    def verify(self) -> None:
        """Everything that was acknowledged is whole."""
        assert set(self._client.tags(self.repository)) == set(self.images)
        for tag in self.images:
            self._require_whole(tag)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def delete_all(self) -> None:
        """Nothing is needed any more."""
        for tag in list(self.images):
            self._delete_image(tag)

    # --- pushing

    def _push_image(self) -> None:
        tag = f"t{self._random.randrange(4)}"
        self._until_accepted(lambda: self._try_image(tag))

    def _try_image(self, tag: str, **more: object) -> bool:
        image = self._put_image(tag, **more)
        if image is not None:
            self.images[tag] = image
            self.pushed += 1
        return image is not None

    def _put_image(self, tag: str, **more: object) -> Image | None:
        """As docker does: HEAD for each blob, upload or mount of what is missing, the manifest; None if refused."""
        layers = self._random.sample(LAYERS, 2)
        config = json.dumps({"by": self.repository, "choice": self._random.randrange(3)}).encode()
        blobs = {digest_of(data): data for data in (config, *layers)}
        for digest, data in blobs.items():
            if self._client.ask("HEAD", f"/v2/{self.repository}/blobs/{digest}").status != 200:
                self._push_blob(digest, data)
        manifest = manifest_of(config, layers, **more)
        return Image([manifest], blobs) if self._put_manifest(tag, manifest) else None

    def _push_blob(self, digest: str, data: bytes) -> None:
        source = f"race/own-{self._random.randrange(CLIENTS)}"
        if self._random.random() < 0.5 and self._client.mount(self.repository, digest, source):
            return
        self._random.choice([self._client.post_blob, self._client.put_blob])(self.repository, data)

    def _put_manifest(self, tag: str, body: bytes) -> bool:
        media_type = json.loads(body)["mediaType"]
        target = f"/v2/{self.repository}/manifests/{tag}"
        reply = self._client.ask("PUT", target, body, {"Content-Type": media_type})
        if reply.status == 201:
            return True
        assert set(reply.codes) == {"MANIFEST_BLOB_UNKNOWN"}, str(reply)
        self.refused += 1
        return False

    def _push_index(self) -> None:
        """Platforms under tags of their own until the index names them: without a tag they would be garbage."""
        platforms: list[Image] = []
        for name in ("amd64", "arm64"):
            self._until_accepted(functools.partial(self._collect_platform, name, platforms))
        tag = f"m{self._random.randrange(2)}"
        body = index_of([each.manifests[0] for each in platforms])
        assert self._put_manifest(tag, body)
        self.images[tag] = Image(
            [*(each.manifests[0] for each in platforms), body],
            {digest: data for each in platforms for digest, data in each.blobs.items()},
        )
        for name in ("amd64", "arm64"):
            self._client.expect(202, "DELETE", f"/v2/{self.repository}/manifests/{name}")
        self.pushed += 1

    def _collect_platform(self, name: str, platforms: list[Image]) -> bool:
        image = self._put_image(name)
        if image is not None:
            platforms.append(image)
        return image is not None

    def _push_referrer(self) -> None:
        if not self.images:
            return
        subject = self.images[self._random.choice(list(self.images))].manifests[-1]
        media_type = json.loads(subject)["mediaType"]
        self._until_accepted(lambda: self._try_image("signature", subject=descriptor(media_type, subject)))

    def _until_accepted(self, attempt: Callable[[], bool]) -> None:
        assert any(attempt() for _ in range(TRIES)), "never accepted"

    # --- deleting and pulling

    def _delete(self) -> None:
        if self.images:
            self._delete_image(self._random.choice(list(self.images)))

    def _delete_image(self, tag: str) -> None:
        """By tag or by digest, which takes along other tags of the manifest, and it from the indexes that name it."""
        digest = digest_of(self.images[tag].manifests[-1])
        if self._random.random() < 0.5:
            self._client.expect(202, "DELETE", f"/v2/{self.repository}/manifests/{tag}")
            del self.images[tag]
        else:
            self._client.expect(202, "DELETE", f"/v2/{self.repository}/manifests/{digest}")
            self.images = {
                other: image for other, image in self.images.items() if digest_of(image.manifests[-1]) != digest
            }
            for image in self.images.values():
                image.forget(digest)
        self.deleted += 1

    def _pull(self) -> None:
        if self.images:
            self._require_whole(self._random.choice(list(self.images)))

    def _require_whole(self, tag: str) -> None:
        image = self.images[tag]
        assert self._client.manifest(self.repository, tag) == image.manifests[-1]
        for manifest in image.manifests:
            assert self._client.manifest(self.repository, digest_of(manifest)) == manifest
        for digest, data in image.blobs.items():
            assert self._client.blob(self.repository, digest) == data


class Collector:
    """`roadstead gc`, again and again."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.blobs = 0
        self.runs = 0

    def act(self) -> None:
        """Collects."""
        done = json.loads(self.collect("--json"))
        self.blobs += done["blobs"]
        self.runs += 1

    def collect(self, *words: str) -> str:
        """What the command prints."""
        command: list[str | Path] = [PROGRAM, "gc", "--grace", "0", "--untagged", "--data", self._data, *words]
        return run(command, env=environment({})).stdout


def race(actors: list[Worker | Collector]) -> None:
    """Lets all act at once for a while; raises what one of them did not expect."""
    failures: list[BaseException] = []
    end = time.monotonic() + SECONDS

    def keep_acting(actor: Worker | Collector) -> None:
        try:
            while time.monotonic() < end and not failures:
                actor.act()
        except BaseException as failure:  # noqa: BLE001 - raised below
            failures.append(failure)

    threads = [threading.Thread(target=keep_acting, args=(actor,)) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.timeout(120 + 2 * int(SECONDS))
def test_what_is_acknowledged_is_whole_whoever_collects(scratch: Path) -> None:
    with (
        serving(FaultyServer(scratch / f"races-{secrets.token_hex(3)}", settings=SETTINGS)) as server,
        contextlib.ExitStack() as stack,
    ):
        workers = [stack.enter_context(contextlib.closing(Worker(number, server.port))) for number in range(CLIENTS)]
        collector = Collector(server.data)
        race([*workers, collector])
        for worker in workers:
            worker.verify()
        server.check()
        counts = {name: sum(getattr(worker, name) for worker in workers) for name in ("pushed", "deleted", "refused")}
        print(counts, {"runs": collector.runs, "blobs": collector.blobs})
        assert counts["pushed"] > CLIENTS
        assert counts["deleted"] > CLIENTS
        assert collector.runs > 0
        for worker in workers:
            worker.delete_all()
        while collector.collect() != "Nothing was due.\n":
            pass
        assert list((server.data / "registry" / "docker" / "registry" / "v2" / "blobs").glob("*/*/*/data")) == []
        server.check_data("--deep")
