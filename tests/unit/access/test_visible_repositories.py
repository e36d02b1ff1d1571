"""Sets of names as ranges: the same names as a plain look at each pattern finds, in order and without overlap."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from roadstead.access import NameRange, RepositoryPattern, VisibleRepositories
from roadstead.oci import RepositoryName

PARTS = st.sampled_from(["a", "a-b", "a.b", "a_b", "a0", "ab", "b", "z", "zz", "a-", "0"]).map(
    lambda text: text.strip("-")
)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
PATTERNS = st.one_of(NAMES, NAMES.map(lambda name: f"{name}/*"), st.just("*"))


def matches(pattern: str, name: str) -> bool:
    """What a pattern means, written otherwise than the code."""
    if pattern == "*":
        return True
    if pattern.endswith("/*"):
        return name.split("/")[: pattern.count("/")] == pattern.split("/")[:-1] and name.count("/") >= pattern.count(
            "/"
        )
    return name == pattern


def scope_of(*patterns: str) -> VisibleRepositories:
    return VisibleRepositories(RepositoryPattern.parse(pattern).range for pattern in patterns)


@given(st.lists(PATTERNS, max_size=6), NAMES)
def test_a_name_is_in_it_as_any_pattern_says(patterns: list[str], name: str) -> None:
    RepositoryName.parse(name)
    assert (name in scope_of(*patterns)) == any(matches(pattern, name) for pattern in patterns)


@given(st.lists(PATTERNS, max_size=6))
def test_ranges_are_in_order_and_apart(patterns: list[str]) -> None:
    ranges = scope_of(*patterns).ranges
    assert all(low < high for low, high in ranges)
    assert all(one.high < two.low for one, two in itertools.pairwise(ranges))


@given(st.lists(PATTERNS, max_size=6), st.one_of(NAMES, st.text(max_size=5)), NAMES)
def test_what_is_left_after_a_name(patterns: list[str], after: str, name: str) -> None:
    scope = scope_of(*patterns)
    is_left = any(low <= name < high for low, high in scope.after(after))
    assert is_left == (name > after and name in scope)


def test_all_and_nothing() -> None:
    assert scope_of("*").is_all
    assert scope_of("a", "*", "b/*").is_all
    assert not scope_of("a", "b/*").is_all
    assert not VisibleRepositories(())
    assert "a" not in VisibleRepositories(())
    assert VisibleRepositories(()).after("") == ()
    assert scope_of("a")


def test_a_page_after_half_of_a_range_goes_on_in_it() -> None:
    assert scope_of("a/*", "c").after("a/x") == (NameRange("a/x ", "a0"), NameRange("c", "c "))
    assert scope_of("a/*", "c").after("b") == (NameRange("c", "c "),)
    assert scope_of("a/*", "c").after("c") == ()
    assert scope_of("a/*", "c").after("") == (NameRange("a/", "a0"), NameRange("c", "c "))
