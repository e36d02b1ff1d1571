"""What clients were told, and what must therefore be true after any crash.

A `Journal` belongs to one client, which alone changes the tags, manifests and links that stand in it, so that what
must be there is known exactly. Before a request that changes something its journal notes what may be true from now
on (`begin`), and when the answer came, what is (`settle`). A request without an answer leaves both possible until
somebody looks (`observe`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

KEPT_DELETIONS: Final = 60

K = TypeVar("K")
V = TypeVar("V")


class Expectation(Generic[K, V]):
    """For each key the values that it may have; what is not here has `absent`."""

    def __init__(self, absent: V) -> None:
        self._absent = absent
        self._possible: dict[K, set[V]] = {}

    def possible(self, key: K) -> set[V]:
        """The values that a key may have."""
        return set(self._possible.get(key, {self._absent}))

    def sure(self, key: K) -> V | None:
        """The value that a key must have; None where it may have several."""
        values = self.possible(key)
        return next(iter(values)) if len(values) == 1 else None

    def begin(self, key: K, value: V) -> None:
        """A change was asked for, and nothing was answered yet."""
        self._possible[key] = self.possible(key) | {value}

    def settle(self, key: K, value: V) -> None:
        """A change was acknowledged, or a value was seen."""
        self._possible.pop(key, None)  # the last settled stands last
        self._possible[key] = {value}

    def forget(self, value: V, keep: int) -> None:
        """Drop the keys that were settled at a value longest ago, so that a check's time does not grow for ever."""
        keys = self.with_value(value)
        for key in keys[: max(0, len(keys) - keep)]:
            del self._possible[key]

    def known(self) -> list[K]:
        """Everything that was ever changed."""
        return list(self._possible)

    def with_value(self, value: V) -> list[K]:
        """The keys that must have a value."""
        return [key for key, values in self._possible.items() if values == {value}]


@dataclass(slots=True)
class Upload:
    """An upload that goes on across crashes: what was sent, and what was acknowledged of it."""

    repository: str
    location: str
    content: bytes
    acknowledged: int = 0


@dataclass(slots=True)
class Journal:
    """All that one client may rely on. Tags and manifests are named by repository and tag or digest."""

    tags: Expectation[tuple[str, str], str | None] = field(default_factory=lambda: Expectation(None))
    manifests: Expectation[tuple[str, str], bool] = field(default_factory=lambda: Expectation(absent=False))
    blobs: Expectation[tuple[str, str], bool] = field(default_factory=lambda: Expectation(absent=False))
    uploads: list[Upload] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    """Every manifest that was ever sent, by its digest."""
    subjects: dict[str, str] = field(default_factory=dict)
    """The subject of each manifest that has one."""
    acknowledged: int = 0

    def shorten(self) -> None:
        """Forget what was deleted long ago and looked for since."""
        self.manifests.forget(False, KEPT_DELETIONS)  # noqa: FBT003 - a value
        self.blobs.forget(False, KEPT_DELETIONS)  # noqa: FBT003 - a value
