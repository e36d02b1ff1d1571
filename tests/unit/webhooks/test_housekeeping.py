"""Old events go in small steps; what nobody took in time is dropped and said; endpoints come and go."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from roadstead.config import EventSettings, NotificationEndpoint, NotificationSettings
from roadstead.events import EventAction, StoredEvent
from roadstead.testing.instance import Instance
from roadstead.webhooks import inspection, register, store, wants_pulls
from roadstead.webhooks.endpoint_queue import EndpointQueue, Policy
from roadstead.webhooks.event_ages import MARKS, EventAges
from roadstead.webhooks.housekeeping import BATCH, get_instance, tidy
from roadstead.webhooks.receiver import Answer, Result
from tests.unit.webhooks.conftest import Tell

pytestmark = pytest.mark.anyio

DAY: Final = 24 * 3600
URL: Final = "http://ci.example.com/"
CI: Final = NotificationEndpoint(name="ci", url=URL)
AUDIT: Final = NotificationEndpoint(name="audit", url=URL, ignored_actions=("pull",))


def told(
    *endpoints: NotificationEndpoint, keep_seconds: int = 7 * DAY, keep_events: int = 10**6
) -> NotificationSettings:
    return NotificationSettings(endpoints=endpoints, keep_seconds=keep_seconds, keep_events=keep_events)


async def kept(instance: Instance) -> list[int]:
    rows = await instance.registry.database.fetch_all(store.LIST_EVENTS, after=0, limit=10_000)
    return [StoredEvent.of(row).id for row in rows]


async def deliver(instance: Instance, endpoint: NotificationEndpoint, *answers: Answer) -> None:
    line = EndpointQueue(instance.registry.database, instance.clock, Policy(endpoint, 1))
    await line.load()
    left = list(answers)
    while (next_event := await line.next()) is not None:
        if left:
            await line.failed(next_event, left.pop(0))
        else:
            await line.succeeded(next_event)
    await line.save()


ENDPOINTS_ALONE: Final = EventSettings(keep_days=0, keep_rows=1)
"""Events are kept for endpoints and nobody else."""


async def sweep(
    instance: Instance, settings: NotificationSettings, events: EventSettings = ENDPOINTS_ALONE
) -> dict[str, int]:
    return dict(await tidy(instance.registry.database, instance.clock, settings, events))


async def test_delivered_events_go_after_their_time_in_several_steps(instance: Instance, tell: Tell) -> None:
    settings = told(CI)
    await register(instance.registry.database, instance.clock, settings)
    await tell(2 * BATCH + 1)
    await deliver(instance, CI)
    instance.clock.advance(6 * DAY)
    await tell(1)
    assert await sweep(instance, settings) == {}
    assert len(await kept(instance)) == 2 * BATCH + 2
    instance.clock.advance(2 * DAY)
    assert await sweep(instance, settings) == {}
    assert await kept(instance) == [2 * BATCH + 2]


async def test_what_one_endpoint_waits_for_stays_and_is_dropped_in_the_end(instance: Instance, tell: Tell) -> None:
    settings = told(CI, AUDIT, keep_seconds=60)
    await register(instance.registry.database, instance.clock, settings)
    await tell(3)
    await tell(2, EventAction.PULL)
    await deliver(instance, CI)
    instance.clock.advance(3600)
    assert await sweep(instance, settings) == {}
    assert len(await kept(instance)) == 5, "keep_seconds is for what was delivered: who waits has a day"
    instance.clock.advance(DAY)
    assert await sweep(instance, settings) == {"audit": 3}, "it never wanted the other two"
    assert await kept(instance) == []
    await tell(1)
    await deliver(instance, AUDIT)
    assert (await inspection.list_places(instance.registry.database, settings))[1].position == 6


async def test_parked_events_go_too_and_are_counted(instance: Instance, tell: Tell) -> None:
    settings = told(CI, keep_seconds=DAY)
    await register(instance.registry.database, instance.clock, settings)
    await tell(3)
    await deliver(instance, CI, Answer(Result.REFUSED, "400 Bad Request", 400))
    instance.clock.advance(2 * DAY)
    assert await sweep(instance, settings) == {"ci": 1}
    (place,) = await inspection.list_places(instance.registry.database, settings)
    assert (await inspection.get_status(instance.registry.database, instance.clock, place)).parked == 0


async def test_never_more_events_than_the_settings_allow(instance: Instance, tell: Tell) -> None:
    settings = told(CI, keep_events=10)
    await register(instance.registry.database, instance.clock, settings)
    await tell(25)
    assert await sweep(instance, settings) == {"ci": 15}
    assert await kept(instance) == list(range(16, 26))


async def test_an_endpoint_that_is_gone_is_forgotten_after_a_day_and_holds_nothing_back(
    instance: Instance, tell: Tell
) -> None:
    await register(instance.registry.database, instance.clock, told(CI, AUDIT))
    await tell(1)
    settings = told(CI, keep_seconds=0)
    await register(instance.registry.database, instance.clock, settings)
    await deliver(instance, CI)
    instance.clock.advance(3600)
    await sweep(instance, settings)
    assert await kept(instance) == []
    places = await inspection.list_places(instance.registry.database, settings)
    assert [place.name for place in places] == ["ci", "audit"]
    instance.clock.advance(DAY)
    await sweep(instance, settings)
    assert [place.name for place in await inspection.list_places(instance.registry.database, settings)] == ["ci"]


async def test_an_endpoint_that_was_disabled_begins_anew(instance: Instance, tell: Tell) -> None:
    await register(instance.registry.database, instance.clock, told(CI))
    await tell(2)
    off = NotificationEndpoint(name="ci", url=URL, disabled=True)
    await register(instance.registry.database, instance.clock, told(off, AUDIT))
    await tell(1)
    await register(instance.registry.database, instance.clock, told(CI, AUDIT))
    ci, audit = await inspection.list_places(instance.registry.database, told(CI, AUDIT))
    assert (ci.position, audit.position) == (3, 2)


async def test_a_new_endpoint_begins_at_the_end_even_when_all_events_are_gone(instance: Instance, tell: Tell) -> None:
    settings = told(CI, keep_seconds=0)
    await register(instance.registry.database, instance.clock, settings)
    await tell(4)
    await deliver(instance, CI)
    instance.clock.advance(1)
    await sweep(instance, settings)
    await register(instance.registry.database, instance.clock, told(CI, AUDIT))
    await tell(1)
    audit = (await inspection.list_places(instance.registry.database, told(CI, AUDIT)))[1]
    pending = [one.stored.id async for one in inspection.iter_pending(instance.registry.database, audit)]
    assert pending == [5]


def test_pulls_are_wanted_if_any_enabled_endpoint_wants_them() -> None:
    off = NotificationEndpoint(name="off", url=URL, disabled=True)
    assert not wants_pulls(told(off))
    assert not wants_pulls(told(off, AUDIT))
    assert wants_pulls(told(AUDIT, CI))


async def test_without_endpoints_events_are_kept_for_their_days(instance: Instance, tell: Tell) -> None:
    month = EventSettings(keep_days=30)
    await tell(BATCH + 1)
    instance.clock.advance(20 * DAY)
    await sweep(instance, told(), month)
    await tell(1)
    instance.clock.advance(9 * DAY)
    await sweep(instance, told(), month)
    assert len(await kept(instance)) == BATCH + 2
    instance.clock.advance(2 * DAY)
    await sweep(instance, told(), month)
    assert await kept(instance) == [BATCH + 2]


async def test_without_endpoints_never_more_events_than_the_settings_allow(instance: Instance, tell: Tell) -> None:
    await tell(25)
    await sweep(instance, told(), EventSettings(keep_days=30, keep_rows=10))
    assert await kept(instance) == list(range(16, 26))


async def test_the_longer_claim_counts(instance: Instance, tell: Tell) -> None:
    """What an endpoint was not told yet stays while its own bounds would keep it, and the other way round."""
    settings = told(CI, keep_seconds=0, keep_events=20)
    await register(instance.registry.database, instance.clock, settings)
    await tell(25)
    assert await sweep(instance, settings, EventSettings(keep_days=30, keep_rows=10)) == {"ci": 5}
    assert await kept(instance) == list(range(6, 26))
    await deliver(instance, CI)
    instance.clock.advance(2 * DAY)
    assert await sweep(instance, settings, EventSettings(keep_days=3)) == {}
    assert await kept(instance) == list(range(6, 26))


async def test_an_endpoint_is_told_only_what_its_vocabulary_has(instance: Instance, tell: Tell) -> None:
    await register(instance.registry.database, instance.clock, told(CI))
    for action in EventAction:
        await tell(1, action)
    (place,) = await inspection.list_places(instance.registry.database, told(CI))
    pending = [one.stored.event.action async for one in inspection.iter_pending(instance.registry.database, place)]
    assert pending == [EventAction.PUSH, EventAction.PULL, EventAction.MOUNT, EventAction.DELETE]
    assert (await inspection.get_status(instance.registry.database, instance.clock, place)).pending == 4
    await deliver(instance, CI)
    (place,) = await inspection.list_places(instance.registry.database, told(CI))
    assert place.position == len(EventAction)


async def test_the_instance_stays_the_same(instance: Instance) -> None:
    first = await get_instance(instance.registry.database)
    await instance.restart()
    assert await get_instance(instance.registry.database) == first


@pytest.mark.parametrize("jump_days", [30, -30])
async def test_a_calendar_that_jumps_drops_no_event_and_keeps_none_for_longer(
    instance: Instance, tell: Tell, jump_days: int
) -> None:
    settings = told(CI)
    await register(instance.registry.database, instance.clock, settings)
    await tell(2)
    right_ms = instance.clock.now_ms()
    instance.clock.set_ms(right_ms + jump_days * DAY * 1000)
    assert await sweep(instance, settings) == {}
    await tell(1)
    instance.clock.advance(3600)
    assert await sweep(instance, settings) == {}
    instance.clock.set_ms(right_ms + 3600 * 1000)
    assert await sweep(instance, settings) == {}
    assert len(await kept(instance)) == 3
    instance.clock.advance(7 * DAY)
    assert await sweep(instance, settings) == {"ci": 3}
    assert await kept(instance) == []


async def test_marks_of_ages_do_not_grow(instance: Instance, tell: Tell) -> None:
    settings = told(CI, keep_seconds=60)
    await register(instance.registry.database, instance.clock, settings)
    for _ in range(600):
        await tell(1)
        instance.clock.advance(600)
        await sweep(instance, settings)
    ages = await EventAges.read(instance.registry.database, instance.clock.grace_ms())
    assert len(ages.marks) <= 2 * MARKS + 1


async def test_everybody_who_asks_at_once_is_told_one_identity(instance: Instance) -> None:
    told = await asyncio.gather(*(get_instance(instance.registry.database) for _ in range(8)))
    assert len(set(told)) == 1
