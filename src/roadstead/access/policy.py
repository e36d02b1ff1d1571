"""The rules, and the decision.

=====================================  ===============================================================================
who                                    what is allowed
=====================================  ===============================================================================
nobody has logged in                   what rules with ``anonymous`` allow
somebody has logged in                 the same (what is open to the world is open to them), and what rules with their
                                       name or ``*`` allow
=====================================  ===============================================================================

Rules only allow; what none allows is denied. Without any rule, who has logged in may do everything, and who has not
may do so where nobody can log in.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from roadstead.access.caller import Caller
from roadstead.access.decision import Action, Decision, Resource, Subject
from roadstead.access.errors import RuleInvalidError
from roadstead.access.grants import Grant, GrantSource, decide
from roadstead.access.pattern import EVERYTHING, RepositoryPattern

EVERYBODY: Final = "*"
"""In a rule: everybody who has logged in."""

ANONYMOUS: Final = "anonymous"
"""In a rule: everybody, logged in or not. A user of this name is no exception: the word is never theirs."""

REMEMBERED: Final = 4096
"""Callers whose sets are kept; names come from verified logins, so their number is that of users."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Some users may do some actions in some repositories."""

    users: frozenset[str]
    repositories: tuple[RepositoryPattern, ...]
    actions: frozenset[Action]

    @classmethod
    def parse(cls, users: Iterable[str], repositories: Iterable[str], actions: Iterable[str]) -> Self:
        """A rule of these words.

        Raises:
            RuleInvalidError: one of them has no meaning, or there is none where there must be one.
        """
        names = frozenset(users)
        patterns = tuple(RepositoryPattern.parse(text) for text in repositories)
        allowed = frozenset(_action(text) for text in actions)
        for values, what in ((names, "users"), (patterns, "repositories"), (allowed, "actions")):
            if not values:
                raise RuleInvalidError("", f"the rule names no {what}")
        for name in names:
            if not name.strip():
                raise RuleInvalidError(name, "no user has an empty name")
            if "*" in name and name != EVERYBODY:
                raise RuleInvalidError(name, "* stands alone, for everybody who has logged in")
        return cls(names, patterns, allowed)

    def is_for(self, name: str) -> bool:
        """Returns True if a caller is meant; an empty name is nobody's."""
        if ANONYMOUS in self.users:
            return True
        return bool(name) and (EVERYBODY in self.users or name in self.users)


def _action(text: str) -> Action:
    try:
        return Action(text)
    except ValueError:
        raise RuleInvalidError(text, f"actions are {', '.join(Action)}") from None


class RuleGrants:
    """The grants of the rules. Without any rule, whoever comes in is granted everything."""

    def __init__(self, rules: Sequence[Rule], *, can_log_in: bool) -> None:
        self._grants = tuple(
            (rule, Grant(rule.actions, rule.repositories, f"rule {number}", number))
            for number, rule in enumerate(rules, 1)
        )
        self._can_log_in = can_log_in

    def grants_to(self, subject: Subject) -> Sequence[Grant]:
        """Returns the grants of the rules that are for ``subject``."""
        if not self._grants:
            return (_EVERYTHING,) if subject.name or not self._can_log_in else ()
        return tuple(grant for rule, grant in self._grants if rule.is_for(subject.name))

    def reason_for(self, subject: Subject, grant: Grant | None, question: str) -> str:
        """The rule that allows it, or that none does."""
        if self._grants:
            return f"{'no rule' if grant is None else grant.description} lets {subject} {question}"
        if grant is None:
            return "there are no rules: everybody has to log in"
        return "there are no rules: everybody who comes in may do everything"


_EVERYTHING: Final = Grant(frozenset(Action), (RepositoryPattern(EVERYTHING),), "")


class Policy:
    """All rules; ``can_log_in`` says whether there is any way to be somebody."""

    def __init__(self, rules: Sequence[Rule] = (), *, can_log_in: bool = False) -> None:
        self.rules = tuple(rules)
        self.is_open = not rules and not can_log_in
        """True if everybody may do everything."""
        self.can_log_in = can_log_in
        self._source: GrantSource = RuleGrants(self.rules, can_log_in=can_log_in)
        self._callers: OrderedDict[str, Caller] = OrderedDict()
        self.anonymous = self._make_caller("")
        """The caller who has not logged in."""

    def caller(self, name: str) -> Caller:
        """Somebody who has logged in under ``name``, with what they may do."""
        found = self._callers.get(name)
        if found is None:
            found = self._callers[name] = self._make_caller(name)
            if len(self._callers) > REMEMBERED:
                self._callers.popitem(last=False)
        return found

    def decide(self, subject: Subject, action: Action, resource: Resource) -> Decision:
        """Decides whether ``subject`` may do ``action`` in ``resource``, and says why."""
        return decide(self._source, subject, action, resource)

    def _make_caller(self, name: str) -> Caller:
        return Caller(name, self._source.grants_to(Subject(name)))
