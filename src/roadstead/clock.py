"""The only place that asks for the time, so that tests may give another."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the rest of the package asks the time of."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC, as records keep them."""
        ...

    def monotonic_seconds(self) -> float:
        """Seconds since an arbitrary start, never going back: for durations."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_seconds(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()
