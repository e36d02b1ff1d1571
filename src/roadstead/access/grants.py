"""The decision: one function, whatever the rights come from.

A right is a ``Grant``. Grants come from sources: the rules of the settings today, projects and their members later.
They only allow, so that their order means nothing but which of them is named first as the reason.

Enforcement must not look at every grant for every request. It asks a ``Caller``, which is made of the same grants, once
for each subject; that both say the same is tested with grants made at random.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from roadstead.access.decision import Action, Decision, Resource, Subject
from roadstead.access.pattern import RepositoryPattern
from roadstead.access.visible_repositories import VisibleRepositories


@dataclass(frozen=True, slots=True)
class Grant:
    """Some actions in some repositories, for a subject that its source knows."""

    actions: frozenset[Action]
    repositories: tuple[RepositoryPattern, ...]
    description: str
    """The name by which a person finds it, such as "rule 3"; empty where it is no line that anybody wrote."""
    rule: int = 0
    """The number of the rule, where it is one."""

    def allows(self, action: Action, resource: Resource) -> bool:
        """Returns True if it lets its subject do ``action``; in the registry itself, whoever may do it anywhere."""
        if action not in self.actions:
            return False
        return resource.is_registry or any(pattern.matches(resource.repository) for pattern in self.repositories)


class GrantSource(Protocol):
    """Where grants come from."""

    def grants_to(self, subject: Subject) -> Sequence[Grant]:
        """All that ``subject`` is granted, in the order in which they are named as reasons."""
        ...

    def reason_for(self, subject: Subject, grant: Grant | None, question: str) -> str:
        """Why ``grant`` answers a question as "push in team/app" with yes, or, where it is None, why nothing does."""
        ...


def decide(source: GrantSource, subject: Subject, action: Action, resource: Resource) -> Decision:
    """Decides whether ``subject`` may do ``action`` in ``resource``, and says why: the one answer to this question."""
    allowing = [grant for grant in source.grants_to(subject) if grant.allows(action, resource)]
    question = f"{action} in {resource.repository or 'any repository'}"
    return Decision(
        is_allowed=bool(allowing),
        reason=source.reason_for(subject, allowing[0] if allowing else None, question),
        rule=allowing[0].rule if allowing else 0,
        granted_by=tuple(grant.description for grant in allowing if grant.description),
    )


def visible_by(grants: Iterable[Grant], actions: Iterable[Action]) -> VisibleRepositories:
    """The repositories in which ``grants`` allow any of ``actions``."""
    wanted = frozenset(actions)
    patterns = [pattern for grant in grants if wanted & grant.actions for pattern in grant.repositories]
    return VisibleRepositories(
        [each for pattern in patterns for each in pattern.ranges],
        has_unslashed=any(pattern.is_unslashed for pattern in patterns),
    )
