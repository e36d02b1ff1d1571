"""A NUL wherever a client can put one: no answer depends on whether the database could keep it.

Names, tags, digests and sessions have a grammar without it, and so have the names of users (`identity.htpasswd`,
`web.connection.tls_peer`). What is kept as the client wrote it, annotations and headers, is kept as JSON, which writes
it as six other characters.
"""

import json

import pytest

from roadstead.events import StoredEvent
from roadstead.testing.asgi import Answer
from roadstead.testing.images import Document, artifact, digest_of, image
from roadstead.testing.instance import Instance
from roadstead.webhooks import store

pytestmark = pytest.mark.anyio

IMAGE = image(b"layer")
DIGEST = digest_of(b"nothing has this")


async def put(instance: Instance, content: bytes, query: str = "") -> Answer:
    headers = {"content-type": IMAGE.media_type}
    return await instance.client.request("PUT", f"/v2/app/manifests/v1{query}", headers=headers, body=content)


def changed(change: Document, config: Document | None = None) -> bytes:
    """The image's manifest with other fields, and other ones of its config's descriptor."""
    document = json.loads(IMAGE.content)
    return json.dumps(document | change | {"config": document["config"] | (config or {})}).encode()


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v2/app%00/tags/list", 400),
        ("GET", "/v2/app/tags/list?last=%00", 200),
        ("GET", "/v2/app/tags/list?n=%00", 400),
        ("GET", "/v2/_catalog?last=a%00", 200),
        ("GET", "/v2/app/manifests/v%001", 404),
        ("GET", f"/v2/app/manifests/{DIGEST}%00", 400),
        ("PUT", "/v2/app/manifests/v%001", 400),
        ("DELETE", "/v2/app/manifests/v%001", 404),
        ("GET", f"/v2/app/blobs/{DIGEST}%00", 400),
        ("POST", f"/v2/app/blobs/uploads/?digest={DIGEST}%00", 400),
        ("POST", f"/v2/app/blobs/uploads/?mount={DIGEST}&from=other%00", 202),
        ("POST", f"/v2/app/blobs/uploads/?mount={DIGEST}%00&from=other", 202),
        ("POST", "/v2/app/blobs/uploads/?digest-algorithm=sha256%00", 400),
        ("GET", "/v2/app/blobs/uploads/a%00b", 404),
        ("PATCH", "/v2/app/blobs/uploads/a%00b", 404),
        ("PUT", f"/v2/app/blobs/uploads/a%00b?digest={DIGEST}", 404),
        ("DELETE", "/v2/app/blobs/uploads/a%00b", 404),
        ("GET", f"/v2/app/referrers/{DIGEST}?artifactType=%00", 200),
        ("GET", f"/v2/app/referrers/{DIGEST}?last=%00", 200),
    ],
)
async def test_in_what_is_asked_for(instance: Instance, method: str, target: str, status: int) -> None:
    await instance.push("app", IMAGE, "v1")
    answer = await instance.client.request(method, target)
    assert answer.status == status, answer


@pytest.mark.parametrize(
    "content",
    [changed({"artifactType": "a/b\x00c"}), changed({}, {"mediaType": "a/b\x00c"}), changed({"mediaType": "a\x00"})],
)
async def test_a_type_with_one_is_refused(instance: Instance, content: bytes) -> None:
    await instance.push("app", IMAGE)
    answer = await put(instance, content)
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])


async def test_a_further_tag_with_one_is_refused(instance: Instance) -> None:
    await instance.push("app", IMAGE)
    answer = await put(instance, IMAGE.content, "?tag=v%002")
    assert (answer.status, answer.codes) == (400, ["TAG_INVALID"])


async def test_an_annotation_with_one_comes_back(instance: Instance) -> None:
    annotations = {"a\x00": "b\x00c"}
    note = artifact(b"{}", artifact_type="application/spdx+json", subject=IMAGE, annotations=annotations)
    await instance.push("app", note)
    answer = await instance.client.request("GET", f"/v2/app/referrers/{IMAGE.digest}")
    assert [each["annotations"] for each in answer.json()["manifests"]] == [annotations]


async def test_a_header_with_one_is_in_the_event(instance: Instance) -> None:
    """No server lets such a header pass; the catalogue relies on none."""
    await instance.push("app", IMAGE)
    headers = {"user-agent": "a\x00b"}
    answer = await instance.client.request("DELETE", f"/v2/app/manifests/{IMAGE.digest}", headers=headers)
    assert answer.status == 202
    rows = await instance.registry.database.fetch_all(store.LIST_EVENTS, after=0, limit=10)
    assert [StoredEvent.of(row).event.cause.user_agent for row in rows[-1:]] == ["a\x00b"]
