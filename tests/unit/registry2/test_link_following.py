"""Links follow the catalogue: nothing is noted while nobody follows, and nobody follows while nothing should change."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, select

from roadstead.database import Statement, Transaction, metadata, parameter
from roadstead.events import KEPT
from roadstead.registry.garbage.collection import Collector
from roadstead.registry.operation.adoption_state import AdoptionPhase, AdoptionState, save_adoption
from roadstead.registry.operation.maintenance import MaintenanceMode
from roadstead.registry2.adoption import store as adoption_store
from roadstead.registry2.links import TOP_FOLDERS
from roadstead.registry2.release import link_following
from roadstead.registry2.release.link_following import LinkFollower, stop_following
from roadstead.registry2.release.link_troubles import (
    LONGEST_PAUSE_SECONDS,
    Trouble,
    count_missed,
    end_trouble,
    list_troubles,
    save_trouble,
)
from roadstead.storage import SmallFiles, StorageFullError
from roadstead.testing.images import image, index
from roadstead.web.operations.checks import registry_checks
from roadstead.web.operations.health import CheckState

if TYPE_CHECKING:
    from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio

TREE = "docker/registry/v2/repositories"


def follower_of(instance: Instance) -> LinkFollower:
    files = SmallFiles(instance.objects, trusted=TOP_FOLDERS)
    registry = instance.registry
    return LinkFollower(
        registry.database, registry.storage, registry.exclusive, files, instance.clock, registry.maintenance
    )


async def follow(follower: LinkFollower) -> None:
    while await follower.round():
        pass


async def notes(instance: Instance) -> int:
    return len(await instance.registry.database.fetch_all(adoption_store.LIST_LINK_CHANGES, upto=2**62, limit=1000))


def links(instance: Instance) -> set[str]:
    return {key.removeprefix(f"{TREE}/") for key in instance.files() if key.startswith(TREE)}


async def test_what_was_there_before_is_written_first_and_then_each_change(instance: Instance) -> None:
    one, two = image(b"one"), image(b"two")
    await instance.push("app", one, "1")
    assert await notes(instance) == 0, "nobody follows yet"
    follower = follower_of(instance)
    await follow(follower)
    before = links(instance)
    assert f"app/_manifests/revisions/{one.digest.replace(':', '/')}/link" in before
    await instance.push("app", two, "1", "2")
    assert await notes(instance) > 0
    assert links(instance) == before
    await follow(follower)
    assert await notes(instance) == 0
    current = instance.objects / TREE / "app/_manifests/tags/1/current/link"
    assert current.read_text() == two.digest
    assert (instance.objects / TREE / f"app/_manifests/tags/1/index/{one.digest.replace(':', '/')}/link").exists()


async def test_deletions_follow_too_and_an_empty_repository_is_gone(instance: Instance) -> None:
    follower = follower_of(instance)
    await follow(follower)
    digest = await instance.push("a/b", index(image(b"one"), image(b"two")), "1", "2")
    await follow(follower)
    answer = await instance.client.request("DELETE", "/v2/a/b/manifests/2")
    assert answer.status == 202
    await follow(follower)
    assert not (instance.objects / TREE / "a/b/_manifests/tags/2").exists()
    answer = await instance.client.request("DELETE", f"/v2/a/b/manifests/{digest}")
    assert answer.status == 202
    await follow(follower)
    assert not (instance.objects / TREE / "a/b/_manifests/tags/1").exists()
    assert not (instance.objects / TREE / f"a/b/_manifests/revisions/{digest.replace(':', '/')}/link").exists()


async def test_it_pauses_in_maintenance_and_while_the_tree_is_the_truth(instance: Instance) -> None:
    follower = follower_of(instance)
    await follow(follower)
    await instance.push("app", image(b"one"), "1")
    await instance.registry.maintenance.set(MaintenanceMode.READ_ONLY)
    await follow(follower)
    assert links(instance) == set()
    await instance.registry.maintenance.set(MaintenanceMode.OFF)
    for phase in (AdoptionPhase.RELEASED, AdoptionPhase.ADOPTING, AdoptionPhase.ADOPTED):
        await instance.registry.database.write(functools.partial(save_adoption, state=AdoptionState(phase)))
        await follow(follower)
        assert links(instance) == set()
    await instance.registry.database.write(lambda t: save_adoption(t, AdoptionState(AdoptionPhase.IN_CHARGE)))
    await follow(follower)
    assert "app/_manifests/tags/1/current/link" in links(instance)


async def test_without_following_no_notes_are_kept(instance: Instance) -> None:
    await follow(follower_of(instance))
    await instance.push("app", image(b"one"), "1")
    await stop_following(instance.registry.database)
    assert await notes(instance) == 0
    await instance.push("app", image(b"two"), "1")
    assert await notes(instance) == 0


async def test_bytes_of_a_manifest_go_with_its_record(instance: Instance) -> None:
    follower = follower_of(instance)
    await follow(follower)
    kept, gone = image(b"kept"), image(b"gone")
    await instance.push("app", kept, "1")
    await instance.push("app", gone)
    await follow(follower)

    async def collect(transaction: Transaction) -> None:
        for table in ("repository_manifests", "manifest_blobs", "manifests"):
            await transaction.execute(_delete(table), digest=gone.digest)

    await instance.registry.database.write(collect, locks=[KEPT])
    await follow(follower)
    while (await Collector(instance.registry).step()).looked_at:  # by whom they go where replicas share the catalogue
        pass
    files = instance.files()
    assert not [key for key in files if gone.digest.partition(":")[2] in key and "/tags/" not in key]
    assert [key for key in files if key.endswith(f"{kept.digest.partition(':')[2]}/data")]


def _delete(table: str) -> Statement:
    manifests, target = metadata.tables["manifests"], metadata.tables[table]
    keys = select(manifests.c.id).where(manifests.c.digest == parameter("digest"))
    column = target.c.id if table == "manifests" else target.c.manifest_id
    return Statement(delete(target).where(column.in_(keys)))


async def test_a_server_that_stops_does_not_wait_for_a_large_repository(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that writes its links rests in between, and ends when the server stops."""
    monkeypatch.setattr(link_following, "REST", 10_000)
    for number in range(30):
        await instance.push_blob("app", b"%d" % number)
    threads = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(threads)
    following = asyncio.create_task(follow(follower_of(instance)))
    while not links(instance):  # noqa: ASYNC110 - no event for it
        await asyncio.sleep(0.01)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
    threads.shutdown()
    assert len(links(instance)) < 30


async def test_what_stands_in_the_way_of_one_repository_holds_up_no_other(instance: Instance) -> None:
    """A file, or a symbolic link, where folders of links belong; it is named, and written whole when that is gone."""
    follower = follower_of(instance)
    await follow(follower)
    root = instance.objects / TREE
    root.mkdir(parents=True, exist_ok=True)
    (root / "team").write_text("a note")
    (root / "linked").symlink_to(instance.folder)
    await instance.push("team/app", image(b"one"), "1")
    await instance.push("linked/app", image(b"two"), "1")
    await instance.push("other", image(b"three"), "1")
    await follow(follower)
    assert "other/_manifests/tags/1/current/link" in links(instance)
    assert await notes(instance) == 0
    database = instance.registry.database
    assert set(await list_troubles(database)) == {"team/app", "linked/app"}
    check = registry_checks(instance.registry, minimum_free_bytes=0)["links"]
    found = await check()
    assert (found.state, "linked/app, team/app" in found.detail) == (CheckState.DEGRADED, True)

    moved = image(b"moved meanwhile")
    await instance.push("team/app", moved, "1", "2")
    await follow(follower)
    (root / "team").unlink()
    await follow(follower)
    assert set(await list_troubles(database)) == {"team/app", "linked/app"}, "not before its pause is over"
    instance.clock.advance(LONGEST_PAUSE_SECONDS)
    await follow(follower)
    await follow(follower)
    assert set(await list_troubles(database)) == {"linked/app"}
    assert (root / "team/app/_manifests/tags/2/current/link").read_text() == moved.digest
    assert not (instance.folder / "app").exists(), "a symbolic link is not followed"


async def test_following_begins_with_the_others_where_one_repository_cannot_be_written(instance: Instance) -> None:
    for name in ("a", "b/c", "d"):
        await instance.push(name, image(b"of " + name.encode()), "1")
    (instance.objects / TREE).mkdir(parents=True)
    (instance.objects / TREE / "b").write_text("in the way")
    follower = follower_of(instance)
    await follow(follower)
    assert {"a/_manifests/tags/1/current/link", "d/_manifests/tags/1/current/link"} <= links(instance)
    (instance.objects / TREE / "b").unlink()
    await follow(follower_of(instance))
    await follow(follower_of(instance))
    assert "b/c/_manifests/tags/1/current/link" in links(instance), "another process tries at once"
    assert await list_troubles(instance.registry.database) == {}


async def test_a_full_storage_is_no_repository_s_trouble(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = follower_of(instance)
    await follow(follower)
    await instance.push("app", image(b"one"), "1")

    def fail(_files: SmallFiles, key: str, *_rest: object, **_more: object) -> bool:
        raise StorageFullError(key)

    with monkeypatch.context() as patch:
        patch.setattr(SmallFiles, "write", fail)
        with pytest.raises(StorageFullError):
            await follow(follower)
    assert await list_troubles(instance.registry.database) == {}
    await follow(follower)
    assert "app/_manifests/tags/1/current/link" in links(instance)


async def test_notes_that_are_missed_keep_a_repository_set_aside(instance: Instance) -> None:
    """Two processes at once, as when one was frozen: what the one did not see the other has passed over."""
    database = instance.registry.database
    before = Trouble("in the way", 1)
    await database.write(lambda t: save_trouble(t, "app", before))
    await database.write(lambda t: count_missed(t, ["app"]))
    await end_trouble(database, "app", before)
    found = (await list_troubles(database))["app"]
    await end_trouble(database, "app", found)
    assert await list_troubles(database) == {}
