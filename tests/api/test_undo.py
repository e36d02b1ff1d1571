"""History and restoration through the API."""

import json

import pytest

from roadstead.testing.asgi import Answer
from roadstead.testing.images import digest_of, image, index
from roadstead.testing.instance import Instance
from tests.databases import IN_BUCKETS_TOO

pytestmark = pytest.mark.anyio

DATABASES = IN_BUCKETS_TOO

OLD = image(b"old")
NEW = image(b"new")
UNDO = "/v2/app/_roadstead/undo"


async def restore(instance: Instance, wanted: object) -> Answer:
    """POST of a wish."""
    body = wanted if isinstance(wanted, bytes) else json.dumps(wanted).encode()
    return await instance.client.request("POST", f"{UNDO}/restore", body=body)


async def digest_of_tag(instance: Instance, tag: str) -> str:
    """What a tag stands for, empty if there is none."""
    answer = await instance.client.request("HEAD", f"/v2/app/manifests/{tag}")
    return answer.header("docker-content-digest") if answer.status == 200 else ""


async def test_an_overwritten_tag_goes_back_and_forth(instance: Instance) -> None:
    await instance.push("app", OLD, "latest")
    await instance.push("app", NEW, "latest")
    assert (await restore(instance, {"tag": "latest"})).json() == {
        "name": "app",
        "tags": [{"tag": "latest", "digest": OLD.digest}],
        "manifests": [],
    }
    assert await digest_of_tag(instance, "latest") == OLD.digest
    await restore(instance, {"tag": "latest"})
    assert await digest_of_tag(instance, "latest") == NEW.digest
    await restore(instance, {"tag": "fresh", "to": OLD.digest})
    assert await digest_of_tag(instance, "fresh") == OLD.digest


async def test_history_tells_everything_newest_first(instance: Instance) -> None:
    await instance.push("app", OLD, "latest")
    await instance.push("app", OLD, "latest")  # nothing changes, so there is nothing to tell
    await instance.push("app", NEW, "latest")
    await instance.client.request("DELETE", f"/v2/app/manifests/{NEW.digest}")
    history = (await instance.client.request("GET", f"{UNDO}/history?tag=latest")).json()["history"]
    assert [(entry["action"], entry["digest"], entry["is_there"]) for entry in history] == [
        ("delete", NEW.digest, False),
        ("push", NEW.digest, False),
        ("push", OLD.digest, True),
    ]
    assert history[0]["expires_ms"] > history[0]["at_ms"]
    page = await instance.client.request("GET", f"{UNDO}/history?n=1&before={history[0]['id']}")
    assert [entry["id"] for entry in page.json()["history"]] == [history[1]["id"]]


async def test_a_deleted_manifest_comes_back_with_its_free_tags(instance: Instance) -> None:
    await instance.push("app", OLD, "latest", "old")
    await instance.client.request("DELETE", f"/v2/app/manifests/{OLD.digest}")
    removed = (await instance.client.request("GET", f"{UNDO}/removed")).json()["manifests"]
    assert [each["digest"] for each in removed] == [OLD.digest]
    await instance.push("app", NEW, "latest")
    assert (await restore(instance, {"digest": OLD.digest})).json()["tags"] == [{"tag": "old", "digest": OLD.digest}]
    assert (await digest_of_tag(instance, "latest"), await digest_of_tag(instance, "old")) == (NEW.digest, OLD.digest)
    assert (await instance.client.request("GET", f"{UNDO}/removed")).json()["manifests"] == []


async def test_indexes_nested_deeper_than_any_call_stack_come_back(instance: Instance) -> None:
    depth = 2000
    chain = [index()]
    for _ in range(depth):
        chain.append(index(chain[-1]))
        await instance.push_manifest("app", chain[-2])
    await instance.push_manifest("app", chain[-1], ["latest"])
    for each in chain:
        await instance.client.request("DELETE", f"/v2/app/manifests/{each.digest}")
    restored = (await restore(instance, {"tag": "latest"})).json()
    assert restored["tags"] == [{"tag": "latest", "digest": chain[-1].digest}]
    assert set(restored["manifests"]) == {each.digest for each in chain}
    assert (await instance.client.request("GET", f"{UNDO}/removed")).json()["manifests"] == []


async def test_what_cannot_be_restored_says_why(instance: Instance) -> None:
    assert (await restore(instance, {})).codes == ["NAME_UNKNOWN"]
    await instance.push("app", OLD, "latest")
    for wanted in ({}, {"tag": "latest"}, {"digest": OLD.digest}, {"tag": "latest", "to": digest_of(b"nothing")}):
        answer = await restore(instance, wanted)
        assert (answer.status, answer.codes) == (404, ["MANIFEST_UNKNOWN"]), wanted
        assert "cannot be restored" in answer.json()["errors"][0]["message"]


async def test_what_lacks_a_blob_is_not_restored(instance: Instance) -> None:
    """A client may delete a blob of its own once nothing in use names it: what needs it stays in the trash."""
    both = index(OLD, NEW)
    await instance.push("app", both, "latest")
    for path in (f"manifests/{both.digest}", f"manifests/{OLD.digest}", f"manifests/{NEW.digest}"):
        await instance.client.request("DELETE", f"/v2/app/{path}")
    assert (await instance.client.request("DELETE", f"/v2/app/blobs/{OLD.blobs[-1].digest}")).status == 202
    refused = await restore(instance, {"digest": OLD.digest})
    assert (refused.status, refused.codes) == (404, ["MANIFEST_UNKNOWN"])
    assert "blobs that it names were deleted" in refused.json()["errors"][0]["message"]
    restored = (await restore(instance, {})).json()
    assert set(restored["manifests"]) == {both.digest, NEW.digest}
    assert (await instance.client.request("GET", f"/v2/app/manifests/{OLD.digest}")).status == 404
    nothing = await restore(instance, {})
    assert "lacks blobs" in nothing.json()["errors"][0]["message"]
    await instance.push_blob("app", OLD.blobs[-1].content)
    assert (await restore(instance, {"digest": OLD.digest})).json()["manifests"] == [OLD.digest]


@pytest.mark.parametrize(
    "wanted",
    [b"[]", b"{", b"\xff", {"tags": "latest"}, {"tag": "latest", "digest": OLD.digest}, {"to": OLD.digest}, {"tag": 1}],
)
async def test_a_wish_that_cannot_be_understood_is_refused(instance: Instance, wanted: object) -> None:
    await instance.push("app", OLD, "latest")
    answer = await restore(instance, wanted)
    assert (answer.status, answer.codes) == (400, ["UNSUPPORTED"])


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=99999999999999999999999", "tag=!"])
async def test_a_history_that_cannot_be_is_refused(instance: Instance, query: str) -> None:
    await instance.push("app", OLD, "latest")
    assert (await instance.client.request("GET", f"{UNDO}/history?{query}")).status == 400


async def test_restoring_needs_the_right_to_push_and_changes_nothing_without(instance: Instance) -> None:
    """Deleting with `POST` of nothing must not restore by accident: the path is exact."""
    assert (await instance.client.request("GET", f"{UNDO}/restore")).status == 405
    assert (await instance.client.request("POST", f"{UNDO}/history")).status == 405
    assert (await instance.client.request("GET", f"{UNDO}/nothing")).status == 404
