"""The requirements of a route: one type, of which every plane declares one row for each of its routes.

A plane's table is all that decides what passes: who may come, whether the request counts against its client's rate, and
whether maintenance refuses it. How a refusal is written is the plane's own: its clients know another form of errors.
"""

import enum
from dataclasses import dataclass
from typing import Final

from roadstead.access import Action

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing by what HTTP says of them."""


class RateClass(enum.Enum):
    """Against what a request counts."""

    CLIENT = "client"
    """The rate of its user, or, where nobody has logged in, of its address."""
    FREE = "free"
    """Nothing: monitoring asks, on a listener of its own."""


@dataclass(frozen=True, slots=True)
class RouteRequirement:
    """Any one of ``actions`` on the repository suffices; without any, the request is about no repository."""

    actions: tuple[Action, ...] = ()
    lists: bool = False
    """True if the answer holds only what the caller may pull, so that who may pull something gets one."""
    changes: bool = False
    """True if it changes something, so that a registry that is read-only, or without its storage, refuses it."""
    rate: RateClass = RateClass.CLIENT
    is_open: bool = False
    """True if anybody is answered, so that nobody is asked who they are."""


def changes_something(requirement: RouteRequirement | None, method: str) -> bool:
    """Returns True if a request changes something; where no route answers it (None), as HTTP has it for its method."""
    return method not in READING if requirement is None else requirement.changes
