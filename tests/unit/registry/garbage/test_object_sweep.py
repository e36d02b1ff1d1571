"""Objects of a bucket that no row names go when they are old, and no commit relies on one that has gone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from roadstead.oci import Digest, RepositoryName
from roadstead.registry import layout
from roadstead.registry.garbage.object_sweep import OLD_MS, REMEMBERED_MS, ObjectSweep
from roadstead.registry.operation.confirmation import await_confirmation
from roadstead.registry.operation.maintenance import MaintenanceMode
from roadstead.storage import StorageUnavailableError
from roadstead.storage.bucket import BucketSink
from roadstead.testing.instance import Instance
from tests.factories.access import ALL_VISIBLE, BY_TEST

pytestmark = pytest.mark.anyio
DATABASES = ("sqlite-bucket", "postgresql-bucket")

APP = RepositoryName("team/app")
CONTENT = b"some content"
DIGEST = Digest.of(CONTENT)


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the store's clock everything is old."""
    original = ObjectSweep._storage_ms

    async def storage_ms(self: ObjectSweep) -> int:
        return await original(self) + 2 * OLD_MS

    monkeypatch.setattr(ObjectSweep, "_storage_ms", storage_ms)


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def objects(instance: Instance) -> set[str]:
    return {found.key async for found in instance.registry.storage.iter_objects("")}


async def sweep(instance: Instance) -> int:
    return await ObjectSweep(instance.registry).round()


async def test_what_no_row_names_goes_and_all_else_stays(instance: Instance) -> None:
    uploads = instance.registry.uploads
    await instance.push_blob(APP, b"one object")
    session = await uploads.start(APP, "sha256", cause=BY_TEST)
    await uploads.append(APP, session.id, body(CONTENT[:4]), cause=BY_TEST)
    await uploads.finish(APP, session.id, body(CONTENT[4:]), DIGEST, cause=BY_TEST)
    session = await uploads.start(APP, "sha256", cause=BY_TEST)
    await uploads.append(APP, session.id, body(b"still open"), cause=BY_TEST)
    before = await objects(instance)
    assert len(before) == 4
    strays = [layout.new_object_key() for _ in range(3)]
    for key in strays:
        await instance.registry.storage.put(key, b"stray")
    await instance.registry.storage.put("elsewhere/1", b"not ours")
    assert await sweep(instance) == len(strays)
    assert await objects(instance) == before | {"elsewhere/1"}
    assert await sweep(instance) == 0


async def test_what_is_young_stays(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    await instance.registry.storage.put(layout.new_object_key(), b"stray")
    assert await sweep(instance) == 0
    assert len(await objects(instance)) == 1


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_commit_of_what_was_swept_is_refused_and_tried_again(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    """A process that slept between the end of its object and the row."""
    uploads = instance.registry.uploads
    session = await uploads.start(APP, "sha256", cause=BY_TEST)
    if not is_first:
        session = await uploads.append(APP, session.id, body(CONTENT[:4]), cause=BY_TEST)
    rest = CONTENT[session.offset :]
    finish = BucketSink.finish

    async def slowly(self: BucketSink) -> None:
        await finish(self)
        assert await sweep(instance) == 1

    with monkeypatch.context() as patched:
        patched.setattr(BucketSink, "finish", slowly)
        with pytest.raises(StorageUnavailableError):
            await uploads.finish(APP, session.id, body(rest), DIGEST, cause=BY_TEST)
    await uploads.finish(APP, session.id, body(rest), DIGEST, cause=BY_TEST)
    assert await instance.registry.blobs.confirm(APP, DIGEST, visible=ALL_VISIBLE) == len(CONTENT)
    assert await sweep(instance) == 0


async def test_nothing_goes_while_nothing_may(instance: Instance) -> None:
    registry = instance.registry
    await registry.storage.put(layout.new_object_key(), b"stray")
    await registry.maintenance.set(MaintenanceMode.READ_ONLY)
    assert await sweep(instance) == 0
    await registry.maintenance.set(MaintenanceMode.OFF)
    await registry.database.write(lambda transaction: await_confirmation(transaction, "for the test", 0))
    assert await sweep(instance) == 0
    await registry.confirmation.confirm()
    assert await sweep(instance) == 1


async def test_swept_keys_are_not_remembered_for_ever(instance: Instance) -> None:
    await instance.registry.storage.put(layout.new_object_key(), b"stray")
    assert await sweep(instance) == 1
    instance.clock.advance(REMEMBERED_MS / 1000 + 1)
    assert await sweep(instance) == 0
