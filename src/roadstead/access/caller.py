"""Who asks."""

from collections.abc import Mapping
from dataclasses import dataclass

from roadstead.access.decision import Action
from roadstead.access.visible_repositories import VisibleRepositories


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Who asks, with what that one may do; ``name`` is empty for who has not logged in."""

    name: str
    scopes: Mapping[Action, VisibleRepositories]

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody has logged in."""
        return not self.name

    @property
    def has_any(self) -> bool:
        """Whether there is anything at all that this caller may do."""
        return any(self.scopes.values())

    @property
    def may_see_users(self) -> bool:
        """Whether names of users are for this caller: half of what it takes to log in, and not for who has not."""
        return not self.is_anonymous

    def may(self, action: Action, repository: str) -> bool:
        """Whether an action on a repository, there or not, is allowed."""
        return repository in self.scopes[action]
