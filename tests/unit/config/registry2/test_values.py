"""Values as Go takes them, and patterns as Go means them."""

from __future__ import annotations

import re

import pytest

from roadstead.config.registry2.nodes import Mapping, Scalar, parse
from roadstead.config.registry2.patterns import from_go
from roadstead.config.registry2.values import duration_seconds, headers, number, parse_duration, text, texts, truth


def scalar(written: str) -> Scalar:
    node = parse(written, "x")
    assert isinstance(node, Scalar)
    return node


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1h30m", 5400),
        ("168h", 604800),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("1.s", 1),
        ("10ms", 0.01),
        ("5us", 5e-6),
        ("5µs", 5e-6),
        ("1h0m0.5s", 3600.5),
        ("-2s", -2),
        ("+2s", 2),
        ("0", 0),
    ],
)
def test_durations(written: str, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)
    assert duration_seconds(scalar(written)) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["", "10", "s", "1d", "1h 30m", "1 s", "1h30", "--1s", "1e3s", "٣s", "9999999h"])
def test_what_is_no_duration_in_go_is_none_here(written: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(written)


def test_a_bare_number_is_nanoseconds() -> None:
    assert duration_seconds(scalar("1_000_000_000")) == pytest.approx(1)
    with pytest.raises(ValueError, match="duration"):
        duration_seconds(scalar('"5"'))


@pytest.mark.parametrize("written", ["true", "True", "yes", "on", "y", "Y"])
def test_true_in_go(written: str) -> None:
    assert truth(scalar(written)) is True
    with pytest.raises(ValueError, match="without quotes"):
        truth(scalar(f'"{written}"'))


@pytest.mark.parametrize("written", ["false", "no", "off", "N", "", "~", "null"])
def test_false_in_go(written: str) -> None:
    assert truth(Scalar(written, "x")) is False


@pytest.mark.parametrize("written", ["tRUE", "1", "0", "enabled", "[true]"])
def test_neither_true_nor_false(written: str) -> None:
    node = parse(written, "x")
    assert node is not None
    with pytest.raises(ValueError, match="expected true or false"):
        truth(node)


@pytest.mark.parametrize(
    ("written", "value"), [("5", 5), ("-5", -5), ("1_000", 1000), ("0x10", 16), ("010", 8), ("0b11", 3), ("", 0)]
)
def test_numbers(written: str, value: int) -> None:
    assert number(Scalar(written, "x")) == value


@pytest.mark.parametrize("written", ["5.5", "five", '"5"', "[5]", "08"])
def test_no_numbers(written: str) -> None:
    node = parse(written, "x")
    assert node is not None
    with pytest.raises(ValueError, match="number"):
        number(node)


def test_text_takes_every_single_value_as_it_was_written() -> None:
    assert [text(scalar(written)) for written in ("5000", "0.1", "true", "'x y'", "~")] == [
        "5000",
        "0.1",
        "true",
        "x y",
        "",
    ]
    with pytest.raises(ValueError, match="expected text"):
        text(Mapping())


def test_lists_are_lists() -> None:
    with pytest.raises(ValueError, match="expected a list"):
        texts(scalar("one"))


def test_headers_that_differ_in_their_case_are_one() -> None:
    node = parse("X-A: [one]\nx-a: [two, three]", "x")
    assert node is not None
    assert headers(node) == {"X-A": ("one", "two", "three")}


def test_a_headers_value_is_a_list() -> None:
    node = parse("X-A: one", "x")
    assert node is not None
    with pytest.raises(ValueError, match="X-A: expected a list"):
        headers(node)


@pytest.mark.parametrize(
    ("pattern", "accepted", "refused"),
    [
        (r"^https?://([^/]+\.)*example\.com/", "https://a.example.com/x", "https://a.example.org/x"),
        (r"^https://x$", "https://x", "https://x\n"),
        (r"^a[$]\$b\z", "a$$b", "a$$b\n"),
        (r"(?m)^a$", "b\na\nb", "b\nab"),
        (r"^[[:alpha:]_]+$", "ab_C", "ab1"),
        (r"^[^[:digit:]]$", "a", "1"),
        (r"(?i)^x$", "X", "Y"),
        (r"^[]a]$", "]", "b"),
    ],
)
def test_a_pattern_means_what_it_meant(pattern: str, accepted: str, refused: str) -> None:
    translated = re.compile(from_go(pattern))
    assert translated.search(accepted)
    assert not translated.search(refused)


@pytest.mark.parametrize("pattern", ["(", "[a", r"\pN", r"\p{Greek}", r"\Qa.b\E", "[[:nonsense:]]", "(?U)a*", "a{2,1}"])
def test_a_pattern_that_python_cannot_say_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"regular expression|class"):
        from_go(pattern)
