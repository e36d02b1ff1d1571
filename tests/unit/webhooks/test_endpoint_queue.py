"""An endpoint's line: whatever fails or dies, every event is told, in order, or parked and told on request."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadstead.config import NotificationEndpoint, NotificationSettings
from roadstead.events import EventAction
from roadstead.testing.instance import Instance
from roadstead.webhooks import inspection, register
from roadstead.webhooks.endpoint_queue import MOST_BACKOFF_SECONDS, SAVE_EVENTS, EndpointQueue, NextEvent, Policy
from roadstead.webhooks.receiver import Answer, Result
from tests.profiles import scaled
from tests.unit.webhooks.conftest import Tell, write_events

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio

OK: Final = Answer(Result.DELIVERED, "200 OK", 200)
DOWN: Final = Answer(Result.UNAVAILABLE, "ConnectError: Connection refused")
NO: Final = Answer(Result.REFUSED, "400 Bad Request", 400)

ENDPOINT: Final = NotificationEndpoint(name="ci", url="http://ci.example.com/", threshold=2, backoff_seconds=1.0)
SETTINGS: Final = NotificationSettings(endpoints=(ENDPOINT,), attempts=4)


async def open_line(instance: Instance, endpoint: NotificationEndpoint = ENDPOINT, attempts: int = 4) -> EndpointQueue:
    line = EndpointQueue(instance.registry.database, instance.clock, Policy(endpoint, attempts, jitter=lambda: 1.0))
    await line.load()
    return line


async def registered(instance: Instance, settings: NotificationSettings = SETTINGS) -> None:
    await register(instance.registry.database, instance.clock, settings)


async def place(instance: Instance) -> inspection.Place:
    (found,) = await inspection.list_places(instance.registry.database, SETTINGS)
    return found


async def drain(line: EndpointQueue, answers: Sequence[Answer] = (), *, most: int = 1000) -> list[int]:
    """The ids of the events in the order in which they were tried, ``answers`` first, then all well."""
    tried: list[int] = []
    left = list(answers)
    while (next_event := await line.next()) is not None and len(tried) < most:
        tried.append(next_event.stored.id)
        answer = left.pop(0) if left else OK
        if answer is OK:
            await line.succeeded(next_event)
        else:
            await line.failed(next_event, answer)
    await line.save()
    return tried


async def test_an_endpoint_begins_with_what_happens_after_it_was_made_known(instance: Instance, tell: Tell) -> None:
    await tell(3)
    await registered(instance)
    await tell(2)
    assert await drain(await open_line(instance)) == [4, 5]


async def test_ignored_actions_are_passed(instance: Instance, tell: Tell) -> None:
    endpoint = NotificationEndpoint(name="ci", url="http://ci.example.com/", ignored_actions=("pull",))
    await registered(instance)
    await tell(2, EventAction.PULL)
    await tell(1)
    await tell(300, EventAction.PULL)
    line = await open_line(instance, endpoint)
    assert await drain(line) == [3]
    assert (await place(instance)).position == 303


async def test_a_cursor_is_saved_from_time_to_time_so_that_a_crash_repeats_little(
    instance: Instance, tell: Tell
) -> None:
    await registered(instance)
    await tell(SAVE_EVENTS + 10)
    line = await open_line(instance)
    for _ in range(SAVE_EVENTS + 5):
        next_event = await line.next()
        assert next_event is not None
        await line.succeeded(next_event)
    assert await drain(await open_line(instance)) == list(range(SAVE_EVENTS + 1, SAVE_EVENTS + 11))


async def test_back_off_grows_to_its_bound_and_is_heeded_at_the_threshold(instance: Instance, tell: Tell) -> None:
    await registered(instance)
    await tell(1)
    line = await open_line(instance, attempts=99)
    waits: list[float] = []
    for _ in range(12):
        next_event = await line.next()
        assert next_event is not None
        waits.append((await line.failed(next_event, DOWN)).wait_seconds)
    assert waits[0] < 1
    assert waits[1:6] == [1, 2, 4, 8, 16]
    assert waits[-1] == 32 <= MOST_BACKOFF_SECONDS
    next_event = await line.next()
    assert next_event is not None
    asked = Answer(Result.UNAVAILABLE, "503 Service Unavailable", 503, wait_seconds=400)
    assert (await line.failed(next_event, asked)).wait_seconds == 400


async def test_attempts_outlive_a_crash(instance: Instance, tell: Tell) -> None:
    await registered(instance)
    await tell(1)
    for attempt in range(3):
        line = await open_line(instance)
        next_event = await line.next()
        assert next_event is not None
        assert next_event.attempts == attempt
        await line.failed(next_event, DOWN)
    line = await open_line(instance)
    next_event = await line.next()
    assert next_event is not None
    assert (await line.failed(next_event, DOWN)).is_parked


async def test_an_event_that_is_refused_is_parked_and_the_next_ones_are_told(instance: Instance, tell: Tell) -> None:
    await registered(instance)
    await tell(3)
    line = await open_line(instance)
    assert await drain(line, [NO, NO, OK, NO, NO]) == [1, 1, 2, 3, 3]
    listed = [one async for one in inspection.iter_parked(instance.registry.database, await place(instance))]
    assert [(one.stored.id, one.state, one.error) for one in listed] == [
        (1, "parked", "400 Bad Request"),
        (3, "parked", "400 Bad Request"),
    ]


async def test_an_endpoint_that_is_down_holds_the_line_and_is_told_everything_in_order_when_it_is_back(
    instance: Instance, tell: Tell
) -> None:
    await registered(instance)
    await tell(5)
    line = await open_line(instance)
    tried = await drain(line, [DOWN] * 10, most=10)
    assert tried == [1, 1, 1, 1, 2, 1, 2, 1, 2, 1], "four tries, parked; then it and the next one, again and again"
    parked = [one async for one in inspection.iter_parked(instance.registry.database, await place(instance))]
    assert [one.stored.id for one in parked] == [1]
    line = await open_line(instance)  # the state outlives a crash
    assert await drain(line) == [1, 2, 3, 4, 5]


async def test_a_suspect_that_fails_where_the_next_one_does_not_stays_parked(instance: Instance, tell: Tell) -> None:
    await registered(instance)
    await tell(4)
    line = await open_line(instance)
    assert await drain(line, [DOWN, DOWN, DOWN, DOWN, DOWN, DOWN, OK]) == [1, 1, 1, 1, 2, 1, 2, 3, 4]
    listed = [one async for one in inspection.iter_parked(instance.registry.database, await place(instance))]
    assert [one.stored.id for one in listed] == [1]


async def test_an_event_that_was_the_last_one_is_tried_again_before_the_next_one(
    instance: Instance, tell: Tell
) -> None:
    await registered(instance)
    await tell(1)
    line = await open_line(instance)
    assert await drain(line, [DOWN] * 4) == [1, 1, 1, 1]
    await tell(1)
    assert await drain(line) == [1, 2]


async def test_replay_comes_before_what_is_new_and_in_order(instance: Instance, tell: Tell) -> None:
    database, clock = instance.registry.database, instance.clock
    await registered(instance)
    await tell(3)
    line = await open_line(instance)
    await drain(line)
    since_ms = clock.now_ms()
    clock.advance(10)
    await tell(2)
    await drain(line)
    await tell(1)
    assert await inspection.replay_since(database, clock, await place(instance), since_ms + 1) == 2
    assert await inspection.replay(database, clock, await place(instance), [2]) == 1
    assert await drain(line) == [2, 4, 5, 6]


async def test_a_replayed_event_is_tried_as_often_as_a_new_one(instance: Instance, tell: Tell) -> None:
    await registered(instance)
    await tell(1)
    line = await open_line(instance)
    await drain(line, [DOWN] * 4)
    await inspection.replay_parked(instance.registry.database, await place(instance))
    await inspection.retry(instance.registry.database, await place(instance))
    assert await line.refresh(), "who waits tries now"
    assert await drain(line, [DOWN, DOWN, DOWN, DOWN]) == [1, 1, 1, 1]
    await inspection.replay_parked(instance.registry.database, await place(instance))
    await inspection.retry(instance.registry.database, await place(instance))
    await line.refresh()
    assert await drain(line) == [1]


async def test_what_the_command_line_discards_is_not_told(instance: Instance, tell: Tell) -> None:
    database = instance.registry.database
    await registered(instance)
    await tell(10)
    line = await open_line(instance)
    next_event = await line.next()
    assert next_event is not None
    await line.failed(next_event, DOWN)
    assert await inspection.discard_event(database, await place(instance), 1)
    assert not await inspection.discard_event(database, await place(instance), 5)
    assert await line.refresh()
    assert await inspection.discard_pending(database, await place(instance)) == 9
    assert await line.refresh()
    await tell(1)
    assert await drain(line) == [11]


async def test_whoever_lost_the_lease_cannot_move_a_cursor_back(instance: Instance, tell: Tell) -> None:
    await registered(instance)
    await tell(4)
    frozen, successor = await open_line(instance), await open_line(instance)
    next_event = await frozen.next()
    assert next_event is not None
    await drain(successor)
    await frozen.succeeded(next_event)
    await frozen.save()
    assert (await place(instance)).position == 4
    assert await frozen.next() is None


STEPS = st.lists(
    st.sampled_from(["ok", "ok", "ok", "down", "no", "die before", "die after", "more"]), min_size=1, max_size=60
)


@settings(max_examples=scaled(60))
@given(steps=STEPS, poison=st.sets(st.integers(1, 12), max_size=3))
def test_every_event_is_told_in_order_whatever_fails_or_dies(steps: list[str], poison: set[int]) -> None:
    """``poison`` are events that are never taken; ``die`` drops all that is in memory."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_live(Path(folder), steps, poison))


async def _live(folder: Path, steps: list[str], poison: set[int]) -> None:
    instance = Instance(folder)
    await instance.open()
    try:
        instance.registry.outbox.wants_pulls = True
        await registered(instance)
        await write_events(instance, 4)
        taken: list[int] = []
        line = await open_line(instance)
        for step in steps:
            if step == "more":
                await write_events(instance, 2)
            elif (next_event := await line.next()) is not None:
                line = await _step(
                    instance, line, next_event, "no" if step == "ok" and next_event.stored.id in poison else step
                )
                if step in {"ok", "die after"} and next_event.stored.id not in poison:
                    await _take(instance, taken, next_event.stored.id)
        await _finish(instance, line, taken, poison)
        written = set(range(1, 5 + 2 * steps.count("more")))
        parked = await _parked(instance)
        assert set(taken) | parked == written, "each was told or parked"
        assert poison & written <= parked
        await inspection.replay_parked(instance.registry.database, await place(instance))
        await inspection.retry(instance.registry.database, await place(instance))
        await line.refresh()
        await _finish(instance, line, taken, set())
        assert set(taken) == written, "after a replay each was told"
        assert not await _parked(instance)
    finally:
        await instance.close()


async def _step(instance: Instance, line: EndpointQueue, next_event: NextEvent, step: str) -> EndpointQueue:
    if step == "ok":
        await line.succeeded(next_event)
    elif step in {"down", "no"}:
        await line.failed(next_event, DOWN if step == "down" else NO)
    else:
        return await open_line(instance)
    return line


async def _take(instance: Instance, taken: list[int], event_id: int) -> None:
    """The endpoint took an event: what came before it was told before, or is parked."""
    taken.append(event_id)
    missing = set(range(1, event_id)) - set(taken)
    assert missing <= await _parked(instance), f"{event_id} came before {missing}"


async def _parked(instance: Instance) -> set[int]:
    return {one.stored.id async for one in inspection.iter_parked(instance.registry.database, await place(instance))}


async def _finish(instance: Instance, line: EndpointQueue, taken: list[int], poison: set[int]) -> None:
    while (next_event := await line.next()) is not None:
        if next_event.stored.id in poison:
            await line.failed(next_event, NO)
        else:
            await _take(instance, taken, next_event.stored.id)
            await line.succeeded(next_event)
