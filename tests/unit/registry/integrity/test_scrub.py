"""The scrub finds whatever rotted, puts it aside, and nothing else; it goes on where it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import update

from roadstead.database import Transaction
from roadstead.jobs import save_state
from roadstead.oci import Digest
from roadstead.registry import Registry, layout
from roadstead.registry.content import store
from roadstead.registry.integrity.refetch import BATCH, Refetcher
from roadstead.registry.integrity.scrub import Damage, Scrubber, ScrubObserver, find_scrub
from roadstead.registry.pace import Pace
from roadstead.registry.tables import manifests
from roadstead.remotes import Upstream
from roadstead.storage import FilesystemStore, ObjectReader, StorageUnavailableError
from roadstead.testing.instance import Instance
from tests.databases import change

pytestmark = pytest.mark.anyio

DAY_MS = 86_400_000


@dataclass
class Witness:
    """What a scrub told."""

    read: int = 0
    found: list[tuple[Damage, str]] = field(default_factory=list)

    def observer(self) -> ScrubObserver:
        """Tells this."""

        def read(amount: int) -> None:
            self.read += amount

        return ScrubObserver(read=read, found=lambda damage, digest, _reason: self.found.append((damage, digest)))


def scrubber(registry: Registry, witness: Witness, *, interval_ms: int = 30 * DAY_MS) -> Scrubber:
    return Scrubber(registry, Pace(0, registry.clock), witness.observer(), interval_ms=interval_ms)


def path_of(instance: Instance, digest: str) -> Path:
    return instance.objects / layout.blob_key(Digest(digest))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "lengthened": lambda path: path.write_bytes(path.read_bytes() + b"!"),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_rotted_is_put_aside_and_a_push_heals_it(instance: Instance, damage: str) -> None:
    """Within one pass; a pull then gets 404 instead of wrong bytes."""
    whole, rotten = b"whole" * 1000, b"rotten" * 1000
    await instance.push_blob("app", whole)
    digest = await instance.push_blob("app", rotten)
    DAMAGES[damage](path_of(instance, digest))
    witness = Witness()
    scrub = scrubber(instance.registry, witness)
    assert not await scrub.round(), "a pass so short is done in a round"
    assert witness.found == [(Damage.BLOB, digest)]
    assert [named for named, _ in instance.quarantined] == [digest]
    answer = await instance.client.request("GET", f"/v2/app/blobs/{digest}")
    assert answer.status == 404
    assert b"push it again" in answer.body
    await instance.push_blob("app", rotten)
    assert (await instance.client.request("GET", f"/v2/app/blobs/{digest}")).body == rotten
    state = await find_scrub(instance.registry.database)
    assert (state.completed_damage, state.completed_blobs, state.is_running) == (1, 2, False)


async def test_a_large_blob_is_read_to_its_end(instance: Instance) -> None:
    content = bytes(3 << 20) + b"end"
    digest = await instance.push_blob("app", content)
    path = path_of(instance, digest)
    path.write_bytes(content[:-1] + b"!")
    witness = Witness()
    await scrubber(instance.registry, witness).round()
    assert witness.found == [(Damage.BLOB, digest)]
    assert witness.read == 2 * len(content), "what seems rotten is read a second time"


async def test_an_empty_blob_is_whole(instance: Instance) -> None:
    await instance.push_blob("app", b"")
    witness = Witness()
    await scrubber(instance.registry, witness).round()
    assert witness.found == []


async def test_what_is_healed_meanwhile_is_left_alone(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push that was acknowledged between the look and the quarantine must not be undone by it."""
    digest = await instance.push_blob("app", b"content")
    path = path_of(instance, digest)
    path.write_bytes(b"rotten!")
    quarantine = type(instance.registry.blobs).quarantine

    async def push_first(blobs: object, *arguments: object, **more: object) -> bool:
        path.unlink()
        path.write_bytes(b"content")
        return await quarantine(blobs, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(instance.registry.blobs), "quarantine", push_first)
    witness = Witness()
    await scrubber(instance.registry, witness).round()
    assert witness.found == []
    assert (await instance.client.request("GET", f"/v2/app/blobs/{digest}")).body == b"content"


async def test_a_storage_that_is_not_mounted_has_rotted_nothing(instance: Instance, tmp_path: Path) -> None:
    digests = [await instance.push_blob("app", str(number).encode()) for number in range(5)]
    aside = tmp_path / "unmounted"
    blobs = instance.objects / "docker"
    blobs.rename(aside)
    witness = Witness()
    await scrubber(instance.registry, witness).round()
    assert {damage for damage, _ in witness.found} == {Damage.UNREADABLE}
    assert instance.quarantined == []
    aside.rename(blobs)
    for digest in digests:
        assert (await instance.client.request("GET", f"/v2/app/blobs/{digest}")).status == 200


async def test_what_cannot_be_read_just_now_is_left_alone(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    await instance.push_blob("app", b"content")

    async def fail(_store: object, key: str) -> ObjectReader:
        raise StorageUnavailableError(key, "Input/output error")

    monkeypatch.setattr(FilesystemStore, "open_reader", fail)
    witness = Witness()
    await scrubber(instance.registry, witness).round()
    assert [damage for damage, _ in witness.found] == [Damage.UNREADABLE]
    assert instance.quarantined == []


async def test_a_damaged_manifest_is_said_and_healed_by_whoever_can(instance: Instance) -> None:
    content = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    headers = {"content-type": "application/vnd.oci.image.index.v1+json"}
    assert (await instance.client.request("PUT", "/v2/app/manifests/v1", headers=headers, body=content)).status == 201
    await change(instance.registry.database, update(manifests).values(body=b"rotten"))
    asked: list[str] = []

    async def heal(digest: Digest) -> bool:
        asked.append(digest)
        return True

    witness = Witness()
    registry = instance.registry
    await Scrubber(registry, Pace(0, registry.clock), witness.observer(), heal_manifest=heal).round()
    assert witness.found == [(Damage.MANIFEST, str(Digest.of(content)))]
    assert asked == [Digest.of(content)]


async def test_a_pass_waits_for_its_time(instance: Instance) -> None:
    await instance.push_blob("app", b"content")
    witness = Witness()
    scrub = scrubber(instance.registry, witness)
    await scrub.round()
    once = witness.read
    assert once
    instance.clock.advance(29 * 86_400)
    await scrub.round()
    assert witness.read == once
    instance.clock.advance(2 * 86_400)
    await scrub.round()
    assert witness.read == 2 * once


async def test_it_goes_on_where_it_was_after_a_restart(instance: Instance) -> None:
    """Rounds are over after some seconds of the clock; here each piece takes as long."""
    for number in range(6):
        await instance.push_blob("app", str(number).encode())

    def slow(witness: Witness) -> ScrubObserver:
        observer = witness.observer()

        def read(amount: int) -> None:
            observer.read(amount)
            instance.clock.advance(3)

        return ScrubObserver(read=read, found=observer.found)

    reads: list[int] = []
    for _ in range(4):
        witness = Witness()
        scrub = Scrubber(instance.registry, Pace(0, instance.clock), slow(witness), interval_ms=DAY_MS)
        if await scrub.round():
            assert (await find_scrub(instance.registry.database)).is_running
        reads.append(witness.read)
        scrub.close()
        await instance.restart()
    assert reads == [2, 2, 2, 0], "each blob once, two a round, and the pass is over"
    assert not (await find_scrub(instance.registry.database)).is_running


async def test_another_process_is_followed(instance: Instance) -> None:
    """Two that take turns read each blob once in all."""
    for number in range(4):
        await instance.push_blob("app", str(number).encode())
    witness = Witness()
    observer = witness.observer()

    def read(amount: int) -> None:
        observer.read(amount)
        instance.clock.advance(3)

    slow = ScrubObserver(read=read, found=observer.found)
    first, second = (Scrubber(instance.registry, Pace(0, instance.clock), slow, interval_ms=DAY_MS) for _ in range(2))
    for each in (first, second, first, second):
        await each.round()
    assert witness.read == 4


async def test_a_state_that_cannot_be_read_begins_anew(instance: Instance) -> None:
    await instance.push_blob("app", b"content")
    unreadable = json.dumps({"after": 5})
    await instance.registry.database.write(lambda transaction: save_state(transaction, "scrub", unreadable))
    witness = Witness()
    await scrubber(instance.registry, witness).round()
    assert witness.read == len(b"content")


async def test_the_pace_is_kept(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        instance.clock.advance(seconds)

    monkeypatch.setattr("roadstead.registry.pace.asyncio.sleep", sleep)
    pace = Pace(1_000_000, instance.clock)
    assert pace.piece_bytes(1 << 20) == 500_000
    for _ in range(10):
        await pace.spend(500_000)
    assert sum(slept) == pytest.approx(5.0, abs=0.3)
    instance.clock.advance(60)
    slept.clear()
    for _ in range(4):
        await pace.spend(500_000)
    assert sum(slept) == pytest.approx(2.0, abs=0.3), "a pause is not made up for"


@pytest.mark.parametrize("kind", ["scrub", "refetch"])
async def test_what_has_nothing_to_do_lets_requests_through(instance: Instance, kind: str) -> None:
    """A disk that lost many blobs leaves as many records that are only passed by."""
    count = 500

    async def add(transaction: Transaction) -> None:
        for number in range(count):
            await transaction.execute(
                store.SAVE_BLOB,
                digest=Digest.of(b"%d" % number),
                size_bytes=1,
                created_ms=1,
                quarantined_ms=1,
                deleting_ms=None,
            )

    await instance.registry.database.write(add)
    turns = 0

    async def request() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(request())
    if kind == "scrub":
        await scrubber(instance.registry, Witness()).round()
        assert turns >= count
    else:
        await Refetcher(instance.registry, Upstream("http://upstream.example.com"), lambda: None).round()
        assert turns >= count // BATCH
    others.cancel()


@pytest.mark.parametrize("is_right", [True, False])
async def test_what_is_in_quarantine_and_there_again_is_served_again(instance: Instance, *, is_right: bool) -> None:
    """A disk was not mounted when it was pulled, or somebody copied it back; nobody is given wrong bytes."""
    digest = Digest(await instance.push_blob("team/app", b"content"))
    path = path_of(instance, digest)
    assert await instance.registry.blobs.quarantine(digest, "for the test")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"content" if is_right else b"CONTENT")
    witness = Witness()
    await scrubber(instance.registry, witness).run_pass()
    answer = await instance.client.request("GET", f"/v2/team/app/blobs/{digest}")
    assert answer.status == (200 if is_right else 404)
    assert witness.found == [], "it was found before"
