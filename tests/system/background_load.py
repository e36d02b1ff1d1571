"""Clients that pull and push all the time while something is done to the registry under them.

Whoever pulls verifies every digest and never tries twice: one pull that fails is a failure. Whoever pushes is as
patient as the real clients are: what was refused in a way that says "try again" is tried again, and what was
acknowledged is remembered, so that it can be looked for afterwards. Everything else is a failure too.

registry:2 writes its links in place, so that whoever reads one at that moment gets an error. So nobody here pulls a tag
that is moving, or a manifest or blob that is being pushed again.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from typing import TYPE_CHECKING, Final, Self

import httpx

from roadstead.testing.images import BlobContent, ManifestContent, image
from tests.system.process import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

ACCEPT: Final = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.manifest.v1",
        "oci.image.index.v1",
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
    )
)
PAUSE_SECONDS: Final = 0.05
"""Between a client's operations: the load must leave the processors to what it is a load for."""

PIECES: Final = 12
"""Of a slow transfer, each after a pause: about a second, longer than any step of a switch that could cut it."""


class RefusedError(Exception):
    """A push was told to come again."""


class Remote(httpx.Client):
    """A registry as clients see it; every request on a connection of its own, since httpx does not repeat one."""

    def __init__(self, url: str, user: tuple[str, str]) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        super().__init__(base_url=url, auth=user, trust_env=False, timeout=30, limits=limits)

    def pull(self, repository: str, reference: str) -> str:
        """Pulls a manifest and all below it, verified; returns its digest."""
        answer = self.get(f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT})
        assert answer.status_code == 200, f"GET {repository}:{reference}: {answer.status_code} {answer.text[:200]}"
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        assert answer.headers["docker-content-digest"] == digest
        assert ":" not in reference or reference == digest
        document = answer.json()
        for child in document.get("manifests", []):
            self.pull(repository, child["digest"])
        for blob in [document[key] for key in ("config",) if key in document] + document.get("layers", []):
            self.pull_blob(repository, blob["digest"])
        return digest

    def pull_blob(self, repository: str, digest: str, *, pause: Callable[[], object] = lambda: None) -> None:
        """Pulls a blob, verified, with a pause after each piece."""
        running = hashlib.sha256()
        with self.stream("GET", f"/v2/{repository}/blobs/{digest}") as answer:
            assert answer.status_code == 200, f"GET {repository}@{digest}: {answer.status_code}"
            size = -(-int(answer.headers["content-length"]) // PIECES)
            for piece in answer.iter_raw(size):
                running.update(piece)
                pause()
        assert f"sha256:{running.hexdigest()}" == digest, f"{repository}@{digest}: other bytes"

    def push(
        self, repository: str, content: ManifestContent, *tags: str, pause: Callable[[], object] | None = None
    ) -> None:
        """Pushes an image or an index with all below it; raises `RefusedError` when it may be tried again."""
        for blob in content.blobs:
            self._push_blob(repository, blob, pause)
        for child in content.children:
            self.push(repository, child)
        for reference in tags or (content.digest,):
            answer = self.put(
                f"/v2/{repository}/manifests/{reference}",
                content=content.content,
                headers={"Content-Type": content.media_type},
            )
            self._require(answer, 201)

    def _push_blob(self, repository: str, blob: BlobContent, pause: Callable[[], object] | None) -> None:
        answer = self._require(self.post(f"/v2/{repository}/blobs/uploads/"), 202)
        body = blob.content if pause is None else _slowly(blob.content, pause)
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._require(self.patch(self._location(answer), content=body, headers=headers), 202)
        location = self._location(answer).copy_merge_params({"digest": blob.digest})
        self._require(self.put(location, headers=headers), 201)

    def _location(self, answer: httpx.Response) -> httpx.URL:
        location = answer.url.join(answer.headers["location"])
        assert location.netloc == self.base_url.netloc, f"sent to {location}, where no client can go"
        return location

    def _require(self, answer: httpx.Response, status: int) -> httpx.Response:
        comes_again = answer.status_code == 503 and "retry-after" in answer.headers
        is_other_server = answer.status_code == 404 and "BLOB_UPLOAD_UNKNOWN" in answer.text
        if comes_again or is_other_server:
            raise RefusedError
        assert answer.status_code == status, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
        return answer


def _slowly(content: bytes, pause: Callable[[], object]) -> Iterator[bytes]:
    size = -(-len(content) // PIECES)
    for begin in range(0, len(content), size):
        yield content[begin : begin + size]
        pause()


class BackgroundLoad:
    """Two clients that pull images, one that pulls slowly, one that pushes, and one that pushes slowly.

    A context manager; leaving ends the clients. `also` is another client's pull, which raises when it fails.
    """

    def __init__(
        self, url: str, user: tuple[str, str], images: dict[str, str], large: str, also: Callable[[], object]
    ) -> None:
        """`images` are digests by `repository:tag`, `large` is `repository@digest` of a blob."""
        self._url, self._user = url, user
        self._images = images
        self._also = also
        self._large = large.partition("@")
        self._stopping, self._going = threading.Event(), threading.Event()
        self._going.set()
        self._idle = {name: threading.Event() for name in ("quick", "slow")}
        self._threads = [
            *(threading.Thread(target=self._repeat, args=(self._pull_all,)) for _ in range(2)),
            threading.Thread(target=self._repeat, args=(self._pull_slowly,)),
            threading.Thread(target=self._repeat, args=(self._pull_otherwise,)),
            *(threading.Thread(target=self._keep_pushing, args=(name,)) for name in self._idle),
        ]
        self.failures: list[str] = []
        self._settled: list[tuple[str, str]] = []
        self.pulled = 0
        self.refused = 0
        self.acknowledged: dict[str, str] = {}
        """Digest by `repository:tag`, of the last push that was acknowledged."""

    def __enter__(self) -> Self:
        """Begins."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Ends."""
        self._stopping.set()
        self._going.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Fails when a client did."""
        assert not self.failures, "\n".join(self.failures)

    def goes_on(self) -> None:
        """Returns once everybody has done something more."""
        pulled, pushed = self.pulled, len(self.acknowledged)
        until(
            lambda: bool(self.failures) or (self.pulled > pulled + 4 and len(self.acknowledged) > pushed + 4),
            what="the load goes on",
        )
        self.check()

    def hold_pushes(self) -> None:
        """Returns once no push is under way; pulls go on."""
        self._going.clear()
        for idle in self._idle.values():
            assert idle.wait(30), self.failures

    def go_on_pushing(self) -> None:
        """Lets pushes go on."""
        self._going.set()

    def _repeat(self, act: Callable[[Remote], object]) -> None:
        with Remote(self._url, self._user) as client:
            while not self._stopping.wait(PAUSE_SECONDS):
                try:
                    act(client)
                except Exception as failure:  # noqa: BLE001 - whatever it is, the test has to name it
                    self.failures.append(f"pull: {failure!r}")
                    return
                self.pulled += 1

    def _pull_all(self, client: Remote) -> None:
        for name, digest in self._images.items():
            repository, _, tag = name.rpartition(":")
            assert client.pull(repository, tag) == digest, name
        for repository, tag in self._settled[-2:]:
            client.pull(repository, tag)

    def _pull_otherwise(self, _client: Remote) -> None:
        self._also()

    def _pull_slowly(self, client: Remote) -> None:
        repository, _, digest = self._large
        client.pull_blob(repository, digest, pause=lambda: self._stopping.wait(PAUSE_SECONDS))

    def _keep_pushing(self, name: str) -> None:
        pause = None if name == "quick" else lambda: self._stopping.wait(PAUSE_SECONDS)
        number = 0
        with Remote(self._url, self._user) as client:
            while not self._stopping.wait(PAUSE_SECONDS):
                self._idle[name].set()
                self._going.wait()
                self._idle[name].clear()
                number += 1
                content = image(secrets.token_bytes(60_000), config=f'{{"number": "{name} {number}"}}'.encode())
                try:
                    self._push_until_acknowledged(client, f"load/{name}", content, f"v{number}", pause)
                    self._settled.append((f"load/{name}", f"v{number}"))
                except Exception as failure:  # noqa: BLE001 - see above
                    self.failures.append(f"push: {failure!r}")
                    break
        self._idle[name].set()

    def _push_until_acknowledged(
        self,
        client: Remote,
        repository: str,
        content: ManifestContent,
        tag: str,
        pause: Callable[[], object] | None,
    ) -> None:
        for each in (tag, "latest"):
            while True:
                try:
                    client.push(repository, content, each, pause=pause)
                except RefusedError:
                    self.refused += 1
                    self._stopping.wait(2 * PAUSE_SECONDS)
                else:
                    self.acknowledged[f"{repository}:{each}"] = content.digest
                    break
                if self._stopping.is_set():
                    return
