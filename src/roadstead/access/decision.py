"""Questions about access, and their answers."""

import enum
from dataclasses import dataclass
from typing import Final


class Action(enum.StrEnum):
    """The actions of rules; none includes another."""

    PULL = "pull"
    """Read manifests, blobs, tags and referrers."""
    PUSH = "push"
    """Upload blobs, put manifests, set tags; that a tag pointed elsewhere before makes no difference."""
    DELETE = "delete"
    """Delete manifests, tags and blobs."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The one who asks; an empty ``name`` is nobody who has logged in.

    Groups and robots will be fields beside the name: a source of grants looks at the whole subject.
    """

    name: str = ""

    def __str__(self) -> str:
        """As reasons name it."""
        return repr(self.name) if self.name else "who has not logged in"


@dataclass(frozen=True, slots=True)
class Resource:
    """The object of a question: a repository, there or not, or, where ``repository`` is empty, the registry itself."""

    repository: str = ""

    @property
    def is_registry(self) -> bool:
        """True if it is the registry itself: coming in, and the list of what is in it."""
        return not self.repository


REGISTRY: Final = Resource()


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer, with its reason: ``rule`` is the number of the rule that allows it, from 1; 0 for none.

    ``granted_by`` names everything that allows it, so that whoever wants to forbid it knows what to change.
    """

    is_allowed: bool
    reason: str
    rule: int = 0
    granted_by: tuple[str, ...] = ()
