"""Objects in buckets: what the registry relies on, on each server that speaks S3."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from roadstead.storage import (
    Buffer,
    ObjectSink,
    ObjectUnknownError,
    StorageAbsentError,
    StorageError,
    StorageUnavailableError,
)
from roadstead.storage.bucket import PART_BYTES, BucketStore

if TYPE_CHECKING:
    from tests.buckets import TestBucket

pytestmark = pytest.mark.anyio

KEY = "objects/00ff"
MARK = "roadstead.storage"


def ignore(_buffer: Buffer) -> None:
    """Observes nothing."""


@pytest.fixture
async def store(bucket: TestBucket) -> BucketStore:
    store = BucketStore(bucket.place.open(), presence_key=MARK)
    await store.put(MARK, b"{}")
    return store


async def write(store: BucketStore, key: str, *pieces: bytes) -> None:
    sink = store.open_sink(key)
    for piece in pieces:
        await sink.append([piece], ignore)
    await sink.finish()


async def fill(sink: ObjectSink) -> None:
    for _ in range(20):
        await sink.append([bytes(1 << 20)], ignore)
    await sink.finish()


async def read(store: BucketStore, key: str) -> bytes:
    reader = await store.open_reader(key)
    try:
        return await reader.read(0, reader.size_bytes)
    finally:
        reader.close()


@pytest.mark.parametrize("size", [0, 1, 1000, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 7])
async def test_bytes_come_back(store: BucketStore, bucket: TestBucket, size: int) -> None:
    content = os.urandom(size)
    pieces = [content[start : start + 700_001] for start in range(0, size, 700_001)]
    await write(store, KEY, *pieces)
    assert await read(store, KEY) == content
    found = await store.find(KEY)
    assert found is not None
    assert found.size_bytes == size
    assert f"some/prefix/{KEY}" in bucket.list_keys()
    assert bucket.uploads() == []


async def test_buffers_may_be_filled_again(store: BucketStore) -> None:
    """The library keeps what it is given until its part is sent."""
    buffer, seen = bytearray(1 << 20), []
    sink = store.open_sink(KEY)
    for number in range(12):
        buffer[:] = bytes([number]) * len(buffer)
        await sink.append([memoryview(buffer)], lambda piece: seen.append(bytes(piece[:1])))
    await sink.finish()
    content = await read(store, KEY)
    assert [content[start : start + 1] for start in range(0, len(content), 1 << 20)] == seen
    assert content == b"".join(bytes([number]) * (1 << 20) for number in range(12))


@pytest.mark.parametrize("size", [1000, 3 * PART_BYTES])
async def test_nothing_is_seen_before_the_end(store: BucketStore, size: int) -> None:
    sink = store.open_sink(KEY)
    await sink.append([bytes(size)], ignore)
    assert await store.find(KEY) is None
    with pytest.raises(ObjectUnknownError):
        await store.open_reader(KEY)
    await sink.finish()
    assert await store.find(KEY) is not None


@pytest.mark.parametrize("size", [0, 1000, 3 * PART_BYTES])
async def test_what_is_given_up_leaves_nothing(store: BucketStore, bucket: TestBucket, size: int) -> None:
    sink = store.open_sink(KEY)
    await sink.append([bytes(size)], ignore)
    await sink.abort()
    await sink.abort()
    assert await store.find(KEY) is None
    assert bucket.uploads() == []


async def test_an_abort_after_the_end_takes_nothing_away(store: BucketStore) -> None:
    await write(store, KEY, b"kept")
    sink = store.open_sink("objects/01")
    await sink.append([b"other"], ignore)
    await sink.finish()
    await sink.abort()
    assert await read(store, "objects/01") == b"other"


async def test_reading_in_any_order(store: BucketStore) -> None:
    content = os.urandom(3_000_000)
    await write(store, KEY, content)
    reader = await store.open_reader(KEY)
    assert reader.size_bytes == len(content)
    assert await reader.read(0, 10) == content[:10]
    assert await reader.read(10, 1_500_000) == content[10:1_500_010]
    assert await reader.read(2_999_990, 100) == content[-10:]
    assert await reader.read(5, 5) == content[5:10]
    assert await reader.read(len(content), 1) == b""
    assert await reader.read_once(1_000_000, 1_000_000) == content[1_000_000:2_000_000]
    reader.close()
    reader.close()


async def test_objects_that_are_not_there(store: BucketStore) -> None:
    assert await store.find(KEY) is None
    with pytest.raises(ObjectUnknownError):
        await store.open_reader(KEY)
    assert await store.delete(KEY) is True
    assert list(await store.delete_all([])) == []


async def test_many_are_deleted_at_once(store: BucketStore) -> None:
    keys = [f"objects/{number:04x}" for number in range(30)]
    await asyncio.gather(*(store.put(key, b"1") for key in keys[::2]))
    assert list(await store.delete_all(keys)) == [True] * 30
    assert [found.key async for found in store.iter_objects("objects")] == []
    assert await store.find(MARK) is not None


async def test_a_listing_goes_on_after_a_key(store: BucketStore) -> None:
    keys = [f"objects/{number:04x}" for number in range(20)]
    await asyncio.gather(*(store.put(key, b"12") for key in keys))
    await store.put("objectsother/1", b"1")
    listed = [found async for found in store.iter_objects("objects")]
    assert [found.key for found in listed] == keys
    assert {found.size_bytes for found in listed} == {2}
    assert all(abs(found.modified_ms / 1000 - time.time()) < 60 for found in listed)
    assert [found.key async for found in store.iter_objects("objects", after=keys[16])] == keys[17:]


async def test_a_bucket_that_is_gone_is_not_an_object_that_is(bucket: TestBucket) -> None:
    """Neither one that is another one: it has no mark."""
    store = BucketStore(bucket.place.open(is_patient=False), presence_key=MARK)
    with pytest.raises(StorageAbsentError):
        await store.find(KEY)
    assert store.find_absence()
    await store.put(MARK, b"{}")
    assert await store.find(MARK) is not None
    assert not store.find_absence(), "it came back"
    await store.delete(MARK)
    bucket.client.delete_bucket(Bucket=bucket.name)
    with pytest.raises(StorageAbsentError):
        await store.open_reader(KEY)
    with pytest.raises(StorageError):
        await store.put(KEY, b"1")


async def test_a_server_that_does_not_answer(bucket: TestBucket) -> None:
    place = type(bucket)("http://127.0.0.1:9", bucket.name).place
    store = BucketStore(place.open(is_patient=False))
    for work in (store.find(KEY), store.put(KEY, b"1"), store.open_reader(KEY)):
        with pytest.raises(StorageUnavailableError):
            await work
    sink = store.open_sink(KEY)
    with pytest.raises(StorageUnavailableError):
        await fill(sink)
    await sink.abort()


async def test_an_address_that_others_may_read(store: BucketStore) -> None:
    await store.put(KEY, b"content")
    address = await store.presign(KEY, seconds=60)
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(address)).content == b"content"
