"""Queries and changes of the command line: beside a running server, through the catalogue alone."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from roadstead.clock import Clock
from roadstead.config import NotificationEndpoint, NotificationSettings
from roadstead.database import Database, Reader, Row, Transaction
from roadstead.events import Event, SettledOrder, StoredEvent
from roadstead.webhooks import store
from roadstead.webhooks.wanted import wants, wants_event

PAGE: Final = 500
"""Number of events that are read, or put back, at once."""


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """The state of an endpoint."""

    name: str
    state: str
    """``telling``, ``failing``, ``held``, ``disabled``, ``starting`` (never seen by a server) or ``unknown`` (not in
    the settings that were read)."""
    pending: int
    parked: int
    lag_ms: int
    """Age of the oldest event that waits for the endpoint."""
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """An event and its state for one endpoint."""

    stored: StoredEvent
    endpoint: str
    state: str
    """``delivered``, ``pending``, ``parked``, ``again`` (parked before, to be told again) or ``ignored``."""
    attempts: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint's place in the order of events, with its rules if the settings are known."""

    name: str
    position: int
    row: Row | None
    endpoint: NotificationEndpoint | None

    def accepts(self, event: Event) -> bool:
        """Returns True if the endpoint is notified of ``event``."""
        return wants_event(self.endpoint, event)


async def list_places(reader: Reader, settings: NotificationSettings) -> list[Place]:
    """Returns every endpoint of the settings, and those that only the catalogue knows."""
    rows = {row[0]: row for row in await reader.fetch_all(store.LIST_CURSORS)}
    told = {endpoint.name: endpoint for endpoint in settings.endpoints}
    return [
        Place(name, rows[name][1] if name in rows else 0, rows.get(name), told.get(name))
        for name in [*told, *(name for name in rows if name not in told)]
    ]


async def get_status(reader: Reader, clock: Clock, place: Place) -> EndpointStatus:
    """Returns the state of an endpoint."""
    parked = await reader.fetch_one(store.COUNT_PARKED, endpoint=place.name)
    pending, oldest = 0, None
    if place.row is not None:
        last = await reader.fetch_one(store.LAST_EVENT_ID)
        pending = await _count_pending(reader, place, last[0] if last else 0)
        oldest = await _find_first(reader, place) if pending else None
    attempts, error, suspect_id = (place.row[2], place.row[4], place.row[6]) if place.row is not None else (0, "", 0)
    return EndpointStatus(
        name=place.name,
        state=_state(place, error=error, is_held=bool(suspect_id)),
        pending=pending,
        parked=parked[0] if parked else 0,
        lag_ms=max(0, clock.now_ms() - oldest.at_ms) if oldest else 0,
        attempts=attempts,
        error=error,
    )


def _state(place: Place, *, error: str, is_held: bool) -> str:
    if place.endpoint is None:
        return "unknown"
    if place.endpoint.disabled:
        return "disabled"
    if place.row is None:
        return "starting"
    return "held" if is_held else "failing" if error else "telling"


async def _count_pending(reader: Reader, place: Place, last_id: int) -> int:
    rows = await reader.fetch_all(store.COUNT_BETWEEN, after=place.position, last_id=last_id)
    return sum(int(count) for action, media_type, count in rows if wants(place.endpoint, action, media_type))


async def _find_first(reader: Reader, place: Place) -> StoredEvent | None:
    async for listed in iter_pending(reader, place):
        return listed.stored
    return None


async def iter_pending(reader: Reader, place: Place) -> AsyncIterator[ListedEvent]:
    """Yields the events that the endpoint was not sent yet, oldest first."""
    if place.row is None:
        return
    after = place.position
    while rows := await reader.fetch_all(store.LIST_EVENTS, after=after, limit=PAGE):
        for row in rows:
            stored = StoredEvent.of(row)
            if place.accepts(stored.event):
                yield ListedEvent(stored, place.name, "pending")
        after = rows[-1][0]


async def iter_parked(reader: Reader, place: Place) -> AsyncIterator[ListedEvent]:
    """Yields the events that are parked for the endpoint, oldest first."""
    after = 0
    while rows := await reader.fetch_all(store.LIST_PARKED, endpoint=place.name, after=after, limit=PAGE):
        for row in rows:
            yield _parked(place.name, row)
        after = rows[-1][0]


def _parked(name: str, row: Row) -> ListedEvent:
    *event, attempts, error, _parked_ms, is_due = row
    return ListedEvent(StoredEvent.of(tuple(event)), name, "again" if is_due else "parked", attempts, error)


async def iter_events(reader: Reader, places: Sequence[Place]) -> AsyncIterator[ListedEvent]:
    """Yields every event that is kept, the newest first, with its state for each endpoint."""
    before = 1 << 62
    while rows := await reader.fetch_all(store.LIST_EVENTS_BACK, before=before, limit=PAGE):
        for row in rows:
            stored = StoredEvent.of(row)
            for place in places:
                yield await _stand(reader, place, stored)
        before = rows[-1][0]


async def _stand(reader: Reader, place: Place, stored: StoredEvent) -> ListedEvent:
    if not place.accepts(stored.event):
        return ListedEvent(stored, place.name, "ignored")
    if place.row is not None and stored.id > place.position:
        return ListedEvent(stored, place.name, "pending")
    parked = await reader.fetch_one(store.FIND_PARKED, endpoint=place.name, event_id=stored.id)
    if parked is not None:
        return ListedEvent(stored, place.name, "again" if parked[1] else "parked", parked[0], parked[2])
    return ListedEvent(stored, place.name, "delivered")


async def find_event(reader: Reader, event_id: int) -> StoredEvent | None:
    """Returns an event if it is still kept."""
    row = await reader.fetch_one(store.GET_EVENT, event_id=event_id)
    return None if row is None else StoredEvent.of(row)


async def retry(database: Database, place: Place) -> None:
    """Lets the endpoint be tried at once, however long it wanted no event."""

    async def work(transaction: Transaction) -> None:
        await transaction.execute(store.RETRY_NOW, endpoint=place.name)

    await database.write(work)


async def replay(database: Database, clock: Clock, place: Place, event_ids: Sequence[int]) -> int:
    """Queues events that the endpoint had passed to be sent again, before new ones; returns their number."""
    now_ms = clock.now_ms()

    async def work(transaction: Transaction) -> None:
        for event_id in event_ids:
            await transaction.execute(
                store.PARK,
                endpoint=place.name,
                event_id=event_id,
                attempts=0,
                error="",
                parked_ms=now_ms,
                is_due=1,
            )

    await database.write(work)
    return len(event_ids)


async def replay_parked(database: Database, place: Place) -> int:
    """Queues all parked events to be sent again; returns their number."""

    async def work(transaction: Transaction) -> int:
        return await transaction.execute(store.MAKE_ALL_DUE, endpoint=place.name)

    return await database.write(work)


async def replay_since(database: Database, clock: Clock, place: Place, since_ms: int) -> int:
    """Queues all events since a time to be sent again; events that the endpoint was not sent yet come anyway."""
    before = place.position + 1
    count = 0
    while rows := await database.fetch_all(store.LIST_EVENTS_BACK, before=before, limit=PAGE):
        found = [StoredEvent.of(row) for row in rows]
        chosen = [stored.id for stored in found if stored.at_ms >= since_ms and place.accepts(stored.event)]
        count += await replay(database, clock, place, chosen)
        if all(stored.at_ms < since_ms for stored in found):
            break
        before = rows[-1][0]
    return count


async def discard_event(database: Database, place: Place, event_id: int) -> bool:
    """Discards an event that is parked or would be sent next; returns False if it is neither."""
    settled_id = await SettledOrder(database, store.LAST_EVENT_ID).wait()
    first = await _find_first(database, place)
    is_next = first is not None and first.id == event_id <= settled_id

    async def work(transaction: Transaction) -> bool:
        if await transaction.execute(store.UNPARK, endpoint=place.name, event_id=event_id):
            return True
        if is_next:
            await transaction.execute(store.SKIP_TO, endpoint=place.name, event_id=event_id)
        return is_next

    return await database.write(work)


async def discard_parked(database: Database, place: Place) -> int:
    """Discards all parked events; returns their number."""

    async def work(transaction: Transaction) -> int:
        return await transaction.execute(store.UNPARK_ALL, endpoint=place.name)

    return await database.write(work)


async def discard_pending(database: Database, place: Place) -> int:
    """Discards all events that the endpoint was not sent yet; returns about their number."""
    last_id = await SettledOrder(database, store.LAST_EVENT_ID).wait()
    count = await _count_pending(database, place, last_id)

    async def work(transaction: Transaction) -> None:
        await transaction.execute(store.SKIP_TO, endpoint=place.name, event_id=last_id)

    await database.write(work)
    return count
