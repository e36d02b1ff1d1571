"""The fake in memory keeps the same contract as the real stores, or it would prove nothing."""

from collections.abc import AsyncIterator

import pytest

from roadstead.storage import StorageFullError
from roadstead.testing.memory_store import MemoryStore
from roadstead.testing.object_store_contract import Footprint, ObjectStoreContract, ignore, read, refused

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    before = Footprint.take()
    store = MemoryStore()
    yield store
    await store.close()
    assert store.open_handles == 0
    before.assert_nothing_new(below="/")


class TestMemoryStore(ObjectStoreContract):
    """The suite."""


async def test_failing_on_demand(store: MemoryStore) -> None:
    store.fail_next(StorageFullError())
    writer = await store.open_writer("object")
    with refused(StorageFullError):
        await writer.append([b"1234", b"5678"], ignore)
    writer.close()
    assert b"12345678".startswith(await read(store, "object"))
    writer = await store.open_writer("object")
    await writer.append([b"again"], ignore)
    writer.close()
    assert await read(store, "object") == b"again"
