"""The two archives an image travels in: OCI's layout, and what `docker save` writes and every `docker load` reads."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deploy.build.files import Packed

INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True, slots=True)
class Image:
    """A configuration, the layers it names, and what is said about both."""

    configuration: Mapping[str, object]
    layers: Sequence[Packed]
    annotations: Mapping[str, str]

    @property
    def config(self) -> bytes:
        """The configuration as it is hashed; its digest is the image's id."""
        return _encode(self.configuration)

    @property
    def manifest(self) -> bytes:
        """The manifest as it is hashed."""
        layers = [_descriptor(LAYER_TYPE, each.digest, each.size_bytes) for each in self.layers]
        return _encode(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": _descriptor(CONFIG_TYPE, digest_of(self.config), len(self.config)),
                "layers": layers,
                "annotations": dict(self.annotations),
            }
        )


def digest_of(content: bytes) -> str:
    """The sha256 digest of ``content``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def write_oci(image: Image, target: Path, *, name: str, tag: str) -> None:
    """Writes OCI's layout as a tar: for skopeo, podman, containerd (and docker from version 25)."""
    manifest = {
        **_descriptor(MANIFEST_TYPE, digest_of(image.manifest), len(image.manifest)),
        "annotations": {
            "org.opencontainers.image.ref.name": tag,
            "io.containerd.image.name": f"docker.io/library/{name}:{tag}",  # what containerd calls it on import
        },
    }
    entries: list[tuple[str, bytes | Path]] = [
        ("oci-layout", _encode({"imageLayoutVersion": "1.0.0"})),
        ("index.json", _encode({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [manifest]})),
        (_blob(digest_of(image.manifest)), image.manifest),
        (_blob(digest_of(image.config)), image.config),
        *((_blob(each.digest), each.path) for each in image.layers),
    ]
    _write(target, entries)


def write_docker(image: Image, target: Path, *, name: str, tags: Sequence[str]) -> None:
    """Writes what `docker load` and `podman load` read."""
    config = f"{digest_of(image.config).removeprefix('sha256:')}.json"
    layers = [f"{each.digest.removeprefix('sha256:')}.tar.gz" for each in image.layers]
    listing = [{"Config": config, "RepoTags": [f"{name}:{tag}" for tag in tags], "Layers": layers}]
    contents = zip(layers, (each.path for each in image.layers), strict=True)
    _write(target, [("manifest.json", _encode(listing)), (config, image.config), *contents])


def _write(target: Path, entries: Iterable[tuple[str, bytes | Path]]) -> None:
    """A tar at ``target``, whole or not at all."""
    partial = target.with_name(f"{target.name}.partial")
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.mode = 0o644
            if isinstance(content, Path):
                entry.size = content.stat().st_size
                with content.open("rb") as file:
                    tar.addfile(entry, file)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    shutil.move(partial, target)


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _descriptor(media_type: str, digest: str, size_bytes: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size_bytes}


def _encode(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
