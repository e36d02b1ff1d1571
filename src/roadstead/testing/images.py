"""Content to push, as bytes with digests: blobs, images, indexes, artifacts, in OCI's or Docker's media types.

The same arguments give the same bytes. Nothing here is checked against the registry's own parser, so that a fault in
that cannot hide in the tests of it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, cast

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_FOREIGN_LAYER: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
BUILDKIT_CONFIG: Final = "application/vnd.buildkit.cacheconfig.v0"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"

Document = dict[str, object]
"""A JSON object."""


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """The digest of ``content``, computed without the registry's code."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


class Described(Protocol):
    """Content that a descriptor can name."""

    @property
    def media_type(self) -> str:
        """The content's media type."""
        ...

    @property
    def content(self) -> bytes:
        """The content's bytes."""
        ...

    @property
    def digest(self) -> str:
        """The content's digest."""
        ...


@dataclass(frozen=True, slots=True)
class BlobContent:
    """A config or layer."""

    content: bytes
    media_type: str = OCI_LAYER
    algorithm: str = "sha256"

    @property
    def digest(self) -> str:
        """The blob's digest."""
        return digest_of(self.content, self.algorithm)


@dataclass(frozen=True, slots=True)
class ManifestContent:
    """An image manifest, artifact or index, with all content that it names."""

    content: bytes
    media_type: str
    blobs: tuple[BlobContent, ...] = ()
    children: tuple["ManifestContent", ...] = ()
    algorithm: str = "sha256"

    @property
    def required(self) -> tuple[BlobContent, ...]:
        """The blobs without which no registry accepts the manifest: config and layers, except foreign ones."""
        document = self.document
        named = [document.get("config"), *cast("list[object]", document.get("layers") or [])]
        needed = {
            cast("Document", each)["digest"]
            for each in named
            if each and cast("Document", each)["mediaType"] != OCI_FOREIGN_LAYER
        }
        return tuple(blob for blob in self.blobs if blob.digest in needed)

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return digest_of(self.content, self.algorithm)

    @property
    def document(self) -> Document:
        """The manifest's content, parsed."""
        parsed: Document = json.loads(self.content)
        return parsed


def describe(described: Described, **more: object) -> Document:
    """A descriptor of some content; ``more`` are further properties, such as ``platform``."""
    return {
        "mediaType": described.media_type,
        "digest": described.digest,
        "size": len(described.content),
    } | more


def encode(document: Mapping[str, object]) -> bytes:
    """A document as bytes, indented as clients write it, so that no parser's own spelling gives the same ones."""
    return json.dumps(document, indent=3).encode()


def image(
    *layers: bytes,
    config: bytes = b"{}",
    docker: bool = False,
    algorithm: str = "sha256",
    subject: Described | None = None,
    artifact_type: str = "",
    annotations: Mapping[str, str] | None = None,
) -> ManifestContent:
    """An image of ``layers``."""
    config_type, layer_type = (DOCKER_CONFIG, DOCKER_LAYER) if docker else (OCI_CONFIG, OCI_LAYER)
    config_blob = BlobContent(config, config_type, algorithm)
    layer_blobs = tuple(BlobContent(layer, layer_type, algorithm) for layer in layers)
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    document: Document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": describe(config_blob),
        "layers": [describe(layer) for layer in layer_blobs],
    }
    document |= _options(subject, artifact_type, annotations)
    return ManifestContent(encode(document), media_type, (config_blob, *layer_blobs), algorithm=algorithm)


def artifact(
    content: bytes,
    *,
    artifact_type: str,
    subject: Described | None = None,
    annotations: Mapping[str, str] | None = None,
    config_type: str = OCI_EMPTY,
) -> ManifestContent:
    """An artifact of one file, as the image specification's guidance has it: with the empty config."""
    config = BlobContent(b"{}", config_type)
    file = BlobContent(content, "application/octet-stream")
    document: Document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe(config),
        "layers": [describe(file)],
    }
    document |= _options(subject, artifact_type, annotations)
    return ManifestContent(encode(document), OCI_MANIFEST, (config, file))


def index(
    *children: ManifestContent,
    docker: bool = False,
    algorithm: str = "sha256",
    subject: Described | None = None,
    artifact_type: str = "",
    annotations: Mapping[str, str] | None = None,
) -> ManifestContent:
    """An index of ``children``, which may be indexes themselves, or none."""
    media_type = DOCKER_LIST if docker else OCI_INDEX
    document: Document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [describe(child, platform={"os": "linux", "architecture": "amd64"}) for child in children],
    }
    document |= _options(subject, artifact_type, annotations)
    return ManifestContent(encode(document), media_type, children=children, algorithm=algorithm)


def build_cache(*layers: bytes) -> ManifestContent:
    """Makes an index of blobs, as buildkit's ``--cache-to type=registry`` does unless told to write an image."""
    blobs = (*(BlobContent(layer) for layer in layers), BlobContent(b'{"layers": []}', BUILDKIT_CONFIG))
    document: Document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [describe(blob) for blob in blobs]}
    return ManifestContent(encode(document), OCI_INDEX, blobs)


def foreign_image(foreign: bytes, *layers: bytes) -> ManifestContent:
    """An image whose first layer need not be in a registry, as those of Windows are, above ``layers``."""
    blobs = (BlobContent(b"{}", OCI_CONFIG), BlobContent(foreign, OCI_FOREIGN_LAYER), *map(BlobContent, layers))
    described = [describe(blob) for blob in blobs]
    described[1]["urls"] = ["https://layers.example.com/base"]
    document: Document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described[0],
        "layers": described[1:],
    }
    return ManifestContent(encode(document), OCI_MANIFEST, blobs)


def raw_manifest(document: Mapping[str, object], media_type: str = OCI_MANIFEST) -> ManifestContent:
    """Returns ``document`` as a manifest of ``media_type``, whatever it is: for tests of refusals."""
    return ManifestContent(encode(document), media_type)


def all_blobs(manifests: Iterable[ManifestContent]) -> dict[str, BlobContent]:
    """Every blob that ``manifests`` and their children name, by digest."""
    found: dict[str, BlobContent] = {}
    for manifest in manifests:
        found |= {blob.digest: blob for blob in manifest.blobs}
        found |= all_blobs(manifest.children)
    return found


def _options(subject: Described | None, artifact_type: str, annotations: Mapping[str, str] | None) -> Document:
    options: Document = {}
    if artifact_type:
        options["artifactType"] = artifact_type
    if subject is not None:
        options["subject"] = describe(subject)
    if annotations:
        options["annotations"] = dict(annotations)
    return options
