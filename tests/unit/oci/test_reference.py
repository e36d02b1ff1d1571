"""Names, tags and references agree with the specification's regular expressions, taken literally.

Source: distribution specification, sections "Pulling manifests" and "Referrers Tag Schema".
"""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roadstead.oci import Digest, RepositoryName, Tag, parse_reference, referrers_tag
from roadstead.oci.errors import DigestInvalidError, NameInvalidError, TagInvalidError

NAME = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"

COMPONENTS = st.lists(st.sampled_from(["a", "0", "b9", ".", "_", "__", "-", "---", "/"]), max_size=9).map("".join)
NEARLY_NAMES = st.text("ab0._-/A%\x00", max_size=12)
NEARLY_TAGS = st.text("aZ0._-/:é \n", max_size=6)


def is_name(text: str) -> bool:
    try:
        return RepositoryName.parse(text) == text
    except NameInvalidError:
        return False


def is_tag(text: str) -> bool:
    try:
        return Tag.parse(text) == text
    except TagInvalidError:
        return False


@given(st.one_of(NEARLY_NAMES, COMPONENTS, st.text()))
@example("a\n")
@example("a" * 255)
@example("a" * 256)
@example("a" + "-" * 253 + "a")
@example("a" + "-" * 254 + "a")
@example("a/" * 127 + "a")
@example("\N{ARABIC-INDIC DIGIT THREE}")
def test_names(text: str) -> None:
    assert is_name(text) == (re.fullmatch(NAME, text) is not None and len(text) <= 255)


@given(st.one_of(NEARLY_TAGS, st.text(), st.from_regex(TAG, fullmatch=True)))
@example("a\n")
@example("a" * 128)
@example("a" * 129)
@example("\N{ARABIC-INDIC DIGIT THREE}")
def test_tags(text: str) -> None:
    assert is_tag(text) == (re.fullmatch(TAG, text) is not None)


def test_a_long_name_costs_no_time() -> None:
    """A regular expression that backtracks would take for ever on these."""
    for text in ("a-" * 127, "a" * 255 + "!", "a__" * 80, "-" * 1_000_000):
        assert not is_name(text)


@given(st.text())
@example("sha256:abc")
@example(f"sha256:{'a' * 64}")
@example(":")
def test_references(text: str) -> None:
    try:
        reference = parse_reference(text)
    except DigestInvalidError:
        assert ":" in text
    except TagInvalidError:
        assert ":" not in text
    else:
        assert isinstance(reference, Digest if ":" in text else Tag)
        assert reference == text


@pytest.mark.parametrize(("algorithm", "digits"), [("sha256", 64), ("sha512", 128)])
def test_referrers_tags(algorithm: str, digits: int) -> None:
    """The specification's own examples."""
    tag = referrers_tag(Digest.parse(f"{algorithm}:{'a' * digits}"))
    assert tag == f"{algorithm}-{'a' * 64}"
    assert Tag.parse(tag) == tag
