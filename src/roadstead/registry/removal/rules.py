"""The rules for what counts as garbage, and for the time that what was deleted is kept."""

import enum
from dataclasses import dataclass
from typing import Final

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS


class ReviewKind(enum.IntEnum):
    """The kinds of things that rows of ``reviews`` ask to be looked at; the values are stored."""

    LINK = 1
    """A repository's right to read a blob, which no manifest of it may name."""
    MANIFEST = 2
    """A manifest that no repository may have any more."""
    BLOB = 3
    """A blob that no repository may link to any more."""
    REPOSITORY = 4
    """A deleted repository, which may be empty by now; ``item_id`` is its key."""
    UNTAGGED = 5
    """A manifest of a repository that no tag may reach; only where such are collected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbageRules:
    """Times in milliseconds."""

    undo_ms: int = 7 * DAY_MS
    """For which a deletion can be undone."""
    upload_ms: int = DAY_MS
    """For which a blob may wait for a manifest that names it."""
    collects_untagged: bool = False
    """True if manifests that no tag reaches are deleted ``undo_ms`` after they were last reachable."""
    history_entries: int = 1000
    """Kept of each tag."""

    @property
    def unlink_delay_ms(self) -> int:
        """For which a blob stays linked after the last manifest that named it has left the trash.

        A client may have asked for it just before, and be about to push a manifest that names it again.
        """
        return min(self.undo_ms, self.upload_ms, HOUR_MS)
