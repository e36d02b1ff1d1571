"""A client that knows just enough of the protocol to push, read and delete, in each way that there is.

It keeps one connection, never retries, and lets every error of the network through: a test that kills the server
must know which request was answered and which was not.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
from typing import TYPE_CHECKING, Any, Final, Self

from tests.system.faults.wire import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
TIMEOUT_SECONDS: Final = 30.0

NETWORK_ERRORS: Final = (OSError, http.client.HTTPException)


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    """A descriptor of bytes."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def manifest_of(config: bytes, layers: Sequence[bytes], **more: Any) -> bytes:
    """An OCI image manifest; `more` are further fields of it."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, config),
        "layers": [descriptor(OCI_LAYER, layer) for layer in layers],
        **more,
    }
    return json.dumps(document).encode()


def index_of(manifests: Sequence[bytes], **more: Any) -> bytes:
    """An OCI index of manifests."""
    children = [descriptor(OCI_MANIFEST, manifest) for manifest in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children, **more}).encode()


class RefusedError(AssertionError):
    """The registry answered otherwise than expected."""

    def __init__(self, what: str, reply: Reply) -> None:
        super().__init__(f"{what}: {reply}")
        self.reply = reply


class Client:
    """A connection to the registry; to be used by one thread."""

    def __init__(self, port: int, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)
        self.ended: list[str] = []
        """Locations of uploads of which the client was told that they are over."""

    def __enter__(self) -> Self:
        """The connection is made with the first request."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        """Any request, whatever the answer."""
        try:
            with contextlib.suppress(BrokenPipeError):  # answered before the body was read: the answer counts
                self._connection.request(method, target, body, {"Content-Length": str(len(body)), **(headers or {})})
            response = self._connection.getresponse()
            content = response.read()
        except BaseException:
            self._connection.close()
            raise
        return Reply(response.status, response.headers, content)

    def expect(
        self, status: int, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """A request whose answer must have this status."""
        reply = self.ask(method, target, body, headers)
        if reply.status != status:
            raise RefusedError(f"{method} {target} expected {status}", reply)
        return reply

    # ── Blobs ─────────────────────────────────────────────────────────────────────────────────────────────────

    def post_blob(self, repository: str, data: bytes) -> str:
        """A whole blob in one POST."""
        digest = digest_of(data)
        self.expect(201, "POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data)
        return digest

    def begin(self, repository: str) -> str:
        """A new upload; its location."""
        return self.expect(202, "POST", f"/v2/{repository}/blobs/uploads/").header("Location")

    def patch(self, location: str, data: bytes, offset: int | None = None) -> int:
        """A chunk; the offset at which the server then stands."""
        headers = {} if offset is None else {"Content-Range": f"{offset}-{offset + len(data) - 1}"}
        return end_of(self.expect(202, "PATCH", location, data, headers))

    def offset(self, location: str) -> int:
        """Where an upload stands."""
        return end_of(self.expect(204, "GET", location))

    def finish(self, location: str, digest: str, data: bytes = b"") -> None:
        """The end of an upload."""
        self.expect(201, "PUT", f"{location}?digest={digest}", data)
        self.ended.append(location)

    def cancel(self, location: str) -> None:
        """The end of an upload that becomes nothing."""
        self.expect(204, "DELETE", location)
        self.ended.append(location)

    def put_blob(self, repository: str, data: bytes) -> str:
        """A blob by POST and PUT."""
        digest = digest_of(data)
        self.finish(self.begin(repository), digest, data)
        return digest

    def push_chunks(self, repository: str, pieces: Sequence[bytes]) -> str:
        """A blob in chunks, closed by an empty PUT."""
        location = self.begin(repository)
        offset = 0
        for piece in pieces:
            offset = self.patch(location, piece, offset)
        digest = digest_of(b"".join(pieces))
        self.finish(location, digest)
        return digest

    def mount(self, repository: str, digest: str, source: str) -> bool:
        """Mount a blob; whether it could be."""
        reply = self.ask("POST", f"/v2/{repository}/blobs/uploads/?mount={digest}&from={source}")
        if reply.status not in {201, 202}:
            raise RefusedError("mount", reply)
        if reply.status == 202:
            self.expect(204, "DELETE", reply.header("Location"))
        return reply.status == 201

    def blob(self, repository: str, digest: str) -> bytes:
        """The bytes of a blob."""
        return self.expect(200, "GET", f"/v2/{repository}/blobs/{digest}").body

    # ── Manifests ─────────────────────────────────────────────────────────────────────────────────────────────

    def put_manifest(self, repository: str, reference: str, body: bytes) -> str:
        """Push a manifest or index."""
        media_type: str = json.loads(body)["mediaType"]
        target = f"/v2/{repository}/manifests/{reference}"
        return self.expect(201, "PUT", target, body, {"Content-Type": media_type}).header("Docker-Content-Digest")

    def manifest(self, repository: str, reference: str) -> bytes:
        """The bytes of a manifest."""
        return self.expect(200, "GET", f"/v2/{repository}/manifests/{reference}").body

    def push_image(self, repository: str, tag: str, layers: Sequence[bytes]) -> bytes:
        """A whole image; its manifest."""
        config = json.dumps({"tag": tag}).encode()
        for data in (config, *layers):
            self.put_blob(repository, data)
        manifest = manifest_of(config, layers)
        self.put_manifest(repository, tag, manifest)
        return manifest

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none where there is no such repository."""
        reply = self.ask("GET", f"/v2/{repository}/tags/list?n=1000")
        return [] if reply.status == 404 else list(reply.document["tags"])


def end_of(reply: Reply) -> int:
    """The offset that `Range` states, which cannot tell none from one byte: the uploads of tests have more."""
    last = int(reply.header("Range").partition("-")[2])
    return last + 1 if last else 0
