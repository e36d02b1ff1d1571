"""A clock that stands still until a test moves it."""

from typing import Final

START_MS: Final = 1_768_243_504_000
"""2026-01-12T18:45:04Z: a time that no test depends on, and far enough from zero to be no accident."""


class SettableClock:
    """A ``Clock`` whose time is set by a test."""

    def __init__(self, now_ms: int = START_MS) -> None:
        """Starts the clock at ``now_ms``."""
        self._now_ms = now_ms
        self._grace_ms = now_ms
        self._monotonic_seconds = 0.0

    def now_ms(self) -> int:
        """Returns milliseconds since 1970-01-01 UTC."""
        return self._now_ms

    def grace_ms(self) -> int:
        """Returns milliseconds that have passed, from the start time."""
        return self._grace_ms

    def monotonic_seconds(self) -> float:
        """Returns seconds since this clock was made, never going back."""
        return self._monotonic_seconds

    def advance(self, seconds: float) -> None:
        """Lets time pass: ``seconds`` are not negative."""
        self._now_ms += round(seconds * 1000)
        self._grace_ms += round(seconds * 1000)
        self._monotonic_seconds += seconds

    def sleep(self, seconds: float) -> None:
        """Lets the machine have run for longer, without time that counts."""
        self._monotonic_seconds += seconds

    def set_ms(self, now_ms: int) -> None:
        """Sets the calendar, also back, as an administrator or a time server does; durations do not notice."""
        self._now_ms = now_ms
