"""While a confirmation is awaited nothing leaves the storage; a catalogue that went back, or moved, is noticed."""

from __future__ import annotations

import asyncio
import functools
import os
from typing import TYPE_CHECKING

import pytest
import structlog.testing

from roadstead.config import LimitSettings
from roadstead.jobs import delete_state, find_state, save_state
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.garbage.collected import MarkedBlob
from roadstead.registry.garbage.collection import Collector
from roadstead.registry.integrity.check import Checker
from roadstead.registry.integrity.findings import FindingKind
from roadstead.registry.integrity.unrecorded import is_unrecorded, iter_unrecorded_blobs, remove_unrecorded
from roadstead.registry.operation.confirmation import (
    SERVER,
    STAMP,
    STATE,
    StorageUnconfirmedError,
    await_confirmation,
    find_unconfirmed,
)
from roadstead.registry.operation.purging import keep_purging
from roadstead.registry.operation.recovery import Recovered, recover
from roadstead.registry.operation.storage_owner import claim
from roadstead.registry.progress import Silence
from roadstead.registry.removal.rules import GarbageRules
from roadstead.testing.images import digest_of, image

if TYPE_CHECKING:
    from roadstead.database import Transaction
    from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio

SERVER_ALONE = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
"""A file has no server, and is not watched."""
AT_ONCE = GarbageRules(undo_ms=0, upload_ms=0)
STRAY = b"pushed after the backup that was restored"


async def wait(instance: Instance, reason: str = "a test says so") -> None:
    async def work(transaction: Transaction) -> None:
        await await_confirmation(transaction, reason, instance.clock.now_ms())

    await instance.registry.database.write(work)


async def keep(instance: Instance, name: str, value: str) -> None:
    await instance.registry.database.write(functools.partial(save_state, name=name, value=value))


async def collect(instance: Instance) -> int:
    """Bytes of all that could be collected if every grace time were over."""
    collector, removed = Collector(instance.registry, AT_ONCE), 0
    for _ in range(6):
        await collector.make_due(older_than_ms=0)
        removed += (await collector.step()).blobs
    return removed


def put_stray(instance: Instance, content: bytes = STRAY) -> Digest:
    """A blob that the catalogue does not know."""
    digest = Digest(digest_of(content))
    path = instance.objects / layout.blob_key(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return digest


async def claimed(instance: Instance) -> None:
    instance.objects.mkdir(exist_ok=True)
    await claim(instance.registry.database, instance.objects, "here")


async def test_nothing_is_collected_meanwhile(instance: Instance) -> None:
    content = image(b"layer")
    await instance.push("app", content, "v1")
    await instance.client.request("DELETE", f"/v2/app/manifests/{content.digest}")
    await wait(instance)
    before = instance.files()
    assert await collect(instance) == 0
    assert instance.files() == before
    await instance.registry.confirmation.confirm()
    assert await collect(instance) >= len(content.blobs)
    assert not [key for key in instance.files() if key.endswith("/data")]


async def test_what_was_marked_before_stays_too(instance: Instance) -> None:
    """The row is written while the collector stands between its mark and the removal."""
    await instance.push_blob("app", b"unneeded")
    collector = Collector(instance.registry, AT_ONCE)
    await collector.make_due(older_than_ms=0)
    erase = collector._erase

    async def noticed(rows: list[MarkedBlob]) -> list[bool | None]:
        await wait(instance)
        return await erase(rows)

    collector._erase = noticed  # type: ignore[method-assign]
    for _ in range(3):
        await collector.make_due(older_than_ms=0)
        await collector.step()
    assert [key for key in instance.files() if key.endswith("/data")]
    await instance.registry.confirmation.confirm()
    assert await collect(instance) == 1


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_start_recovers_nothing_meanwhile(instance: Instance) -> None:
    upload = instance.objects / layout.upload_key("of-nobody")
    upload.parent.mkdir(parents=True, exist_ok=True)
    upload.write_bytes(b"bytes")
    await wait(instance)
    registry = instance.registry
    assert await recover(registry.database, registry.storage) == Recovered(0, 0, 0)
    assert upload.exists()
    await registry.confirmation.confirm()
    assert (await recover(registry.database, registry.storage)).orphaned_uploads == 1


async def test_stale_uploads_are_only_named_meanwhile(instance: Instance) -> None:
    started = await instance.client.request("POST", "/v2/app/blobs/uploads/")
    location = started.header("location")
    await instance.client.request("PATCH", location, body=b"half")
    instance.clock.advance(10_000)
    await wait(instance)
    registry = instance.registry
    limits = LimitSettings(upload_age_seconds=1, upload_purge="on", upload_purge_interval_seconds=1)
    with structlog.testing.capture_logs() as logs:
        house = asyncio.create_task(keep_purging(registry.uploads, registry.maintenance, registry.confirmation, limits))
        async with asyncio.timeout(10):
            while not logs:  # noqa: ASYNC110 - a log tells nobody
                await asyncio.sleep(0.01)
        house.cancel()
        await asyncio.gather(house, return_exceptions=True)
    assert logs[0]["event"] == "stale uploads would be dropped"
    assert (await instance.client.request("GET", location)).status == 204


async def test_clients_push_pull_and_delete_meanwhile(instance: Instance) -> None:
    await wait(instance)
    content = image(b"layer")
    await instance.push("app", content, "v1")
    assert (await instance.client.request("GET", f"/v2/app/manifests/{content.digest}")).status == 200
    assert (await instance.client.request("DELETE", f"/v2/app/manifests/{content.digest}")).status == 202


async def test_what_changes_the_storage_by_command_is_refused_with_the_way_on(instance: Instance) -> None:
    await instance.registry.confirmation.require()
    await wait(instance, "the backup of yesterday was restored")
    with pytest.raises(StorageUnconfirmedError, match=r"backup of yesterday was restored: `roadstead gc --dry-run`"):
        await instance.registry.confirmation.require()
    findings = [finding async for finding in Checker(instance.registry, Silence()).run()]
    (waiting,) = [each for each in findings if each.kind is FindingKind.STORAGE_UNCONFIRMED]
    assert "backup of yesterday" in waiting.detail


async def test_the_first_reason_stays(instance: Instance) -> None:
    await wait(instance, "first")
    await wait(instance, "second")
    found = await find_unconfirmed(instance.registry.database)
    assert found is not None
    assert found.reason == "first"


async def test_a_row_of_a_later_version_makes_it_wait(instance: Instance) -> None:
    await keep(instance, STATE, "{}")
    assert await find_unconfirmed(instance.registry.database) is not None
    assert await instance.registry.confirmation.is_waiting()


# ── Objects without a record ──────────────────────────────────────────────────────────────────────────────────


async def test_a_blob_without_a_record_stays_until_its_removal_is_asked_for(instance: Instance) -> None:
    known = Digest(await instance.push_blob("app", b"known"))
    stray = put_stray(instance)
    found = [each async for each in iter_unrecorded_blobs(instance.registry)]
    assert [each.digest for each in found if each] == [stray]
    assert len(found) == 2
    await collect(instance)
    assert (instance.objects / layout.blob_key(stray)).exists()
    assert not await is_unrecorded(instance.registry, known)
    assert await remove_unrecorded(instance.registry, stray)
    assert not await remove_unrecorded(instance.registry, stray), "it has a record, which says that it goes"
    await collect(instance)
    assert not (instance.objects / layout.blob_key(stray)).exists()


async def test_a_push_brings_it_back_although_its_removal_was_asked_for(instance: Instance) -> None:
    stray = put_stray(instance)
    await remove_unrecorded(instance.registry, stray)
    assert await instance.push_blob("app", STRAY) == stray
    collector = Collector(instance.registry)
    await collector.step()
    answer = await instance.client.request("GET", f"/v2/app/blobs/{stray}")
    assert answer.body == STRAY


async def test_what_a_push_has_recorded_is_not_removed_by_an_older_look(instance: Instance) -> None:
    stray = put_stray(instance)
    await instance.push_blob("app", STRAY)
    assert not await remove_unrecorded(instance.registry, stray)
    await Collector(instance.registry).step()
    assert (await instance.client.request("GET", f"/v2/app/blobs/{stray}")).status == 200


# ── Noticing ──────────────────────────────────────────────────────────────────────────────────────────────────


@SERVER_ALONE
async def test_a_catalogue_that_went_back_is_noticed(instance: Instance) -> None:
    await claimed(instance)
    confirmation, database = instance.registry.confirmation, instance.registry.database
    for _ in range(3):
        await confirmation.round()
    assert await confirmation.notice() is None
    before = await find_state(database, STAMP)
    await confirmation.round()
    assert before is not None
    await keep(instance, STAMP, before)  # as a dump that was taken then and is brought back now
    with structlog.testing.capture_logs() as logs:
        found = await confirmation.notice()
    assert found is not None
    assert "older than the storage" in found.reason
    assert "gc --confirm" in logs[0]["remedy"]
    await confirmation.confirm()
    await confirmation.round()
    assert await confirmation.notice() is None


@SERVER_ALONE
async def test_a_crash_between_catalogue_and_storage_is_no_reason(instance: Instance) -> None:
    """The storage may lag behind; it is never ahead."""
    await claimed(instance)
    confirmation = instance.registry.confirmation
    await confirmation.round()
    await keep(instance, STAMP, "1000")
    assert await confirmation.notice() is None
    await confirmation.round()
    assert await confirmation.notice() is None


@SERVER_ALONE
async def test_the_number_of_another_catalogue_says_nothing(instance: Instance) -> None:
    await claimed(instance)
    stamp = instance.objects / layout.STAMP
    stamp.parent.mkdir()
    stamp.write_text('{"owner": "another", "stamp": 5000}')
    assert await instance.registry.confirmation.notice() is None
    stamp.write_text("damaged")
    assert await instance.registry.confirmation.notice() is None
    await instance.registry.confirmation.round()
    assert '"stamp":1' in stamp.read_text()


@SERVER_ALONE
async def test_another_server_holds_the_collector_off_before_anybody_has_noticed(instance: Instance) -> None:
    await claimed(instance)
    confirmation, database = instance.registry.confirmation, instance.registry.database
    await confirmation.round()
    known = await find_state(database, SERVER)
    assert known is not None
    cluster, _, timeline = known.partition("/")
    assert int(cluster) > 0
    assert timeline == "00000001"
    await instance.push_blob("app", b"unneeded")
    await keep(instance, SERVER, f"{cluster}/00000007")

    async def ask(transaction: Transaction) -> bool:
        return await confirmation.is_waiting(transaction)

    assert await database.write(ask)
    assert await collect(instance) == 0
    found = await confirmation.notice()
    assert found is not None
    assert "from timeline 7 to 1" in found.reason
    await confirmation.confirm()
    assert await find_state(database, SERVER) == known
    assert await collect(instance) == 1
    await keep(instance, SERVER, "1/00000001")
    found = await confirmation.notice()
    assert found is not None
    assert "another PostgreSQL server" in found.reason


@SERVER_ALONE
async def test_a_server_that_was_never_seen_is_remembered(instance: Instance) -> None:
    await claimed(instance)
    database = instance.registry.database
    await instance.registry.confirmation.round()
    await database.write(functools.partial(delete_state, name=SERVER))
    assert await instance.registry.confirmation.notice() is None
    await instance.registry.confirmation.round()
    assert await find_state(database, SERVER) is not None


@SERVER_ALONE
async def test_nothing_is_raised_while_it_waits_and_none_of_it_stays_in_uploads(instance: Instance) -> None:
    await claimed(instance)
    confirmation = instance.registry.confirmation
    await confirmation.round()
    await wait(instance)
    before = await find_state(instance.registry.database, STAMP)
    await confirmation.round()
    assert await find_state(instance.registry.database, STAMP) == before
    assert not os.listdir(instance.objects / layout.UPLOADS)  # noqa: PTH208 - names are enough
