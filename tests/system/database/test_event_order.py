"""Events and notes that commit in another order than that of their ids: who follows them skips none.

Two replicas on PostgreSQL. One is in the middle of a transaction that was given a lower id when the other commits a
higher one. A negative control follows the highest id that it sees, and must lose the lower one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from roadstead.config import EventSettings, NotificationEndpoint, NotificationSettings
from roadstead.database import Transaction
from roadstead.events import KEPT, Event, EventAction, Outbox, SettledOrder
from roadstead.registry.operation.adoption_state import AdoptionPhase, AdoptionState, save_adoption
from roadstead.registry2.adoption import store as adoption_store
from roadstead.registry2.links import TOP_FOLDERS
from roadstead.registry2.release.link_following import LinkFollower
from roadstead.storage import SmallFiles
from roadstead.testing.images import image
from roadstead.testing.instance import Instance
from roadstead.webhooks import inspection, register, store
from roadstead.webhooks.endpoint_queue import EndpointQueue, Policy
from roadstead.webhooks.housekeeping import tidy
from tests.factories.access import BY_TEST
from tests.system.postgresql import PostgresServer

pytestmark = pytest.mark.anyio

ENDPOINT: Final = NotificationEndpoint(name="ci", url="http://ci.example.com/")
SETTINGS: Final = NotificationSettings(endpoints=(ENDPOINT,), keep_seconds=0)


class NaiveOrder(SettledOrder):
    """One that believes what it sees: the control."""

    async def find(self) -> int:
        """The highest id that is seen."""
        row = await self._database.fetch_one(self._last_id)
        return int(row[0]) if row else 0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def instance(tmp_path: Path, catalogue_url: str) -> AsyncIterator[Instance]:
    instance = Instance(tmp_path, database_url=catalogue_url)
    await instance.open()
    yield instance
    await instance.close()


async def write_event(instance: Instance, then: Callable[[], Awaitable[object]] | None = None) -> None:
    """Writes an event, and commits it when ``then`` is over."""
    outbox: Outbox = instance.registry.outbox

    async def work(transaction: Transaction) -> None:
        event = Event(action=EventAction.PUSH, repository="app", digest="sha256:" + "0" * 64, cause=BY_TEST)
        await outbox.record(transaction, event)
        if then is not None:
            await then()

    await instance.registry.database.write(work, locks=[KEPT])


@contextlib.asynccontextmanager
async def under_way(instance: Instance) -> AsyncGenerator[Callable[[], Awaitable[None]], None]:
    """An event whose transaction commits late: when what is given is called."""
    written, is_to_end = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        written.set()
        await is_to_end.wait()

    writing = asyncio.create_task(write_event(instance, wait))
    await written.wait()

    async def end() -> None:
        is_to_end.set()
        await writing

    try:
        yield end
    finally:
        await end()


async def queue_of(instance: Instance, order: type[SettledOrder] = SettledOrder) -> EndpointQueue:
    database = instance.registry.database
    queue = EndpointQueue(database, instance.clock, Policy(ENDPOINT, 1), order(database, store.LAST_EVENT_ID))
    await queue.load()
    return queue


async def drain(queue: EndpointQueue) -> list[int]:
    told: list[int] = []
    while (found := await queue.next()) is not None:
        told.append(found.stored.id)
        await queue.succeeded(found)
    await queue.save()
    return told


@pytest.mark.parametrize(("order", "first", "second"), [(SettledOrder, [], [1, 2]), (NaiveOrder, [2], [])])
async def test_an_event_that_commits_late_is_told(
    instance: Instance, order: type[SettledOrder], first: list[int], second: list[int]
) -> None:
    await register(instance.registry.database, instance.clock, SETTINGS)
    queue = await queue_of(instance, order)
    async with under_way(instance) as end:
        await write_event(instance)
        assert await drain(queue) == first, "while the other is under way"
        await end()
        assert await drain(queue) == second


async def test_writers_are_not_kept_waiting_where_nothing_is_new(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = SettledOrder(instance.registry.database, store.LAST_EVENT_ID)
    await write_event(instance)
    assert await order.find() == 1
    async with under_way(instance):
        monkeypatch.setattr(instance.registry.database, "fetch_settled", None)
        assert await order.find() == 1


async def test_a_savepoint_hides_nothing(instance: Instance, catalogue_url: str) -> None:
    """The row of a subtransaction has another transaction's number, which orders by such numbers stumble over."""
    await register(instance.registry.database, instance.clock, SETTINGS)
    queue = await queue_of(instance)
    connection = await asyncpg.connect(catalogue_url)
    try:
        await connection.execute(f"BEGIN; SELECT pg_advisory_xact_lock_shared({KEPT.key}); SAVEPOINT one")
        await connection.execute(
            "INSERT INTO events (at_ms, action, repository, digest, media_type, size_bytes, tag, source_repository,"
            " origin) VALUES (1, 'push', 'app', '', '', 0, '', '', '{}')"
        )
        await connection.execute("RELEASE SAVEPOINT one")
        await write_event(instance)
        assert await drain(queue) == []
        await connection.execute("COMMIT")
        assert await drain(queue) == [1, 2]
    finally:
        await connection.close()


async def test_a_long_transaction_elsewhere_holds_nothing_back(
    instance: Instance, postgres_server: PostgresServer, postgres_url: str
) -> None:
    await register(instance.registry.database, instance.clock, SETTINGS)
    queue = await queue_of(instance)
    elsewhere = [await asyncpg.connect(url) for url in (postgres_url, instance.database_url)]
    try:
        for connection in elsewhere:
            await connection.execute("BEGIN; CREATE TABLE other (id INTEGER); INSERT INTO other VALUES (1)")
        await write_event(instance)
        assert await drain(queue) == [1]
    finally:
        for connection in elsewhere:
            await connection.close()


async def test_a_new_endpoint_begins_behind_nothing_that_commits_late(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for who is under way, so that its place is one that all before it have."""
    monkeypatch.setattr("roadstead.events.order.PAUSE_SECONDS", 0.01)
    async with under_way(instance) as end:
        await write_event(instance)
        registering = asyncio.create_task(register(instance.registry.database, instance.clock, SETTINGS))
        await asyncio.sleep(0.3)
        assert not registering.done()
        await end()
        await registering
    await write_event(instance)
    assert await drain(await queue_of(instance)) == [3]


async def test_discarding_what_is_pending_leaves_nothing_behind_the_cursor(instance: Instance) -> None:
    database = instance.registry.database
    await register(database, instance.clock, SETTINGS)
    (place,) = await inspection.list_places(database, SETTINGS)
    async with under_way(instance) as end:
        await write_event(instance)
        discarding = asyncio.create_task(inspection.discard_pending(database, place))
        await asyncio.sleep(0.2)
        assert not discarding.done()
        await end()
        assert await discarding == 2
    assert await drain(await queue_of(instance)) == []


async def test_old_events_go_up_to_where_they_are_settled(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one that commits late would be left alone before the others, or be taken for older than it is."""
    monkeypatch.setattr("roadstead.events.order.PAUSE_SECONDS", 0.01)
    database = instance.registry.database
    async with under_way(instance) as end:
        await write_event(instance)
        tidying = asyncio.create_task(tidy(database, instance.clock, SETTINGS, EventSettings(keep_days=0)))
        await asyncio.sleep(0.2)
        assert len(await database.fetch_all(store.LIST_EVENTS, after=0, limit=10)) == 1
        await end()
        await tidying


# --- notes of links


def follower_of(instance: Instance) -> LinkFollower:
    files = SmallFiles(instance.objects, trusted=TOP_FOLDERS)
    registry = instance.registry
    return LinkFollower(
        registry.database, registry.storage, registry.exclusive, files, instance.clock, registry.maintenance
    )


async def follow(follower: LinkFollower) -> None:
    while await follower.round():
        pass


async def begin_in_charge(instance: Instance) -> None:
    state = AdoptionState(AdoptionPhase.IN_CHARGE)
    await instance.registry.database.write(lambda transaction: save_adoption(transaction, state))


NOTE: Final = "INSERT INTO link_changes (kind, repository, item) VALUES (3, 'app', '{tag}')"


async def test_a_note_that_commits_late_is_neither_missed_nor_forgotten(instance: Instance, catalogue_url: str) -> None:
    await begin_in_charge(instance)
    follower = follower_of(instance)
    await follow(follower)
    connection = await asyncpg.connect(catalogue_url)
    try:
        await connection.execute(f"BEGIN; SELECT pg_advisory_xact_lock_shared({KEPT.key})")
        await connection.execute(NOTE.format(tag="late"))
        await instance.push("app", image(b"early"), "early")
        before = await instance.registry.database.fetch_all(adoption_store.LIST_LINK_CHANGES, upto=2**62, limit=100)
        await follow(follower)
        after = await instance.registry.database.fetch_all(adoption_store.LIST_LINK_CHANGES, upto=2**62, limit=100)
        assert after == before != [], "nothing is followed, nor forgotten"
        await connection.execute("COMMIT")
        await follow(follower)
        rows = await instance.registry.database.fetch_all(adoption_store.LIST_LINK_CHANGES, upto=2**62, limit=100)
        assert rows == []
        assert any(key.endswith("app/_manifests/tags/early/current/link") for key in instance.files())
    finally:
        await connection.close()


async def test_following_begins_when_nobody_is_under_way_who_would_not_note(
    instance: Instance, catalogue_url: str
) -> None:
    """A writer that began before sees no follower, and notes nothing: its change is in what is written whole."""
    await begin_in_charge(instance)
    connection = await asyncpg.connect(catalogue_url)
    try:
        await connection.execute(f"BEGIN; SELECT pg_advisory_xact_lock_shared({KEPT.key})")
        beginning = asyncio.create_task(follower_of(instance).round())
        await asyncio.sleep(0.3)
        assert not beginning.done()
        await connection.execute("COMMIT")
        assert await beginning
    finally:
        await connection.close()
