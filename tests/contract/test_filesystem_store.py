"""The file system keeps the contract of object stores, and leaves no file open, no thread and no stray file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roadstead.storage import FilesystemStore
from roadstead.testing.object_store_contract import Footprint, ObjectStoreContract, assert_no_files

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    """A store in a folder that does not exist at first."""
    before = Footprint.take()
    store = FilesystemStore(tmp_path / "not" / "yet")
    yield store
    async for found in store.iter_objects(""):
        assert await store.delete(found.key)
    await store.close()
    before.assert_nothing_new(below=str(tmp_path))
    assert_no_files(tmp_path)


class TestFilesystemStore(ObjectStoreContract):
    """The suite on a file system."""
