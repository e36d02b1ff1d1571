"""Rules and decisions."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.access import REGISTRY, Action, Policy, Resource, Rule, RuleInvalidError, Subject

USERS = ["alice", "bob", "anonymous", "*"]
NAMES = ["app", "team/app", "team/sub/app", "team", "other/app", "library/app", "library"]
PATTERNS = ["*", "team/*", "team/sub/*", "app", "team/app", "project:team", "project:library"]
RULES = st.builds(
    Rule.parse,
    st.lists(st.sampled_from(USERS), min_size=1, max_size=2),
    st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2),
    st.lists(st.sampled_from(list(Action)), min_size=1, max_size=2),
)


@given(
    rules=st.lists(RULES, max_size=5),
    name=st.sampled_from(["", "alice", "bob", "anonymous", "carol"]),
    can_log_in=st.booleans(),
)
def test_what_a_caller_may_is_what_is_decided(rules: list[Rule], name: str, *, can_log_in: bool) -> None:
    policy = Policy(rules, can_log_in=can_log_in)
    caller = policy.caller(name) if name else policy.anonymous
    for action in Action:
        for repository in NAMES:
            decision = policy.decide(Subject(name), action, Resource(repository))
            assert caller.may(action, repository) == decision.is_allowed
            assert decision.reason
            assert bool(decision.rule) == (decision.is_allowed and bool(rules))
            assert len(decision.granted_by) >= bool(decision.rule)
        for actions in itertools.combinations(Action, 2):
            visible = caller.visible_for(actions)
            assert [name in visible for name in NAMES] == [
                any(policy.decide(Subject(caller.name), action, Resource(name)).is_allowed for action in actions)
                for name in NAMES
            ]
        anywhere = policy.decide(Subject(name), action, REGISTRY)
        assert bool(caller.visible_for((action,))) == anywhere.is_allowed


def test_without_rules_a_login_is_enough() -> None:
    policy = Policy(can_log_in=True)
    assert policy.caller("alice").may(Action.DELETE, "app")
    assert not policy.anonymous.may(Action.PULL, "app")
    assert not policy.is_open
    assert not policy.anonymous.has_any
    assert (
        policy.decide(Subject(""), Action.PULL, Resource("app")).reason == "there are no rules: everybody has to log in"
    )


def test_where_nobody_can_log_in_everybody_may_everything() -> None:
    policy = Policy()
    assert policy.is_open
    assert policy.anonymous.may(Action.DELETE, "app")


def test_rules_bind_those_too_who_cannot_log_in() -> None:
    policy = Policy([Rule.parse(["anonymous"], ["*"], ["pull"])])
    assert policy.anonymous.may(Action.PULL, "app")
    assert not policy.anonymous.may(Action.PUSH, "app")


def test_what_is_open_to_the_world_is_open_to_users() -> None:
    policy = Policy([Rule.parse(["anonymous"], ["public/*"], ["pull"])], can_log_in=True)
    assert policy.caller("alice").may(Action.PULL, "public/app")
    assert not policy.caller("alice").may(Action.PULL, "app")


def test_a_user_called_anonymous_is_no_key_to_the_rest() -> None:
    """Nor is one called ``*``: both words are about others."""
    policy = Policy([Rule.parse(["*"], ["team/*"], ["pull"]), Rule.parse(["alice"], ["*"], ["push"])], can_log_in=True)
    assert policy.caller("anonymous").may(Action.PULL, "team/app")
    assert not policy.anonymous.may(Action.PULL, "team/app")
    assert not policy.caller("*").may(Action.PUSH, "team/app")


def test_no_action_includes_another() -> None:
    policy = Policy([Rule.parse(["alice"], ["app"], ["push"])], can_log_in=True)
    assert [policy.caller("alice").may(action, "app") for action in Action] == [False, True, False]


def test_a_decision_names_its_rule() -> None:
    policy = Policy([Rule.parse(["alice"], ["team/*"], ["pull"]), Rule.parse(["*"], ["*"], ["push"])], can_log_in=True)
    assert policy.decide(Subject("bob"), Action.PUSH, Resource("team/app")).rule == 2
    assert (
        policy.decide(Subject("bob"), Action.PUSH, Resource("team/app")).reason == "rule 2 lets 'bob' push in team/app"
    )
    assert (
        policy.decide(Subject("bob"), Action.PULL, Resource("team/app")).reason == "no rule lets 'bob' pull in team/app"
    )


def test_callers_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.access.policy.REMEMBERED", 3)
    policy = Policy([Rule.parse(["*"], ["*"], ["pull"])], can_log_in=True)
    assert policy.caller("user0") is policy.caller("user0")
    for number in range(10):
        policy.caller(f"user{number}")
    assert len(policy._callers) == 3


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (([], ["*"], ["pull"]), "names no users"),
        ((["alice"], [], ["pull"]), "names no repositories"),
        ((["alice"], ["*"], []), "names no actions"),
        (([""], ["*"], ["pull"]), "empty name"),
        ((["dev*"], ["*"], ["pull"]), "everybody who has logged in"),
        ((["alice"], ["*"], ["read"]), "actions are pull, push, delete"),
        ((["alice"], ["team*"], ["pull"]), "team/*"),
        ((["alice"], ["*/app"], ["pull"]), "team/*"),
        ((["alice"], ["/*"], ["pull"]), "no repository has such a name"),
        ((["alice"], ["Team/*"], ["pull"]), "no repository has such a name"),
        ((["alice"], ["../*"], ["pull"]), "no repository has such a name"),
        ((["alice"], [""], ["pull"]), "no repository has such a name"),
        ((["alice"], ["project:"], ["pull"]), "no repository has such a name"),
        ((["alice"], ["project:team/app"], ["pull"]), "has no slash"),
        ((["alice"], ["project:team/*"], ["pull"]), "has no slash"),
        ((["alice"], ["project:*"], ["pull"]), "team/*"),
    ],
)
def test_rules_that_mean_nothing(rule: tuple[list[str], list[str], list[str]], reason: str) -> None:
    with pytest.raises(RuleInvalidError, match=reason.replace("*", r"\*")):
        Rule.parse(*rule)
