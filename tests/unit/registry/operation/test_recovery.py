"""What a start does about each state that a crash can leave, made by leaving exactly that state on the disk."""

import pytest
from sqlalchemy import delete, update

from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.operation.recovery import Recovered
from roadstead.registry.tables import upload_sessions
from roadstead.testing.images import digest_of
from roadstead.testing.instance import Instance
from tests.databases import change

pytestmark = pytest.mark.anyio

DATABASES = ("sqlite",)
"""Where replicas share a catalogue a start recovers nothing: see `tests/system/database/test_takeover.py`."""

CONTENT = b"0123456789abcdef"
DIGEST = Digest.of(CONTENT)


async def begin(instance: Instance, content: bytes = CONTENT) -> str:
    """An upload with all its bytes, not closed; its location."""
    answer = await instance.client.request("POST", "/v2/app/blobs/uploads/")
    location = answer.header("location")
    await instance.client.request("PATCH", location, body=content)
    return location


async def mark(instance: Instance, location: str, digest: str = DIGEST) -> None:
    """The record as it stands while the upload is being committed."""
    marked = update(upload_sessions).where(upload_sessions.c.id == location.rpartition("/")[2])
    await change(instance.registry.database, marked.values(committing_digest=digest))


def move(instance: Instance, location: str, digest: str = DIGEST) -> None:
    """The bytes where publishing puts them."""
    target = instance.objects / layout.blob_key(Digest(digest))
    target.parent.mkdir(parents=True, exist_ok=True)
    (instance.objects / layout.upload_key(location.rpartition("/")[2])).rename(target)


async def close(instance: Instance, location: str) -> int:
    answer = await instance.client.request("PUT", f"{location}?digest={DIGEST}")
    return answer.status


async def test_nothing_happened(instance: Instance) -> None:
    location = await begin(instance)
    await instance.push_blob("app", b"other")
    assert await instance.restart() == Recovered(0, 0, 0)
    assert await close(instance, location) == 201


async def test_marked_and_not_moved(instance: Instance) -> None:
    """The client may close the upload again."""
    location = await begin(instance)
    await mark(instance, location)
    assert await instance.restart() == Recovered(0, 0, 0)
    assert (await instance.client.request("HEAD", f"/v2/app/blobs/{DIGEST}")).status == 404
    assert await close(instance, location) == 201
    assert (await instance.client.request("GET", f"/v2/app/blobs/{DIGEST}")).body == CONTENT


async def test_moved_and_not_recorded(instance: Instance) -> None:
    """Nobody was told 201: the bytes go, and the client begins again."""
    location = await begin(instance)
    await mark(instance, location)
    move(instance, location)
    assert await instance.restart() == Recovered(orphaned_blobs=1, orphaned_uploads=0, ended_sessions=1)
    assert instance.files() == {}
    assert (await instance.client.request("GET", location)).status == 404
    await instance.push_blob("app", CONTENT)
    assert await instance.restart() == Recovered(0, 0, 0)


async def test_moved_onto_a_blob_that_another_has_recorded(instance: Instance) -> None:
    """The bytes are the recorded blob's now, and stay."""
    location = await begin(instance)
    await mark(instance, location)
    move(instance, location)
    await instance.push_blob("other", CONTENT)
    assert await instance.restart() == Recovered(orphaned_blobs=0, orphaned_uploads=0, ended_sessions=1)
    assert (await instance.client.request("GET", f"/v2/other/blobs/{DIGEST}")).body == CONTENT


async def test_moved_and_named_by_the_digest_that_was_saved(instance: Instance) -> None:
    """A push that adds nothing when it closes needs no mark: what the last chunk has saved says which blob it is."""
    location = await begin(instance)
    move(instance, location)
    assert await instance.restart() == Recovered(orphaned_blobs=1, orphaned_uploads=0, ended_sessions=1)
    assert instance.files() == {}
    assert (await instance.client.request("GET", location)).status == 404
    assert await close(instance, location) == 404
    await instance.push_blob("app", CONTENT)


async def test_moved_and_named_by_the_digest_of_another_boot(instance: Instance) -> None:
    """It says nothing of the bytes, but where they were going to be."""
    location = await begin(instance)
    move(instance, location)
    instance.boot_id = "second-boot"
    assert await instance.restart() == Recovered(orphaned_blobs=1, orphaned_uploads=0, ended_sessions=1)
    assert instance.files() == {}


async def test_moved_onto_a_recorded_blob_without_a_mark(instance: Instance) -> None:
    location = await begin(instance)
    move(instance, location)
    await instance.push_blob("other", CONTENT)
    assert await instance.restart() == Recovered(orphaned_blobs=0, orphaned_uploads=0, ended_sessions=1)
    assert (await instance.client.request("GET", f"/v2/other/blobs/{DIGEST}")).body == CONTENT


async def test_moved_and_named_by_nothing(instance: Instance) -> None:
    """After a loss of power the session's record may be gone: the bytes harm nobody, and a push takes them over."""
    location = await begin(instance)
    move(instance, location)
    await change(instance.registry.database, delete(upload_sessions))
    await instance.restart()
    assert (await instance.client.request("HEAD", f"/v2/app/blobs/{DIGEST}")).status == 404
    await instance.push_blob("app", CONTENT)
    assert (await instance.client.request("GET", f"/v2/app/blobs/{DIGEST}")).body == CONTENT


async def test_recorded_and_the_upload_s_bytes_still_there(instance: Instance) -> None:
    """A push of what was known already, which died before it removed its bytes."""
    await instance.push_blob("app", CONTENT)
    stray = instance.objects / layout.upload_key("left-over")
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(CONTENT)
    assert await instance.restart() == Recovered(orphaned_blobs=0, orphaned_uploads=1, ended_sessions=0)
    assert list(instance.files()) == [layout.blob_key(DIGEST)]


async def test_cancelled_and_the_bytes_still_there(instance: Instance) -> None:
    kept, cancelled = await begin(instance), await begin(instance)
    is_cancelled = upload_sessions.c.id == cancelled.rpartition("/")[2]
    await change(instance.registry.database, delete(upload_sessions).where(is_cancelled))
    assert await instance.restart() == Recovered(orphaned_blobs=0, orphaned_uploads=1, ended_sessions=0)
    assert await close(instance, kept) == 201


async def test_begun_and_no_bytes(instance: Instance) -> None:
    answer = await instance.client.request("POST", "/v2/app/blobs/uploads/")
    location = answer.header("location")
    assert await instance.restart() == Recovered(0, 0, 0)
    await instance.client.request("PATCH", location, body=CONTENT)
    assert await close(instance, location) == 201


async def test_many_sessions_are_looked_at_in_batches(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.registry.operation.recovery.BATCH", 2)
    for number in range(5):
        content = b"%d" % number
        location = await begin(instance, content)
        await mark(instance, location, digest_of(content))
        if number % 2:
            move(instance, location, digest_of(content))
    assert await instance.restart() == Recovered(orphaned_blobs=2, orphaned_uploads=0, ended_sessions=2)
    assert await instance.restart() == Recovered(0, 0, 0)
    assert len(instance.files()) == 3
