"""Events as they are read back."""

from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import ColumnElement

from roadstead.database import Row
from roadstead.events.model import UNKNOWN, Cause, Event, EventAction
from roadstead.events.tables import events

COLUMNS: Final[tuple[ColumnElement[object], ...]] = (
    events.c.id,
    events.c.at_ms,
    events.c.action,
    events.c.repository,
    events.c.digest,
    events.c.media_type,
    events.c.size_bytes,
    events.c.tag,
    events.c.source_repository,
    events.c.cause,
)
"""The columns that ``StoredEvent.of`` takes, in this order."""

_decode_cause: Final = msgspec.json.Decoder(Cause).decode


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with its place in the order of changes, and its time."""

    id: int
    at_ms: int
    event: Event

    @classmethod
    def of(cls, row: Row) -> "StoredEvent":
        """The event in a row of ``COLUMNS``."""
        number, at_ms, action, repository, digest, media_type, size_bytes, tag, source, cause = row
        try:
            who = _decode_cause(cause)
        except msgspec.MsgspecError:  # by hand, or by a version that knows more: the event itself matters
            who = UNKNOWN
        return cls(
            number,
            at_ms,
            Event(
                action=EventAction(action),
                repository=repository,
                digest=digest,
                media_type=media_type,
                size_bytes=size_bytes,
                tag=tag,
                source_repository=source,
                cause=who,
            ),
        )
