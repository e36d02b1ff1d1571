"""Manifests: each refusal, what a valid document says, and that nothing but the parser's own error comes out.

Sources: image specification, manifest.md and image-index.md; GHSA-qq97-vm5h-rrhg for ambiguity.
"""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roadstead.oci import Manifest, parse_manifest
from roadstead.oci.errors import ManifestInvalidError
from roadstead.oci.manifest import MAXIMUM_DESCRIPTORS
from roadstead.testing.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_FOREIGN_LAYER,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Document,
    artifact,
    digest_of,
    image,
    index,
)

DIGEST = digest_of(b"content")
DESCRIPTOR: Document = {"mediaType": OCI_LAYER, "digest": DIGEST, "size": 7}
IMAGE: Document = {
    "schemaVersion": 2,
    "mediaType": OCI_MANIFEST,
    "config": {"mediaType": OCI_CONFIG, "digest": DIGEST, "size": 7},
    "layers": [DESCRIPTOR],
}
ARTIFACT: Document = {
    "mediaType": "application/vnd.oci.artifact.manifest.v1+json",
    "artifactType": "a/b",
    "blobs": [DESCRIPTOR],
    "subject": DESCRIPTOR,
}
INDEX: Document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [DESCRIPTOR]}


def parse(document: object, content_type: str = "") -> Manifest:
    return parse_manifest(json.dumps(document).encode(), content_type)


def without(document: Document, *keys: str) -> Document:
    return {key: value for key, value in document.items() if key not in keys}


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        (without(IMAGE, "schemaVersion"), "/schemaVersion"),
        (IMAGE | {"schemaVersion": 1}, "/schemaVersion"),
        (IMAGE | {"schemaVersion": "2"}, "/schemaVersion"),
        (IMAGE | {"schemaVersion": 2.0}, "/schemaVersion"),
        (IMAGE | {"mediaType": "text/plain"}, "/mediaType"),
        (IMAGE | {"mediaType": 5}, "/mediaType"),
        (IMAGE | {"mediaType": OCI_MANIFEST.upper()}, "/mediaType"),
        (without(IMAGE, "config"), "/config"),
        (IMAGE | {"config": None}, "/config"),
        (IMAGE | {"config": [DESCRIPTOR]}, "/config"),
        (IMAGE | {"layers": {}}, "/layers"),
        (IMAGE | {"layers": [DESCRIPTOR, 1]}, "/layers/1"),
        (IMAGE | {"manifests": []}, "/manifests"),
        (IMAGE | {"fsLayers": []}, "/fsLayers"),
        (IMAGE | {"blobs": []}, "/blobs"),
        (IMAGE | {"Layers": []}, ""),
        (IMAGE | {"Manifests": []}, ""),
        (without(IMAGE, "config") | {"CONFIG": DESCRIPTOR}, ""),
        (IMAGE | {"layer\N{LATIN SMALL LETTER LONG S}": []}, ""),
        (IMAGE | {"artifactType": 1}, "/artifactType"),
        (IMAGE | {"annotations": []}, "/annotations"),
        (IMAGE | {"annotations": {"a": 1}}, "/annotations"),
        (IMAGE | {"subject": DIGEST}, "/subject"),
        (IMAGE | {"subject": without(DESCRIPTOR, "digest")}, "/subject/digest"),
        (IMAGE | {"layers": [None]}, "/layers/0"),
        (IMAGE | {"Layers": None}, ""),
        (INDEX | {"manifests": "x"}, "/manifests"),
        (INDEX | {"config": DESCRIPTOR}, "/config"),
        (INDEX | {"layers": []}, "/layers"),
        (INDEX | {"blobs": []}, "/blobs"),
        (IMAGE | {"artifactType": "a/b\x00c"}, "/artifactType"),
        (ARTIFACT | {"layers": []}, "/layers"),
        (ARTIFACT | {"config": DESCRIPTOR}, "/config"),
        (ARTIFACT | {"manifests": []}, "/manifests"),
        (ARTIFACT | {"schemaVersion": 1}, "/schemaVersion"),
        (INDEX | {"manifests": [DESCRIPTOR] * (MAXIMUM_DESCRIPTORS + 1)}, "/manifests"),
    ],
)
def test_documents_that_are_refused(document: Document, pointer: str) -> None:
    with pytest.raises(ManifestInvalidError) as caught:
        parse(document)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mediaType": 1}, "/mediaType"),
        ({"mediaType": "a/b\x00c"}, "/mediaType"),
        ({"size": -1}, "/size"),
        ({"size": 2**63}, "/size"),
        ({"size": "7"}, "/size"),
        ({"size": 7.0}, "/size"),
        ({"size": True}, "/size"),
        ({"digest": ""}, "/digest"),
        ({"digest": None}, "/digest"),
        ({"digest": 1}, "/digest"),
        ({"digest": "sha1:" + "a" * 40}, "/digest"),
        ({"digest": "sha256:../../etc/passwd"}, "/digest"),
        ({"artifactType": []}, "/artifactType"),
        ({"annotations": {"a": []}}, "/annotations"),
        ({"Digest": digest_of(b"other")}, ""),
    ],
)
@pytest.mark.parametrize("place", ["/config", "/layers/1", "/subject", "/manifests/1"])
def test_descriptors_that_are_refused(change: Document, field: str, place: str) -> None:
    bad = DESCRIPTOR | change
    documents: dict[str, Document] = {
        "/config": IMAGE | {"config": bad},
        "/layers/1": IMAGE | {"layers": [DESCRIPTOR, bad]},
        "/subject": IMAGE | {"subject": bad},
        "/manifests/1": INDEX | {"manifests": [DESCRIPTOR, bad]},
    }
    with pytest.raises(ManifestInvalidError) as caught:
        parse(documents[place])
    assert caught.value.pointer == place + field


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"{} {}",
        b"\xff",
        '{"schemaVersion": 2}'.encode("utf-16"),
        b'\xef\xbb\xbf{"schemaVersion": 2}',
        b'{"schemaVersion": 2, "schemaVersion": 2}',
        b'{"schemaVersion": NaN}',
        b'{"schemaVersion": -Infinity}',
        b'{"schemaVersion": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"annotations": {"a": "\\ud800"}}',
        b'{"annotations": {"\\uDfFf": ""}}',
    ],
)
def test_bytes_that_are_refused(body: bytes) -> None:
    with pytest.raises(ManifestInvalidError) as caught:
        parse_manifest(body, OCI_MANIFEST)
    assert len(str(caught.value)) < 300


def test_a_key_that_stands_twice_deep_inside() -> None:
    body = json.dumps(IMAGE).replace('"size": 7', '"size": 7, "size": 8').encode()
    with pytest.raises(ManifestInvalidError, match="twice"):
        parse_manifest(body, OCI_MANIFEST)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    manifest = parse(IMAGE | {"annotations": {"a": "\N{WHALE}"}})
    assert manifest.annotations == {"a": "\N{WHALE}"}


@pytest.mark.parametrize("schema_1", ["application/vnd.docker.distribution.manifest.v1+json"])
def test_schema_1_is_named(schema_1: str) -> None:
    with pytest.raises(ManifestInvalidError, match="schema 1 is no longer supported"):
        parse_manifest(b'{"schemaVersion": 1, "fsLayers": []}', schema_1)


@pytest.mark.parametrize(
    ("stated", "sent", "expected"),
    [
        (OCI_MANIFEST, OCI_MANIFEST, OCI_MANIFEST),
        (OCI_MANIFEST, "", OCI_MANIFEST),
        (OCI_MANIFEST, f" {OCI_MANIFEST.title()} ; charset=utf-8", OCI_MANIFEST),
        ("", OCI_MANIFEST, OCI_MANIFEST),
        ("", "", OCI_MANIFEST),
        (DOCKER_MANIFEST, "", DOCKER_MANIFEST),
        (OCI_MANIFEST, DOCKER_MANIFEST, None),
        (OCI_MANIFEST, "application/json", None),
        ("", "application/json", None),
        ("", DOCKER_MANIFEST, None),
    ],
)
def test_the_type_of_an_image(stated: str, sent: str, expected: str | None) -> None:
    document = IMAGE | {"mediaType": stated} if stated else without(IMAGE, "mediaType")
    if expected is None:
        with pytest.raises(ManifestInvalidError):
            parse(document, sent)
    else:
        assert parse(document, sent).media_type == expected


def test_the_type_of_an_index_that_nobody_states() -> None:
    assert parse(without(INDEX, "mediaType")).media_type == OCI_INDEX
    assert parse({"schemaVersion": 2, "manifests": None}).media_type == OCI_INDEX
    assert parse(without(IMAGE, "mediaType") | {"manifests": None}).media_type == OCI_MANIFEST


def test_what_an_image_says() -> None:
    content = image(b"one", b"two", config=b"config", subject=index(), annotations={"key": "value"})
    manifest = parse_manifest(content.content, content.media_type)
    assert [(blob.digest, blob.size_bytes) for blob in manifest.blobs] == [
        (digest_of(b"config"), 6),
        (digest_of(b"one"), 3),
        (digest_of(b"two"), 3),
    ]
    assert manifest.required_blobs == manifest.blobs
    assert manifest.subject is not None
    assert manifest.subject.digest == index().digest
    assert (manifest.annotations, manifest.children, manifest.is_index) == ({"key": "value"}, (), False)
    assert manifest.artifact_type == OCI_CONFIG, "the config's type where there is no other"


def test_what_an_artifact_says() -> None:
    content = artifact(b"file", artifact_type="a/b")
    assert parse_manifest(content.content, content.media_type).artifact_type == "a/b"


@pytest.mark.parametrize("docker", [False, True])
def test_what_an_index_says(docker: bool) -> None:  # noqa: FBT001 - a parameter of the test
    child = image(b"layer", docker=docker)
    content = index(child, docker=docker)
    manifest = parse_manifest(content.content, "")
    assert manifest.media_type == (DOCKER_LIST if docker else OCI_INDEX)
    assert (manifest.is_index, manifest.blobs, manifest.artifact_type) == (True, (), "")
    assert [str(entry.digest) for entry in manifest.children] == [child.digest]
    assert str(manifest.children[0].platform) == "linux/amd64"


def test_layers_that_are_not_distributed() -> None:
    foreign = DESCRIPTOR | {"mediaType": OCI_FOREIGN_LAYER, "urls": ["https://example.org/layer"]}
    manifest = parse(IMAGE | {"layers": [foreign, DESCRIPTOR]})
    assert len(manifest.blobs) == 3
    assert [blob.media_type for blob in manifest.required_blobs] == [OCI_CONFIG, OCI_LAYER]


@pytest.mark.parametrize(
    "name", ["subject", "annotations", "artifactType", "mediaType", "manifests", "blobs", "fsLayers", "layers"]
)
def test_null_is_not_set(name: str) -> None:
    assert parse(IMAGE | {name: None}) == parse(without(IMAGE, name))


@pytest.mark.parametrize("name", ["annotations", "artifactType", "mediaType", "config", "layers", "manifests"])
def test_null_is_not_set_in_an_index(name: str) -> None:
    assert parse(INDEX | {name: None}, OCI_INDEX) == parse(without(INDEX, name), OCI_INDEX)


@pytest.mark.parametrize("name", ["mediaType", "size", "annotations", "artifactType", "platform", "urls", "data"])
@pytest.mark.parametrize("place", ["config", "layers", "manifests", "subject"])
def test_null_is_not_set_in_a_descriptor(place: str, name: str) -> None:
    def documents(descriptor: Document) -> Document:
        entry = [descriptor] if place in {"layers", "manifests"} else descriptor
        return (INDEX if place == "manifests" else IMAGE) | {place: entry}

    assert parse(documents(DESCRIPTOR | {name: None})) == parse(documents(without(DESCRIPTOR, name)))


def test_an_annotation_without_a_value_is_none() -> None:
    layer = DESCRIPTOR | {"annotations": {"a": None}}
    manifest = parse(IMAGE | {"annotations": {"a": None, "b": ""}, "layers": [layer]})
    assert (manifest.annotations, manifest.layers[0].annotations) == ({"b": ""}, {})


def test_an_image_without_layers() -> None:
    manifest = parse(without(IMAGE, "layers"))
    assert (manifest.layers, [blob.digest for blob in manifest.blobs]) == ((), [DIGEST])


def test_descriptors_that_state_little() -> None:
    manifest = parse(IMAGE | {"layers": [{"digest": DIGEST}]})
    (layer,) = manifest.layers
    assert (layer.media_type, layer.size_bytes, layer.digest) == ("", 0, DIGEST)
    assert manifest.required_blobs == manifest.blobs, "only what says so need not be there"


def test_a_withdrawn_artifact_manifest() -> None:
    manifest = parse(ARTIFACT)
    assert (manifest.is_withdrawn, manifest.is_index, manifest.config) == (True, False, None)
    assert [blob.digest for blob in manifest.named] == [DIGEST]
    assert manifest.required_blobs == manifest.layers
    assert manifest.subject is not None
    assert manifest.artifact_type == "a/b"
    assert parse(ARTIFACT | {"schemaVersion": 2}) == manifest


def test_what_is_named() -> None:
    foreign = DESCRIPTOR | {"mediaType": OCI_FOREIGN_LAYER, "digest": digest_of(b"foreign")}
    manifest = parse(IMAGE | {"layers": [foreign, DESCRIPTOR], "subject": DESCRIPTOR | {"digest": digest_of(b"s")}})
    assert [str(each.digest) for each in manifest.named] == [DIGEST, digest_of(b"foreign"), DIGEST]
    assert [str(each.digest) for each in parse(INDEX).named] == [DIGEST]


def test_unknown_properties_are_kept_out_of_the_way() -> None:
    assert parse(IMAGE | {"org.example": 1}) == parse(IMAGE)


def test_descriptors_as_json() -> None:
    child = {
        "mediaType": OCI_MANIFEST,
        "digest": DIGEST,
        "size": 7,
        "artifactType": "a/b",
        "annotations": {"a": "b"},
        "platform": {"architecture": "arm64", "os": "linux", "variant": "v8", "os.version": "1"},
    }
    assert parse(INDEX | {"manifests": [child]}).children[0].as_json() == child
    assert parse(INDEX).children[0].as_json() == DESCRIPTOR


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
VALUES: st.SearchStrategy[Any] = st.one_of(
    JSON,
    st.sampled_from([2, OCI_MANIFEST, OCI_INDEX, DIGEST, DESCRIPTOR, [DESCRIPTOR], [], {}, {"a": "b"}]),
)
KEYS = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "annotations", "artifactType", "Layers"]
)


@given(st.sampled_from([IMAGE, INDEX]), st.dictionaries(KEYS, VALUES, max_size=3), st.sampled_from(["", OCI_INDEX]))
@example(IMAGE, {"mediaType": "\ud800"}, "")
def test_nearly_manifests(document: Document, changes: Document, content_type: str) -> None:
    """Whatever is changed in a valid document, it is refused, or what comes out is consistent."""
    try:
        manifest = parse(document | changes, content_type)
    except ManifestInvalidError:
        return
    assert bool(manifest.children) <= manifest.is_index
    assert (manifest.config is not None) != manifest.is_index
    assert bool(manifest.layers) <= (not manifest.is_index)
    assert all(blob in manifest.named for blob in manifest.required_blobs)


@given(st.one_of(st.binary(), JSON.map(lambda value: json.dumps(value).encode())), st.text())
def test_anything_is_refused_properly(body: bytes, content_type: str) -> None:
    with pytest.raises(ManifestInvalidError):
        parse_manifest(body, content_type)
