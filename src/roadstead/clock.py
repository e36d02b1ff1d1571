"""The only place that asks for the time, so that tests may give another.

Two times, since a calendar jumps: a machine's clock may be a month ahead until a time server answers, or be set back.

- ``now_ms``, the calendar, is what people are shown, and what certificates, files and other machines go by.
- ``grace_ms`` is what every wait is measured by that ends in something being given up: it grows by what really passed
  and by nothing else, however the calendar is set. It is kept in the catalogue, so that it goes on after a restart, and
  is near the calendar as long as nothing was odd. See ``docs/decisions/0018-clock.md``.
"""

import time
from dataclasses import dataclass
from typing import Final, Protocol

LONGEST_OFF_MS: Final = 3_600_000
"""Of the time in which a machine was off that counts as grace: that of a reboot with its checks of disks.

Only the calendar says how long it was off, which may be wrong just then: so wrong once a boot, and no more.
"""

NEAR_MS: Final = 60_000
"""Calendar and grace time that differ by less are shown as one: time servers move the calendar a little all day."""


class Clock(Protocol):
    """Tells the time to the rest of the package."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC, as records keep them; may jump, also back."""
        ...

    def grace_ms(self) -> int:
        """Milliseconds of time that has really passed, from a beginning near 1970-01-01 UTC; never jumps."""
        ...

    def monotonic_seconds(self) -> float:
        """Seconds since an arbitrary start, never going back: for durations within a process."""
        ...


@dataclass(frozen=True, slots=True)
class GraceAnchor:
    """One moment in all clocks: the machine's boot, milliseconds since it, the calendar, and grace time."""

    boot_id: str
    boot_ms: int
    wall_ms: int
    grace_ms: int


class SystemClock:
    """The machine's clocks. Processes that go on from one anchor agree on grace time to the millisecond."""

    def __init__(self, anchor: GraceAnchor | None = None) -> None:
        """``anchor`` comes from ``continued``; without one grace time begins with the calendar's time now."""
        self._anchor = anchor or continued(None, "")

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return _wall_ms()

    def grace_ms(self) -> int:
        """Grows with the time since the boot, in which the machine may have been suspended."""
        return self._anchor.grace_ms + _boot_ms() - self._anchor.boot_ms

    def monotonic_seconds(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()

    def follow(self, grace_ms: int) -> None:
        """Goes on from ``grace_ms``, which others that share the catalogue have reached; never back."""
        now = self.anchor
        if grace_ms > now.grace_ms:
            self._anchor = GraceAnchor(now.boot_id, now.boot_ms, now.wall_ms, grace_ms)

    @property
    def anchor(self) -> GraceAnchor:
        """This moment, to be kept for whoever comes next."""
        boot_ms = _boot_ms()
        grace_ms = self._anchor.grace_ms + boot_ms - self._anchor.boot_ms
        return GraceAnchor(self._anchor.boot_id, boot_ms, _wall_ms(), grace_ms)


def continued(kept: GraceAnchor | None, boot_id: str) -> GraceAnchor:
    """Where grace time goes on from: exactly, within one boot; after another, by at most ``LONGEST_OFF_MS``."""
    return go_on(kept, GraceAnchor(boot_id, _boot_ms(), _wall_ms(), 0))


def reached(kept: GraceAnchor, wall_ms: int, most_ms: int) -> int:
    """Grace time at ``wall_ms`` by the same calendar, which counts up to ``most_ms``."""
    return kept.grace_ms + min(max(wall_ms - kept.wall_ms, 0), most_ms)


def go_on(kept: GraceAnchor | None, now: GraceAnchor) -> GraceAnchor:
    """``now`` with its grace time, of which ``kept`` is an earlier moment.

    A clock since the boot that went back is that of a virtual machine that was set back: another boot, in effect.
    """
    if kept is None:
        passed_ms, since_ms = 0, now.wall_ms
    elif _is_one_boot(kept, now):
        passed_ms, since_ms = now.boot_ms - kept.boot_ms, kept.grace_ms
    else:
        passed_ms, since_ms = 0, reached(kept, now.wall_ms, LONGEST_OFF_MS)
    return GraceAnchor(now.boot_id, now.boot_ms, now.wall_ms, since_ms + passed_ms)


def is_same_boot(kept: GraceAnchor, boot_id: str) -> bool:
    """True if the machine has run on since ``kept``."""
    return _is_one_boot(kept, GraceAnchor(boot_id, _boot_ms(), 0, 0))


def calendar_ms(clock: Clock, grace_ms: int) -> int:
    """When ``grace_ms`` will be, or was, by the calendar: for people."""
    ahead_ms = clock.now_ms() - clock.grace_ms()
    return grace_ms if abs(ahead_ms) < NEAR_MS else grace_ms + ahead_ms


def _is_one_boot(kept: GraceAnchor, now: GraceAnchor) -> bool:
    return kept.boot_id == now.boot_id and kept.boot_ms <= now.boot_ms


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _boot_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
