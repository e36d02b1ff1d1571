"""How much of a document is read before it is refused, and that long ones are understood as short ones are."""

import json
from typing import Any

import pytest

from roadstead.oci import parse_manifest
from roadstead.oci.errors import ManifestInvalidError
from roadstead.oci.manifest import INTERRUPTIBLE_BYTES, MAXIMUM_DESCRIPTORS, MAXIMUM_TYPE_LENGTH, MAXIMUM_VALUES

MIB = 1 << 20
DESCRIPTOR = {"mediaType": "text/plain", "digest": "sha256:" + "0" * 64, "size": 1}
IMAGE = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": DESCRIPTOR,
    "layers": [],
}
PADDING = "x" * INTERRUPTIBLE_BYTES


def body_of(**more: Any) -> bytes:
    return json.dumps(IMAGE | more, separators=(",", ":")).encode()


def with_text(text: bytes) -> bytes:
    """An image with a member that is ``text``, as it stands."""
    return body_of()[:-1] + b',"more":' + text + b"}"


BOMBS = {
    "lists": b"[" + b"[[]]," * (MIB * 4 // 5) + b"0]",
    "numbers": b"[" + b"1," * (2 * MIB) + b"1]",
    "objects": b"[" + b"{}," * MIB + b"1]",
    "members": b"{" + b",".join(b'"%d":""' % number for number in range(MAXIMUM_VALUES)) + b"}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_too_many_values_are_refused(name: str) -> None:
    with pytest.raises(ManifestInvalidError, match="values"):
        parse_manifest(with_text(BOMBS[name]), "")


def test_deep_lists_are_refused() -> None:
    with pytest.raises(ManifestInvalidError):
        parse_manifest(with_text(b"[" * 100_000 + b"]" * 100_000), "")


def test_what_stands_in_a_text_is_no_value() -> None:
    text = ',[{"' * MAXIMUM_VALUES
    assert parse_manifest(body_of(annotations={"a": text}), "").annotations == {"a": text}


def test_as_many_descriptors_as_there_may_be_with_all_that_clients_write() -> None:
    platform = {"os": "linux", "architecture": "arm64", "variant": "v8"}
    child = DESCRIPTOR | {"platform": platform, "annotations": {"a": "b", "c": "d"}}
    document = {"schemaVersion": 2, "manifests": [child] * MAXIMUM_DESCRIPTORS}
    assert len(parse_manifest(json.dumps(document).encode(), "").children) == MAXIMUM_DESCRIPTORS


@pytest.mark.parametrize(
    "text",
    [b'{"a":1,"a":2}', b"NaN", b"Infinity", b'"\\ud800"', b"01", b"'a'", b"[1,]", b'"\n"', b"{", b"\xff", b'{"a" 1}'],
)
def test_long_documents_are_refused_for_what_short_ones_are(text: bytes) -> None:
    for padding in ("", PADDING):
        with pytest.raises(ManifestInvalidError):
            parse_manifest(with_text(b'["%s",%s]' % (padding.encode(), text)), "")


@pytest.mark.parametrize("text", [b"-1.5e3", b"[]", b'{"a":{"b":[null,true,false]}}', '"é\\n\\u00e9 😀"'.encode()])
def test_long_documents_are_accepted_as_short_ones_are(text: bytes) -> None:
    short, long = (parse_manifest(with_text(b'["%s",%s]' % (each, text)), "") for each in (b"", PADDING.encode()))
    assert short == long


@pytest.mark.parametrize("place", ["artifactType", "config"])
def test_types_are_short(place: str) -> None:
    for length, is_accepted in ((MAXIMUM_TYPE_LENGTH, True), (MAXIMUM_TYPE_LENGTH + 1, False)):
        name = "a/" + "b" * (length - 2)
        body = body_of(**{place: name if place == "artifactType" else DESCRIPTOR | {"mediaType": name}})
        if is_accepted:
            parse_manifest(body, "")
        else:
            with pytest.raises(ManifestInvalidError, match="characters"):
                parse_manifest(body, "")
