"""Keeps the list of endpoints and the registry's UUID, and removes old events."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from roadstead.clock import Clock
from roadstead.config import EventSettings, NotificationEndpoint, NotificationSettings
from roadstead.database import Database, DatabaseBusyError, Transaction
from roadstead.events import SettledOrder
from roadstead.jobs import find_state, lock_state, save_state
from roadstead.webhooks import store
from roadstead.webhooks.endpoint_queue import add_cursors
from roadstead.webhooks.event_ages import EventAges
from roadstead.webhooks.wanted import enabled, wants

INTERVAL_SECONDS: Final = 60

BATCH: Final = 500
"""Number of events removed in one transaction, which then keeps other writers waiting for a few milliseconds."""

DAY_MS: Final = 24 * 3600 * 1000
"""Time for which an event waits for its endpoint at least, and the place of an endpoint without settings is kept."""

KEPT_BY_DEFAULT: Final = EventSettings()

_INSTANCE: Final = "notifications.instance"


async def get_instance(database: Database) -> str:
    """Returns the UUID of this registry, which is made at the first time."""

    async def work(transaction: Transaction) -> str:
        known = await lock_state(transaction, _INSTANCE)
        if known is None:
            known = str(uuid.uuid4())
            await save_state(transaction, _INSTANCE, known)
        return known

    found = await find_state(database, _INSTANCE)
    return await database.write(work) if found is None else found


async def register(
    database: Database, clock: Clock, settings: NotificationSettings, events: EventSettings = KEPT_BY_DEFAULT
) -> None:
    """Makes the settings' endpoints known before the first change can happen.

    A new endpoint begins with what happens from now on. One that is disabled is forgotten, and begins anew when it is
    enabled.
    """
    told = [endpoint.name for endpoint in enabled(settings)]
    if not told and not await database.fetch_all(store.LIST_CURSORS):
        return
    await add_cursors(database, clock, told)

    async def work(transaction: Transaction) -> None:
        for endpoint in settings.endpoints:
            if endpoint.disabled:
                await forget(transaction, endpoint.name)
        for name in told:
            await transaction.execute(store.RETRY_NOW, endpoint=name)
            await transaction.execute(store.TOUCH_CURSOR, endpoint=name, updated_ms=clock.grace_ms())

    await database.write(work)
    await _mark(database, clock, Retention.of(events, settings))


async def forget(transaction: Transaction, endpoint: str) -> None:
    """Forgets an endpoint's place, and its parked events."""
    await transaction.execute(store.DELETE_CURSOR, endpoint=endpoint)
    await transaction.execute(store.UNPARK_ALL, endpoint=endpoint)


@dataclass(frozen=True, slots=True)
class Retention:
    """The bounds within which events are kept: the wider ones of those for the past and those for endpoints."""

    keep_ms: int
    keep_rows: int

    @classmethod
    def of(cls, events: EventSettings, notifications: NotificationSettings) -> "Retention":
        """Returns what the settings say."""
        has_endpoints = bool(enabled(notifications))
        return cls(
            max(events.keep_days * DAY_MS, notifications.keep_seconds * 1000 if has_endpoints else 0),
            max(events.keep_rows, notifications.keep_events if has_endpoints else 0),
        )


async def tidy(
    database: Database, clock: Clock, settings: NotificationSettings, events: EventSettings
) -> Mapping[str, int]:
    """Removes events that are old enough, in small steps; returns how many were dropped for which endpoint.

    Events go once they are old enough and every endpoint has passed them; those that one still waits for stay for a day
    at least. All go at the latest when more than may be kept are there.
    """
    told = {endpoint.name: endpoint for endpoint in enabled(settings)}
    retention = Retention.of(events, settings)
    cursors = await _touch(database, clock.grace_ms(), told)
    await _mark(database, clock, retention)
    ages = await EventAges.read(database, clock.grace_ms())
    dropped: dict[str, int] = {}
    last_id = await _find_last(database)
    while True:
        now_ms = clock.now_ms()
        rows = await database.fetch_all(store.AGES, upto=last_id, limit=BATCH)
        aged = [(event_id, ages.age_ms(event_id, now_ms - at_ms)) for event_id, at_ms in rows]
        bound = _bound(aged, cursors, retention, last_id)
        if not bound:
            return dropped
        for name, position in cursors.items():
            lost = await _count_lost(database, told[name], position, bound)
            if lost:
                dropped[name] = dropped.get(name, 0) + lost
            cursors[name] = max(position, bound)
        await _remove(database, list(cursors), bound)


async def _mark(database: Database, clock: Clock, retention: Retention) -> None:
    """Records the last event's time, for the ages of events."""
    try:
        last_id = await _find_last(database)
    except DatabaseBusyError:
        return  # the next time will do
    ages = await EventAges.read(database, clock.grace_ms())
    keep_ms = max(retention.keep_ms, DAY_MS)
    await database.write(lambda transaction: ages.mark(transaction, last_id, keep_ms), durable=False)


async def _find_last(database: Database) -> int:
    """Returns the last event before which none comes late: what does would get a wrong age, or be removed unseen."""
    return await SettledOrder(database, store.LAST_EVENT_ID).wait()


async def _touch(database: Database, now_ms: int, told: Mapping[str, NotificationEndpoint]) -> dict[str, int]:
    """Returns the cursors of the configured endpoints; forgets others after a day."""
    rows = await database.fetch_all(store.LIST_CURSORS)

    async def work(transaction: Transaction) -> None:
        for row in rows:
            if row[0] in told:
                await transaction.execute(store.TOUCH_CURSOR, endpoint=row[0], updated_ms=now_ms)
            elif now_ms - row[5] > DAY_MS:
                await forget(transaction, row[0])

    if rows:
        await database.write(work, durable=False)
    return {row[0]: row[1] for row in rows if row[0] in told}


def _bound(aged: list[tuple[int, int]], cursors: Mapping[str, int], retention: Retention, last_id: int) -> int:
    """Returns the last of some events with their ages, oldest first, that may be removed; 0 for none."""
    keep_ms = retention.keep_ms
    passed = min(cursors.values(), default=last_id)
    overflow = last_id - retention.keep_rows
    bound = 0
    for event_id, age_ms in aged:
        is_old = age_ms >= keep_ms if event_id <= passed else age_ms >= max(keep_ms, DAY_MS)
        if not is_old and event_id > overflow:
            break
        bound = event_id
    return bound


async def _count_lost(database: Database, endpoint: NotificationEndpoint, position: int, bound: int) -> int:
    """Returns the number of events up to ``bound`` that still wait for the endpoint or are parked for it."""
    parked = await database.fetch_one(store.COUNT_PARKED_UP_TO, endpoint=endpoint.name, event_id=bound)
    lost = int(parked[0]) if parked else 0
    if position >= bound:
        return lost
    rows = await database.fetch_all(store.COUNT_BETWEEN, after=position, last_id=bound)
    return lost + sum(int(count) for action, media_type, count in rows if wants(endpoint, action, media_type))


async def _remove(database: Database, names: list[str], bound: int) -> None:
    async def work(transaction: Transaction) -> None:
        for name in names:
            await transaction.execute(store.SKIP_TO, endpoint=name, event_id=bound)
        await transaction.execute(store.UNPARK_UP_TO, event_id=bound)
        await transaction.execute(store.DELETE_EVENTS_UP_TO, event_id=bound)

    await database.write(work, durable=False)
