"""What is pushed: blobs that no server has seen before, and images made of them.

A blob is a random beginning, shared by all blobs of its size, and an end of its own, so that a new gigabyte costs
the client one hash of 64 bytes: the state of the hash after the beginning is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX_BYTES = 64
CHUNK_BYTES = 32 * 1024
"""The size in which Docker's client writes the chunks of a body (Go's io.Copy buffer)."""

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def digest_of(data: bytes) -> str:
    """Return the sha256 digest in the field's notation."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob of a Source: what follows the shared beginning, and the digest of the whole."""

    suffix: bytes
    digest: str
    size_bytes: int


class Source:
    """Makes blobs of one size. The beginning lies in two files: as it is, and framed as chunks."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.plain = folder / f"plain-{size_bytes}"
        self.framed = folder / f"framed-{size_bytes}"
        self._state = hashlib.sha256()
        self._write(size_bytes - SUFFIX_BYTES)

    def _write(self, left: int) -> None:
        with self.plain.open("wb") as plain, self.framed.open("wb") as framed:
            while left:
                data = os.urandom(min(CHUNK_BYTES, left))
                plain.write(data)
                framed.write(b"%x\r\n%b\r\n" % (len(data), data))
                self._state.update(data)
                left -= len(data)

    def blob(self) -> Blob:
        """Return a blob that was never returned before."""
        suffix = os.urandom(SUFFIX_BYTES)
        state = self._state.copy()
        state.update(suffix)
        return Blob(suffix, "sha256:" + state.hexdigest(), self.size_bytes)


def framed_suffix(blob: Blob) -> bytes:
    """Return the last two chunks of a framed body."""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(blob.suffix), blob.suffix)


@dataclass(frozen=True, slots=True)
class Image:
    """A small image: its blobs by digest, and the manifest that names them."""

    layers: tuple[bytes, ...]
    config: bytes
    manifest: bytes

    @classmethod
    def random(cls, *, layers: int, layer_bytes: int) -> Image:
        """Make an image that was never made before."""
        contents = tuple(os.urandom(layer_bytes) for _ in range(layers))
        config = json.dumps({"architecture": "amd64", "os": "linux", "id": os.urandom(600).hex()}).encode()
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": [_descriptor(LAYER_TYPE, content) for content in contents],
        }
        return cls(contents, config, json.dumps(document, indent=3).encode())


def _descriptor(media_type: str, content: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "size": len(content), "digest": digest_of(content)}
