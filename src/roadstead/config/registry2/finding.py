"""The verdicts on keys, in words that the loader, ``roadstead config check`` and the reference page share."""

import enum
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """The verdict on a key of registry:2: how this server treats it."""

    HONOURED = "honoured"
    """The key does the same here."""
    DIFFERENT = "different"
    """The key is honoured, with a difference that somebody may see."""
    IGNORED = "ignored"
    """The key has no effect here, and that harms nobody."""
    UNKNOWN = "unknown"
    """The key is in neither version of registry: they ignore it silently, here it is named."""
    REFUSED = "refused"
    """The key is not honoured and must not be ignored: the server does not start."""
    INVALID = "invalid"
    """The value is none that the key can have; registry:2 does not start with it either."""


STOPPING = frozenset({Verdict.REFUSED, Verdict.INVALID})
"""Verdicts with which no server starts."""

WORTH_SAYING = frozenset({Verdict.DIFFERENT, Verdict.IGNORED, Verdict.UNKNOWN})
"""Verdicts that a starting server names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A key that a file or a variable sets, with the verdict on it."""

    key: str
    """Path of the key in the file, such as ``notifications.endpoints[0].url``."""
    source: str
    """Source of the key: ``config.yml:12``, or the name of a variable."""
    verdict: Verdict
    text: str
    """A sentence about the effect of the key here, or about what to use instead."""
    targets: tuple[str, ...] = ()
    """The settings of ours that the key sets."""

    def __str__(self) -> str:
        return f"{self.source}: {self.key}: {self.text}"
