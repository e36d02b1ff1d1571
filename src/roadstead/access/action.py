"""What a caller may do with a repository."""

import enum


class Action(enum.StrEnum):
    """The actions of rules; none includes another."""

    PULL = "pull"
    """Read manifests, blobs, tags and referrers."""
    PUSH = "push"
    """Upload blobs, put manifests, set tags; that a tag pointed elsewhere before makes no difference."""
    DELETE = "delete"
    """Delete manifests, tags and blobs."""
