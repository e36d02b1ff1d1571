"""The requirements of each request of the content plane: the one table, and the one place that decides by it.

Every method of every path has its row; a test walks them, and a path without one cannot be served.
"""

from collections.abc import Mapping
from typing import Final

from roadstead.access import AccessDeniedError, Action, Caller, LoginRequiredError, VisibleRepositories
from roadstead.errors import RoadsteadError
from roadstead.identity import CredentialsInvalidError
from roadstead.web.authentication import Authentication
from roadstead.web.distribution.routes import PathMovedError, find_route
from roadstead.web.http import Scope as HttpScope
from roadstead.web.requirement import RouteRequirement, changes_something

PULLABLE: Final = (Action.PULL,)
"""The right to what a list of repositories shows and a mount takes a blob from, whatever the request is about."""

_LOGGED_IN: Final = RouteRequirement()
_LISTING: Final = RouteRequirement(lists=True)
_PULL: Final = RouteRequirement((Action.PULL,))
_LOOK: Final = RouteRequirement((Action.PULL, Action.PUSH))
"""Needed to learn whether something is there: clients ask that before they push it, and give up when they may not."""
_PUSH: Final = RouteRequirement((Action.PUSH,), changes=True)
_PROGRESS: Final = RouteRequirement((Action.PUSH,))
"""Needed to learn how far a push has come."""
_DELETE: Final = RouteRequirement((Action.DELETE,), changes=True)
_DELETED: Final = RouteRequirement((Action.DELETE,))
"""Needed to learn what was deleted."""

REQUIREMENTS: Final[Mapping[tuple[str, str], RouteRequirement]] = {
    ("base", "GET"): _LOGGED_IN,
    ("base", "HEAD"): _LOGGED_IN,
    ("catalog", "GET"): _LISTING,
    ("catalog", "HEAD"): _LISTING,
    ("tags", "GET"): _PULL,
    ("tags", "HEAD"): _PULL,
    ("referrers", "GET"): _PULL,
    ("referrers", "HEAD"): _PULL,
    ("manifest", "GET"): _PULL,
    ("manifest", "HEAD"): _LOOK,
    ("manifest", "PUT"): _PUSH,
    ("manifest", "DELETE"): _DELETE,
    ("blob", "GET"): _PULL,
    ("blob", "HEAD"): _LOOK,
    ("blob", "DELETE"): _DELETE,
    ("undo_history", "GET"): _PULL,
    ("undo_removed", "GET"): _DELETED,
    ("undo_restore", "POST"): _PUSH,
    ("blob_upload", "POST"): _PUSH,
    ("blob_upload_chunk", "GET"): _PROGRESS,
    ("blob_upload_chunk", "HEAD"): _PROGRESS,
    ("blob_upload_chunk", "PATCH"): _PUSH,
    ("blob_upload_chunk", "PUT"): _PUSH,
    ("blob_upload_chunk", "DELETE"): _PUSH,
}
"""By handler and method. A mount that names where from needs to pull there as well, which its endpoint sees to, since
a mount that is not allowed becomes an ordinary upload."""


def is_change(scope: HttpScope) -> bool:
    """Returns True if a request changes something, by the row of its route: what maintenance asks."""
    method: str = scope["method"]
    try:
        handler = find_route(scope["raw_path"]).handler
    except (RoadsteadError, PathMovedError):
        return changes_something(None, method)
    return changes_something(REQUIREMENTS.get((handler, method)), method)


async def identify(gate: Authentication, scope: HttpScope, requirement: RouteRequirement, repository: str) -> Caller:
    """Returns the caller, where that takes looking at a password.

    Raises:
        LoginRequiredError: the credentials are wrong.
        AttemptsExceededError, PasswordFileUnavailableError: they cannot be looked at now.
    """
    try:
        return await gate.identify(scope)
    except CredentialsInvalidError:
        raise LoginRequiredError(gate.realm, repository, requirement.actions, lists=requirement.lists) from None


def authorise(
    gate: Authentication, caller: Caller, requirement: RouteRequirement, repository: str
) -> VisibleRepositories:
    """Lets a request pass, and gives the repositories into which its queries may look.

    Raises:
        LoginRequiredError: it may not, and nobody has logged in who could.
        AccessDeniedError: it may not, and a login would not help.
    """
    visible = caller.visible_for(requirement.actions)
    if requirement.actions:
        if visible.is_all or repository in visible:
            return visible
    elif _comes_in(gate, caller, requirement):
        return visible
    if caller.is_anonymous and gate.can_log_in:
        raise LoginRequiredError(gate.realm, repository, requirement.actions, lists=requirement.lists)
    raise AccessDeniedError(repository, requirement.actions, lists=requirement.lists)


def _comes_in(gate: Authentication, caller: Caller, requirement: RouteRequirement) -> bool:
    """Returns True if a request that is about no repository passes."""
    if caller.is_anonymous and gate.can_log_in:
        return requirement.lists and bool(caller.visible_for(PULLABLE))
    return True
