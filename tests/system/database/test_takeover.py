"""Recovery beside others: what a dead replica left is taken up, what a living one is in the middle of stays."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.garbage.collection import Collector
from roadstead.registry.operation.takeover import STILL_SECONDS, Takeover
from roadstead.storage import FolderStore
from roadstead.testing.images import digest_of
from roadstead.testing.instance import Instance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
DATABASES = ("postgresql",)
CONTENT = b"half of a push"
BLOB = digest_of(CONTENT)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def instance(tmp_path: Path, database_url: str) -> AsyncIterator[Instance]:
    instance = Instance(tmp_path, database_url=database_url)
    await instance.open()
    yield instance
    await instance.close()


def takeover_of(instance: Instance) -> Takeover:
    registry = instance.registry
    assert isinstance(registry.storage, FolderStore)
    return Takeover(registry.database, registry.storage, instance.clock, registry.rules)


async def begin(instance: Instance) -> str:
    """An upload with its bytes; where it is."""
    started = await instance.client.request("POST", "/v2/app/blobs/uploads/")
    answer = await instance.client.request("PATCH", started.headers("location")[0], body=CONTENT)
    assert answer.status == 202
    return answer.headers("location")[0]


def publish_as_one_that_died(instance: Instance) -> Path:
    """The bytes get the blob's key, and nobody records it."""
    path = instance.objects / layout.blob_key(Digest(BLOB))
    path.parent.mkdir(parents=True, exist_ok=True)
    (upload,) = (instance.objects / layout.UPLOADS).iterdir()
    os.link(upload, path)
    return path


async def test_what_was_published_and_not_recorded_goes_and_the_client_may_go_on(instance: Instance) -> None:
    location = await begin(instance)
    path = publish_as_one_that_died(instance)
    takeover = takeover_of(instance)
    assert (await takeover.round()).orphaned_blobs == 0
    instance.clock.advance(STILL_SECONDS + 1)
    assert (await takeover.round()).orphaned_blobs == 1
    assert (await takeover.round()).orphaned_blobs == 0
    await Collector(instance.registry).step()
    assert not path.exists()
    separator = "&" if "?" in location else "?"
    answer = await instance.client.request("PUT", f"{location}{separator}digest={BLOB}")
    assert answer.status == 201
    assert (await instance.client.request("GET", f"/v2/app/blobs/{BLOB}")).body == CONTENT


async def test_a_session_whose_bytes_are_lost_ends(instance: Instance) -> None:
    await begin(instance)
    takeover = takeover_of(instance)
    await takeover.round()
    (upload,) = (instance.objects / layout.UPLOADS).iterdir()
    upload.unlink()
    instance.clock.advance(STILL_SECONDS + 1)
    assert (await takeover.round()).ended_sessions == 1


async def test_bytes_without_a_record_go_when_they_are_old(instance: Instance) -> None:
    await begin(instance)
    for name, age in (("old", 2 * 86_400), ("young", 60)):
        stray = instance.objects / layout.upload_key(name)
        stray.write_bytes(b"stray")
        moment = stray.stat().st_mtime - age
        os.utime(stray, (moment, moment))
    assert (await takeover_of(instance).round()).orphaned_uploads == 1
    left = {path.name for path in (instance.objects / layout.UPLOADS).iterdir()}
    assert "young" in left
    assert len(left) == 2


async def test_what_was_published_of_an_upload_that_has_no_record_goes_too(instance: Instance) -> None:
    """A push in one request leaves its object alone: that says which blob it has put in place."""
    stray = instance.objects / layout.upload_key("stray")
    stray.parent.mkdir(parents=True)
    stray.write_bytes(CONTENT)
    path = publish_as_one_that_died(instance)
    moment = stray.stat().st_mtime - 2 * 86_400
    os.utime(stray, (moment, moment))
    assert (await takeover_of(instance).round()).orphaned_uploads == 1
    await Collector(instance.registry).step()
    assert not path.exists()
