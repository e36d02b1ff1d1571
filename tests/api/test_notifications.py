"""Which requests leave which events, and what is written with them."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import asyncpg
import pytest

from roadstead.events import EventAction, StoredEvent
from roadstead.testing.images import BlobContent, image
from roadstead.testing.instance import Instance
from roadstead.webhooks import store
from roadstead.webhooks.envelope import BLOB
from tests.databases import REPEATING_TOO

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

DATABASES = REPEATING_TOO

IMAGE = image(b"layer")
LAYER = IMAGE.blobs[-1]


class Told:
    """The events that an instance writes."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._last = 0

    async def new(self) -> list[StoredEvent]:
        """Those since the last look."""
        registry = self._instance.registry
        await registry.pulls.flush(registry.database)
        rows = await registry.database.fetch_all(store.LIST_EVENTS, after=self._last, limit=10_000)
        self._last = rows[-1][0] if rows else self._last
        return [StoredEvent.of(row) for row in rows]

    async def facts(self) -> list[tuple[str, str, str, str]]:
        """What was done where, to what, under which tag."""
        return [
            (stored.event.action.value, stored.event.repository, stored.event.digest, stored.event.tag)
            for stored in await self.new()
        ]


@pytest.fixture
def told(instance: Instance) -> Told:
    instance.registry.outbox.wants_pulls = True
    return Told(instance)


async def test_a_push_tells_of_each_blob_then_of_each_tag(instance: Instance, told: Told) -> None:
    await instance.push("team/app", IMAGE, "1.0", "latest")
    found = await told.facts()
    assert [one for one in found if one[2] != IMAGE.digest] == [
        ("push", "team/app", blob.digest, "") for blob in IMAGE.blobs
    ]
    assert found[-2:] == [("push", "team/app", IMAGE.digest, "1.0"), ("push", "team/app", IMAGE.digest, "latest")]


async def test_a_push_by_digest_alone_is_one_event_without_a_tag(instance: Instance, told: Told) -> None:
    await instance.push("app", IMAGE)
    assert (await told.facts())[-1] == ("push", "app", IMAGE.digest, "")


async def test_what_fails_leaves_no_event(instance: Instance, told: Told) -> None:
    client = instance.client
    missing = await client.request(
        "PUT", "/v2/app/manifests/1.0", headers={"content-type": IMAGE.media_type}, body=IMAGE.content
    )
    assert missing.status == 400
    wrong = BlobContent(b"other").digest
    assert (await client.request("POST", f"/v2/app/blobs/uploads/?digest={wrong}", body=b"content")).status == 400
    for path in ("manifests/1.0", f"blobs/{wrong}"):
        assert (await client.request("GET", f"/v2/app/{path}")).status == 404
        assert (await client.request("DELETE", f"/v2/app/{path}")).status == 404
    assert await told.facts() == []


async def test_pulls_are_told_as_registry_2_tells_them(instance: Instance, told: Told) -> None:
    await instance.push("app", IMAGE, "1.0")
    await told.facts()
    client = instance.client
    manifest, blob = f"/v2/app/manifests/{IMAGE.digest}", f"/v2/app/blobs/{LAYER.digest}"
    known = {"if-none-match": f'"{IMAGE.digest}"'}
    known_blob = {"if-none-match": f'"{LAYER.digest}"'}
    for method, path, headers in (
        ("GET", "/v2/app/manifests/1.0", {}),
        ("HEAD", "/v2/app/manifests/1.0", {}),
        ("GET", manifest, {}),
        ("GET", manifest, known),
        ("GET", blob, {}),
        ("HEAD", blob, {}),
        ("GET", blob, {"range": "bytes=1-2"}),
        ("GET", blob, known_blob),
        ("GET", blob, {"range": "bytes=1000-"}),
        ("GET", "/v2/app/tags/list", {}),
    ):
        await client.request(method, path, headers=headers)
    assert await told.facts() == [
        ("pull", "app", IMAGE.digest, "1.0"),
        ("pull", "app", IMAGE.digest, "1.0"),
        ("pull", "app", IMAGE.digest, ""),
        *[("pull", "app", LAYER.digest, "")] * 4,
    ]


async def test_a_mount_says_where_from(instance: Instance, told: Told) -> None:
    await instance.push_blob("a", b"content")
    await told.facts()
    digest = BlobContent(b"content").digest
    answer = await instance.client.request("POST", f"/v2/b/blobs/uploads/?mount={digest}&from=a")
    assert answer.status == 201
    (stored,) = await told.new()
    assert stored.event.action is EventAction.MOUNT
    assert (stored.event.repository, stored.event.source_repository) == ("b", "a")
    assert (stored.event.media_type, stored.event.size_bytes) == (BLOB, len(b"content"))


async def test_deletions(instance: Instance, told: Told) -> None:
    await instance.push("app", IMAGE, "1.0", "2.0")
    other = await instance.push_blob("app", b"lonely")
    await told.facts()
    for path in ("manifests/1.0", f"manifests/{IMAGE.digest}", f"blobs/{other}"):
        assert (await instance.client.request("DELETE", f"/v2/app/{path}")).status == 202
    assert await told.facts() == [
        ("delete", "app", IMAGE.digest, "1.0"),
        ("delete", "app", IMAGE.digest, ""),
        ("delete", "app", other, ""),
    ]


async def test_an_event_knows_its_request(instance: Instance, told: Told) -> None:
    headers = {"host": "registry.example.com", "user-agent": "docker/27"}
    digest = BlobContent(b"content").digest
    await instance.client.request("POST", f"/v2/app/blobs/uploads/?digest={digest}", headers=headers, body=b"content")
    (stored,) = await told.new()
    cause = stored.event.cause
    assert (cause.method, cause.host, cause.user_agent) == ("POST", "registry.example.com", "docker/27")
    assert cause.base_url == "http://registry.example.com"
    assert len(cause.request_id) == 32
    assert stored.at_ms == instance.clock.now_ms()


async def test_pulls_are_not_written_where_nobody_waits(tmp_path: Path, database_url: str) -> None:
    instance = Instance(tmp_path, database_url=database_url)
    await instance.open()
    try:
        await instance.push("app", IMAGE, "1.0")
        await instance.client.request("GET", "/v2/app/manifests/1.0")
        assert {stored.event.action for stored in await Told(instance).new()} == {EventAction.PUSH}
    finally:
        await instance.close()


async def test_an_event_and_its_change_are_one(instance: Instance, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever keeps the event from being written keeps the push from being accepted."""
    await instance.push("app", IMAGE, "1.0")
    await told.facts()

    with monkeypatch.context() as patch:
        patch.setattr("roadstead.registry.content.manifests.encode_cause", lambda _: None)
        with pytest.raises((sqlite3.IntegrityError, asyncpg.NotNullViolationError)):
            await instance.push_manifest("app", IMAGE, ["2.0"])
    assert (await instance.client.request("GET", "/v2/app/manifests/2.0")).status == 404
