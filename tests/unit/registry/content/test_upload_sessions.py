"""Sessions without a record: known to every process and after a restart, unknown once they have ended."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from roadstead.database import Statement
from roadstead.oci import Digest, RepositoryName
from roadstead.registry import layout, tables
from roadstead.registry.content import upload_sessions
from roadstead.registry.content.session_ids import YOUNG_SECONDS, SessionIds
from roadstead.registry.content.upload_sessions import RECORD_SECONDS
from roadstead.registry.content.uploads import Uploads
from roadstead.registry.errors import UploadUnknownError
from roadstead.registry.garbage.collection import Collector
from roadstead.registry.model import UploadSession
from roadstead.testing.clock import SettableClock
from roadstead.testing.instance import Instance
from tests.factories.access import ALL_VISIBLE, BY_TEST

pytestmark = pytest.mark.anyio

APP, OTHER = RepositoryName("app"), RepositoryName("other")
CONTENT = b"0123456789abcdef"
DIGEST = Digest.of(CONTENT)


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def another_process(instance: Instance, boot_id: str | None = None) -> Uploads:
    """The uploads of the same registry in a process that knows nothing yet."""
    return instance.another_process(boot_id=boot_id).uploads


_ROWS = Statement(select(tables.upload_sessions.c.id, tables.upload_sessions.c.offset_bytes))


async def rows(instance: Instance) -> dict[str, int]:
    """Each row's id and offset."""
    return {row[0]: row[1] for row in await instance.registry.database.fetch_all(_ROWS)}


async def assert_unknown(uploads: Uploads, session: UploadSession) -> None:
    """In every way in which a client may ask for it; and nothing is left of having asked."""
    with pytest.raises(UploadUnknownError):
        await uploads.get(session.repository, session.id, visible=ALL_VISIBLE, cause=BY_TEST)
    with pytest.raises(UploadUnknownError):
        await uploads.append(session.repository, session.id, body(b"more"), cause=BY_TEST)
    with pytest.raises(UploadUnknownError):
        await uploads.finish(session.repository, session.id, body(CONTENT), DIGEST, cause=BY_TEST)
    with pytest.raises(UploadUnknownError):
        await uploads.cancel(session.repository, session.id, cause=BY_TEST)


def assert_no_bytes(instance: Instance, session: UploadSession) -> None:
    assert layout.upload_key(session.id) not in instance.files()


async def test_a_session_has_no_row_before_its_first_bytes(instance: Instance) -> None:
    uploads = instance.registry.uploads
    session = await uploads.start(APP, "sha256", cause=BY_TEST)
    assert uuid.UUID(session.id).version == 8
    assert (await uploads.get(APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST)).offset == 0
    assert (await rows(instance)) == {}
    await uploads.append(APP, session.id, body(CONTENT[:5]), cause=BY_TEST)
    assert (await rows(instance)) == {session.id: 5}


async def test_a_chunk_of_nothing_leaves_nothing(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await instance.registry.uploads.append(APP, session.id, body(), cause=BY_TEST)
    assert_no_bytes(instance, session)
    recovered = await instance.restart()
    assert recovered.orphaned_uploads == 0
    await instance.registry.uploads.finish(APP, session.id, body(CONTENT), DIGEST, cause=BY_TEST)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_another_process_takes_it_up(instance: Instance, algorithm: str) -> None:
    session = await instance.registry.uploads.start(APP, algorithm, cause=BY_TEST)
    other = another_process(instance)
    assert (await other.get(APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST)) == session
    await other.append(APP, session.id, body(CONTENT[:5]), cause=BY_TEST)
    await instance.registry.uploads.append(APP, session.id, body(CONTENT[5:9]), begin=5, cause=BY_TEST)
    digest = Digest.of(CONTENT, algorithm)
    await other.finish(APP, session.id, body(CONTENT[9:]), digest, begin=9, cause=BY_TEST)
    assert layout.blob_key(digest) in instance.files()


async def test_it_is_known_after_a_restart(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await instance.restart()
    await instance.registry.uploads.finish(APP, session.id, body(CONTENT), DIGEST, cause=BY_TEST)
    assert layout.blob_key(DIGEST) in instance.files()


async def test_it_is_unknown_after_the_machine_was_started_anew(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    anew = another_process(instance, "second-boot")
    if instance.registry.exclusive.is_fenced:  # another machine, for all that is known
        assert (await anew.get(APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST)).offset == 0
    else:
        await assert_unknown(anew, session)
    assert_no_bytes(instance, session)


@pytest.mark.parametrize("ahead_seconds", [-YOUNG_SECONDS, 0, YOUNG_SECONDS])
async def test_ids_of_replicas_whose_clocks_differ(instance: Instance, ahead_seconds: float) -> None:
    clocks = SettableClock(), SettableClock()
    for clock in clocks:
        clock.advance(1000)
    clocks[ahead_seconds > 0].advance(abs(ahead_seconds))
    one, other = (
        SessionIds(b"key", boot, clock, is_shared=True) for boot, clock in zip((b"1", b"2"), clocks, strict=True)
    )
    session_id = one.issue(APP, "sha512", "ann")
    assert other.find_algorithm(APP, session_id, "ann") == "sha512"
    clocks[1].advance(2 * YOUNG_SECONDS + 1)
    assert other.find_algorithm(APP, session_id, "ann") is None


async def test_it_is_unknown_in_another_repository(instance: Instance) -> None:
    """CVE-2026-32589: whoever knows the id of an upload must get nowhere with it in a repository of his own."""
    begun, written = [await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST) for _ in range(2)]
    await instance.registry.uploads.append(APP, written.id, body(CONTENT), cause=BY_TEST)
    for uploads in (instance.registry.uploads, another_process(instance)):
        for session in (begun, written):
            there = UploadSession(session.id, OTHER, "sha256", 0, None, BY_TEST.actor)
            await assert_unknown(uploads, there)
    await instance.registry.uploads.finish(APP, written.id, body(), DIGEST, cause=BY_TEST)
    await instance.registry.uploads.finish(APP, begun.id, body(CONTENT), DIGEST, cause=BY_TEST)


@pytest.mark.parametrize(
    "made_up", ["4f6c0b36-7a0c-4d8e-9f0a-2b5d1c3e7f90", "00000000-0000-8000-8000-000000000000", "x", "../../etc"]
)
async def test_an_id_that_nobody_gave_out_is_unknown(instance: Instance, made_up: str) -> None:
    await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await assert_unknown(instance.registry.uploads, UploadSession(made_up, APP, "sha256", 0, None, BY_TEST.actor))
    assert instance.files() == {}


async def test_a_changed_id_is_unknown(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    for position, digit in enumerate(session.id):
        if digit != "-":
            changed = f"{session.id[:position]}{'0' if digit != '0' else '1'}{session.id[position + 1 :]}"
            with pytest.raises(UploadUnknownError):
                await another_process(instance).get(APP, changed, visible=ALL_VISIBLE, cause=BY_TEST)
    with pytest.raises(UploadUnknownError):
        await another_process(instance).get(APP, session.id.upper(), visible=ALL_VISIBLE, cause=BY_TEST)


async def finish_whole(uploads: Uploads, session: UploadSession) -> None:
    await uploads.finish(APP, session.id, body(CONTENT), DIGEST, cause=BY_TEST)


async def finish_in_pieces(uploads: Uploads, session: UploadSession) -> None:
    await uploads.append(APP, session.id, body(CONTENT), cause=BY_TEST)
    await uploads.finish(APP, session.id, body(), DIGEST, cause=BY_TEST)


async def cancel(uploads: Uploads, session: UploadSession) -> None:
    await uploads.cancel(APP, session.id, cause=BY_TEST)


async def purge(uploads: Uploads, session: UploadSession) -> None:
    await uploads.append(APP, session.id, body(CONTENT), cause=BY_TEST)
    assert await uploads.purge(older_than_ms=-1) == 1


End = Callable[[Uploads, UploadSession], Awaitable[None]]
ENDS = pytest.mark.parametrize("end", [finish_whole, finish_in_pieces, cancel, purge])


@ENDS
async def test_an_ended_session_stays_unknown_as_long_as_its_id_is_young_and_later(
    instance: Instance, end: End
) -> None:
    uploads = instance.registry.uploads
    session = await uploads.start(APP, "sha256", cause=BY_TEST)
    slow = another_process(instance)
    await slow.get(
        APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST
    )  # it knows the session from before its end, and is slow to record it
    await end(uploads, session)
    for seconds in (0.0, RECORD_SECONDS, YOUNG_SECONDS / 2, YOUNG_SECONDS, 2 * YOUNG_SECONDS, 2 * YOUNG_SECONDS):
        instance.clock.advance(seconds)
        await slow.sessions.tidy()
        for each in (uploads, slow, another_process(instance)):
            await assert_unknown(each, session)
        assert_no_bytes(instance, session)
        await uploads.sessions.tidy()
    assert (await rows(instance)) == {}


@ENDS
async def test_an_ended_session_stays_unknown_after_a_restart(instance: Instance, end: End) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await end(instance.registry.uploads, session)
    await instance.restart()
    await assert_unknown(instance.registry.uploads, session)
    assert_no_bytes(instance, session)
    await instance.registry.uploads.sessions.tidy()
    instance.clock.advance(4 * YOUNG_SECONDS + 1)
    await instance.registry.uploads.sessions.tidy()
    assert (await rows(instance)) == {}


async def test_a_process_that_slept_gives_no_row_to_what_may_have_ended(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    instance.clock.advance(YOUNG_SECONDS + 1)
    await instance.registry.uploads.sessions.tidy()
    assert (await rows(instance)) == {}
    await assert_unknown(instance.registry.uploads, session)
    assert_no_bytes(instance, session)


async def test_bytes_that_arrive_after_the_session_was_cancelled_do_not_bring_it_back(instance: Instance) -> None:
    """The one request appends for hours, the other cancels at the beginning: with a row and without."""
    uploads = instance.registry.uploads
    for waits in (0.0, RECORD_SECONDS):
        session = await uploads.start(APP, "sha256", cause=BY_TEST)
        instance.clock.advance(waits)
        await uploads.sessions.tidy()

        async def slow_body(session: UploadSession = session) -> AsyncIterator[bytes]:
            yield CONTENT[:5]
            await another_process(instance).cancel(APP, session.id, cause=BY_TEST)
            instance.clock.advance(3 * YOUNG_SECONDS)
            await uploads.sessions.tidy()
            yield CONTENT[5:]

        with pytest.raises(UploadUnknownError):
            await uploads.append(APP, session.id, slow_body(), cause=BY_TEST)
        await assert_unknown(uploads, session)


async def test_a_session_that_waits_for_its_first_bytes_gets_its_row(instance: Instance) -> None:
    session = await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await instance.registry.uploads.sessions.tidy()
    assert (await rows(instance)) == {}
    instance.clock.advance(RECORD_SECONDS)
    await instance.registry.uploads.sessions.tidy()
    assert (await rows(instance)) == {session.id: 0}
    instance.clock.advance(10 * YOUNG_SECONDS)
    await instance.restart()
    await instance.registry.uploads.finish(APP, session.id, body(CONTENT), DIGEST, cause=BY_TEST)


async def test_more_than_so_many_are_recorded_at_once(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_sessions, "BEGUN_MOST", 3)
    begun = [(await instance.registry.uploads.start(APP, "sha256", cause=BY_TEST)).id for _ in range(4)]
    assert (await rows(instance)) == dict.fromkeys(begun, 0)


async def test_what_is_remembered_is_asked_for_again(instance: Instance) -> None:
    """Another process has gone on with the session meanwhile."""
    mine, other = instance.registry.uploads, another_process(instance)
    session = await mine.start(APP, "sha256", cause=BY_TEST)
    await mine.append(APP, session.id, body(CONTENT[:3]), cause=BY_TEST)
    await other.append(APP, session.id, body(CONTENT[3:7]), cause=BY_TEST)
    assert (await mine.append(APP, session.id, body(CONTENT[7:9]), cause=BY_TEST)).offset == 9
    await other.finish(APP, session.id, body(CONTENT[9:]), DIGEST, cause=BY_TEST)
    await assert_unknown(mine, session)
    assert_no_bytes(instance, session)


async def test_ids_do_not_repeat_and_grow_old() -> None:
    clock = SettableClock()
    ids = SessionIds(b"k" * 32, b"boot", clock)
    issued = {ids.issue(APP, "sha256", "me") for _ in range(10_000)}
    assert len(issued) == 10_000
    clock.advance(YOUNG_SECONDS)
    assert not any(ids.find_algorithm(APP, each, "other") for each in issued)
    assert all(ids.find_algorithm(APP, each, "me") == "sha256" for each in issued)
    clock.advance(0.002)
    assert not any(ids.is_young(each) for each in issued)


async def test_what_another_process_took_in_counts(instance: Instance) -> None:
    """The process that begins a session may get its end, and another one what comes between."""
    one, two = instance.registry.uploads, another_process(instance)
    session = await one.start(APP, "sha256", cause=BY_TEST)
    await two.append(APP, session.id, body(CONTENT), cause=BY_TEST)
    await one.finish(APP, session.id, body(), DIGEST, cause=BY_TEST)
    assert (await instance.registry.blobs.get(APP, DIGEST, visible=ALL_VISIBLE)).size_bytes == len(CONTENT)


async def test_sessions_that_are_the_first_of_all_at_once_are_all_known(instance: Instance) -> None:
    """Many processes make the secret of the ids; it is that of one of them."""
    processes = [another_process(instance) for _ in range(8)]
    begun = await asyncio.gather(*(uploads.start(APP, "sha256", cause=BY_TEST) for uploads in processes))
    for session in begun:
        for uploads in processes:
            assert (await uploads.get(APP, session.id, visible=ALL_VISIBLE, cause=BY_TEST)).offset == 0


async def test_an_upload_goes_on_at_another_machine(tmp_path: Path, catalogue_url: str) -> None:
    """Ids say which run of a machine gave them out, and clocks since the boot have nothing in common."""
    one, other = (Instance(tmp_path, database_url=catalogue_url) for _ in range(2))
    other.boot_id = "another machine"
    other.clock.sleep(1_000_000)
    await one.open()
    await other.open()
    session = await one.registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await other.registry.uploads.append(APP, session.id, body(CONTENT[:6]), cause=BY_TEST)
    await one.registry.uploads.append(APP, session.id, body(CONTENT[6:]), cause=BY_TEST)
    await other.registry.uploads.finish(APP, session.id, body(), DIGEST, cause=BY_TEST)
    answer = await one.client.request("GET", f"/v2/app/blobs/{DIGEST}")
    assert answer.body == CONTENT
    with pytest.raises(UploadUnknownError):
        await one.registry.uploads.append(APP, session.id, body(CONTENT), cause=BY_TEST)
    await one.close()
    await other.close()


async def test_bytes_for_a_session_that_has_ended_elsewhere_leave_nothing(instance: Instance) -> None:
    """Another process ended it, and this one sees that when it records the blob."""
    registry = instance.registry
    session = await registry.uploads.start(APP, "sha256", cause=BY_TEST)
    await another_process(instance).cancel(APP, session.id, cause=BY_TEST)
    with pytest.raises(UploadUnknownError):
        await registry.uploads.finish(APP, session.id, body(CONTENT), DIGEST, cause=BY_TEST)
    assert_no_bytes(instance, session)
    instance.clock.advance(86_400)
    collector = Collector(registry)
    while (await collector.step()).looked_at:
        pass
    assert [key for key in instance.files() if not key.startswith(("aside/", "locks/"))] == []
