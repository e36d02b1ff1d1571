"""Upload sessions below HTTP: failures of storage, restarts, purging, and two that end with the same content."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import nullcontext
from typing import Any, TypeVar

import pytest
from sqlalchemy import null, update

from roadstead.database import Database, NameLock, Transaction
from roadstead.oci import Digest, RepositoryName
from roadstead.registry import Registry, layout
from roadstead.registry.content.receiving import GATHER_BYTES
from roadstead.registry.errors import BlobQuarantinedError, UploadDigestMismatchError, UploadUnknownError
from roadstead.registry.tables import upload_sessions
from roadstead.storage import StorageFullError, StorageUnavailableError, file_objects
from roadstead.testing.instance import Instance
from roadstead.testing.memory_store import MemoryStore
from roadstead.testing.wrapped_database import WrappedDatabase
from tests.databases import change
from tests.factories.access import ALL_VISIBLE, BY_TEST

T = TypeVar("T")

pytestmark = pytest.mark.anyio

APP = RepositoryName("app")
CONTENT = b"0123456789abcdef"
DIGEST = Digest.of(CONTENT)


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def pull(registry: Registry, digest: Digest = DIGEST) -> bytes:
    reader = await registry.blobs.open(APP, digest, visible=ALL_VISIBLE)
    try:
        return bytes(await reader.read(0, reader.size_bytes))
    finally:
        reader.close()


async def in_memory(instance: Instance) -> MemoryStore:
    """The instance again, with its objects in memory."""
    await instance.close()
    storage = MemoryStore()
    await instance.open(storage)
    return storage


async def test_a_digest_that_was_not_saved_is_computed_from_the_bytes(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await instance.registry.uploads.append(APP, session.id, body(CONTENT[:9]), cause=BY_TEST)
    await change(instance.registry.database, update(upload_sessions).values(digest_state=null()))
    await instance.registry.uploads.finish(APP, session.id, body(CONTENT[9:]), DIGEST, cause=BY_TEST)
    assert await pull(instance.registry) == CONTENT


async def test_a_digest_of_another_boot_is_not_trusted(instance: Instance) -> None:
    """After a loss of power the file may hold other bytes than the digest has seen."""
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await instance.registry.uploads.append(APP, session.id, body(CONTENT), cause=BY_TEST)
    (instance.objects / layout.upload_key(session.id)).write_bytes(bytes(len(CONTENT)))
    instance.boot_id = "second-boot"
    await instance.restart()
    with pytest.raises(UploadDigestMismatchError):
        await instance.registry.uploads.finish(APP, session.id, body(), DIGEST, cause=BY_TEST)


async def test_bytes_that_are_fewer_than_recorded_end_the_session(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await instance.registry.uploads.append(APP, session.id, body(CONTENT), cause=BY_TEST)
    (instance.objects / layout.upload_key(session.id)).write_bytes(CONTENT[:3])
    for _ in range(2):
        with pytest.raises(UploadUnknownError):
            await instance.registry.uploads.append(APP, session.id, body(b"more"), cause=BY_TEST)
    assert instance.files() == {}


async def test_bytes_past_the_record_are_dropped(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await instance.registry.uploads.append(APP, session.id, body(CONTENT[:5]), cause=BY_TEST)
    with (instance.objects / layout.upload_key(session.id)).open("ab") as file:
        file.write(b"written before a crash, never recorded")
    await instance.registry.uploads.finish(APP, session.id, body(CONTENT[5:]), DIGEST, cause=BY_TEST)
    assert await pull(instance.registry) == CONTENT


async def test_a_full_disk_loses_nothing_that_was_acknowledged(instance: Instance) -> None:
    storage = await in_memory(instance)
    uploads = instance.registry.uploads
    session = await uploads.start(APP, "sha256", cause=BY_TEST)
    await uploads.append(APP, session.id, body(CONTENT[:5]), cause=BY_TEST)
    storage.fail_next(StorageFullError())
    with pytest.raises(StorageFullError):
        await uploads.append(APP, session.id, body(CONTENT[5:]), cause=BY_TEST)
    assert (await uploads.get(APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST)).offset == 5
    await uploads.finish(APP, session.id, body(CONTENT[5:]), DIGEST, cause=BY_TEST)
    assert await pull(instance.registry) == CONTENT
    assert storage.open_handles == 0


async def test_a_failed_write_ends_the_session(instance: Instance) -> None:
    storage = await in_memory(instance)
    uploads = instance.registry.uploads
    session = await uploads.start(APP, "sha256", cause=BY_TEST)
    storage.fail_next(StorageUnavailableError("key", "Input/output error"))
    with pytest.raises(StorageUnavailableError):
        await uploads.append(APP, session.id, body(CONTENT), cause=BY_TEST)
    with pytest.raises(UploadUnknownError):
        await uploads.get(APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST)
    assert [found async for found in storage.iter_objects("")] == []
    assert storage.open_handles == 0


async def test_a_write_that_fails_in_the_middle_of_a_long_body(instance: Instance) -> None:
    storage = await in_memory(instance)
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    storage.fail_next(StorageFullError())
    pieces = [bytes(GATHER_BYTES)] * 5
    with pytest.raises(StorageFullError):
        await instance.registry.uploads.append(APP, session.id, body(*pieces), cause=BY_TEST)
    assert (await instance.registry.uploads.get(APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST)).offset == 0
    assert storage.open_handles == 0


async def test_too_little_space_to_begin(instance: Instance) -> None:
    strict = Instance(instance.folder, minimum_free_bytes=1 << 62, database_url=instance.database_url)
    await instance.close()
    await strict.open()
    with pytest.raises(StorageFullError):
        await strict.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await strict.close()
    await instance.open()


async def test_purging(instance: Instance) -> None:
    uploads = instance.registry.uploads
    old = [await uploads.start(APP, "sha256", cause=BY_TEST) for _ in range(3)]
    await uploads.append(APP, old[0].id, body(CONTENT), cause=BY_TEST)
    await record_begun(instance)
    instance.clock.advance(100)
    await uploads.append(APP, old[1].id, body(CONTENT), cause=BY_TEST)
    young = await uploads.start(APP, "sha256", cause=BY_TEST)
    assert await uploads.purge(older_than_ms=100_000) == 0
    instance.clock.advance(1)
    assert await uploads.purge(older_than_ms=100_000) == 2
    assert list(instance.files()) == [layout.upload_key(old[1].id)]
    for session in (old[1], young):
        await uploads.get(APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST)
    for session in (old[0], old[2]):
        with pytest.raises(UploadUnknownError):
            await uploads.get(APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST)


async def test_a_request_that_is_cancelled_keeps_what_arrived(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    arrived = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield CONTENT[:7]
        arrived.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(instance.registry.uploads.append(APP, session.id, endless(), cause=BY_TEST))
    await arrived.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert (await instance.registry.uploads.get(APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST)).offset == 7
    await instance.registry.uploads.finish(APP, session.id, body(CONTENT[7:]), DIGEST, cause=BY_TEST)
    assert await pull(instance.registry) == CONTENT


async def test_a_request_that_is_cancelled_while_bytes_are_written(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job goes on in its thread: what it wrote and what it hashed must both be counted."""
    started, go_on = threading.Event(), threading.Event()
    write_all = file_objects._write_all

    def wait_and_write(*arguments: Any) -> int:
        started.set()
        assert go_on.wait(10)
        return write_all(*arguments)

    monkeypatch.setattr(file_objects, "_write_all", wait_and_write)
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    pieces = [os.urandom(GATHER_BYTES), os.urandom(GATHER_BYTES)]
    upload = asyncio.create_task(instance.registry.uploads.append(APP, session.id, body(*pieces), cause=BY_TEST))
    assert await asyncio.to_thread(started.wait, 10)
    upload.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await upload
    reached = (await instance.registry.uploads.get(APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST)).offset
    assert reached == sum(len(piece) for piece in pieces)
    await instance.registry.uploads.finish(APP, session.id, body(), Digest.of(b"".join(pieces)), cause=BY_TEST)


async def record_begun(instance: Instance) -> None:
    """What a server does every few seconds: sessions that wait for their first bytes get their rows."""
    await instance.registry.uploads.sessions._record_begun(0.0)


class HeldDatabase(WrappedDatabase):
    """A ``Database`` whose next write waits until told to go on: another process that is slow."""

    def __init__(self, database: Database) -> None:
        """``database`` does the work."""
        super().__init__(database)
        self.looked, self.go_on = asyncio.Event(), asyncio.Event()

    async def write(
        self,
        work: Callable[[Transaction], Awaitable[T]],
        *,
        locks: Iterable[NameLock] = (),
        durable: bool = True,
        is_long: bool = False,
    ) -> T:
        """Waits, then writes."""
        self.looked.set()
        await self.go_on.wait()
        return await self.wrapped.write(work, locks=locks, durable=durable, is_long=is_long)


@pytest.mark.parametrize("is_broken", [False, True])
async def test_uploads_of_one_content_keep_out_of_each_other_s_way(instance: Instance, *, is_broken: bool) -> None:
    """Two processes with the same content: the second waits while the first is committing, whatever becomes of it.

    Those that share a server need not wait, since what one of them does to the bytes harms nobody.
    """
    registry = instance.registry
    is_waited_for = not registry.exclusive.is_fenced
    held = HeldDatabase(registry.database)
    slow = instance.another_process(database=held).uploads
    first, second = [await registry.uploads.start(APP, "sha256", cause=BY_TEST) for _ in range(2)]
    finishing = asyncio.create_task(slow.finish(APP, first.id, body(CONTENT), DIGEST, cause=BY_TEST))
    await held.looked.wait()
    waiting = asyncio.create_task(registry.uploads.finish(APP, second.id, body(CONTENT), DIGEST, cause=BY_TEST))
    await asyncio.wait({waiting}, timeout=0.05 if is_waited_for else None)
    assert waiting.done() is not is_waited_for
    if is_broken:
        (instance.objects / layout.upload_key(first.id)).unlink()
    held.go_on.set()
    with pytest.raises(UploadUnknownError) if is_broken and is_waited_for else nullcontext():
        await finishing
    await waiting
    assert await pull(registry) == CONTENT
    assert list(instance.files()) == [layout.blob_key(DIGEST)]


async def test_a_late_quarantine_does_not_undo_a_push(instance: Instance) -> None:
    """A reader finds the bytes missing and is slow to say so; what a push has healed meanwhile stays."""
    registry = instance.registry
    await instance.push_blob("app", CONTENT)
    (instance.objects / layout.blob_key(DIGEST)).unlink()
    held = HeldDatabase(registry.database)
    slow = instance.another_process(database=held).blobs
    reading = asyncio.create_task(slow.open(APP, DIGEST, visible=ALL_VISIBLE))
    await held.looked.wait()
    healing = asyncio.create_task(instance.push_blob("app", CONTENT))
    if registry.exclusive.is_fenced:  # which the reader sees before it says anything
        await healing
        held.go_on.set()
        (await reading).close()
    else:
        await asyncio.wait({healing}, timeout=0.05)
        assert not healing.done()
        held.go_on.set()
        with pytest.raises(BlobQuarantinedError):
            await reading
        await healing
    assert await pull(registry) == CONTENT


async def test_a_reader_that_looks_again_finds_what_was_healed(instance: Instance) -> None:
    """The bytes are missing at the first look, and back when the reader has the blob for itself."""
    registry = instance.registry
    await instance.push_blob("app", CONTENT)
    (instance.objects / layout.blob_key(DIGEST)).unlink()
    async with registry.exclusive.hold(DIGEST):
        reading = asyncio.create_task(registry.blobs.open(APP, DIGEST, visible=ALL_VISIBLE))
        await asyncio.wait({reading}, timeout=0.05)
        (instance.objects / layout.blob_key(DIGEST)).write_bytes(CONTENT)
    reader = await reading
    assert bytes(await reader.read(0, 100)) == CONTENT[:100]
    reader.close()


async def test_uploads_of_one_content_end_one_after_the_other(instance: Instance) -> None:
    """Each is acknowledged, and the bytes are published once: nobody replaces what another was told is stored.

    Where replicas share a server each puts its own in place, which are the same, and moves nothing.
    """
    published: list[str] = []

    class Counting(MemoryStore):
        """Notes what appears."""

        async def move(self, source: str, target: str) -> None:
            """As ever."""
            published.append(target)
            await super().move(source, target)

    await instance.close()
    await instance.open(Counting())
    uploads = instance.registry.uploads

    async def push(number: int) -> None:
        session = await uploads.start(APP, "sha256", cause=BY_TEST)
        await asyncio.sleep(number / 2000)
        await uploads.finish(APP, session.id, body(CONTENT), DIGEST, cause=BY_TEST)
        assert await pull(instance.registry) == CONTENT

    await asyncio.gather(*(push(number) for number in range(20)))
    assert published == ([] if instance.registry.exclusive.is_fenced else [layout.blob_key(DIGEST)])
