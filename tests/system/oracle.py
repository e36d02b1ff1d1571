"""An independent witness: plain HTTP and hashlib, nothing of any client and nothing of the server's code.

What a client says it pushed is checked against what the registry gives back: every manifest and blob below a
reference is fetched, hashed and measured here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

_ANY_MANIFEST: Final = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)
_TIMEOUT_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest as the registry gives it, and the digests of all that it names, at any depth."""

    digest: str
    media_type: str
    body: bytes
    document: dict[str, Any]
    blobs: frozenset[str] = field(default=frozenset())
    manifests: frozenset[str] = field(default=frozenset())


class Witness:
    """Reads a registry over HTTP and believes nothing that it can compute."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT_SECONDS, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **headers: str) -> httpx.Response:
        """GET a path, whatever the answer."""
        return self._client.get(path, headers=headers)

    def status(self, path: str) -> int:
        """The status of a HEAD of a path."""
        return self._client.head(path, headers={"Accept": _ANY_MANIFEST}).status_code

    def has(self, repository: str, reference: str) -> bool:
        """Whether the registry has the tag or digest."""
        return self.status(f"/v2/{repository}/manifests/{reference}") == httpx.codes.OK

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository."""
        answer = self.get(f"/v2/{repository}/tags/list")
        assert answer.status_code == httpx.codes.OK, answer.text
        return list(answer.json()["tags"] or [])

    def referrers(self, repository: str, digest: str) -> list[dict[str, Any]]:
        """The descriptors of what refers to a digest; needs a registry with the referrers API."""
        answer = self.get(f"/v2/{repository}/referrers/{digest}")
        assert answer.status_code == httpx.codes.OK, answer.text
        return list(answer.json()["manifests"])

    def manifest(self, repository: str, reference: str) -> Stored:
        """A manifest, its digest computed here and compared with the header and with the reference."""
        answer = self.get(f"/v2/{repository}/manifests/{reference}", Accept=_ANY_MANIFEST)
        assert answer.status_code == httpx.codes.OK, f"{reference}: {answer.status_code} {answer.text}"
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        assert answer.headers["docker-content-digest"] == digest
        assert ":" not in reference or reference == digest
        return Stored(digest, answer.headers["content-type"], answer.content, json.loads(answer.content))

    def everything(self, repository: str, reference: str) -> Stored:
        """A manifest and all below it: each is there, of the digest and size that its parent says."""
        top = self.manifest(repository, reference)
        blobs: set[str] = set()
        manifests = {top.digest}
        for entry in top.document.get("manifests", []):
            child = self.everything(repository, entry["digest"])
            assert len(child.body) == entry["size"]
            blobs |= child.blobs
            manifests |= child.manifests
        config = [top.document["config"]] if "config" in top.document else []
        for entry in [*config, *top.document.get("layers", [])]:
            self._check_blob(repository, entry["digest"], entry["size"])
            blobs.add(entry["digest"])
        return Stored(top.digest, top.media_type, top.body, top.document, frozenset(blobs), frozenset(manifests))

    def blob(self, repository: str, digest: str) -> bytes:
        """The bytes of a blob, hashed here."""
        answer = self.get(f"/v2/{repository}/blobs/{digest}")
        assert answer.status_code == httpx.codes.OK, f"{digest}: {answer.status_code} {answer.text}"
        assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == digest
        return answer.content

    def _check_blob(self, repository: str, digest: str, size: int) -> None:
        assert len(self.blob(repository, digest)) == size
