"""Every change writes its event, whether anybody listens or not, and says who caused it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roadstead.events import Event, EventAction, StoredEvent
from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry.garbage.repository_removal import remove_repository
from roadstead.testing.images import digest_of, image
from roadstead.webhooks import store
from tests.factories.access import BY_TEST

if TYPE_CHECKING:
    from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio

IMAGE = image(b"a layer")
APP = RepositoryName("team/app")


async def events(instance: Instance) -> list[Event]:
    rows = await instance.registry.database.fetch_all(store.LIST_EVENTS, after=0, limit=1000)
    return [StoredEvent.of(row).event for row in rows]


async def actions(instance: Instance, skip: int) -> list[tuple[str, str, str, str]]:
    return [(e.action.value, e.repository, e.digest, e.tag) for e in (await events(instance))[skip:]]


async def test_a_push_writes_one_for_each_blob_and_tag(instance: Instance) -> None:
    await instance.push(APP, IMAGE, "1", "2")
    found = await actions(instance, 0)
    assert sorted(found) == sorted(
        [("push", APP, blob.digest, "") for blob in IMAGE.blobs] + [("push", APP, IMAGE.digest, tag) for tag in "12"]
    )


async def test_mounts_and_deletions(instance: Instance) -> None:
    blob = await instance.push_blob("other", b"shared")
    target = f"/v2/{APP}/blobs/uploads/?mount={blob}&from=other"
    assert (await instance.client.request("POST", target)).status == 201
    assert (await instance.client.request("DELETE", f"/v2/{APP}/blobs/{blob}")).status == 202
    await instance.push(APP, IMAGE, "1")
    before = len(await events(instance))
    assert (await instance.client.request("DELETE", f"/v2/{APP}/manifests/1")).status == 202
    assert (await instance.client.request("DELETE", f"/v2/{APP}/manifests/{IMAGE.digest}")).status == 202
    assert (await actions(instance, 1))[:2] == [("mount", APP, blob, ""), ("delete", APP, blob, "")]
    assert await actions(instance, before) == [
        ("delete", APP, IMAGE.digest, "1"),
        ("delete", APP, IMAGE.digest, ""),
    ]


async def test_restorations(instance: Instance) -> None:
    await instance.push(APP, IMAGE, "1")
    await instance.registry.manifests.delete(APP, Digest(IMAGE.digest), cause=BY_TEST)
    before = len(await events(instance))
    await instance.registry.undo.restore_manifest(APP, Digest(IMAGE.digest), cause=BY_TEST)
    assert await actions(instance, before) == [
        ("restore", APP, IMAGE.digest, ""),
        ("push", APP, IMAGE.digest, "1"),
    ]
    await instance.registry.tags.delete(APP, Tag("1"), cause=BY_TEST)
    await instance.registry.undo.restore_tag(APP, Tag("1"), cause=BY_TEST)
    assert (await actions(instance, before))[2:] == [
        ("delete", APP, IMAGE.digest, "1"),
        ("push", APP, IMAGE.digest, "1"),
    ]


async def test_the_removal_of_a_repository(instance: Instance) -> None:
    await instance.push(APP, IMAGE, "1")
    before = len(await events(instance))
    await remove_repository(instance.registry, APP, cause=BY_TEST)
    assert await actions(instance, before) == [("delete", APP, IMAGE.digest, ""), ("remove", APP, "", "")]


async def test_a_quarantine(instance: Instance) -> None:
    blob = Digest(await instance.push_blob(APP, b"damaged"))
    await instance.registry.blobs.quarantine(blob, "a test says so")
    (event,) = (await events(instance))[1:]
    assert (event.action, event.repository, event.digest) == (EventAction.QUARANTINE, "", blob)
    assert event.cause.actor == "roadstead:quarantine"


async def test_pulls_write_none_unless_somebody_is_told(instance: Instance) -> None:
    await instance.push_blob(APP, b"content")
    target = f"/v2/{APP}/blobs/{digest_of(b'content')}"
    for is_wanted, written in ((False, 0), (True, 1)):
        instance.registry.outbox.wants_pulls = is_wanted
        assert (await instance.client.request("GET", target)).status == 200
        await instance.registry.pulls.flush(instance.registry.database)
        assert len(await events(instance)) == 1 + written
