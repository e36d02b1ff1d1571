"""Digests: what is accepted, what is refused and why; parsing raises nothing but its own error.

Source: image specification, descriptor.md, section "Digests".
"""

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roadstead.oci import Digest, parse_algorithm
from roadstead.oci.digest import ENCODED_LENGTHS, MAXIMUM_LENGTH
from roadstead.oci.errors import DigestInvalidError

HEXADECIMAL = "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected algorithm:hexadecimal"),
        ("sha256", "expected algorithm:hexadecimal"),
        (":", "expected algorithm:hexadecimal"),
        (f"sha256:{'a' * 63}/", "expected algorithm:hexadecimal"),
        (f"Sha256:{'a' * 64}", "expected algorithm:hexadecimal"),
        (f"sha256:{'a' * 64}\n", "expected algorithm:hexadecimal"),
        (f"sha256:{'a' * 63}", "sha256 needs 64"),
        (f"sha256:{'a' * 65}", "sha256 needs 64"),
        (f"sha256:{'A' * 64}", "sha256 needs 64"),
        (f"sha256:{'g' * 64}", "sha256 needs 64"),
        (f"sha512:{'a' * 64}", "sha512 needs 128"),
        (f"sha384:{'a' * 96}", "unsupported algorithm sha384"),
        ("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8", "unsupported algorithm multihash+base58"),
        ("sha256:" + "a" * MAXIMUM_LENGTH, f"longer than {MAXIMUM_LENGTH}"),
    ],
)
def test_refusals(text: str, reason: str) -> None:
    with pytest.raises(DigestInvalidError, match=reason.replace("+", r"\+")) as caught:
        Digest.parse(text)
    assert text.startswith(caught.value.digest)
    assert len(caught.value.digest) <= MAXIMUM_LENGTH


@given(st.sampled_from(sorted(ENCODED_LENGTHS)), st.data())
def test_round_trip(algorithm: str, data: st.DataObject) -> None:
    length = ENCODED_LENGTHS[algorithm]
    encoded = data.draw(st.text(HEXADECIMAL, min_size=length, max_size=length))
    digest = Digest.parse(f"{algorithm}:{encoded}")
    assert (digest.algorithm, digest.encoded) == (algorithm, encoded)
    assert f"{digest.algorithm}:{digest.encoded}" == digest == str(digest)


@given(st.binary(), st.sampled_from(sorted(ENCODED_LENGTHS)))
def test_of_content(content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert digest == f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    assert Digest.parse(digest) == digest


@given(st.one_of(st.text(), st.from_regex(r"(sha256|sha512|[a-z0-9+._-]*):[a-zA-Z0-9=_-]*")))
@example("\x00")
@example("sha256:" + "\ud800" * 64)
def test_anything_is_a_digest_or_refused(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except DigestInvalidError:
        return
    assert len(digest.encoded) == ENCODED_LENGTHS[digest.algorithm]
    assert set(digest.encoded) <= set(HEXADECIMAL)


@given(st.text())
def test_algorithms(text: str) -> None:
    if text in ENCODED_LENGTHS:
        assert parse_algorithm(text) == text
    else:
        with pytest.raises(DigestInvalidError):
            parse_algorithm(text)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_supported_algorithms(algorithm: str) -> None:
    assert parse_algorithm(algorithm) == algorithm
