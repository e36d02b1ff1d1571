"""Sets of names as ranges: the same names as a plain look at each pattern finds, in order and without overlap."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from roadstead.access import Action, Grant, NameRange, RepositoryPattern, RuleInvalidError, VisibleRepositories
from roadstead.access.grants import visible_by
from roadstead.config.checks import is_repository_pattern
from roadstead.oci import RepositoryName

PARTS = st.sampled_from(["a", "a-b", "a.b", "a_b", "a0", "ab", "b", "z", "zz", "a-", "0", "library"]).map(
    lambda text: text.strip("-")
)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
PATTERNS = st.one_of(
    NAMES, NAMES.map(lambda name: f"{name}/*"), PARTS.map(lambda name: f"project:{name}"), st.just("*")
)


def matches(pattern: str, name: str) -> bool:
    """What a pattern means, written otherwise than the code."""
    if pattern == "*":
        return True
    if pattern == "project:library":
        return "/" not in name or name.split("/", maxsplit=1)[0] == "library"
    if pattern.startswith("project:"):
        return "/" in name and name.split("/", maxsplit=1)[0] == pattern.split(":")[1]
    if pattern.endswith("/*"):
        return name.split("/")[: pattern.count("/")] == pattern.split("/")[:-1] and name.count("/") >= pattern.count(
            "/"
        )
    return name == pattern


def visible_of(*patterns: str) -> VisibleRepositories:
    parsed = [RepositoryPattern.parse(pattern) for pattern in patterns]
    return visible_by([Grant(frozenset({Action.PULL}), tuple(parsed), "")], [Action.PULL])


@given(st.lists(PATTERNS, max_size=6), NAMES)
def test_a_name_is_in_it_as_any_pattern_says(patterns: list[str], name: str) -> None:
    RepositoryName.parse(name)
    assert (name in visible_of(*patterns)) == any(matches(pattern, name) for pattern in patterns)


@given(st.lists(PATTERNS, max_size=6))
def test_ranges_are_in_order_and_apart(patterns: list[str]) -> None:
    ranges = visible_of(*patterns).ranges
    assert all(low < high for low, high in ranges)
    assert all(one.high < two.low for one, two in itertools.pairwise(ranges))


@given(st.lists(PATTERNS, max_size=6), st.one_of(NAMES, st.text(max_size=5)), NAMES)
def test_what_is_left_after_a_name(patterns: list[str], after: str, name: str) -> None:
    visible = visible_of(*patterns)
    is_left = any(low <= name < high for low, high in visible.after(after))
    if not (visible.has_unslashed and "/" not in name):
        assert is_left == (name > after and name in visible)


def test_all_and_nothing() -> None:
    assert visible_of("*").is_all
    assert visible_of("a", "*", "b/*").is_all
    assert not visible_of("a", "b/*").is_all
    assert not VisibleRepositories(())
    assert "a" not in VisibleRepositories(())
    assert VisibleRepositories(()).after("") == ()
    assert visible_of("a")


def test_a_page_after_half_of_a_range_goes_on_in_it() -> None:
    assert visible_of("a/*", "c").after("a/x") == (NameRange("a/x ", "a0"), NameRange("c", "c "))
    assert visible_of("a/*", "c").after("b") == (NameRange("c", "c "),)
    assert visible_of("a/*", "c").after("c") == ()
    assert visible_of("a/*", "c").after("") == (NameRange("a/", "a0"), NameRange("c", "c "))


@given(st.one_of(PATTERNS, st.text("a/*:-.project", max_size=12)))
def test_settings_take_the_patterns_that_mean_something(text: str) -> None:
    """Two modules read them, since settings know nothing of rights."""
    try:
        RepositoryPattern.parse(text)
    except RuleInvalidError:
        assert not is_repository_pattern(text)
    else:
        assert is_repository_pattern(text)
