"""A hold keeps the collector off while it lasts, and never for ever."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from roadstead.database import Statement
from roadstead.jobs.tables import states
from roadstead.oci import RepositoryName
from roadstead.registry.garbage.collection import Collector
from roadstead.registry.garbage.holds import (
    HOLD_MS,
    Hold,
    HoldLapsedError,
    HoldWatch,
    hold_collection,
)
from roadstead.registry.removal.rules import GarbageRules
from roadstead.testing.clock import SettableClock
from roadstead.testing.instance import Instance
from tests.factories.access import BY_TEST
from tests.factories.images import image, layer

pytestmark = pytest.mark.anyio

COUNT = Statement(select(func.count()).where(states.c.name.like("hold:%")))


def watch_of(instance: Instance, *, is_shared: bool | None = None) -> HoldWatch:
    """A watch as the instance's collector has one."""
    return HoldWatch(
        instance.clock, is_shared=instance.registry.exclusive.is_fenced if is_shared is None else is_shared
    )


async def test_a_hold_is_in_force_until_it_is_left(instance: Instance) -> None:
    database, clock = instance.registry.database, instance.clock
    watch = watch_of(instance)
    assert not await watch.is_held(database)
    async with hold_collection(database, clock, "backup to there"):
        assert await watch.is_held(database)
        assert await watch.list_reasons(database) == ["backup to there"]
    assert not await watch.is_held(database)


async def test_one_of_two_holds_ends(instance: Instance) -> None:
    database, clock = instance.registry.database, instance.clock
    watch = watch_of(instance)
    async with hold_collection(database, clock, "first"):
        async with hold_collection(database, clock, "second"):
            pass
        assert await watch.list_reasons(database) == ["first"]


async def test_the_hold_of_a_dead_process_ends_by_itself(instance: Instance) -> None:
    database, clock = instance.registry.database, instance.clock
    watch = watch_of(instance)
    await Hold(database, clock, "killed").begin()
    assert await watch.is_held(database)
    clock.advance(HOLD_MS / 1000 - 1)
    assert await watch.is_held(database)
    clock.advance(2)
    assert not await watch.is_held(database)
    async with hold_collection(database, clock, "next"):
        assert await watch.list_reasons(database) == ["next"]
    assert not await watch.is_held(database)
    await database.write(watch.forget_dead)
    row = await database.fetch_one(COUNT)
    assert row == (0,), "the dead one's row is gone too"


@pytest.mark.parametrize("ahead_seconds", [-3000, 3000])
async def test_replicas_compare_no_clocks(instance: Instance, ahead_seconds: int) -> None:
    """A backup on a machine whose grace time is another: it holds the collector off as long as it lives."""
    database, watched = instance.registry.database, SettableClock()
    other = SettableClock(watched.now_ms() + ahead_seconds * 1000)
    watch = HoldWatch(watched, is_shared=True)
    hold = Hold(database, other, "elsewhere")
    await hold.begin()
    for _ in range(5):
        assert await watch.is_held(database)
        for clock in (watched, other):
            clock.advance(HOLD_MS / 1000 - 1)
        await hold.renew()
    assert await watch.is_held(database)
    watched.advance(HOLD_MS / 1000 + 1)
    assert not await watch.is_held(database), "it died"
    fresh = HoldWatch(watched, is_shared=True)
    assert await fresh.is_held(database), "who has not watched does not know"


async def test_whoever_stood_still_learns_that_the_hold_has_ended(instance: Instance) -> None:
    hold = Hold(instance.registry.database, instance.clock, "frozen")
    await hold.begin()
    await hold.renew()
    hold.require()
    instance.clock.advance(HOLD_MS / 1000 + 1)
    with pytest.raises(HoldLapsedError):
        hold.require()
    with pytest.raises(HoldLapsedError):
        await hold.renew()
    assert not await watch_of(instance, is_shared=False).is_held(instance.registry.database)


async def test_the_collector_leaves_blobs_alone_meanwhile(instance: Instance) -> None:
    """With rules by which everything is garbage at once."""
    content = image([layer({"n": b"1"})])
    for blob in content.blobs().values():
        await instance.push_blob("app", blob)
    name, manifests = RepositoryName("app"), instance.registry.manifests
    pushed = await manifests.push(name, content.manifest, content.media_type, digest=None, tags=[], cause=BY_TEST)
    await manifests.delete(name, pushed.digest, cause=BY_TEST)
    collector = Collector(instance.registry, GarbageRules(undo_ms=0, upload_ms=0))
    instance.clock.advance(30 * 86_400)
    async with hold_collection(instance.registry.database, instance.clock, "backup"):
        for _ in range(10):
            await collector.round(lambda _done: None)
        assert len([key for key in instance.files() if key.endswith("/data")]) == 2
    for _ in range(10):
        await collector.round(lambda _done: None)
    assert not [key for key in instance.files() if key.endswith("/data")]
