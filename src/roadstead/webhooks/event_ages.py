"""Ages of events that hold whatever the calendar was when they were recorded or is now.

An event has the calendar's time, which its receiver is told. Beside it, marks of which event was the last at which
grace time (``roadstead.clock``) say between which two moments it came: its age is what the calendar says, within that.
"""

import bisect
from dataclasses import dataclass
from typing import Final

from msgspec import MsgspecError, json

from roadstead.database import Reader, Transaction
from roadstead.jobs import find_state, save_state

STATE: Final = "notifications.ages"
"""Name of the row in ``states``."""

LEAST_SPACING_MS: Final = 60_000
MARKS: Final = 200
"""Number of marks in the time that events are kept: ages are right to half a percent of it."""


@dataclass(frozen=True, slots=True)
class EventAges:
    """The ages of events. ``marks`` are the last event's key and the grace time then, in order; ``grace_ms`` is now."""

    marks: tuple[tuple[int, int], ...]
    grace_ms: int

    @classmethod
    async def read(cls, reader: Reader, grace_ms: int) -> "EventAges":
        """Reads the marks."""
        try:
            marks = json.decode(await find_state(reader, STATE) or "[]", type=tuple[tuple[int, int], ...])
        except MsgspecError:
            marks = ()
        return cls(marks, grace_ms)

    def age_ms(self, event_id: int, by_calendar_ms: int) -> int:
        """Returns the age of an event whose age by the calendar is ``by_calendar_ms``."""
        after = bisect.bisect_left(self.marks, (event_id, 0))  # the first mark at which the event was there
        if after < len(self.marks):
            by_calendar_ms = max(by_calendar_ms, self.grace_ms - self.marks[after][1])
        if after:
            by_calendar_ms = min(by_calendar_ms, self.grace_ms - self.marks[after - 1][1])
        return by_calendar_ms

    async def mark(self, transaction: Transaction, last_id: int, keep_ms: int) -> None:
        """Records which event is the last now, and forgets marks that are older than any event."""
        marks = list(self.marks)
        if marks and self.grace_ms - marks[-1][1] < max(keep_ms // MARKS, LEAST_SPACING_MS):
            return
        if len(marks) > 1 and marks[-1][0] == marks[-2][0] == last_id:
            marks.pop()  # a time without events needs only its first and last mark
        marks.append((last_id, self.grace_ms))
        kept = [mark for mark in marks if self.grace_ms - mark[1] <= 2 * keep_ms]
        await save_state(transaction, STATE, json.encode(kept).decode())
