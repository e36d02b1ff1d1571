"""Ranges of bytes against a model of RFC 9110, section 14.1.2, and entity tags against section 13.1."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roadstead.web.ranges import (
    MAXIMUM_RANGES,
    RangeUnsatisfiableError,
    allows_range,
    matches_etag,
    parse_range,
)

Spec = tuple[int | None, int | None]

NUMBERS = st.integers(0, 30)
SPECS: st.SearchStrategy[Spec] = st.one_of(
    st.tuples(NUMBERS, NUMBERS), st.tuples(NUMBERS, st.none()), st.tuples(st.none(), NUMBERS)
)


def wanted(spec: Spec, content: bytes) -> bytes:
    """The bytes that one range means, none if it means nothing."""
    first, last = spec
    if first is None:
        assert last is not None
        return content[len(content) - min(last, len(content)) :]
    return content[first:] if last is None else content[first : last + 1]


def spell(spec: Spec) -> str:
    return "-".join("" if number is None else str(number) for number in spec)


@given(st.integers(0, 20), st.lists(SPECS, min_size=1, max_size=4), st.sampled_from([",", ", ", " ,\t", ",,"]))
def test_ranges_give_the_bytes_that_they_mean(size: int, specs: list[Spec], comma: str) -> None:
    content = bytes(range(size))
    expected = [part for spec in specs if (part := wanted(spec, content))]
    header = "bytes=" + comma.join(spell(spec) for spec in specs)
    if not expected:
        with pytest.raises(RangeUnsatisfiableError) as caught:
            parse_range(header, size)
        assert caught.value.size_bytes == size
        return
    found = parse_range(header, size)
    parts = [content[part.first : part.last + 1] for part in found]
    if sum(map(len, expected)) > size:
        assert parts == []
    else:
        assert parts == expected
    assert all(part.length == len(content[part.first : part.last + 1]) > 0 for part in found)
    assert sum(part.length for part in found) <= size


@given(st.text(), st.integers(0, 2**63))
@example("bytes=" + "0-0," * 1000, 5)
@example("bytes=" + "9" * 10_000 + "-", 5)
@example("bytes=\N{ARABIC-INDIC DIGIT ZERO}-1", 5)
@example("bytes=0-0\n", 5)
def test_anything_else_is_ignored(header: str, size: int) -> None:
    try:
        found = parse_range(header, size)
    except RangeUnsatisfiableError:
        return
    assert len(found) <= MAXIMUM_RANGES


def test_too_many_ranges() -> None:
    assert len(parse_range("bytes=" + ",".join(["0-0"] * MAXIMUM_RANGES), 1000)) == MAXIMUM_RANGES
    assert parse_range("bytes=" + ",".join(["0-0"] * (MAXIMUM_RANGES + 1)), 1000) == ()


def test_sizes_beyond_four_gigabytes() -> None:
    size = 1 << 40
    (found,) = parse_range(f"bytes={size - 1}-", size)
    assert found.content_range(size) == f"bytes {size - 1}-{size - 1}/{size}"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"b"', False),
        ("a", False),
        ("", False),
        ('"A"', False),
        ('"a', False),
    ],
)
def test_if_none_match(header: str, *, expected: bool) -> None:
    assert matches_etag(header, '"a"') == expected


@pytest.mark.parametrize(("header", "expected"), [("", True), ('"a"', True), ('W/"a"', False), ('"b"', False)])
def test_if_range(header: str, *, expected: bool) -> None:
    assert allows_range(header, '"a"') == expected
