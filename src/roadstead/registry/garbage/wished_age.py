"""The age from which a person wishes that what was deleted goes at once, in the terms of each table.

What was removed has the calendar's time, and a time in grace time at which it expires. A jump of the calendar makes the
first wrong, another grace time in the settings the second: so both must say that it is old enough. A wish for any age,
0 seconds, asks neither.
"""

from dataclasses import dataclass
from typing import Final

from roadstead.registry.service import Registry

EVER: Final = 1 << 62
"""Later than any time."""


@dataclass(frozen=True, slots=True)
class WishedAge:
    """Parameters for statements of the collection."""

    parameters: dict[str, int]

    @classmethod
    def of(cls, registry: Registry, older_than_ms: int | None) -> "WishedAge":
        """The wish for all that has waited for at least so long; None for nothing but what is due by itself."""
        now_ms, grace_ms = registry.clock.now_ms(), registry.clock.grace_ms()
        if older_than_ms is None:
            before = (-1, -1, -1)
        elif older_than_ms == 0:
            before = (EVER, EVER, EVER)
        else:
            since_ms = grace_ms - older_than_ms
            before = (now_ms - older_than_ms, since_ms + registry.rules.undo_ms, since_ms)
        names = ("removed_before_ms", "expires_before_ms", "since_before_ms")
        return cls({"now_ms": grace_ms, **dict(zip(names, before, strict=True))})
