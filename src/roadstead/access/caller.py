"""The caller of a request."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from roadstead.access.decision import Action
from roadstead.access.grants import Grant, visible_by
from roadstead.access.visible_repositories import VisibleRepositories


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """The caller of a request, with what that one may do; ``name`` is empty for who has not logged in.

    It answers what ``decide`` answers, from sets that are made once: a request costs a look-up.
    """

    name: str
    grants: Sequence[Grant]
    _sets: dict[tuple[Action, ...], VisibleRepositories] = field(
        default_factory=dict[tuple[Action, ...], VisibleRepositories]
    )

    @property
    def is_anonymous(self) -> bool:
        """True if nobody has logged in."""
        return not self.name

    @property
    def has_any(self) -> bool:
        """True if there is anything at all that this caller may do."""
        return bool(self.visible_for(tuple(Action)))

    @property
    def may_see_users(self) -> bool:
        """True if names of users are for this caller: half of what it takes to log in, and not for who has not."""
        return not self.is_anonymous

    def may(self, action: Action, repository: str) -> bool:
        """Returns True if an action on a repository, there or not, is allowed."""
        return repository in self.visible_for((action,))

    def visible_for(self, actions: tuple[Action, ...]) -> VisibleRepositories:
        """The repositories in which this caller may do any of ``actions``: all that a query may look into for it."""
        found = self._sets.get(actions)
        if found is None:
            found = self._sets[actions] = visible_by(self.grants, actions)
        return found
