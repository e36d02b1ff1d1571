"""Blobs: pulled whole and in parts, asked for with conditions, deleted; damaged ones are put aside and healed.

Sources: distribution specification, sections "Pulling blobs" and "Deleting Blobs"; RFC 9110, sections 13 and 14.
"""

import re

import pytest

from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.testing.asgi import Answer, AsgiClient
from roadstead.testing.images import digest_of, image
from roadstead.testing.instance import Instance
from roadstead.testing.object_store_contract import Footprint
from tests.databases import IN_BUCKETS_TOO, IN_FOLDERS

pytestmark = pytest.mark.anyio

DATABASES = IN_BUCKETS_TOO

CONTENT = b"0123456789abcdef"
ABSENT = digest_of(b"nothing has this")


@pytest.fixture
async def blob(instance: Instance) -> str:
    """The path of a pushed blob."""
    return f"/v2/app/blobs/{await instance.push_blob('app', CONTENT)}"


async def get(client: AsgiClient, path: str, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.request("GET", path, headers=sent)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("content", [b"", b"x", CONTENT, bytes(3 << 20), bytes(5 << 20)])
async def test_bytes_come_back(instance: Instance, content: bytes, algorithm: str) -> None:
    digest = await instance.push_blob("app", content, algorithm)
    answer = await instance.client.request("GET", f"/v2/app/blobs/{digest}")
    assert answer.status == 200
    assert answer.body == content
    assert answer.header("docker-content-digest") == digest
    assert answer.header("etag") == f'"{digest}"'
    assert answer.header("accept-ranges") == "bytes"
    assert answer.header("content-type") == "application/octet-stream"


async def test_head_is_get_without_a_body(client: AsgiClient, blob: str) -> None:
    whole = await client.request("GET", blob)
    head = await client.request("HEAD", blob)
    assert (head.status, sorted(head.raw_headers)) == (200, sorted(whole.raw_headers))
    assert head.header("content-length") == "16"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_unknown_blobs(client: AsgiClient, blob: str, method: str) -> None:
    assert blob
    answer = await client.request(method, f"/v2/app/blobs/{ABSENT}")
    assert answer.status == 404
    if method != "HEAD":
        assert answer.codes == ["BLOB_UNKNOWN"]
        assert answer.json()["errors"][0]["detail"] == {"digest": ABSENT}


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_a_blob_of_another_repository_does_not_exist_here(instance: Instance, method: str) -> None:
    digest = await instance.push_blob("secret", CONTENT)
    await instance.push_blob("public", b"other")
    for repository in ("public", "nobody"):
        answer = await instance.client.request(method, f"/v2/{repository}/blobs/{digest}")
        assert answer.status == 404
    answer = await instance.client.request("GET", f"/v2/secret/blobs/{digest}")
    assert answer.body == CONTENT


@pytest.mark.parametrize(
    ("wanted", "content_range"),
    [
        ("bytes=0-0", "bytes 0-0/16"),
        ("bytes=0-3", "bytes 0-3/16"),
        ("bytes=4-", "bytes 4-15/16"),
        ("bytes=15-", "bytes 15-15/16"),
        ("bytes=-1", "bytes 15-15/16"),
        ("bytes=-99", "bytes 0-15/16"),
        ("bytes=10-99", "bytes 10-15/16"),
        ("Bytes=1-2", "bytes 1-2/16"),
        ("bytes= 1-2 ,", "bytes 1-2/16"),
        ("bytes=1-2,99-", "bytes 1-2/16"),
    ],
)
async def test_one_range(client: AsgiClient, blob: str, wanted: str, content_range: str) -> None:
    answer = await get(client, blob, range=wanted)
    assert (answer.status, answer.header("content-range")) == (206, content_range)
    first, last = map(int, content_range.removeprefix("bytes ").removesuffix("/16").split("-"))
    assert answer.body == CONTENT[first : last + 1]
    assert answer.header("docker-content-digest") == digest_of(CONTENT)


@pytest.mark.parametrize("wanted", ["bytes=16-", "bytes=99-100", "bytes=-0", "bytes=5-4", "bytes=16-,-0"])
async def test_ranges_outside_the_content(client: AsgiClient, blob: str, wanted: str) -> None:
    answer = await get(client, blob, range=wanted)
    assert (answer.status, answer.codes) == (416, ["RANGE_INVALID"])
    assert answer.header("content-range") == "bytes */16"


@pytest.mark.parametrize(
    "wanted", ["bytes", "bytes=", "bytes=x-y", "bytes=1-2-3", "items=0-1", "bytes=--1", "bytes=0-0,x", "bytes=-", "0-1"]
)
async def test_ranges_that_are_ignored(client: AsgiClient, blob: str, wanted: str) -> None:
    answer = await get(client, blob, range=wanted)
    assert (answer.status, answer.body, answer.header("content-range")) == (200, CONTENT, "")


async def test_a_range_of_an_empty_blob(instance: Instance) -> None:
    path = f"/v2/app/blobs/{await instance.push_blob('app', b'')}"
    answer = await get(instance.client, path, range="bytes=0-0")
    assert (answer.status, answer.header("content-range")) == (416, "bytes */0")


async def test_several_ranges(client: AsgiClient, blob: str) -> None:
    answer = await get(client, blob, range="bytes=0-1, 8-9, -1")
    assert answer.status == 206
    assert answer.header("content-range") == ""
    kind = re.fullmatch(r"multipart/byteranges; boundary=([0-9a-f]{32})", answer.header("content-type"))
    assert kind is not None
    parts = answer.body.split(f"\r\n--{kind[1]}".encode())
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    expected = [(b"0-1", b"01"), (b"8-9", b"89"), (b"15-15", b"f")]
    assert parts[1:-1] == [
        b"\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes %s/16\r\n\r\n%s" % part
        for part in expected
    ]


@pytest.mark.parametrize("wanted", ["bytes=0-,0-", "bytes=0-9,0-9", "bytes=" + "0-0," * 200])
async def test_ranges_that_cost_more_than_the_whole_give_the_whole(client: AsgiClient, blob: str, wanted: str) -> None:
    answer = await get(client, blob, range=wanted)
    assert (answer.status, answer.body) == (200, CONTENT)


async def test_large_ranges_cross_the_pieces_in_which_they_are_read(instance: Instance) -> None:
    content = bytes(range(256)) * (5 << 12)
    path = f"/v2/app/blobs/{await instance.push_blob('app', content)}"
    first, last = (1 << 20) - 3, (5 << 20) - 7
    answer = await get(instance.client, path, range=f"bytes={first}-{last}")
    assert answer.body == content[first : last + 1]


async def test_if_range(client: AsgiClient, blob: str) -> None:
    etag = f'"{digest_of(CONTENT)}"'
    assert (await get(client, blob, range="bytes=0-1", if_range=etag)).status == 206
    for other in ('"other"', f"W/{etag}", "Mon, 12 Jan 2026 18:45:04 GMT"):
        assert (await get(client, blob, range="bytes=0-1", if_range=other)).body == CONTENT


@pytest.mark.parametrize("condition", ["{etag}", "W/{etag}", '"x", {etag}', "*", " {etag} "])
async def test_what_the_client_has_is_not_sent(client: AsgiClient, blob: str, condition: str) -> None:
    etag = f'"{digest_of(CONTENT)}"'
    for method in ("GET", "HEAD"):
        answer = await client.request(method, blob, headers={"if-none-match": condition.format(etag=etag)})
        assert (answer.status, answer.body, answer.header("etag")) == (304, b"", etag)


async def test_another_entity_tag_changes_nothing(client: AsgiClient, blob: str) -> None:
    assert (await get(client, blob, if_none_match='"sha256:other"')).body == CONTENT


async def test_conditions_come_before_ranges(client: AsgiClient, blob: str) -> None:
    answer = await get(client, blob, if_none_match=f'"{digest_of(CONTENT)}"', range="bytes=99-")
    assert answer.status == 304


async def test_deletion(client: AsgiClient, blob: str) -> None:
    assert (await client.request("DELETE", blob)).status == 202
    for method in ("GET", "HEAD", "DELETE"):
        assert (await client.request(method, blob)).status == 404


async def test_deletion_leaves_other_repositories_alone(instance: Instance) -> None:
    digest = await instance.push_blob("one", CONTENT)
    await instance.push_blob("two", CONTENT)
    await instance.client.request("DELETE", f"/v2/one/blobs/{digest}")
    assert (await instance.client.request("GET", f"/v2/one/blobs/{digest}")).status == 404
    assert (await instance.client.request("GET", f"/v2/two/blobs/{digest}")).body == CONTENT


async def test_a_blob_that_a_manifest_names_is_not_deleted(instance: Instance) -> None:
    manifest = image(b"layer")
    await instance.push("app", manifest)
    layer = f"/v2/app/blobs/{digest_of(b'layer')}"
    answer = await instance.client.request("DELETE", layer)
    assert (answer.status, answer.codes) == (405, ["UNSUPPORTED"])
    assert answer.json()["errors"][0]["detail"] == {"digest": digest_of(b"layer"), "manifest": manifest.digest}
    await instance.client.request("DELETE", f"/v2/app/manifests/{manifest.digest}")
    assert (await instance.client.request("DELETE", layer)).status == 202


async def test_deleting_in_an_unknown_repository(client: AsgiClient) -> None:
    answer = await client.request("DELETE", f"/v2/nobody/blobs/{ABSENT}")
    assert (answer.status, answer.codes) == (404, ["BLOB_UNKNOWN"])


@IN_FOLDERS
@pytest.mark.parametrize("damage", ["missing", "short", "long"])
async def test_a_damaged_blob_is_put_aside_and_healed_by_a_push(instance: Instance, damage: str) -> None:
    digest = await instance.push_blob("app", CONTENT)
    other = await instance.push_blob("app", b"unharmed")
    file = instance.objects / layout.blob_key(Digest(digest))
    file.write_bytes({"missing": b"", "short": CONTENT[:-1], "long": CONTENT + b"!"}[damage])
    if damage == "missing":
        file.unlink()
    answers = [await instance.client.request("GET", f"/v2/app/blobs/{digest}") for _ in range(2)]
    for answer in answers:
        assert (answer.status, answer.codes) == (404, ["BLOB_UNKNOWN"])
        assert "push it again" in answer.json()["errors"][0]["message"]
    assert [found for found, _ in instance.quarantined] == [digest], "a second look must not report it again"
    aside = instance.objects / layout.quarantine_key(Digest(digest))
    assert aside.exists() == (damage != "missing"), "damaged bytes are kept as evidence"
    assert (await instance.client.request("GET", f"/v2/app/blobs/{other}")).body == b"unharmed"
    await instance.push_blob("app", CONTENT)
    assert (await instance.client.request("GET", f"/v2/app/blobs/{digest}")).body == CONTENT


@IN_FOLDERS
async def test_head_does_not_promise_a_damaged_blob(instance: Instance) -> None:
    digest = await instance.push_blob("app", CONTENT)
    (instance.objects / layout.blob_key(Digest(digest))).unlink()
    assert (await instance.client.request("HEAD", f"/v2/app/blobs/{digest}")).status == 404


@IN_FOLDERS
async def test_a_damaged_blob_cannot_be_mounted_or_named(instance: Instance) -> None:
    manifest = image(b"layer")
    for blob in manifest.blobs:
        await instance.push_blob("app", blob.content)
    (instance.objects / layout.blob_key(Digest(digest_of(b"layer")))).unlink()
    await instance.client.request("GET", f"/v2/app/blobs/{digest_of(b'layer')}")
    for query in (f"mount={digest_of(b'layer')}&from=app", f"mount={digest_of(b'layer')}"):
        answer = await instance.client.request("POST", f"/v2/other/blobs/uploads/?{query}")
        assert answer.status == 202
    answer = await instance.client.request(
        "PUT",
        "/v2/app/manifests/latest",
        headers={"content-type": manifest.media_type},
        body=manifest.content,
    )
    assert (answer.status, answer.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])


async def test_nothing_is_read_for_a_client_that_has_gone(instance: Instance) -> None:
    before = Footprint.take()
    path = f"/v2/app/blobs/{await instance.push_blob('app', bytes(8 << 20))}"
    answer = await instance.client.request("GET", path, disconnects=True)
    assert (answer.status, answer.header("content-length")) == (200, str(8 << 20))
    assert len(answer.body) < 8 << 20
    before.assert_nothing_new_open(below=str(instance.objects))
