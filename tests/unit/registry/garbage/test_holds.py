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
    hold_collection,
    is_collection_held,
    list_holds,
)
from roadstead.registry.removal.rules import GarbageRules
from roadstead.testing.instance import Instance
from tests.factories.access import BY_TEST
from tests.factories.images import image, layer

pytestmark = pytest.mark.anyio

COUNT = Statement(select(func.count()).where(states.c.name.like("hold:%")))


async def test_a_hold_is_in_force_until_it_is_left(instance: Instance) -> None:
    database, clock = instance.registry.database, instance.clock
    assert not await is_collection_held(database, clock.now_ms())
    async with hold_collection(database, clock, "backup to there"):
        assert await is_collection_held(database, clock.now_ms())
        assert await list_holds(database, clock.now_ms()) == ["backup to there"]
    assert not await is_collection_held(database, clock.now_ms())


async def test_one_of_two_holds_ends(instance: Instance) -> None:
    database, clock = instance.registry.database, instance.clock
    async with hold_collection(database, clock, "first"):
        async with hold_collection(database, clock, "second"):
            pass
        assert await list_holds(database, clock.now_ms()) == ["first"]


async def test_the_hold_of_a_dead_process_ends_by_itself(instance: Instance) -> None:
    database, clock = instance.registry.database, instance.clock
    await Hold(database, clock, "killed").begin()
    clock.advance(HOLD_MS / 1000 - 1)
    assert await is_collection_held(database, clock.now_ms())
    clock.advance(2)
    assert not await is_collection_held(database, clock.now_ms())
    async with hold_collection(database, clock, "next"):
        assert await list_holds(database, clock.now_ms()) == ["next"]
    row = await database.fetch_one(COUNT)
    assert row == (0,), "the dead one's row is gone too"


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
    assert not await is_collection_held(instance.registry.database, instance.clock.now_ms())


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
