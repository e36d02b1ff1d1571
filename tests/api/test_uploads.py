"""Pushing blobs in every way, what each refuses, and mounts.

Source: distribution specification, sections "Pushing blobs", "Pushing a blob in chunks", "Cancel a blob upload" and
"Mounting a blob from another repository".
"""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from roadstead.testing.asgi import Answer, AsgiClient
from roadstead.testing.images import digest_of, image
from roadstead.testing.instance import Instance
from tests.databases import IN_BUCKETS_TOO, IN_FOLDERS

pytestmark = pytest.mark.anyio

DATABASES = IN_BUCKETS_TOO

CONTENT = b"0123456789abcdef"
DIGEST = digest_of(CONTENT)
LOCATION = re.compile(r"/v2/app/blobs/uploads/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


async def start(client: AsgiClient, query: str = "") -> str:
    """The location of a new session."""
    answer = await client.request("POST", f"/v2/app/blobs/uploads/{query}")
    assert answer.status == 202
    return answer.header("location")


async def patch(client: AsgiClient, location: str, content: bytes, content_range: str = "") -> Answer:
    headers = {"content-range": content_range} if content_range else {}
    return await client.request("PATCH", location, headers=headers, body=content)


async def assert_pullable(instance: Instance, content: bytes = CONTENT, algorithm: str = "sha256") -> None:
    digest = digest_of(content, algorithm)
    answer = await instance.client.request("GET", f"/v2/app/blobs/{digest}")
    assert (answer.status, answer.body) == (200, content)


async def assert_nothing_kept(instance: Instance) -> None:
    assert instance.files() == {}
    assert (await instance.client.request("HEAD", f"/v2/app/blobs/{DIGEST}")).status == 404


def assert_created(answer: Answer, digest: str = DIGEST) -> None:
    assert answer.status == 201, answer
    assert answer.header("location") == f"/v2/app/blobs/{digest}"
    assert answer.header("docker-content-digest") == digest


async def test_a_session_begins(client: AsgiClient) -> None:
    for path in ("/v2/app/blobs/uploads/", "/v2/app/blobs/uploads"):
        answer = await client.request("POST", path)
        assert (answer.status, answer.body) == (202, b"")
        found = LOCATION.fullmatch(answer.header("location"))
        assert found is not None
        assert answer.header("docker-upload-uuid") == found[1]
        assert answer.header("range") == "0-0"
        assert int(answer.header("oci-chunk-min-length")) > 0


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_single_post(instance: Instance, algorithm: str) -> None:
    digest = digest_of(CONTENT, algorithm)
    answer = await instance.client.request("POST", f"/v2/app/blobs/uploads/?digest={digest}", body=CONTENT)
    assert_created(answer, digest)
    await assert_pullable(instance, algorithm=algorithm)


async def test_single_post_of_unknown_length(instance: Instance) -> None:
    answer = await instance.client.request(
        "POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", body=[CONTENT[:3], CONTENT[3:]]
    )
    assert_created(answer)
    await assert_pullable(instance)


@pytest.mark.parametrize("body", [b"", [], [b"", b""]], ids=["of length 0", "chunked", "of empty pieces"])
async def test_a_post_with_a_digest_and_no_body_begins_a_session(instance: Instance, body: bytes | list[bytes]) -> None:
    digest = digest_of(CONTENT, "sha512")
    answer = await instance.client.request("POST", f"/v2/app/blobs/uploads/?digest={digest}", body=body)
    assert answer.status == 202
    assert_created(
        await instance.client.request("PUT", f"{answer.header('location')}?digest={digest}", body=CONTENT), digest
    )


async def test_an_empty_digest_is_as_if_absent_unless_there_is_a_body(instance: Instance) -> None:
    target = "/v2/app/blobs/uploads/?digest="
    assert (await instance.client.request("POST", target)).status == 202
    assert (await instance.client.request("POST", target, body=[])).status == 202
    for body in (CONTENT, [CONTENT]):
        answer = await instance.client.request("POST", target, body=body)
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize(
    "query",
    [
        "mount=latest&from=source",
        "mount=&from=source",
        "mount=sha256:abc&from=source",
        f"mount=md5:{'a' * 32}&from=source",
        "mount={digest}&from=../etc",
        "mount={digest}&from=Upper",
        "mount={digest}&from=" + "a" * 300,
    ],
)
async def test_a_mount_that_cannot_be_one_begins_an_upload(instance: Instance, query: str) -> None:
    """As any mount that cannot be done (specification: 202), and as registry:2 and registry:3 answer."""
    digest = await instance.push_blob("source", CONTENT)
    location = await start(instance.client, f"?{query.format(digest=digest)}")
    assert_created(await instance.client.request("PUT", f"{location}?digest={DIGEST}", body=CONTENT))
    await assert_pullable(instance)


@pytest.mark.parametrize("body", [b"", []], ids=["of length 0", "chunked"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_an_empty_blob(instance: Instance, algorithm: str, body: bytes | list[bytes]) -> None:
    digest = digest_of(b"", algorithm)
    assert_created(await instance.client.request("POST", f"/v2/app/blobs/uploads/?digest={digest}", body=body), digest)
    location = await start(instance.client)
    assert_created(await instance.client.request("PUT", f"{location}?digest={digest}"), digest)
    await assert_pullable(instance, b"", algorithm)


async def test_post_then_put(instance: Instance) -> None:
    location = await start(instance.client)
    assert_created(await instance.client.request("PUT", f"{location}?digest={DIGEST}", body=CONTENT))
    await assert_pullable(instance)
    assert (await instance.client.request("GET", location)).codes == ["BLOB_UPLOAD_UNKNOWN"]


@pytest.mark.parametrize("begun", ["sha256", "sha512"])
@pytest.mark.parametrize("closed", ["sha256", "sha512"])
async def test_chunks(instance: Instance, begun: str, closed: str) -> None:
    client = instance.client
    location = await start(client, f"?digest-algorithm={begun}")
    answer = await patch(client, location, CONTENT[:5], "0-4")
    assert (answer.status, answer.header("range"), answer.body) == (202, "0-4", b"")
    answer = await patch(client, answer.header("location"), CONTENT[5:6], "5-5")
    assert (answer.status, answer.header("range")) == (202, "0-5")
    status = await client.request("GET", location)
    assert (status.status, status.header("range"), status.header("location")) == (204, "0-5", location)
    digest = digest_of(CONTENT, closed)
    answer = await client.request(
        "PUT", f"{location}?digest={digest}", headers={"content-range": "6-15"}, body=CONTENT[6:]
    )
    assert_created(answer, digest)
    await assert_pullable(instance, algorithm=closed)


async def test_chunks_closed_without_a_body(instance: Instance) -> None:
    location = await start(instance.client)
    await patch(instance.client, location, CONTENT)
    assert_created(await instance.client.request("PUT", f"{location}?digest={DIGEST}"))
    await assert_pullable(instance)


async def test_streams(instance: Instance) -> None:
    """Docker's way: PATCH without Content-Range and without a length."""
    content = bytes(range(256)) * (10 << 10)
    location = await start(instance.client)
    pieces = [content[at : at + 70_001] for at in range(0, len(content), 70_001)]
    answer = await instance.client.request("PATCH", location, body=pieces)
    assert (answer.status, answer.header("range")) == (202, f"0-{len(content) - 1}")
    assert_created(await instance.client.request("PUT", f"{location}?digest={digest_of(content)}"), digest_of(content))
    await assert_pullable(instance, content)


async def test_an_empty_chunk_changes_nothing(instance: Instance) -> None:
    location = await start(instance.client)
    assert (await patch(instance.client, location, b"")).header("range") == "0-0"
    await patch(instance.client, location, CONTENT)
    assert (await patch(instance.client, location, b"")).header("range") == "0-15"
    assert_created(await instance.client.request("PUT", f"{location}?digest={DIGEST}"))


@pytest.mark.parametrize("content_range", ["bytes 0-4/*", "bytes=0-4", "bytes 0-4/16", "0-4"])
async def test_ways_to_write_a_content_range(client: AsgiClient, content_range: str) -> None:
    assert (await patch(client, await start(client), CONTENT[:5], content_range)).status == 202


@pytest.mark.parametrize("content_range", ["4-0", "x", "0-", "-4", "0-4,5-6", "0 - 4", "\xb2-4"])
async def test_malformed_content_ranges(client: AsgiClient, content_range: str) -> None:
    location = await start(client)
    answer = await patch(client, location, CONTENT[:5], content_range)
    assert (answer.status, answer.codes) == (400, ["BLOB_UPLOAD_INVALID"])
    assert (await client.request("GET", location)).header("range") == "0-0"


@pytest.mark.parametrize("content_range", ["0-3", "0-5"])
async def test_a_chunk_of_another_length_than_stated(client: AsgiClient, content_range: str) -> None:
    answer = await patch(client, await start(client), CONTENT[:5], content_range)
    assert (answer.status, answer.codes) == (400, ["SIZE_INVALID"])


@pytest.mark.parametrize("first", [0, 4, 6, 10])
@pytest.mark.parametrize("last", [15, 14, 20], ids=["of its length", "shorter", "longer"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_chunks_out_of_order(instance: Instance, first: int, last: int, method: str) -> None:
    """Where the chunk belongs is asked before how long it is: only the former tells the client where to go on."""
    client = instance.client
    location = await start(client)
    await patch(client, location, CONTENT[:5], "0-4")
    answer = await client.request(
        method,
        f"{location}?digest={DIGEST}",
        headers={"content-range": f"{first}-{last}"},
        body=CONTENT[first:],
    )
    assert (answer.status, answer.codes) == (416, ["BLOB_UPLOAD_INVALID"])
    assert (answer.header("location"), answer.header("range")) == (location, "0-4"), "what is needed to go on"
    await patch(client, location, CONTENT[5:], "5-15")
    assert_created(await client.request("PUT", f"{location}?digest={DIGEST}"))


async def test_the_first_chunk_must_begin_at_zero(client: AsgiClient) -> None:
    assert (await patch(client, await start(client), CONTENT[5:], "5-15")).status == 416


@pytest.mark.parametrize("way", ["post", "put", "chunked"])
async def test_another_digest_than_stated(instance: Instance, way: str) -> None:
    client, other = instance.client, b"something else of the same"
    if way == "post":
        answer = await client.request("POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", body=other)
    else:
        location = await start(client)
        if way == "chunked":
            await patch(client, location, other)
        answer = await client.request("PUT", f"{location}?digest={DIGEST}", body=b"" if way == "chunked" else other)
        assert (await client.request("GET", location)).status == 404, "the session is gone"
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    assert answer.json()["errors"][0]["detail"] == {"expected": DIGEST, "actual": digest_of(other)}
    await assert_nothing_kept(instance)


async def test_closing_needs_a_digest(client: AsgiClient) -> None:
    location = await start(client)
    await patch(client, location, CONTENT)
    answer = await client.request("PUT", location)
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    assert_created(await client.request("PUT", f"{location}?digest={DIGEST}"))


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "SHA256", "sha384", "sha256:"])
async def test_unknown_algorithms(client: AsgiClient, algorithm: str) -> None:
    answer = await client.request("POST", f"/v2/app/blobs/uploads/?digest-algorithm={algorithm}")
    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])


async def test_cancelling(instance: Instance) -> None:
    location = await start(instance.client)
    await patch(instance.client, location, CONTENT)
    assert (await instance.client.request("DELETE", location)).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = await instance.client.request(method, location)
        assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    answer = await instance.client.request("PUT", f"{location}?digest={DIGEST}", body=CONTENT)
    assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    await assert_nothing_kept(instance)


async def test_a_session_belongs_to_its_repository(client: AsgiClient) -> None:
    location = (await start(client)).replace("/v2/app/", "/v2/other/")
    for method in ("GET", "PATCH", "DELETE"):
        assert (await client.request(method, location)).status == 404
    assert (await client.request("PUT", f"{location}?digest={DIGEST}", body=CONTENT)).status == 404


@pytest.mark.parametrize(
    "session", ["unknown", "..", "%2e%2e", "00000000-0000-0000-0000-000000000000", "a\x00b", "x" * 3000]
)
async def test_sessions_that_were_never_begun(instance: Instance, session: str) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        answer = await instance.client.request(method, f"/v2/app/blobs/uploads/{session}")
        assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    await assert_nothing_kept(instance)


async def test_a_client_that_goes_away_can_go_on(instance: Instance) -> None:
    """What arrived is kept, and the status says how much that is."""
    client = instance.client
    location = await start(client)
    answer = await client.request("PATCH", location, body=[CONTENT[:7]], disconnects=True)
    assert (answer.status, answer.codes) == (400, ["BLOB_UPLOAD_INVALID"])
    assert (await client.request("GET", location)).header("range") == "0-6"
    await instance.restart()
    client = instance.client
    assert (await client.request("GET", location)).header("range") == "0-6"
    assert (await patch(client, location, CONTENT[7:], "7-15")).status == 202
    assert_created(await client.request("PUT", f"{location}?digest={DIGEST}"))
    await assert_pullable(instance)


async def test_a_single_post_that_breaks_off_leaves_nothing(instance: Instance) -> None:
    await instance.client.request(
        "POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", body=[CONTENT[:7]], content_length=16, disconnects=True
    )
    await assert_nothing_kept(instance)


async def test_a_put_that_breaks_off_can_be_repeated(instance: Instance) -> None:
    client = instance.client
    location = await start(client)
    await client.request("PUT", f"{location}?digest={DIGEST}", body=[CONTENT[:7]], content_length=16, disconnects=True)
    assert (await client.request("HEAD", f"/v2/app/blobs/{DIGEST}")).status == 404
    assert (await client.request("GET", location)).header("range") == "0-6"
    answer = await client.request(
        "PUT", f"{location}?digest={DIGEST}", headers={"content-range": "7-15"}, body=CONTENT[7:]
    )
    assert_created(answer)
    await assert_pullable(instance)


@IN_FOLDERS
async def test_two_writers(instance: Instance) -> None:
    """The second is refused and disturbs nothing."""
    client = instance.client
    location = await start(client)
    arrived, finish = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield CONTENT[:5]
        arrived.set()
        await finish.wait()
        yield CONTENT[5:]

    first = asyncio.create_task(client.request("PATCH", location, body=slowly()))
    await arrived.wait()
    for answer in (
        await patch(client, location, b"intruder"),
        await client.request("PUT", f"{location}?digest={digest_of(b'intruder')}", body=b"intruder"),
    ):
        assert (answer.status, answer.codes) == (409, ["BLOB_UPLOAD_INVALID"])
    finish.set()
    assert (await first).header("range") == "0-15"
    assert_created(await client.request("PUT", f"{location}?digest={DIGEST}"))
    await assert_pullable(instance)


async def test_cancelling_while_receiving(instance: Instance) -> None:
    client = instance.client
    location = await start(client)
    arrived, finish = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield CONTENT[:5]
        arrived.set()
        await finish.wait()
        yield CONTENT[5:]

    upload = asyncio.create_task(client.request("PUT", f"{location}?digest={DIGEST}", body=slowly()))
    await arrived.wait()
    assert (await client.request("DELETE", location)).status == 204
    finish.set()
    answer = await upload
    assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    await assert_nothing_kept(instance)


@IN_FOLDERS
async def test_many_clients_push_the_same_blob_at_once(instance: Instance) -> None:
    """Each of them is told 201, and whoever was told so can use the blob from then on."""

    async def push(number: int) -> None:
        repository = f"repository-{number % 3}"
        await instance.push_blob(repository, CONTENT)
        answer = await instance.client.request("GET", f"/v2/{repository}/blobs/{DIGEST}")
        assert (answer.status, answer.body) == (200, CONTENT)

    for _ in range(5):
        await asyncio.gather(*(push(number) for number in range(20)))
    assert list(instance.files().values()) == [len(CONTENT)]


@IN_FOLDERS
async def test_a_mount(instance: Instance) -> None:
    await instance.push_blob("source", CONTENT)
    answer = await instance.client.request("POST", f"/v2/app/blobs/uploads/?mount={DIGEST}&from=source")
    assert_created(answer)
    await assert_pullable(instance)
    await instance.client.request("DELETE", f"/v2/source/blobs/{DIGEST}")
    await assert_pullable(instance)
    assert len(instance.files()) == 1


async def test_a_mount_from_wherever_it_is(instance: Instance) -> None:
    await instance.push_blob("source", CONTENT)
    assert_created(await instance.client.request("POST", f"/v2/app/blobs/uploads/?mount={DIGEST}"))
    await assert_pullable(instance)


@pytest.mark.parametrize("source", ["&from=other", "&from=nobody", "&from=app"])
async def test_a_mount_from_where_it_is_not_begins_a_session(instance: Instance, source: str) -> None:
    await instance.push_blob("source", CONTENT)
    await instance.push_blob("other", b"other")
    answer = await instance.client.request("POST", f"/v2/app/blobs/uploads/?mount={DIGEST}{source}")
    assert answer.status == 202
    assert (await instance.client.request("HEAD", f"/v2/app/blobs/{DIGEST}")).status == 404
    assert_created(await instance.client.request("PUT", f"{answer.header('location')}?digest={DIGEST}", body=CONTENT))


async def test_a_mount_of_what_nobody_has_begins_a_session_of_its_algorithm(instance: Instance) -> None:
    digest = digest_of(CONTENT, "sha512")
    answer = await instance.client.request("POST", f"/v2/app/blobs/uploads/?mount={digest}")
    assert answer.status == 202
    assert_created(
        await instance.client.request("PUT", f"{answer.header('location')}?digest={digest}", body=CONTENT), digest
    )


async def test_what_was_deleted_everywhere_cannot_be_mounted(instance: Instance) -> None:
    await instance.push_blob("source", CONTENT)
    await instance.client.request("DELETE", f"/v2/source/blobs/{DIGEST}")
    answer = await instance.client.request("POST", f"/v2/app/blobs/uploads/?mount={DIGEST}")
    assert answer.status == 202


async def test_a_mounted_blob_can_be_named_by_a_manifest(instance: Instance) -> None:
    manifest = image(CONTENT)
    for blob in manifest.blobs:
        await instance.push_blob("source", blob.content)
        await instance.client.request("POST", f"/v2/app/blobs/uploads/?mount={blob.digest}&from=source")
    await instance.push_manifest("app", manifest)
