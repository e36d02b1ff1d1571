"""Images made of bytes, without a client and without a network.

What a test pushes is built here, so its digests are known before any client has seen it: images of one layer or
several, indexes of several platforms, in the media types of OCI or of Docker, written as an OCI layout or as the
archive that `docker save` writes. The same arguments give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"

_DOCKER_TYPES: Final = {
    OCI_INDEX: DOCKER_LIST,
    OCI_MANIFEST: DOCKER_MANIFEST,
    OCI_CONFIG: DOCKER_CONFIG,
    OCI_LAYER: DOCKER_LAYER,
}
_EPOCH: Final = "2026-01-12T18:15:04Z"


def digest_of(data: bytes) -> str:
    """The sha256 digest of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: its tar, and the gzip of it that travels."""

    tar: bytes
    blob: bytes

    @property
    def diff_id(self) -> str:
        """The digest of the tar."""
        return digest_of(self.tar)

    @property
    def digest(self) -> str:
        """The digest of what travels."""
        return digest_of(self.blob)


@dataclass(frozen=True, slots=True)
class Image:
    """An image of one platform: the bytes of its manifest and configuration, and its layers."""

    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]
    media_type: str
    architecture: str

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return digest_of(self.manifest)

    @property
    def image_id(self) -> str:
        """The configuration's digest, which Docker calls the image's id."""
        return digest_of(self.config)

    def blobs(self) -> dict[str, bytes]:
        """All that the manifest names, by digest."""
        return {self.image_id: self.config} | {layer.digest: layer.blob for layer in self.layers}


@dataclass(frozen=True, slots=True)
class Index:
    """Images of several platforms under one digest."""

    manifest: bytes
    images: tuple[Image, ...]
    media_type: str

    @property
    def digest(self) -> str:
        """The index's digest."""
        return digest_of(self.manifest)


def layer(files: Mapping[str, bytes | tuple[bytes, int]]) -> Layer:
    """A layer of files: path to content, or to content and mode (0o644 otherwise); its folders come with it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in sorted({parent for path in files for parent in _parents(path)}):
            tar.addfile(_entry(folder, 0o755, tarfile.DIRTYPE))
        for path, value in sorted(files.items()):
            content, mode = value if isinstance(value, tuple) else (value, 0o644)
            entry = _entry(path, mode, tarfile.REGTYPE)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    data = buffer.getvalue()
    return Layer(tar=data, blob=gzip.compress(data, compresslevel=6, mtime=0))


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _entry(path: str, mode: int, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mode, entry.type = mode, kind
    return entry


def image(
    layers: Sequence[Layer],
    *,
    command: Sequence[str] = (),
    architecture: str = "amd64",
    labels: Mapping[str, str] | None = None,
    docker: bool = False,
) -> Image:
    """An image of these layers, in OCI's media types, or in Docker's."""
    config = encode(
        {
            "architecture": architecture,
            "os": "linux",
            "created": _EPOCH,
            "config": {"Cmd": list(command), "Env": ["PATH=/bin"], "Labels": dict(labels or {})},
            "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
            "history": [{"created": _EPOCH, "created_by": f"layer {number}"} for number in range(len(layers))],
        }
    )
    media_type = _media_type(OCI_MANIFEST, docker=docker)
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(config, _media_type(OCI_CONFIG, docker=docker)),
            "layers": [descriptor(each.blob, _media_type(OCI_LAYER, docker=docker)) for each in layers],
        }
    )
    return Image(manifest, config, tuple(layers), media_type, architecture)


def index(images: Sequence[Image], *, docker: bool = False) -> Index:
    """An index (Docker: a manifest list) of images of different platforms."""
    media_type = _media_type(OCI_INDEX, docker=docker)
    entries = [
        descriptor(each.manifest, each.media_type) | {"platform": {"architecture": each.architecture, "os": "linux"}}
        for each in images
    ]
    manifest = encode({"schemaVersion": 2, "mediaType": media_type, "manifests": entries})
    return Index(manifest, tuple(images), media_type)


def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    """The descriptor of bytes."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def encode(value: object) -> bytes:
    """JSON as these factories write it."""
    return json.dumps(value, separators=(",", ":")).encode()


def _media_type(media_type: str, *, docker: bool) -> str:
    return _DOCKER_TYPES[media_type] if docker else media_type


def write_oci_layout(folder: Path, **tagged: Image | Index) -> Path:
    """Write an OCI layout that holds these under their tags; the folder."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    entries: list[dict[str, Any]] = []
    for tag, content in tagged.items():
        images = content.images if isinstance(content, Index) else (content,)
        stored = {content.digest: content.manifest} | {each.digest: each.manifest for each in images}
        for each in images:
            stored |= each.blobs()
        for digest, data in stored.items():
            (blobs / digest.removeprefix("sha256:")).write_bytes(data)
        entries.append(
            descriptor(content.manifest, content.media_type)
            | {"annotations": {"org.opencontainers.image.ref.name": tag}}
        )
    (folder / "oci-layout").write_bytes(encode({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_bytes(encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
    return folder


def write_docker_archive(path: Path, name: str, content: Image) -> Path:
    """Write the archive that `docker save NAME` would; the path. Its image id is the image's."""
    files = {f"{content.image_id.removeprefix('sha256:')}.json": content.config}
    names = [f"{each.diff_id.removeprefix('sha256:')}/layer.tar" for each in content.layers]
    files |= dict(zip(names, (each.tar for each in content.layers), strict=True))
    files["manifest.json"] = encode([{"Config": next(iter(files)), "RepoTags": [name], "Layers": names}])
    path.write_bytes(layer(files).tar)
    return path
