"""Errors of what rules refuse. Fields only; status codes stand in ``roadstead.web.errors``."""

from collections.abc import Sequence

from roadstead.access.decision import Action
from roadstead.errors import RoadsteadError


class RuleInvalidError(RoadsteadError):
    """A rule cannot be understood; ``value`` is the part of it that is wrong."""

    def __init__(self, value: str, reason: str) -> None:
        super().__init__(f"{value[:300]!r}: {reason}")
        self.value = value
        self.reason = reason


class AccessError(RoadsteadError):
    """A caller may not do what it asked for; without a ``repository`` it is the listing of all or nothing at all."""

    def __init__(self, message: str, repository: str, actions: Sequence[Action], *, lists: bool) -> None:
        super().__init__(message)
        self.lists = lists
        self.repository = repository
        self.actions = tuple(actions)


class LoginRequiredError(AccessError):
    """Nobody has logged in, or with the wrong password; ``realm`` is what there is to log in to."""

    def __init__(
        self, realm: str, repository: str = "", actions: Sequence[Action] = (), *, lists: bool = False
    ) -> None:
        super().__init__("authentication required", repository, actions, lists=lists)
        self.realm = realm


class AccessDeniedError(AccessError):
    """No rule lets this caller do it; said alike of repositories that are there and that are not."""

    def __init__(self, repository: str = "", actions: Sequence[Action] = (), *, lists: bool = False) -> None:
        super().__init__("requested access to the resource is denied", repository, actions, lists=lists)
