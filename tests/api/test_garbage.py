"""Collection where it is hard: two processes at once, what registry:2 destroys, what very many manifests name."""

import asyncio
import errno
import functools
import os
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roadstead.database import Transaction
from roadstead.oci import Digest, RepositoryName
from roadstead.registry import layout
from roadstead.registry.content import store
from roadstead.registry.garbage import collection
from roadstead.registry.garbage.collected import Collected
from roadstead.registry.garbage.collection import Collector
from roadstead.registry.garbage.collection_preview import Garbage, Preview
from roadstead.registry.garbage.holds import hold_collection
from roadstead.registry.garbage.repository_removal import remove_repository
from roadstead.registry.garbage.why import Explanation, Keeper, explain
from roadstead.registry.integrity.check import Checker
from roadstead.registry.operation.adoption_state import AdoptionPhase, AdoptionState, save_adoption
from roadstead.registry.operation.maintenance import MaintenanceMode
from roadstead.registry.progress import Silence
from roadstead.registry.removal.rules import DAY_MS, HOUR_MS, GarbageRules
from roadstead.registry2.adoption import store as adoption_store
from roadstead.storage import FilesystemStore, StorageError, StorageUnavailableError
from roadstead.testing.images import ManifestContent, artifact, digest_of, image, index
from roadstead.testing.instance import Instance
from tests.databases import IN_BUCKETS_TOO, IN_FOLDERS
from tests.factories.access import BY_TEST

pytestmark = pytest.mark.anyio

DATABASES = IN_BUCKETS_TOO

NOW = GarbageRules(undo_ms=0, upload_ms=0, collects_untagged=True)
APP = image(b"base", b"app")
TOOL = image(b"base", b"tool")
ARM = image(b"base", b"arm")
BOTH = index(APP, ARM)


async def collect(instance: Instance, rules: GarbageRules | None = None) -> Collected:
    """Everything that is due."""
    collector = Collector(instance.registry, rules)
    total = await collector.step()
    while (done := await collector.step()).looked_at:
        total.add(done)
    return total


async def collect_everything(instance: Instance) -> Collected:
    """As `roadstead gc --untagged --grace 0` does."""
    collector = Collector(instance.registry, NOW)
    await collector.review_all_untagged()
    total = Collected()
    for _ in range(5):
        await collector.make_due(older_than_ms=0)
        total.add(await collect(instance, NOW))
    return total


async def delete(instance: Instance, path: str) -> None:
    """DELETE that is accepted."""
    answer = await instance.client.request("DELETE", f"/v2/{path}")
    assert answer.status == 202, answer


async def require_whole(instance: Instance, repository: str, manifest: ManifestContent) -> None:
    """A manifest can be pulled with all that it names."""
    answer = await instance.client.request("GET", f"/v2/{repository}/manifests/{manifest.digest}")
    assert answer.body == manifest.content
    for blob in manifest.blobs:
        pulled = await instance.client.request("GET", f"/v2/{repository}/blobs/{blob.digest}")
        assert (pulled.status, pulled.body) == (200, blob.content)
    for child in manifest.children:
        await require_whole(instance, repository, child)


def stored(instance: Instance) -> set[str]:
    """The keys of the blobs in the storage."""
    return {key for key in instance.files() if key.startswith(layout.BLOBS)}


def keys(*manifests: ManifestContent) -> set[str]:
    """The keys of what manifests name."""
    return {layout.blob_key(Digest(blob.digest)) for manifest in manifests for blob in manifest.blobs}


# --- what registry:2 and registry:3 destroy


async def test_children_of_a_tagged_index_stay(instance: Instance) -> None:
    """`garbage-collect -m` of registry:2 deletes them, since no tag points at a child (#3178)."""
    await instance.push("app", BOTH, "latest")
    assert (await collect_everything(instance)).untagged == 0
    await require_whole(instance, "app", BOTH)


async def test_a_child_that_another_repository_names_stays_whole(instance: Instance) -> None:
    """`garbage-collect -m` of registry:3 marks by digest: whoever names a child first hides its blobs from the rest."""
    await instance.push("b", BOTH, "latest")
    await instance.push_manifest("a", index(*BOTH.children), ["latest"])  # names the children without having them
    await collect_everything(instance)
    await require_whole(instance, "b", BOTH)


async def test_children_and_referrers_go_with_what_kept_them(instance: Instance) -> None:
    """registry:2 keeps the children of a deleted index for ever (#2914), and signatures in fallback tags."""
    signature = artifact(b"signed", artifact_type="a/signature", subject=BOTH)
    await instance.push("app", BOTH, "latest")
    await instance.push("app", signature, "sha256-" + BOTH.digest.partition(":")[2])
    await collect_everything(instance)
    await require_whole(instance, "app", signature)
    await delete(instance, "app/manifests/latest")
    await collect_everything(instance)
    assert stored(instance) == set()


async def test_an_index_only_repository_is_no_trouble(instance: Instance) -> None:
    """registry:3 stops at a repository without layers (#4443)."""
    await instance.push("app", index(), "empty")
    await collect_everything(instance)
    await require_whole(instance, "app", index())


# --- what is shared, and what is relied on


async def test_a_mounted_blob_outlives_its_source(instance: Instance) -> None:
    await instance.push("app", APP, "latest")
    for blob in APP.blobs:
        await instance.client.request("POST", f"/v2/copy/blobs/uploads/?mount={blob.digest}&from=app")
    await instance.push_manifest("copy", APP, ["latest"])
    await remove_repository(instance.registry, RepositoryName("app"), cause=BY_TEST)
    await collect_everything(instance)
    await require_whole(instance, "copy", APP)


async def test_who_asks_for_a_blob_has_time_to_name_it(instance: Instance) -> None:
    digest = await instance.push_blob("app", b"lonely")
    instance.clock.advance(20 * HOUR_MS / 1000)
    assert (await instance.client.request("HEAD", f"/v2/app/blobs/{digest}")).status == 200
    instance.clock.advance(20 * HOUR_MS / 1000)
    await collect(instance)
    assert (await instance.client.request("HEAD", f"/v2/app/blobs/{digest}")).status == 200
    instance.clock.advance(25 * HOUR_MS / 1000)
    await collect(instance)
    assert (await instance.client.request("HEAD", f"/v2/app/blobs/{digest}")).status == 404


async def test_a_blob_that_very_many_manifests_name_is_looked_for_in_pages(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when none of the repository is among them."""
    monkeypatch.setattr(collection, "MANY_NAMES", 10)
    monkeypatch.setattr(collection, "PAGE", 3)
    for number in range(11):
        body = image(b"base", config=b"%d" % number)
        await instance.push("many", body)
    await instance.push("app", APP, "latest")
    await delete(instance, f"app/manifests/{APP.digest}")
    instance.clock.advance(8 * DAY_MS / 1000)
    await collect(instance)
    instance.clock.advance(2 * HOUR_MS / 1000)
    await collect(instance)
    base = digest_of(b"base")
    assert (await instance.client.request("HEAD", f"/v2/app/blobs/{base}")).status == 404
    assert (await instance.client.request("HEAD", f"/v2/many/blobs/{base}")).status == 200


# --- what only a race or a bad disk shows


class SpoiledStore(FilesystemStore):
    """Cannot remove one object."""

    spoiled = ""

    def _delete(self, key: str) -> bool:
        """Fails as a disk does that cannot be written to there."""
        if key == self.spoiled:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super()._delete(key)

    def _remove_one_as(self, token: str, key: str) -> bool | StorageError:
        return StorageUnavailableError(key, "read-only") if key == self.spoiled else super()._remove_one_as(token, key)


async def test_what_cannot_be_removed_holds_nothing_else_up(tmp_path: Path, database_url: str) -> None:
    instance = Instance(tmp_path, database_url=database_url)
    storage = SpoiledStore(instance.objects)
    await instance.open(storage)
    digests = [await instance.push_blob("app", b"lonely %d" % number) for number in range(5)]
    storage.spoiled = layout.blob_key(Digest(digests[2]))
    instance.clock.advance(2 * DAY_MS / 1000)
    collector = Collector(instance.registry)
    with pytest.raises(StorageUnavailableError):
        await collector.round(lambda _: None)
    assert stored(instance) == {storage.spoiled}
    assert not await collector.round(lambda _: None)  # tried again only later
    storage.spoiled = ""
    instance.clock.advance(collection.RETRY_MS / 1000)
    assert (await collect(instance)).blobs == 1
    assert stored(instance) == set()
    await instance.close()


class SlowStore(FilesystemStore):
    """Removes only when it may."""

    has_begun = False

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.may_go_on = threading.Event()

    def _delete(self, key: str) -> bool:
        """In a thread, which nobody can stop."""
        if key.startswith(layout.BLOBS):
            self._wait()
        return super()._delete(key)

    def _remove_one_as(self, token: str, key: str) -> bool | StorageError:
        self._wait()
        return super()._remove_one_as(token, key)

    def _wait(self) -> None:
        self.has_begun = True
        self.may_go_on.wait()


async def test_a_collector_that_is_stopped_removes_nothing_behind_a_push_s_back(
    tmp_path: Path, database_url: str
) -> None:
    """A server that shuts down cancels it while a thread is about to unlink; another server's push must wait."""
    instance = Instance(tmp_path, database_url=database_url)
    storage = SlowStore(instance.objects)
    await instance.open(storage)
    digest = await instance.push_blob("app", b"lonely")
    instance.clock.advance(2 * DAY_MS / 1000)
    collecting = asyncio.create_task(Collector(instance.registry).step())
    while not storage.has_begun:  # noqa: ASYNC110 - a thread sets it
        await asyncio.sleep(0.01)
    second = Instance(tmp_path, database_url=database_url)
    await second.open()
    collecting.cancel()
    pushing = asyncio.create_task(second.push_blob("app", b"lonely"))
    await asyncio.wait([pushing], timeout=0.3)
    storage.may_go_on.set()
    await asyncio.wait([collecting, pushing])
    assert (await second.client.request("GET", f"/v2/app/blobs/{digest}")).body == b"lonely"
    await second.close()
    await instance.close()


@IN_FOLDERS
async def test_a_blob_that_comes_and_goes_while_it_is_removed_is_not_forgotten(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the mark and the end of the record a client pushes it again, and deletes it again."""
    digest = await instance.push_blob("app", b"lonely")
    instance.clock.advance(2 * DAY_MS / 1000)
    collector = Collector(instance.registry)
    erase = collector._erase

    async def erase_and_be_overtaken(*arguments: Any) -> list[bool | None]:
        outcome = await erase(*arguments)
        await instance.push_blob("app", b"lonely")
        await delete(instance, f"app/blobs/{digest}")
        return outcome

    monkeypatch.setattr(collector, "_erase", erase_and_be_overtaken)
    await collector.step()
    assert stored(instance) == {layout.blob_key(Digest(digest))}
    await collect(instance)
    assert stored(instance) == set()


async def test_what_is_put_aside_while_it_is_removed_goes_too(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = Digest(await instance.push_blob("app", b"lonely"))
    instance.clock.advance(2 * DAY_MS / 1000)
    collector = Collector(instance.registry)
    erase = collector._erase

    async def put_aside_and_erase(*arguments: Any) -> list[bool | None]:
        await instance.registry.blobs.quarantine(digest, "rotten")
        return await erase(*arguments)

    monkeypatch.setattr(collector, "_erase", put_aside_and_erase)
    await collector.step()
    assert [file for file in instance.files() if digest.encoded in file] == []


@pytest.mark.parametrize("phase", [AdoptionPhase.ADOPTING, AdoptionPhase.ADOPTED, AdoptionPhase.RELEASED])
async def test_nothing_goes_while_a_registry_2_may_use_the_folder(instance: Instance, phase: AdoptionPhase) -> None:
    await instance.push_blob("app", b"lonely")
    await instance.registry.database.write(lambda transaction: save_adoption(transaction, AdoptionState(phase)))
    assert (await collect_everything(instance)).looked_at == 0
    in_charge = AdoptionState(AdoptionPhase.IN_CHARGE)
    await instance.registry.database.write(lambda transaction: save_adoption(transaction, in_charge))
    assert (await collect_everything(instance)).blobs == 1


@IN_FOLDERS
async def test_what_only_registry2_understands_keeps_its_repository_s_blobs(instance: Instance) -> None:
    """An adopted repository with a schema 1 image: its layers are named by nothing that we know."""
    await instance.push("old", APP, "latest")
    digest = await instance.push_blob("old", b"a layer of the schema 1 image")
    database = instance.registry.database

    async def note(transaction: Transaction) -> None:
        row = await transaction.fetch_one(store.FIND_REPOSITORY, repository="old")
        await transaction.execute(adoption_store.NOTE_LEFT_ALONE, repository_id=row[0] if row else 0, now_ms=1)

    await database.write(note)
    await delete(instance, f"old/manifests/{APP.digest}")
    assert [item async for item in Preview(instance.registry, 0).iter_garbage()]
    await collect_everything(instance)
    assert stored(instance) == keys(APP) | {layout.blob_key(Digest(digest))}


# --- standing still


@IN_FOLDERS
async def test_nothing_goes_while_a_backup_relies_on_it(instance: Instance) -> None:
    await instance.push_blob("app", b"lonely")
    instance.clock.advance(2 * DAY_MS / 1000)
    async with hold_collection(instance.registry.database, instance.clock, "backup"):
        await collect_everything(instance)
        assert len(stored(instance)) == 1
    await collect_everything(instance)
    assert stored(instance) == set()


async def test_nothing_goes_during_maintenance(instance: Instance) -> None:
    await instance.push_blob("app", b"lonely")
    instance.clock.advance(2 * DAY_MS / 1000)
    await instance.registry.maintenance.set(MaintenanceMode.READ_ONLY)
    assert (await collect_everything(instance)).looked_at == 0
    await instance.registry.maintenance.set(MaintenanceMode.OFF)
    assert (await collect_everything(instance)).blobs == 1


# --- what would go, and what keeps


@IN_FOLDERS
async def test_a_preview_says_what_a_run_then_takes(instance: Instance) -> None:
    await instance.push("app", APP, "latest")
    await instance.push("app", TOOL, "tool")
    await delete(instance, "app/manifests/latest")
    await delete(instance, f"app/manifests/{TOOL.digest}")
    found = [item async for item in Preview(instance.registry, 0, untagged=True).iter_garbage()]
    assert {item.digest for item in found if item.kind == "manifest"} == {APP.digest, TOOL.digest}
    expired = [item async for item in Preview(instance.registry, 0).iter_garbage()]
    assert {item.digest for item in expired if item.kind == "blob"} == {digest_of(b"tool")}
    assert [item async for item in Preview(instance.registry).iter_garbage()] == []
    await _agree(instance, expired)


async def _agree(instance: Instance, preview: list[Garbage]) -> None:
    before = stored(instance)
    collector = Collector(instance.registry, replace(NOW, collects_untagged=False))
    for _ in range(3):
        await collector.make_due(older_than_ms=0)
        await collect(instance, replace(NOW, collects_untagged=False))
    gone = {layout.blob_key(item.digest) for item in preview if item.kind == "blob"}
    assert before - stored(instance) == gone


async def test_why_names_everything_that_keeps_a_blob(instance: Instance) -> None:
    await instance.push("app", BOTH, "latest")
    await instance.push("other", TOOL, "latest")
    await delete(instance, f"other/manifests/{TOOL.digest}")
    base = await explain(instance.registry, Digest(digest_of(b"base")))
    assert {(reason.keeper, reason.where) for reason in base.reasons} == {
        (Keeper.MANIFEST, f"app@{APP.digest}"),
        (Keeper.MANIFEST, f"app@{ARM.digest}"),
        (Keeper.TRASH, f"other@{TOOL.digest}"),
    }
    child = await explain(instance.registry, Digest(ARM.digest))
    assert {reason.keeper for reason in child.reasons} == {Keeper.INDEX, Keeper.LINK}
    nothing = await explain(instance.registry, Digest(digest_of(b"nothing")))
    assert nothing == Explanation(is_blob=False, is_manifest=False, is_deleting=False, reasons=())


# --- at the same time


@pytest.fixture
async def second(instance: Instance) -> AsyncIterator[Instance]:
    """The same registry, opened again: another process as far as the catalogue and the storage can tell."""
    second = Instance(instance.folder, database_url=instance.database_url)
    await second.open()
    yield second
    await second.close()


async def test_pushes_race_the_collector(instance: Instance, second: Instance) -> None:
    """Clients push, delete and push again what shares its blobs, while another process collects without any grace."""
    is_over = False

    async def keep_collecting() -> None:
        while not is_over:
            await collect_everything(second)
            second.clock.advance(1)

    collecting = asyncio.create_task(keep_collecting())
    await asyncio.gather(*(_client(instance, f"team/{number}", random.Random(number)) for number in range(4)))
    is_over = True
    await collecting
    assert not [each async for each in Checker(instance.registry, Silence(), deep=True).run()]


async def _client(instance: Instance, repository: str, choices: random.Random) -> None:
    """As docker pushes: HEAD for each blob, upload of what is missing, the manifest; all again if it is refused."""
    for round_number in range(25):
        manifest = choices.choice([APP, TOOL, ARM])
        await _until_accepted(functools.partial(_push, instance, repository, manifest))
        await require_whole(instance, repository, manifest)
        if round_number % 2:
            await delete(instance, f"{repository}/manifests/{manifest.digest}")
        await asyncio.sleep(0)


async def _push(instance: Instance, repository: str, manifest: ManifestContent) -> bool:
    for blob in manifest.blobs:
        found = await instance.client.request("HEAD", f"/v2/{repository}/blobs/{blob.digest}")
        if found.status != 200:
            await instance.push_blob(repository, blob.content)
    answer = await instance.client.request(
        "PUT",
        f"/v2/{repository}/manifests/latest",
        headers={"content-type": manifest.media_type},
        body=manifest.content,
    )
    assert answer.status == 201 or set(answer.codes) == {"MANIFEST_BLOB_UNKNOWN"}
    return answer.status == 201


async def _until_accepted(attempt: Callable[[], Awaitable[bool]]) -> None:
    """A collector without any grace may take a blob between its upload and the manifest: then the client is told."""
    for _ in range(100):
        if await attempt():
            return
    raise AssertionError("never accepted")


@IN_FOLDERS
async def test_a_push_brings_back_what_is_being_removed(instance: Instance) -> None:
    """The collector has marked a blob and stands before its bytes; the same bytes are pushed; they stay."""
    digest = Digest(await instance.push_blob("app", b"lonely"))
    instance.clock.advance(2 * DAY_MS / 1000)
    async with instance.registry.exclusive.hold(digest):  # the push has it first
        collecting = asyncio.create_task(collect(instance, NOW))
        while not (await explain(instance.registry, digest)).is_deleting:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)
        assert (await instance.client.request("HEAD", f"/v2/app/blobs/{digest}")).status == 404
    await asyncio.gather(collecting, instance.push_blob("app", b"lonely"))
    assert (await instance.client.request("GET", f"/v2/app/blobs/{digest}")).body == b"lonely"
    assert stored(instance) == {layout.blob_key(digest)}


async def test_a_blob_that_was_deleted_leaves_nothing_to_look_at(instance: Instance) -> None:
    """The review of its link goes with the link: none refers to a blob that is no more."""
    digest = await instance.push_blob("app", b"lonely")
    await delete(instance, f"app/blobs/{digest}")
    await Collector(instance.registry).step()
    assert instance.files() == {}
    checker = Checker(instance.registry, Silence())
    assert [finding async for finding in checker.run()] == []
