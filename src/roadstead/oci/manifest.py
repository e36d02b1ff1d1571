"""Manifests and indexes, read strictly: a document that two readers could understand differently is refused.

``null`` is "not set", as it is for every client written in Go and for registry:2, and so are a missing ``layers`` or
``manifests``, and the type and size of a descriptor: real images lack them.

Sources: image specification, manifest.md and image-index.md, and artifact.md of its release candidate 1.1.0-rc2;
Docker's image manifest version 2, schema 2; GHSA-qq97-vm5h-rrhg for why a document must not be image and index at once.
"""

import json
import json.scanner
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from roadstead.oci import media_type as media_types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.errors import DigestInvalidError, ManifestInvalidError
from roadstead.oci.platform import Platform

MAXIMUM_DESCRIPTORS: Final = 20_000
"""Each descriptor costs a look-up in the transaction that accepts the manifest; real ones have at most hundreds."""

MAXIMUM_VALUES: Final = 250_000
"""Number of commas, brackets and braces outside of texts at most: each stands for a value that takes memory and time, a
hundred bytes and a microsecond. The largest number of descriptors, each with platform and annotations, has fewer."""

INTERRUPTIBLE_BYTES: Final = 64 << 10
"""Longer documents are read by the standard library's scanner in Python rather than the one in C: the latter holds the
interpreter lock to its end, a second for 4 MiB of empty lists, and with it the event loop of another thread."""

MAXIMUM_TYPE_LENGTH: Final = 1024
"""Number of characters in a media or artifact type at most, since listings repeat it; RFC 6838, section 4.2, allows
255."""

MAXIMUM_SIZE_BYTES: Final = 2**63 - 1
"""Largest size in a descriptor, a signed 64-bit number (image specification, descriptor.md)."""

_DOCUMENT_KEYS: Final = frozenset(
    {
        "schemaVersion",
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
        "fsLayers",
        "blobs",
    }
)
_DESCRIPTOR_KEYS: Final = frozenset(
    {"mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"}
)
_PLACES: Final = ("config", "layers", "manifests", "fsLayers", "blobs")
"""Keys under which a document lists its parts; the keys it may have make it an image or an index."""

_TOKENS: Final = re.compile(rb'[",\[{]|\\.', re.DOTALL)
_FOLDED: Final = {keys: frozenset(key.casefold() for key in keys) for keys in (_DOCUMENT_KEYS, _DESCRIPTOR_KEYS)}


@dataclass(frozen=True, slots=True)
class _Shape:
    """A kind of document: its name, and the keys of ``_PLACES`` that it may have."""

    name: str
    keys: frozenset[str]


_IMAGE: Final = _Shape("an image manifest", frozenset({"config", "layers"}))
_INDEX: Final = _Shape("an index", frozenset({"manifests"}))
_ARTIFACT: Final = _Shape("an artifact manifest", frozenset({"blobs"}))
_SHAPES: Final[Mapping[str, _Shape]] = {
    **dict.fromkeys(media_types.IMAGES, _IMAGE),
    **dict.fromkeys(media_types.INDEXES, _INDEX),
    media_types.OCI_ARTIFACT: _ARTIFACT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest or index that has been found valid.

    ``children`` are the entries of an index: manifests, or blobs where a build tool keeps its cache so. An index has
    neither config nor layers; a withdrawn artifact manifest has no config, and its blobs are the ``layers``.
    """

    media_type: str
    artifact_type: str = ""
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def is_index(self) -> bool:
        """True if the document lists manifests rather than blobs."""
        return self.media_type in media_types.INDEXES

    @property
    def is_withdrawn(self) -> bool:
        """True if the document is of a withdrawn type: served where it is, but not accepted any more."""
        return self.media_type == media_types.OCI_ARTIFACT

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers, in order."""
        return self.layers if self.config is None else (self.config, *self.layers)

    @property
    def named(self) -> tuple[Descriptor, ...]:
        """All descriptors of content that is kept as long as the manifest is, whether or not it must be there."""
        return (*self.blobs, *self.children)

    @property
    def required_blobs(self) -> tuple[Descriptor, ...]:
        """The blobs that a registry must hold before it accepts the manifest."""
        return tuple(blob for blob in self.blobs if media_types.is_distributable(blob.media_type))


def parse_manifest(body: bytes, content_type: str) -> Manifest:
    """Parses a manifest that was sent as ``content_type`` (may be empty: then the document decides).

    Raises:
        ManifestInvalidError: the document is malformed, of an unknown type, or ambiguous.
    """
    document = _load(body)
    media_type = _media_type(document, media_types.essence(content_type))
    shape = _SHAPES[media_type]
    version = document.get("schemaVersion")
    if (type(version) is not int or version != 2) and not (version is None and shape is _ARTIFACT):  # noqa: PLR2004
        raise ManifestInvalidError("schemaVersion must be 2", "/schemaVersion")
    _refuse_ambiguity(document, shape)
    artifact_type = _text(document, "artifactType")
    _require_type(artifact_type, "/artifactType")
    config = _config(document) if "config" in shape.keys else None
    subject = document.get("subject")
    return Manifest(
        media_type=media_type,
        artifact_type=artifact_type or (config.media_type if config else ""),
        config=config,
        layers=_descriptors(document, "blobs" if shape is _ARTIFACT else "layers"),
        children=_descriptors(document, "manifests"),
        subject=None if subject is None else _descriptor(subject, "/subject"),
        annotations=_annotations(document, "/annotations"),
    )


def read_annotations(body: bytes) -> dict[str, str]:
    """Returns the annotations of a manifest that was accepted.

    Raises:
        ManifestInvalidError: it is no JSON object, or they are not texts.
    """
    return _annotations(_load(body), "/annotations")


def _config(document: dict[str, Any]) -> Descriptor:
    config = document.get("config")
    if config is None:
        raise ManifestInvalidError("an image manifest needs a config descriptor", "/config")
    return _descriptor(config, "/config")


def _load(body: bytes) -> dict[str, Any]:
    try:
        document = _decode(body)
        if b"\\ud" in body.lower():
            json.dumps(document, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is a text in no encoding
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "not a JSON document in UTF-8"
        raise ManifestInvalidError(reason) from None
    if not isinstance(document, dict):
        raise ManifestInvalidError("not a JSON object")
    return cast("dict[str, Any]", document)


def _decode(body: bytes) -> object:
    """Decodes the document into Python's objects; raises ``ValueError`` or ``RecursionError`` if it is no JSON."""
    text = body.decode("utf-8")
    if len(body) <= INTERRUPTIBLE_BYTES:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    _require_bounded(body)
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
    decoder.scan_once = json.scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    return decoder.decode(text)


def _require_bounded(body: bytes) -> None:
    """Refuses a document of too many values before any is made."""
    if sum(map(body.count, (b",", b"[", b"{"))) <= MAXIMUM_VALUES:
        return
    is_text = False
    count = 0
    for token in _TOKENS.finditer(body):
        if token[0] == b'"':
            is_text = not is_text
        elif not is_text and len(token[0]) == 1:
            count += 1
            if count > MAXIMUM_VALUES:
                raise ManifestInvalidError(f"more than {MAXIMUM_VALUES} values")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ManifestInvalidError("a key stands twice in one object")
    return document


def _no_constant(name: str) -> object:
    raise ManifestInvalidError(f"{name} is not JSON")


def _media_type(document: dict[str, Any], sent: str) -> str:
    stated = _text(document, "mediaType")
    if stated and sent and stated != sent:
        raise ManifestInvalidError(f"mediaType is {stated[:256]}, but Content-Type is {sent[:256]}", "/mediaType")
    media_type = stated or sent or _media_type_by_shape(document)
    if media_type in {media_types.DOCKER_SCHEMA_1, media_types.DOCKER_SCHEMA_1_SIGNED}:
        raise ManifestInvalidError("Docker schema 1 is no longer supported; push with a client of 2017 or later")
    if media_type not in _SHAPES:
        raise ManifestInvalidError(f"unknown manifest type {media_type[:256]!r}", "/mediaType")
    if not stated and media_type in {media_types.DOCKER_MANIFEST, media_types.DOCKER_MANIFEST_LIST}:
        raise ManifestInvalidError("Docker's manifests must state their mediaType", "/mediaType")
    return media_type


def _media_type_by_shape(document: dict[str, Any]) -> str:
    """Guesses the media type as registry:2 does if none is stated; a document without config cannot be an image."""
    is_index = document.get("manifests") is not None or ("manifests" in document and document.get("config") is None)
    return media_types.OCI_INDEX if is_index else media_types.OCI_MANIFEST


def _refuse_ambiguity(document: dict[str, Any], shape: _Shape) -> None:
    """Refuses a document that readers of its other keys would take for another kind."""
    _refuse_other_spellings(document, _DOCUMENT_KEYS, "")
    for key in _PLACES:
        if key not in shape.keys and document.get(key) is not None:
            raise ManifestInvalidError(f"{shape.name} must not have {key}", f"/{key}")


def _refuse_other_spellings(document: dict[str, Any], keys: frozenset[str], pointer: str) -> None:
    """Refuses ``Layers`` beside or instead of ``layers``: clients written in Go would take one for the other."""
    for key in document.keys() - keys:
        if key.casefold() in _FOLDED[keys]:
            raise ManifestInvalidError("a key that differs from a known one only in the case of letters", pointer)


def _descriptors(document: dict[str, Any], key: str) -> tuple[Descriptor, ...]:
    values = document.get(key)
    if values is None:
        return ()
    if not isinstance(values, list):
        raise ManifestInvalidError(f"{key} must be a list", f"/{key}")
    items = cast("list[object]", values)
    if len(items) > MAXIMUM_DESCRIPTORS:
        raise ManifestInvalidError(f"more than {MAXIMUM_DESCRIPTORS} descriptors", f"/{key}")
    return tuple(_descriptor(value, f"/{key}/{number}") for number, value in enumerate(items))


def _descriptor(value: object, pointer: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestInvalidError("a descriptor must be an object", pointer)
    document = cast("dict[str, Any]", value)
    _refuse_other_spellings(document, _DESCRIPTOR_KEYS, pointer)
    media_type = _text(document, "mediaType", pointer)
    _require_type(media_type, f"{pointer}/mediaType")
    size, digest = document.get("size"), document.get("digest")
    size = 0 if size is None else size
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAXIMUM_SIZE_BYTES:
        raise ManifestInvalidError("a size must be a number of bytes", f"{pointer}/size")
    if not isinstance(digest, str):
        raise ManifestInvalidError("a descriptor needs a digest", f"{pointer}/digest")
    try:
        parsed = Digest.parse(digest)
    except DigestInvalidError as error:
        raise ManifestInvalidError(str(error), f"{pointer}/digest") from None
    return Descriptor(
        media_type=media_type,
        digest=parsed,
        size_bytes=size,
        artifact_type=_text(document, "artifactType", pointer),
        annotations=_annotations(document, f"{pointer}/annotations"),
        platform=_platform(document.get("platform")),
        urls=_urls(document.get("urls")),
    )


def _require_type(media_type: str, pointer: str) -> None:
    if len(media_type) > MAXIMUM_TYPE_LENGTH:
        raise ManifestInvalidError(f"a type has at most {MAXIMUM_TYPE_LENGTH} characters", pointer)
    if "\x00" in media_type:  # which a catalogue on PostgreSQL cannot keep
        raise ManifestInvalidError("a type has no NUL character", pointer)


def _text(document: dict[str, Any], key: str, pointer: str = "") -> str:
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ManifestInvalidError(f"{key} must be a text", f"{pointer}/{key}")
    return value


def _annotations(document: dict[str, Any], pointer: str) -> dict[str, str]:
    value = document.get("annotations")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ManifestInvalidError("annotations must be an object", pointer)
    annotations = {key: text for key, text in cast("dict[str, object]", value).items() if text is not None}
    if not all(isinstance(text, str) for text in annotations.values()):
        raise ManifestInvalidError("annotations must be texts", pointer)
    return cast("dict[str, str]", annotations)


def _urls(value: object) -> tuple[str, ...]:
    """Returns URLs unjudged, since most registries never look at them: entries that are no texts become empty ones."""
    if value is None:
        return ()
    items = cast("list[object]", value) if isinstance(value, list) else [None]
    return tuple(item if isinstance(item, str) else "" for item in items)


def _platform(value: object) -> Platform | None:
    if not isinstance(value, dict):
        return None
    document = cast("dict[str, object]", value)

    def text(key: str) -> str:
        found = document.get(key, "")
        return found if isinstance(found, str) else ""

    return Platform(text("os"), text("architecture"), text("variant"), text("os.version"))
