"""Clients that push, re-push and delete at random, each with a journal of what it was told."""

from __future__ import annotations

import json
import random
import threading
from typing import TYPE_CHECKING, Final

from tests.system.faults.client import (
    NETWORK_ERRORS,
    Client,
    RefusedError,
    descriptor,
    digest_of,
    index_of,
    manifest_of,
)
from tests.system.faults.recorder import Journal, Upload

if TYPE_CHECKING:
    from collections.abc import Callable

TAGS: Final = 5
"""Tags of each client in each repository: few, so that they are set again and deleted often."""

CONTENTS: Final = 24
"""Different layers that all clients push, so that several push the same at once."""

LARGEST_BYTES: Final = 400_000
LONG_UPLOAD_BYTES: Final = 200_000
KEPT_MANIFESTS: Final = 40
KEPT_BLOBS: Final = 80
"""A client with more deletes one for each that it pushes, so that a check's time does not grow."""


class Traffic:
    """Several clients on threads of their own, until the server goes away or `stop` is called."""

    def __init__(self, seed: int, clients: int) -> None:
        self.seed = seed
        self._acknowledged = threading.Condition()
        self._count = 0
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._workers = [Worker(seed, number, self._acknowledge, self._stopping) for number in range(clients)]
        for worker in self._workers:
            worker.others = [other for other in self._workers if other is not worker]

    @property
    def journals(self) -> list[Journal]:
        """What each client was told."""
        return [worker.journal for worker in self._workers]

    @property
    def acknowledged(self) -> int:
        """Changes that were acknowledged to any client."""
        return self._count

    def start(self, port: int) -> None:
        """Let all clients begin."""
        self._stopping.clear()
        self._threads = [
            threading.Thread(target=worker.run, args=(port,), name=f"client-{worker.number}")
            for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, more: int, timeout_seconds: float) -> None:
        """Returns once so many more changes were acknowledged."""
        with self._acknowledged:
            target = self._count + more
            arrived = self._acknowledged.wait_for(lambda: self._count >= target or self._has_failed(), timeout_seconds)
        self._raise_failures()
        assert arrived, f"seed {self.seed}: {more} changes were not acknowledged in {timeout_seconds} s"

    def stop(self) -> None:
        """Ask the clients to end after what they are at."""
        self._stopping.set()

    def join(self, timeout_seconds: float = 60) -> None:
        """Wait for all clients, and raise what one of them did not expect."""
        for thread in self._threads:
            thread.join(timeout_seconds)
            assert not thread.is_alive(), f"seed {self.seed}: {thread.name} hangs"
        self._raise_failures()

    def _acknowledge(self) -> None:
        with self._acknowledged:
            self._count += 1
            self._acknowledged.notify_all()

    def _has_failed(self) -> bool:
        return any(worker.failure is not None for worker in self._workers)

    def _raise_failures(self) -> None:
        for worker in self._workers:
            if worker.failure is not None:
                raise AssertionError(f"seed {self.seed}, client {worker.number}") from worker.failure


class Worker:
    """One client: its connection, its own tags, its journal."""

    def __init__(self, seed: int, number: int, acknowledge: Callable[[], None], stopping: threading.Event) -> None:
        self.number = number
        self.journal = Journal()
        self.failure: BaseException | None = None
        self.others: list[Worker] = []
        self._random = random.Random(f"{seed}/{number}")
        self._seed = seed
        self._acknowledge = acknowledge
        self._stopping = stopping
        self._repositories = [f"crash/own-{number}", "crash/shared"]
        self._pushed = 0
        self._client = Client(0)
        self._actions: list[tuple[int, Callable[[], None]]] = [
            (10, self._push_image),
            (3, self._push_index),
            (3, self._push_referrer),
            (3, self._delete_tag),
            (3, self._delete_manifest),
            (1, self._delete_blob),
            (3, self._continue_upload),
            (1, self._cancel_upload),
            (1, self._abandon_upload),
        ]

    def run(self, port: int) -> None:
        """Act at random until the server goes away."""
        try:
            with Client(port) as self._client:
                while not self._stopping.is_set():
                    self._act()
        except NETWORK_ERRORS:
            return  # killed, or not there yet: what was under way is open until somebody looks
        except BaseException as failure:  # noqa: BLE001 - raised again by Traffic
            self.failure = failure

    def _act(self) -> None:
        weights = [weight for weight, _ in self._actions]
        self._random.choices(self._actions, weights)[0][1]()
        while len(self.journal.manifests.with_value(True)) > KEPT_MANIFESTS:  # noqa: FBT003 - a value
            self._delete_manifest()
        for _ in range(len(self.journal.blobs.with_value(True)) - KEPT_BLOBS):  # noqa: FBT003 - a value
            self._delete_blob()

    # ── Pushing ───────────────────────────────────────────────────────────────────────────────────────────────

    def _push_image(self) -> None:
        self._push_manifest(self._repository(), self._make_image)

    def _push_index(self) -> None:
        repository = self._repository()
        children = self._own_manifests(repository)[:3]
        self._push_manifest(repository, lambda _: index_of(children, annotations=self._mark()))

    def _push_referrer(self) -> None:
        repository = self._repository()
        subjects = self._own_manifests(repository)
        if not subjects:
            return
        subject = self._random.choice(subjects)
        self._push_manifest(
            repository, lambda name: self._make_image(name, subject=descriptor(_type_of(subject), subject)), tag=None
        )

    def _push_manifest(self, repository: str, make: Callable[[str], bytes], tag: str | None = "") -> None:
        body = make(repository)
        digest = digest_of(body)
        journal = self.journal
        journal.bodies[digest] = body
        document = json.loads(body)
        if "subject" in document:
            journal.subjects[digest] = document["subject"]["digest"]
        tags = [] if tag is None else [f"c{self.number}-{self._random.randrange(TAGS)}"]
        target = digest if not tags else tags[0] if self._random.random() < 0.7 else f"{digest}?tag={tags[0]}"
        journal.manifests.begin((repository, digest), True)  # noqa: FBT003 - a value
        for name in tags:
            journal.tags.begin((repository, name), digest)
        stated = self._client.put_manifest(repository, target, body)
        assert stated == digest, f"pushed {digest}, the answer says {stated}"
        journal.manifests.settle((repository, digest), True)  # noqa: FBT003 - a value
        for name in tags:
            journal.tags.settle((repository, name), digest)
        self._acknowledge()

    def _make_image(self, repository: str, **more: object) -> bytes:
        config = json.dumps({"client": self.number, "number": self._next()}).encode()
        layers = [self._content(self._random.randrange(CONTENTS)) for _ in range(self._random.randint(1, 2))]
        for data in (config, *layers):
            self._push_blob(repository, data)
        return manifest_of(config, layers, annotations=self._mark(), **more)

    def _push_blob(self, repository: str, data: bytes) -> None:
        digest = digest_of(data)
        key = (repository, digest)
        is_own = repository != "crash/shared"
        if is_own:
            self.journal.blobs.begin(key, True)  # noqa: FBT003 - a value
        self._random.choice([self._post, self._put, self._chunks, self._mount])(repository, data)
        if is_own:
            self.journal.blobs.settle(key, True)  # noqa: FBT003 - a value
        self._acknowledge()

    def _post(self, repository: str, data: bytes) -> None:
        self._client.post_blob(repository, data)

    def _put(self, repository: str, data: bytes) -> None:
        self._client.put_blob(repository, data)

    def _chunks(self, repository: str, data: bytes) -> None:
        cut = self._random.randint(2, max(2, len(data) - 1))  # one byte cannot be told from none in `Range`
        self._client.push_chunks(repository, [piece for piece in (data[:cut], data[cut:]) if piece])

    def _mount(self, repository: str, data: bytes) -> None:
        """Mount from where another client has it, as far as we know; push where that cannot be."""
        source = f"crash/own-{self._random.choice(self.others).number}" if self.others else repository
        if not self._client.mount(repository, digest_of(data), source):
            self._client.post_blob(repository, data)

    # ── Deleting ──────────────────────────────────────────────────────────────────────────────────────────────

    def _delete_tag(self) -> None:
        tags = [key for key in self.journal.tags.known() if self.journal.tags.sure(key) is not None]
        if not tags:
            return
        key = self._random.choice(tags)
        self.journal.tags.begin(key, None)
        self._client.expect(202, "DELETE", f"/v2/{key[0]}/manifests/{key[1]}")
        self.journal.tags.settle(key, None)
        self._acknowledge()

    def _delete_manifest(self) -> None:
        manifests = self.journal.manifests.with_value(True)  # noqa: FBT003 - a value
        if not manifests:
            return
        key = self._random.choice(manifests)
        repository, digest = key
        journal = self.journal
        tags = [tag for tag in journal.tags.known() if tag[0] == repository and digest in journal.tags.possible(tag)]
        journal.manifests.begin(key, False)  # noqa: FBT003 - a value
        for tag in tags:
            journal.tags.begin(tag, None)
        self._client.expect(202, "DELETE", f"/v2/{repository}/manifests/{digest}")
        journal.manifests.settle(key, False)  # noqa: FBT003 - a value
        for tag in tags:
            journal.tags.settle(tag, None)
        self._acknowledge()

    def _delete_blob(self) -> None:
        """Of the own repository; 405 where a manifest still needs it."""
        blobs = self.journal.blobs.with_value(True)  # noqa: FBT003 - a value
        if not blobs:
            return
        key = self._random.choice(blobs)
        self.journal.blobs.begin(key, False)  # noqa: FBT003 - a value
        reply = self._client.ask("DELETE", f"/v2/{key[0]}/blobs/{key[1]}")
        if reply.status not in {202, 405}:
            raise RefusedError(f"DELETE of blob {key}", reply)
        self.journal.blobs.settle(key, reply.status == 405)
        self._acknowledge()

    # ── Uploads that outlive the server ───────────────────────────────────────────────────────────────────────

    def _continue_upload(self) -> None:
        uploads = self.journal.uploads
        if not uploads:
            content = self._random.randbytes(LONG_UPLOAD_BYTES)
            repository = self._repositories[0]
            location = self._client.begin(repository)
            uploads.append(Upload(repository, location, content))
            return
        upload = uploads[0]
        offset = self._client.offset(upload.location)
        assert offset >= upload.acknowledged, f"upload fell back from {upload.acknowledged} to {offset}"
        piece = upload.content[offset : offset + self._random.randint(2, 60_000)]
        if piece:
            upload.acknowledged = self._client.patch(upload.location, piece, offset)
        else:
            self._finish_upload(upload)
        self._acknowledge()

    def _finish_upload(self, upload: Upload) -> None:
        key = (upload.repository, digest_of(upload.content))
        self.journal.uploads.remove(upload)
        self.journal.blobs.begin(key, True)  # noqa: FBT003 - a value
        self._client.finish(upload.location, key[1])
        self.journal.blobs.settle(key, True)  # noqa: FBT003 - a value

    def _cancel_upload(self) -> None:
        if self.journal.uploads:
            upload = self.journal.uploads.pop()
            self._client.expect(204, "DELETE", upload.location)

    def _abandon_upload(self) -> None:
        """Begun and forgotten, as clients do that are interrupted."""
        location = self._client.begin(self._repository())
        self._client.patch(location, self._random.randbytes(1000))

    # ── Choices ───────────────────────────────────────────────────────────────────────────────────────────────

    def _repository(self) -> str:
        return self._random.choice(self._repositories)

    def _own_manifests(self, repository: str) -> list[bytes]:
        keys = self.journal.manifests.with_value(True)  # noqa: FBT003 - a value
        return [self.journal.bodies[digest] for name, digest in keys if name == repository]

    def _content(self, number: int) -> bytes:
        generator = random.Random(f"{self._seed}/content/{number}")
        return generator.randbytes(generator.randint(1, LARGEST_BYTES))

    def _mark(self) -> dict[str, str]:
        """Makes each manifest one that nobody else has."""
        return {"client": str(self.number), "number": str(self._next())}

    def _next(self) -> int:
        self._pushed += 1
        return self._pushed


def _type_of(manifest: bytes) -> str:
    return str(json.loads(manifest)["mediaType"])
