"""SQL statements of notifications."""

from typing import Final

from sqlalchemy import and_, delete, func, literal_column, select, update

from roadstead.database import Statement, insert_or_skip, insert_or_update, parameter
from roadstead.events.stored import COLUMNS
from roadstead.events.tables import events
from roadstead.webhooks.tables import notification_cursors as cursors
from roadstead.webhooks.tables import parked_events as parked

_endpoint = parameter("endpoint")
_event_id = parameter("event_id")
_limit = parameter("limit")

LAST_EVENT_ID: Final = Statement(select(func.coalesce(func.max(events.c.id), 0)))
LAST_CURSOR: Final = Statement(select(func.coalesce(func.max(cursors.c.event_id), 0)))
GET_EVENT: Final = Statement(select(*COLUMNS).where(events.c.id == _event_id))
LIST_EVENTS: Final = Statement(
    select(*COLUMNS).where(events.c.id > parameter("after")).order_by(events.c.id).limit(_limit)
)
LIST_SETTLED_EVENTS: Final = Statement(
    select(*COLUMNS)
    .where(events.c.id > parameter("after"), events.c.id <= parameter("upto"))
    .order_by(events.c.id)
    .limit(_limit)
)
LIST_EVENTS_BACK: Final = Statement(
    select(*COLUMNS).where(events.c.id < parameter("before")).order_by(events.c.id.desc()).limit(_limit)
)

# ── How far each endpoint is ──────────────────────────────────────────────────────────────────────────────────

_CURSOR: Final = (
    cursors.c.endpoint,
    cursors.c.event_id,
    cursors.c.attempts,
    cursors.c.next_ms,
    cursors.c.error,
    cursors.c.updated_ms,
    cursors.c.suspect_id,
)
FIND_CURSOR: Final = Statement(select(*_CURSOR).where(cursors.c.endpoint == _endpoint))
LIST_CURSORS: Final = Statement(select(*_CURSOR).order_by(cursors.c.endpoint))
ADD_CURSOR: Final = Statement(
    insert_or_skip(cursors, "endpoint", "event_id", "attempts", "next_ms", "error", "updated_ms", "suspect_id")
)
MOVE_CURSOR: Final = Statement(
    update(cursors)
    .where(cursors.c.endpoint == _endpoint, cursors.c.event_id == parameter("known_id"))
    .values(
        event_id=parameter("new_id"),
        attempts=parameter("attempts"),
        next_ms=parameter("next_ms"),
        error=parameter("error"),
        updated_ms=parameter("updated_ms"),
        suspect_id=parameter("suspect_id"),
    )
)
"""Does nothing if somebody else has moved the cursor meanwhile: the caller then reads where it is."""
SKIP_TO: Final = Statement(
    update(cursors)
    .where(cursors.c.endpoint == _endpoint, cursors.c.event_id < _event_id)
    .values(event_id=_event_id, attempts=0, next_ms=0)
)
RETRY_NOW: Final = Statement(
    update(cursors).where(cursors.c.endpoint == _endpoint).values(attempts=0, next_ms=0, suspect_id=0)
)
"""Sets the time of the next try to 0, so that a waiting task tries at once."""
TOUCH_CURSOR: Final = Statement(
    update(cursors).where(cursors.c.endpoint == _endpoint).values(updated_ms=parameter("updated_ms"))
)
DELETE_CURSOR: Final = Statement(delete(cursors).where(cursors.c.endpoint == _endpoint))

# ── What was parked, or is to be told again ───────────────────────────────────────────────────────────────────

_PARKED: Final = (parked.c.attempts, parked.c.error, parked.c.parked_ms, parked.c.is_due)
PARK: Final = Statement(
    insert_or_update(
        parked, "endpoint", "event_id", "attempts", "error", "parked_ms", "is_due", key=("endpoint", "event_id")
    )
)
FIND_DUE: Final = Statement(
    select(parked.c.event_id)
    .where(
        parked.c.endpoint == _endpoint, parked.c.is_due == literal_column("1")
    )  # a parameter would hide the partial index
    .order_by(parked.c.event_id)
    .limit(1)
)
FIND_PARKED: Final = Statement(
    select(parked.c.attempts, parked.c.is_due, parked.c.error).where(
        parked.c.endpoint == _endpoint, parked.c.event_id == _event_id
    )
)
MAKE_ALL_DUE: Final = Statement(update(parked).where(parked.c.endpoint == _endpoint).values(is_due=1, attempts=0))
UNPARK: Final = Statement(delete(parked).where(parked.c.endpoint == _endpoint, parked.c.event_id == _event_id))
UNPARK_ALL: Final = Statement(delete(parked).where(parked.c.endpoint == _endpoint))
UNPARK_UP_TO: Final = Statement(delete(parked).where(parked.c.event_id <= _event_id))
COUNT_PARKED: Final = Statement(select(func.count()).where(parked.c.endpoint == _endpoint))
COUNT_PARKED_UP_TO: Final = Statement(
    select(func.count()).where(parked.c.endpoint == _endpoint, parked.c.event_id <= _event_id)
)
LIST_PARKED: Final = Statement(
    select(*COLUMNS, *_PARKED)
    .join(parked, and_(parked.c.event_id == events.c.id, parked.c.endpoint == _endpoint))
    .where(events.c.id > parameter("after"))
    .order_by(events.c.id)
    .limit(_limit)
)

# ── What is old ───────────────────────────────────────────────────────────────────────────────────────────────

AGES: Final = Statement(
    select(events.c.id, events.c.at_ms).where(events.c.id <= parameter("upto")).order_by(events.c.id).limit(_limit)
)
DELETE_EVENTS_UP_TO: Final = Statement(delete(events).where(events.c.id <= _event_id))
COUNT_BETWEEN: Final = Statement(
    select(events.c.action, events.c.media_type, func.count())
    .where(events.c.id > parameter("after"), events.c.id <= parameter("last_id"))
    .group_by(events.c.action, events.c.media_type)
)
