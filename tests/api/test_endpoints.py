"""What is an endpoint and what is not: the base, unknown paths, methods, malformed names and references.

Every refusal has the specification's error body, and none of them reaches a repository.
"""

from pathlib import Path
from urllib.parse import quote

import pytest
import structlog

from roadstead.testing.asgi import AsgiClient
from roadstead.testing.images import digest_of, image
from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio

DIGEST = digest_of(b"nothing has this")


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
async def test_the_base_says_that_the_api_is_spoken(client: AsgiClient, path: str) -> None:
    answer = await client.request("GET", path)
    assert (answer.status, answer.json()) == (200, {})
    head = await client.request("HEAD", path)
    assert (head.status, head.raw_headers) == (200, answer.raw_headers)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/",
        "/V2/",
        "/v2/_catalog/",
        "/v2/_uploads/",
        "/v2/app",
        "/v2/app/tags",
        "/v2/app/tags/list/",
        "/v2/app/unknown/x",
        "/v2/manifests/latest",
        f"/v2/app/manifests/{DIGEST}/more",
    ],
)
async def test_unknown_endpoints(client: AsgiClient, path: str) -> None:
    answer = await client.request("GET", path)
    assert (answer.status, answer.codes) == (404, ["UNSUPPORTED"])


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v2/", "GET, HEAD"),
        ("/v2/_catalog", "GET, HEAD"),
        ("/v2/app/tags/list", "GET, HEAD"),
        ("/v2/app/manifests/latest", "GET, HEAD, PUT, DELETE"),
        (f"/v2/app/blobs/{DIGEST}", "GET, HEAD, DELETE"),
        ("/v2/app/blobs/uploads/", "POST"),
        ("/v2/app/blobs/uploads", "POST"),
        ("/v2/app/blobs/uploads/some-session", "GET, HEAD, PATCH, PUT, DELETE"),
        (f"/v2/app/referrers/{DIGEST}", "GET, HEAD"),
    ],
)
async def test_other_methods_are_refused_with_those_that_are_known(client: AsgiClient, path: str, allowed: str) -> None:
    for method in {"GET", "PUT", "POST", "PATCH", "DELETE", "BREW"} - set(allowed.split(", ")):
        answer = await client.request(method, path)
        assert (answer.status, answer.codes, answer.header("allow")) == (405, ["UNSUPPORTED"], allowed)


MALFORMED_NAMES = [
    "..",
    "../app",
    "app/..",
    "app/../other",
    "./app",
    "%2e%2e",
    "app%2f..",
    "app%00",
    "app\x00",
    "Upper",
    "_uploads",
    "app/_manifests",
    "-app",
    "app-",
    "app..other",
    "app___other",
    "app%252Fother",
    "app%2F%2e%2e%2Fother",
    "app other",
    "app%20other",
    "appé",
    "a" * 256,
]


@pytest.mark.parametrize("name", MALFORMED_NAMES)
async def test_malformed_names(instance: Instance, name: str) -> None:
    requests = [
        ("GET", f"/v2/{name}/tags/list"),
        ("GET", f"/v2/{name}/manifests/latest"),
        ("PUT", f"/v2/{name}/manifests/latest"),
        ("GET", f"/v2/{name}/blobs/{DIGEST}"),
        ("POST", f"/v2/{name}/blobs/uploads/"),
        ("PATCH", f"/v2/{name}/blobs/uploads/session"),
        ("GET", f"/v2/{name}/referrers/{DIGEST}"),
    ]
    for method, target in requests:
        answer = await instance.client.request(method, target)
        assert (answer.status, answer.codes) == (400, ["NAME_INVALID"]), (method, target)
    assert instance.files() == {}


@pytest.mark.parametrize(
    "name",
    ["a", "app", "a/b/c", "a.b", "a_b", "a__b", "a-b", "a---b", "0", "blobs/uploads", "tags/list", "manifests/x"],
)
async def test_names_that_look_like_paths_are_names(instance: Instance, name: str) -> None:
    manifest = image(b"layer")
    await instance.push(name, manifest, "latest")
    answer = await instance.client.request("GET", f"/v2/{name}/tags/list")
    assert (answer.status, answer.json()) == (200, {"name": name, "tags": ["latest"]})
    answer = await instance.client.request("GET", f"/v2/{name}/manifests/latest")
    assert answer.body == manifest.content
    answer = await instance.client.request("GET", f"/v2/{name}/referrers/{manifest.digest}")
    assert answer.json()["manifests"] == []


async def test_a_name_of_255_characters(instance: Instance) -> None:
    name = "a" * 255
    await instance.push(name, image(b"layer"), "latest")
    answer = await instance.client.request("GET", f"/v2/{name}/manifests/latest")
    assert answer.status == 200


MALFORMED_TAGS = [".hidden", "-x", "a" * 129, "a" * 5000, "a%00", "é", "a b", "%2e%2e", "..", "a+b", "%ff"]


@pytest.mark.parametrize("tag", MALFORMED_TAGS)
async def test_malformed_tags(instance: Instance, tag: str) -> None:
    """No manifest can have such a tag, so there is none: what registry:2 and the conformance program of 1.1 say."""
    for _ in range(2):  # in a repository that is not there, and in one that is
        for method in ("GET", "HEAD", "DELETE"):
            answer = await instance.client.request(method, f"/v2/app/manifests/{tag}")
            assert answer.status == 404
            if method != "HEAD":
                assert answer.codes == ["MANIFEST_UNKNOWN"]
            assert len(answer.body) < 4096
        answer = await instance.client.request("PUT", f"/v2/app/manifests/{tag}")
        assert (answer.status, answer.codes) == (400, ["TAG_INVALID"])
        await instance.push("app", image(b"layer"), "latest")


@pytest.mark.parametrize("name", ["team%2Fapp", "team%2fapp", "t%65am/app", "team%2F%61pp"])
async def test_names_may_be_percent_encoded(instance: Instance, name: str) -> None:
    """Clients that encode a name as a whole are served, as by registry:2; the name is what it decodes to."""
    client, manifest = instance.client, image(b"layer")
    await instance.push("team/app", manifest, "v1")
    assert (await client.request("GET", f"/v2/{name}/manifests/v1")).body == manifest.content
    assert (await client.request("GET", f"/v2/{name}/tags/list")).json() == {"name": "team/app", "tags": ["v1"]}
    assert (await client.request("GET", f"/v2/{name}/blobs/{digest_of(b'layer')}")).body == b"layer"
    begun = await client.request("POST", f"/v2/{name}/blobs/uploads/")
    assert begun.header("location").startswith("/v2/team/app/blobs/uploads/")


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//v2/", "/v2/"),
        ("/v2//", "/v2/"),
        ("/v2//team/app/tags/list", "/v2/team/app/tags/list"),
        ("/v2/team//app/manifests/v1", "/v2/team/app/manifests/v1"),
        ("/v2/team/app/manifests///v1", "/v2/team/app/manifests/v1"),
        ("/v2/team%2F%2Fapp/tags/list", "/v2/team/app/tags/list"),
        ("/v2/team//app/tags/list?n=1&last=a%20b", "/v2/team/app/tags/list?n=1&last=a%20b"),
        ("//example.com/v2/", "/example.com/v2/"),
        ("/v2//a%0d%0aSet-Cookie:x/tags/list", "/v2/a%0D%0ASet-Cookie:x/tags/list"),
        ("/v2//a%25%3f%23/tags/list", "/v2/a%25%3F%23/tags/list"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
async def test_doubled_slashes_lead_to_single_ones(client: AsgiClient, method: str, path: str, location: str) -> None:
    """As registry:2 does, whatever the method; never to another host, nor into another header."""
    answer = await client.request(method, path)
    assert (answer.status, answer.header("location"), answer.body) == (301, location, b"")


MALFORMED_DIGESTS = [
    "sha256:",
    "sha256:abc",
    f"sha256:{'g' * 64}",
    f"sha256:{'A' * 64}",
    f"sha256:{'a' * 63}",
    f"sha256:{'a' * 65}",
    f"sha512:{'a' * 64}",
    f"sha1:{'a' * 40}",
    f"md5:{'a' * 32}",
    f"sha256:{'a' * 64}%0a",
    f"sha256:..%2e{'a' * 61}",
    "sha256:" + "a" * 5000,
    ":",
]


@pytest.mark.parametrize("digest", MALFORMED_DIGESTS)
async def test_malformed_digests(client: AsgiClient, digest: str) -> None:
    query = quote(digest, safe="%")
    requests = [
        ("GET", f"/v2/app/blobs/{digest}"),
        ("DELETE", f"/v2/app/blobs/{digest}"),
        ("GET", f"/v2/app/manifests/{digest}"),
        ("PUT", f"/v2/app/manifests/{digest}"),
        ("DELETE", f"/v2/app/manifests/{digest}"),
        ("GET", f"/v2/app/referrers/{digest}"),
        ("POST", f"/v2/app/blobs/uploads/?digest={query}"),
        ("PUT", f"/v2/app/blobs/uploads/some-session?digest={query}"),
    ]
    for method, target in requests:
        answer = await client.request(method, target)
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"]), (method, target)
        assert len(answer.body) < 4096


async def test_a_digest_may_be_percent_encoded(instance: Instance) -> None:
    digest = await instance.push_blob("app", b"content")
    answer = await instance.client.request("GET", f"/v2/app/blobs/{quote(digest)}")
    assert (answer.status, answer.body) == (200, b"content")


@pytest.mark.parametrize("query", ["n=1&" + "x=1&" * 300, "last=%ff", "n=1;last=%C3"])
async def test_unreadable_queries(instance: Instance, query: str) -> None:
    await instance.push("app", image(b"layer"), "latest")
    answer = await instance.client.request("GET", f"/v2/app/tags/list?{query}")
    assert (answer.status, answer.codes) == (400, ["UNSUPPORTED"])


async def test_errors_say_what_is_wrong_and_name_no_path(instance: Instance) -> None:
    answer = await instance.client.request("GET", "/v2/app/manifests/latest")
    assert answer.json() == {
        "errors": [
            {
                "code": "MANIFEST_UNKNOWN",
                "message": "manifest unknown",
                "detail": {"repository": "app", "reference": "latest"},
            }
        ]
    }
    assert answer.body.endswith(b"}\n"), "a prompt after it begins on a line of its own"
    assert answer.header("content-type") == "application/json"
    assert str(instance.folder) not in answer.body.decode()


async def test_the_log_of_a_failure_names_what_there_is_to_name(tmp_path: Path) -> None:
    """A failure that nothing caused has no cause: `None` in its place is what people search for in vain."""
    full = Instance(tmp_path, minimum_free_bytes=1 << 62)
    await full.open()
    try:
        with structlog.testing.capture_logs() as logs:
            answer = await full.client.request("POST", "/v2/app/blobs/uploads/")
    finally:
        await full.close()
    assert (answer.status, answer.codes) == (507, ["UNAVAILABLE"])
    (told,) = logs
    assert (told["event"], told["reason"]) == ("request failed", "storage is full")
    assert "None" not in told.values()
    assert "cause" not in told
