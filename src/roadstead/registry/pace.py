"""A bound on bytes a second: a token bucket, asked before or after each piece."""

import asyncio
from typing import Final

from roadstead.clock import Clock

BURST_SECONDS: Final = 0.25
"""Seconds for which bytes that were not used are kept: a pause does not end in a rush."""


class Pace:
    """At most so many bytes a second, for all that share this object; 0 is without a bound."""

    def __init__(self, bytes_per_second: int, clock: Clock) -> None:
        """The first bytes are free to go."""
        self._rate = bytes_per_second
        self._clock = clock
        self._due_seconds = clock.monotonic_seconds()

    @property
    def is_bounded(self) -> bool:
        """True if anybody ever waits."""
        return self._rate > 0

    def piece_bytes(self, most: int) -> int:
        """As much as should be read at once so that the pace is even: what half a second allows, at least 4 KiB."""
        return most if not self._rate else max(4096, min(most, self._rate // 2))

    async def spend(self, amount: int) -> None:
        """Returns once ``amount`` bytes, just read or written, are within the bound."""
        if not self._rate:
            return
        now = self._clock.monotonic_seconds()
        self._due_seconds = max(self._due_seconds, now - BURST_SECONDS) + amount / self._rate
        if self._due_seconds > now:
            await asyncio.sleep(self._due_seconds - now)
