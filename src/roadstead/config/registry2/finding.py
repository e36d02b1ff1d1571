"""What becomes of a key: the words that the loader, ``roadstead config check`` and the reference page share."""

import enum
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """What this server makes of a key of registry:2."""

    HONOURED = "honoured"
    """It does the same here."""
    DIFFERENT = "different"
    """It is honoured, with a difference that somebody may see."""
    IGNORED = "ignored"
    """It has no effect here, and that harms nobody."""
    UNKNOWN = "unknown"
    """Neither version of registry has such a key: they ignore it silently, here it is named."""
    REFUSED = "refused"
    """It is not honoured and must not be ignored: the server does not start."""
    INVALID = "invalid"
    """Its value is none that the key can have; registry:2 does not start with it either."""


STOPPING = frozenset({Verdict.REFUSED, Verdict.INVALID})
"""Verdicts with which no server starts."""

WORTH_SAYING = frozenset({Verdict.DIFFERENT, Verdict.IGNORED, Verdict.UNKNOWN})
"""Verdicts that a starting server names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One key that a file or a variable sets, and what becomes of it."""

    key: str
    """Its path in the file, such as ``notifications.endpoints[0].url``."""
    source: str
    """Where it is set: ``config.yml:12``, or the name of a variable."""
    verdict: Verdict
    text: str
    """What it does here, or what to use instead; a sentence."""
    targets: tuple[str, ...] = ()
    """The settings of ours that it became."""

    def __str__(self) -> str:
        return f"{self.source}: {self.key}: {self.text}"
