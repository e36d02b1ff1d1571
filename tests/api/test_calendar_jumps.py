"""The calendar is set ahead or back: what waits goes on waiting for what is left of its time, no more and no less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roadstead.jobs import Lease
from roadstead.oci import Digest, RepositoryName
from roadstead.registry.garbage.collected import Collected
from roadstead.registry.garbage.collection import Collector
from roadstead.registry.garbage.collection_preview import Preview
from roadstead.registry.garbage.holds import hold_collection
from roadstead.registry.garbage.why import explain
from roadstead.registry.removal.rules import GarbageRules
from roadstead.testing.clock import START_MS
from roadstead.testing.images import digest_of, image
from tests.factories.access import ALL_VISIBLE, BY_TEST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio

DAY = 24 * 3600
MONTH_MS = 30 * DAY * 1000
APP = image(b"app", b"base")
RULES = GarbageRules(collects_untagged=True)

JUMPS_MS = {"ahead": MONTH_MS, "back": -MONTH_MS, "from 1970": 56 * 12 * MONTH_MS}
AHEAD_AND_BACK = pytest.mark.parametrize("jump_ms", JUMPS_MS.values(), ids=JUMPS_MS)


async def collect(instance: Instance, rules: GarbageRules | None = None) -> Collected:
    collector, total = Collector(instance.registry, rules), Collected()
    while (done := await collector.step()).looked_at:
        total.add(done)
    return total


async def delete(instance: Instance) -> None:
    assert (await instance.client.request("DELETE", f"/v2/app/manifests/{APP.digest}")).status == 202


async def in_trash(instance: Instance) -> list[int]:
    """When what was deleted can no more be restored, by the calendar."""
    found = await instance.registry.undo.list_removed(RepositoryName("app"), limit=10, visible=ALL_VISIBLE)
    return [each.expires_ms for each in found]


@AHEAD_AND_BACK
async def test_trash_of_before_a_jump(instance: Instance, jump_ms: int) -> None:
    await instance.push("app", APP, "1")
    await delete(instance)
    instance.clock.set_ms(START_MS + jump_ms)
    instance.clock.advance(40)
    assert (await collect(instance)).expired == 0
    assert [item async for item in Preview(instance.registry).iter_garbage()] == []
    assert await in_trash(instance) == [START_MS + jump_ms + 7 * DAY * 1000], "shown by the calendar as it stands"
    instance.clock.set_ms(START_MS + 40_000)
    assert await in_trash(instance) == [START_MS + 7 * DAY * 1000]
    instance.clock.advance(7 * DAY - 60)
    assert (await collect(instance)).expired == 0
    instance.clock.advance(60)
    assert (await collect(instance)).expired == 1


@AHEAD_AND_BACK
async def test_trash_of_while_the_calendar_was_wrong(instance: Instance, jump_ms: int) -> None:
    await instance.push("app", APP, "1")
    instance.clock.set_ms(START_MS + jump_ms)
    await delete(instance)
    instance.clock.set_ms(START_MS)
    assert (await collect(instance)).expired == 0
    instance.clock.advance(7 * DAY)
    assert (await collect(instance)).expired == 1


@AHEAD_AND_BACK
async def test_a_blob_whose_manifest_is_awaited(instance: Instance, jump_ms: int) -> None:
    instance.clock.set_ms(START_MS + jump_ms)
    await instance.push_blob("app", b"layer")
    instance.clock.set_ms(START_MS)
    assert (await collect(instance)).blobs == 0
    reasons = (await explain(instance.registry, Digest(digest_of(b"layer")))).reasons
    assert [reason.until_ms for reason in reasons] == [START_MS + DAY * 1000]
    instance.clock.advance(DAY)
    assert (await collect(instance)).blobs == 1


@pytest.mark.parametrize("older_than", [0, 3600])
async def test_what_a_person_asks_for(instance: Instance, older_than: int) -> None:
    """For any age: at once, whatever the calendar said. For an age: not before it has passed."""
    await instance.push("app", APP, "1")
    await delete(instance)
    instance.clock.set_ms(START_MS + MONTH_MS)
    previewed = [item async for item in Preview(instance.registry, older_than * 1000).iter_garbage()]
    await Collector(instance.registry).make_due(older_than_ms=older_than * 1000)
    done = await collect(instance)
    assert (done.expired == 1, bool(previewed)) == ((True, True) if older_than == 0 else (False, False))
    instance.clock.set_ms(START_MS)
    instance.clock.advance(3600)
    await Collector(instance.registry).make_due(older_than_ms=older_than * 1000)
    assert done.expired + (await collect(instance)).expired == 1


async def _body() -> AsyncIterator[bytes]:
    yield b"the first bytes, with which a session gets its record"


@AHEAD_AND_BACK
async def test_uploads_are_purged_by_the_time_that_passed(instance: Instance, jump_ms: int) -> None:
    session = await instance.registry.uploads.start(RepositoryName("app"), "sha256", cause=BY_TEST)
    instance.clock.set_ms(START_MS + jump_ms)
    later = await instance.registry.uploads.start(RepositoryName("app"), "sha256", cause=BY_TEST)
    for each in (session, later):
        await instance.registry.uploads.append(each.repository, each.id, _body(), cause=BY_TEST)
    instance.clock.set_ms(START_MS)
    for moment in (START_MS + jump_ms, START_MS):
        instance.clock.set_ms(moment)
        assert await instance.registry.uploads.purge(older_than_ms=DAY * 1000) == 0
    instance.clock.advance(DAY + 1)
    assert await instance.registry.uploads.list_stale(older_than_ms=DAY * 1000, limit=5) == tuple(
        sorted((session.id, later.id))
    )
    assert await instance.registry.uploads.purge(older_than_ms=DAY * 1000) == 2


@AHEAD_AND_BACK
async def test_a_lease_lasts_as_long_as_it_lasts(instance: Instance, jump_ms: int) -> None:
    database, clock = instance.registry.database, instance.clock
    one, two = Lease(database, clock, "work"), Lease(database, clock, "work")
    clock.set_ms(START_MS + jump_ms)
    assert await one.take()
    clock.set_ms(START_MS)
    assert not await two.take(), "its holder works on"
    clock.advance(31)
    assert await two.take(), "a dead holder's ends"


@AHEAD_AND_BACK
async def test_a_hold_of_a_backup_lasts(instance: Instance, jump_ms: int) -> None:
    await instance.push_blob("app", b"lonely")
    instance.clock.advance(2 * DAY)
    async with hold_collection(instance.registry.database, instance.clock, "backup") as hold:
        instance.clock.set_ms(START_MS + jump_ms)
        assert (await collect(instance)).blobs == 0
        hold.require()


async def test_manifests_without_a_tag_are_swept_by_the_time_that_passed(instance: Instance) -> None:
    """When they were pushed is known by the calendar alone: what it says too late counts as now."""
    instance.clock.set_ms(START_MS + MONTH_MS)
    await instance.push("app", APP)
    instance.clock.set_ms(START_MS)
    await Collector(instance.registry, RULES).review_all_untagged()
    assert (await collect(instance, RULES)).untagged == 0
    instance.clock.advance(7 * DAY)
    assert (await collect(instance, RULES)).untagged == 1
