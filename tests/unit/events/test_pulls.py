"""Events of pulls: gathered, written together, bounded, lost by nothing but a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roadstead.database import Database, DatabaseBusyError
from roadstead.events import Event, EventAction, PullLog, StoredEvent, pulls
from roadstead.testing.instance import Instance
from roadstead.webhooks import store
from tests.factories.access import BY_TEST

pytestmark = pytest.mark.anyio

PULL = Event(action=EventAction.PULL, repository="app", digest="sha256:0", cause=BY_TEST)


@pytest.fixture
async def instance(tmp_path: Path, database_url: str) -> AsyncIterator[Instance]:
    instance = Instance(tmp_path, database_url=database_url)
    await instance.open()
    instance.registry.outbox.wants_pulls = True
    yield instance
    await instance.close()


async def written(database: Database) -> list[StoredEvent]:
    return [StoredEvent.of(row) for row in await database.fetch_all(store.LIST_EVENTS, after=0, limit=100_000)]


async def test_they_are_written_with_the_time_at_which_they_happened(instance: Instance) -> None:
    log = instance.registry.pulls
    times = []
    for _ in range(pulls.BATCH + 3):
        times.append(instance.clock.now_ms())
        log.add(PULL)
        instance.clock.advance(0.001)
    assert await written(instance.registry.database) == []
    await log.flush(instance.registry.database)
    assert [stored.at_ms for stored in await written(instance.registry.database)] == times
    await log.flush(instance.registry.database)
    assert len(await written(instance.registry.database)) == pulls.BATCH + 3


async def test_what_finds_no_room_is_counted(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulls, "MOST_WAITING", 5)
    log = instance.registry.pulls
    for _ in range(8):
        log.add(PULL)
    assert log.dropped == 3
    await log.flush(instance.registry.database)
    assert len(await written(instance.registry.database)) == 5


async def test_what_could_not_be_written_is_still_there(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    log = instance.registry.pulls
    log.add(PULL)
    with monkeypatch.context() as patch:

        async def fail(*_: object, **__: object) -> None:
            raise DatabaseBusyError(30)

        patch.setattr(type(instance.registry.database), "write", fail)
        with pytest.raises(DatabaseBusyError):
            await log.flush(instance.registry.database)
    await log.flush(instance.registry.database)
    assert len(await written(instance.registry.database)) == 1


async def test_an_orderly_end_writes_the_rest(instance: Instance) -> None:
    log: PullLog = instance.registry.pulls
    task = asyncio.create_task(log.keep_flushing(instance.registry.database))
    await asyncio.sleep(0)
    log.add(PULL)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await written(instance.registry.database)) == 1
