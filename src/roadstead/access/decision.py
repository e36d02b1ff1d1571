"""What can be asked about access, and the answer."""

import enum
from dataclasses import dataclass


class Action(enum.StrEnum):
    """The actions of rules; none includes another."""

    PULL = "pull"
    """Read manifests, blobs, tags and referrers."""
    PUSH = "push"
    """Upload blobs, put manifests, set tags; that a tag pointed elsewhere before makes no difference."""
    DELETE = "delete"
    """Delete manifests, tags and blobs."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is allowed, and why: ``rule`` is the number of the rule that allows it, from 1; 0 for none."""

    is_allowed: bool
    reason: str
    rule: int = 0
