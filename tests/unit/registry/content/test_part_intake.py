"""Uploads into a bucket: an object for each body, rows that say which, and commits that move nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from roadstead.oci import Digest, RepositoryName
from roadstead.registry import Registry, layout
from roadstead.registry.content.part_intake import PartIntake
from roadstead.registry.content.running_digest import RunningDigest
from roadstead.registry.errors import UploadDigestMismatchError, UploadOffsetError, UploadUnknownError
from roadstead.registry.garbage.collection import Collector
from roadstead.storage import StorageUnavailableError
from roadstead.testing.instance import Instance
from tests.factories.access import ALL_VISIBLE, BY_TEST

pytestmark = pytest.mark.anyio
DATABASES = ("sqlite-bucket", "postgresql-bucket")

APP = RepositoryName("team/app")
PIECES = (b"one" * 1000, b"two" * 500, b"three")
CONTENT = b"".join(PIECES)
DIGEST = Digest.of(CONTENT)
DAY_SECONDS = 86_400


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def objects(instance: Instance) -> list[str]:
    return [found.key async for found in instance.registry.storage.iter_objects(layout.OBJECTS)]


async def pull(registry: Registry) -> bytes:
    reader = await registry.blobs.open(APP, DIGEST, visible=ALL_VISIBLE)
    try:
        return bytes(await reader.read(0, reader.size_bytes))
    finally:
        reader.close()


async def push_in_pieces(instance: Instance) -> None:
    """Each request at another process, as behind a balancer."""
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    for piece in PIECES[:2]:
        uploads = instance.another_process().uploads
        session = await uploads.append(APP, session.id, body(piece), begin=session.offset, cause=BY_TEST)
    uploads = instance.another_process().uploads
    await uploads.finish(APP, session.id, body(PIECES[2]), DIGEST, begin=session.offset, cause=BY_TEST)


async def test_a_blob_is_where_its_upload_wrote_it(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await instance.registry.uploads.append(APP, session.id, body(CONTENT), cause=BY_TEST)
    before = await objects(instance)
    await instance.registry.uploads.finish(APP, session.id, body(), DIGEST, cause=BY_TEST)
    assert await objects(instance) == before
    assert len(before) == 1
    assert await pull(instance.registry) == CONTENT


async def test_several_bodies_are_several_objects(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is read for the digest, wherever the requests go."""
    monkeypatch.setattr(PartIntake, "read", None)
    await push_in_pieces(instance)
    assert len(await objects(instance)) == len(PIECES)
    assert await pull(instance.registry) == CONTENT
    reader = await instance.registry.blobs.open(APP, DIGEST, visible=ALL_VISIBLE)
    for offset in (0, 1, 2999, 3000, 3001, 4500, 4504, 4505):
        assert bytes(await reader.read(offset, 1502)) == CONTENT[offset : offset + 1502]
    reader.close()
    assert await instance.registry.blobs.confirm(APP, DIGEST, visible=ALL_VISIBLE) == len(CONTENT)


async def test_a_digest_that_cannot_be_resumed_is_read_again(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunningDigest, "save", lambda _self: None)
    await push_in_pieces(instance)
    assert await pull(instance.registry) == CONTENT


async def test_a_second_push_leaves_the_first_one_s_place(instance: Instance) -> None:
    await instance.push_blob(APP, CONTENT)
    before = await objects(instance)
    await push_in_pieces(instance)
    assert await objects(instance) == before


async def test_what_is_not_what_it_should_be_goes(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await instance.registry.uploads.append(APP, session.id, body(b"some"), cause=BY_TEST)
    with pytest.raises(UploadDigestMismatchError):
        await instance.registry.uploads.finish(APP, session.id, body(b"thing"), DIGEST, cause=BY_TEST)
    assert await objects(instance) == []
    with pytest.raises(UploadUnknownError):
        await instance.registry.uploads.append(APP, session.id, body(b"else"), cause=BY_TEST)
    assert await objects(instance) == []


async def test_a_cancelled_upload_leaves_nothing(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await instance.registry.uploads.append(APP, session.id, body(b"some"), cause=BY_TEST)
    assert len(await objects(instance)) == 1
    await instance.another_process().uploads.cancel(APP, session.id, cause=BY_TEST)
    assert await objects(instance) == []


async def test_of_two_bodies_at_one_offset_one_counts(instance: Instance) -> None:
    """Whichever is recorded first; the other's client is told where the upload stands, and its object goes."""
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    go_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"late"
        await go_on.wait()

    late = asyncio.create_task(instance.registry.uploads.append(APP, session.id, slowly(), cause=BY_TEST))
    await asyncio.sleep(0.01)
    reached = await instance.another_process().uploads.append(APP, session.id, body(PIECES[0]), cause=BY_TEST)
    go_on.set()
    with pytest.raises(UploadOffsetError) as refused:
        await late
    assert refused.value.offset == reached.offset == len(PIECES[0])
    assert len(await objects(instance)) == 1
    await instance.registry.uploads.finish(APP, session.id, body(*PIECES[1:]), DIGEST, cause=BY_TEST)
    assert await pull(instance.registry) == CONTENT


async def test_what_came_before_a_body_broke_off_counts(instance: Instance) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield PIECES[0]
        raise ConnectionResetError

    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    with pytest.raises(ConnectionResetError):
        await instance.registry.uploads.append(APP, session.id, breaking(), cause=BY_TEST)
    found = await instance.registry.uploads.get(APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST)
    assert found.offset == len(PIECES[0])
    await instance.registry.uploads.finish(
        APP, session.id, body(*PIECES[1:]), DIGEST, begin=found.offset, cause=BY_TEST
    )
    assert await pull(instance.registry) == CONTENT


async def test_a_blob_without_bytes(instance: Instance) -> None:
    digest = await instance.push_blob(APP, b"")
    assert await instance.registry.blobs.confirm(APP, Digest(digest), visible=ALL_VISIBLE) == 0


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_what_is_collected_is_gone(instance: Instance, *, in_pieces: bool) -> None:
    await (push_in_pieces(instance) if in_pieces else instance.push_blob(APP, CONTENT))
    await instance.registry.blobs.delete(APP, DIGEST, cause=BY_TEST)
    instance.clock.advance(2 * DAY_SECONDS)
    assert (await Collector(instance.registry).step()).blobs == 1
    assert await objects(instance) == []
    await instance.push_blob(APP, CONTENT)
    assert await pull(instance.registry) == CONTENT


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_a_blob_on_its_way_out_is_brought_back_to_another_place(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, *, in_pieces: bool
) -> None:
    """The collector dies, or is frozen, between the removal of the bytes and of the record."""
    await push_in_pieces(instance)
    await instance.registry.blobs.delete(APP, DIGEST, cause=BY_TEST)
    instance.clock.advance(2 * DAY_SECONDS)
    with monkeypatch.context() as patched:
        patched.setattr(Collector, "_erase", lambda _self, rows: refuse(len(rows)))
        await Collector(instance.registry).step()
    await (push_in_pieces(instance) if in_pieces else instance.push_blob(APP, CONTENT))
    assert await pull(instance.registry) == CONTENT
    instance.clock.advance(DAY_SECONDS // 4)
    await Collector(instance.registry).step()
    assert await pull(instance.registry) == CONTENT


async def refuse(count: int) -> list[None]:
    return [None] * count


async def test_a_blob_whose_bytes_are_lost_is_healed_by_a_push(instance: Instance) -> None:
    await instance.push_blob(APP, CONTENT)
    for key in await objects(instance):
        await instance.registry.storage.delete(key)
    answer = await instance.client.request("HEAD", f"/v2/{APP}/blobs/{DIGEST}")
    assert answer.status == 404
    assert [digest for digest, _ in instance.quarantined] == [DIGEST]
    await push_in_pieces(instance)
    assert await pull(instance.registry) == CONTENT


async def test_parts_of_a_session_that_ended_in_the_middle_are_found(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = instance.registry.uploads.intake
    assert isinstance(intake, PartIntake)
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await instance.registry.uploads.append(APP, session.id, body(b"some"), cause=BY_TEST)
    with monkeypatch.context() as patched:
        patched.setattr(PartIntake, "_forget_parts", lambda _self, _id: fail())
        with pytest.raises(StorageUnavailableError):
            await instance.registry.uploads.cancel(APP, session.id, cause=BY_TEST)
    assert len(await objects(instance)) == 1
    assert await intake.forget_lost() == 1
    assert await objects(instance) == []
    assert await intake.forget_lost() == 0


async def fail() -> None:
    raise StorageUnavailableError("", "for the test")
