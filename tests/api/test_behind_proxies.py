"""The whole main listener behind proxies: where clients are sent, what every answer carries, who sends the bytes."""

import io
from collections.abc import Callable, Mapping

import msgspec
import pytest

from roadstead import app
from roadstead.config import Settings, load_settings
from roadstead.config.networks import NetworkSet
from roadstead.events import Cause
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.telemetry import AccessLog, Metrics
from roadstead.testing.asgi import Answer, AsgiClient
from roadstead.testing.images import digest_of, image
from roadstead.testing.instance import Instance
from roadstead.web.distribution.endpoint import cause_of
from roadstead.web.external_url import Locations
from roadstead.web.forwarding import Forwarding
from roadstead.web.http import Receive, Request, Scope, Send

pytestmark = pytest.mark.anyio

CONTENT = b"the bytes of a layer"
FORWARDED = {
    "host": "localhost:5000",
    "x-forwarded-for": "192.0.2.7",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "registry.example.com:8443",
}
TRUSTING = {"http.trusted_proxies": ["loopback"]}
CORS = {
    "Access-Control-Allow-Origin": ["https://ui.example.com"],
    "Access-Control-Allow-Methods": ["HEAD", "GET", "OPTIONS", "DELETE"],
    "X-Content-Type-Options": ["custom"],
}


@pytest.fixture
def listener(instance: Instance) -> Callable[..., AsgiClient]:
    """Makes clients of main listeners over the same registry, each with settings of its own."""

    def make(overrides: Mapping[str, object], access_log: AccessLog | None = None) -> AsgiClient:
        settings: Settings = load_settings(None, {}, {"data.folder": instance.folder, **overrides})
        authentication = app.build_authentication(settings)
        monitor = app.build_monitor(instance.registry, settings)
        return AsgiClient(
            app.build_main(instance.registry, settings, Metrics("0.1"), access_log, authentication, monitor)
        )

    return make


async def begun(client: AsgiClient, path: str = "/v2/app", headers: Mapping[str, str] | None = None) -> str:
    """Where the client is told to send its upload."""
    answer = await client.request("POST", f"{path}/blobs/uploads/", headers=headers or {"host": "localhost:5000"})
    assert answer.status == 202, answer
    return answer.header("location").rpartition("/")[0]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, "/v2/app/blobs/uploads"),
        (TRUSTING, "/v2/app/blobs/uploads"),
        ({"http.relative_urls": False}, "http://localhost:5000/v2/app/blobs/uploads"),
        ({"http.relative_urls": False} | TRUSTING, "https://registry.example.com:8443/v2/app/blobs/uploads"),
        ({"http.external_url": "https://hub.example.com"}, "https://hub.example.com/v2/app/blobs/uploads"),
        ({"http.external_url": "https://hub.example.com:8443/"}, "https://hub.example.com:8443/v2/app/blobs/uploads"),
        ({"http.external_url": "https://hub.example.com/a/b/"}, "https://hub.example.com/a/b/v2/app/blobs/uploads"),
        ({"http.external_url": "https://hub.example.com", "http.relative_urls": True} | TRUSTING,
         "https://hub.example.com/v2/app/blobs/uploads"),
    ],
)  # fmt: skip
async def test_where_clients_are_sent(
    listener: Callable[..., AsgiClient], overrides: dict[str, object], expected: str
) -> None:
    assert await begun(listener(overrides), headers=FORWARDED) == expected


async def test_without_a_host_a_location_is_a_path(listener: Callable[..., AsgiClient]) -> None:
    client = listener({"http.relative_urls": False})
    assert await begun(client, headers={"user-agent": "none"}) == "/v2/app/blobs/uploads"
    assert await begun(client, headers={"host": "a/b"}) == "/v2/app/blobs/uploads"


async def test_a_proxy_that_takes_a_prefix_away_may_say_so(listener: Callable[..., AsgiClient]) -> None:
    headers = {"x-forwarded-prefix": "/hub"}
    assert await begun(listener(TRUSTING), headers=headers) == "/hub/v2/app/blobs/uploads"
    assert await begun(listener({}), headers=headers) == "/v2/app/blobs/uploads"
    both = TRUSTING | {"http.prefix": "/own/"}
    assert await begun(listener(both), "/own/v2/app", headers) == "/hub/own/v2/app/blobs/uploads"


async def test_everything_is_below_the_prefix(listener: Callable[..., AsgiClient], instance: Instance) -> None:
    client = listener({"http.prefix": "/a/hub/"})
    manifest = image(b"config", b"layer")
    await instance.push("app", manifest, "v1", "v2")

    for path in ("/v2/", "/v2", "/v2/app/manifests/v1", f"/v2/app/blobs/{digest_of(b'layer')}", "/healthz"):
        assert (await client.request("GET", f"/a/hub{path}")).status == 200, path
    for path in ("/v2/", "/v2/app/manifests/v1", "/a/v2/", "/a/hub", "/A/hub/v2/", "/a%2Fhub/v2/", "/a/hubv2/"):
        answer = await client.request("GET", path)
        assert (answer.status, answer.codes) == (404, ["UNSUPPORTED"]), path
    assert (await client.request("GET", "/healthz")).status == 200, "who asks for health knows no prefix"

    page = await client.request("GET", "/a/hub/v2/app/tags/list?n=1")
    assert page.next_link == "/a/hub/v2/app/tags/list?n=1&last=v1"
    assert (await client.request("GET", page.next_link)).json()["tags"] == ["v2"]
    catalogue = await client.request("GET", "/a/hub/v2/_catalog?n=1")
    assert catalogue.json() == {"repositories": ["app"]}


async def test_a_push_follows_its_locations_below_the_prefix(listener: Callable[..., AsgiClient]) -> None:
    client = listener({"http.prefix": "/hub/"})
    begin = await client.request("POST", "/hub/v2/app/blobs/uploads/")
    chunk = await client.request("PATCH", begin.header("location"), body=CONTENT[:5])
    assert chunk.status == 202
    end = await client.request("PUT", f"{chunk.header('location')}?digest={digest_of(CONTENT)}", body=CONTENT[5:])
    assert end.status == 201
    assert end.header("location") == f"/hub/v2/app/blobs/{digest_of(CONTENT)}"
    assert end.header("docker-distribution-api-version") == "registry/2.0"
    assert (await client.request("GET", end.header("location"))).body == CONTENT


async def test_the_logs_name_who_asked_and_what_for(listener: Callable[..., AsgiClient]) -> None:
    stream = io.BytesIO()
    log = AccessLog(stream)
    await listener(TRUSTING | {"http.prefix": "/hub/"}, log).request("GET", "/hub/v2/", headers=FORWARDED)
    await listener({}, log).request("GET", "/v2/", headers=FORWARDED)
    log.flush()

    lines = [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]
    assert [(line["client"], line["path"]) for line in lines] == [("192.0.2.7", "/hub/v2/"), ("127.0.0.1", "/v2/")]


async def test_limits_go_by_the_client_and_not_by_what_it_says(listener: Callable[..., AsgiClient]) -> None:
    client = listener(TRUSTING | {"limits.requests_per_second": 0.001, "limits.request_burst": 1})

    async def status(told: str) -> int:
        return (await client.request("GET", "/v2/", headers={"x-forwarded-for": told})).status

    assert await status("192.0.2.7") == 200
    assert await status("192.0.2.8") == 200, "another client has tokens of its own"
    assert await status("203.0.113.9, 192.0.2.7") == 429, "one that says to be another one has not"
    assert await status("127.0.0.9, 192.0.2.7") == 429, "nor one that says to be a proxy"


async def test_events_name_the_client(instance: Instance) -> None:
    causes: list[Cause] = []
    settings = load_settings(None, {}, {"data.folder": instance.folder, **TRUSTING, "http.prefix": "/hub/"})

    async def application(scope: Scope, receive: Receive, _send: Send) -> None:
        causes.append(cause_of(Request(scope, receive)))

    located = Locations(application, settings.http)
    client = AsgiClient(Forwarding(located, NetworkSet.parse(settings.http.trusted_proxies)))
    for headers in (FORWARDED | {"user-agent": "docker"}, {"x-forwarded-for": "2001:db8::1"}):
        with pytest.raises(AssertionError, match="incomplete"):
            await client.request("DELETE", "/hub/v2/app/manifests/v1", headers=headers)

    assert [cause.client for cause in causes] == ["192.0.2.7", "2001:db8::1"]
    assert causes[0].host == "registry.example.com:8443"
    assert causes[0].base_url == "https://registry.example.com:8443/hub"
    assert (causes[0].method, causes[0].user_agent) == ("DELETE", "docker")


# What every answer carries


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/", 200),
        ("GET", "/v2/app/manifests/v1", 404),
        ("GET", "/nothing", 404),
        ("GET", "/healthz", 200),
        ("BREW", "/v2/", 405),
        ("GET", "/v2/_catalog?n=x", 400),
    ],
)
async def test_headers_of_the_settings_are_on_every_answer(
    listener: Callable[..., AsgiClient], method: str, path: str, status: int
) -> None:
    answer = await listener({"http.headers": CORS}).request(method, path)

    assert answer.status == status
    assert answer.header("access-control-allow-origin") == "https://ui.example.com"
    assert answer.headers("access-control-allow-methods") == ["HEAD", "GET", "OPTIONS", "DELETE"]
    assert answer.header("x-content-type-options") == "custom"
    assert (answer.header("docker-distribution-api-version") == "registry/2.0") == path.startswith("/v2/")


async def test_what_an_answer_says_itself_is_not_replaced(
    listener: Callable[..., AsgiClient], instance: Instance
) -> None:
    await instance.push_blob("app", CONTENT)
    mine = {name: ["mine"] for name in ("Content-Type", "ETag", "X-Request-Id", "Docker-Distribution-Api-Version", "X")}
    answer = await listener({"http.headers": mine}).request("GET", f"/v2/app/blobs/{digest_of(CONTENT)}")

    assert answer.header("content-type") == "application/octet-stream"
    assert answer.header("etag") == f'"{digest_of(CONTENT)}"'
    assert answer.header("docker-distribution-api-version") == "registry/2.0"
    assert answer.header("x-request-id") not in {"", "mine"}
    assert answer.header("x") == "mine"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v2/", "GET, HEAD"),
        ("/v2/_catalog", "GET, HEAD"),
        ("/v2/no/such/repository/manifests/v1", "GET, HEAD, PUT, DELETE"),
    ],
)
async def test_a_browser_may_ask_before_it_asks(listener: Callable[..., AsgiClient], path: str, allowed: str) -> None:
    asking = {"origin": "https://ui.example.com", "access-control-request-method": "DELETE"}
    answer = await listener({"http.headers": CORS}).request("OPTIONS", path, headers=asking)

    assert (answer.status, answer.body) == (200, b"")
    assert answer.header("allow") == allowed
    assert answer.header("access-control-allow-origin") == "https://ui.example.com"


# Who sends the bytes

ACCEL = TRUSTING | {"http.accel_location": "/internal/blobs/"}


async def asked(client: AsgiClient, method: str = "GET", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.request(method, f"/v2/app/blobs/{digest_of(CONTENT)}", headers=named)


async def test_nginx_is_told_where_the_bytes_are(listener: Callable[..., AsgiClient], instance: Instance) -> None:
    digest = Digest.parse(await instance.push_blob("app", CONTENT))
    answer = await asked(listener(ACCEL))

    assert (answer.status, answer.body) == (200, b"")
    assert answer.header("x-accel-redirect") == f"/internal/blobs/{layout.blob_key(digest)}"
    assert (instance.objects / layout.blob_key(digest)).read_bytes() == CONTENT
    assert answer.header("docker-content-digest") == digest
    assert answer.header("etag") == f'"{digest}"'
    assert answer.header("content-type") == "application/octet-stream"


async def test_everybody_else_gets_the_bytes_from_us(listener: Callable[..., AsgiClient], instance: Instance) -> None:
    await instance.push_blob("app", CONTENT)
    stranger = listener({"http.trusted_proxies": ["192.0.2.0/24"], "http.accel_location": "/internal/blobs/"})
    answer = await asked(stranger, x_accel_redirect="/internal/blobs/x", x_forwarded_for="192.0.2.1")

    assert answer.body == CONTENT
    assert not answer.headers("x-accel-redirect")


async def test_a_question_without_bytes_is_answered_by_us(
    listener: Callable[..., AsgiClient], instance: Instance
) -> None:
    await instance.push_blob("app", CONTENT)
    client = listener(ACCEL)
    head = await asked(client, "HEAD")
    known = await asked(client, if_none_match=f'"{digest_of(CONTENT)}"')
    outside = await asked(client, range="bytes=100-")

    assert (head.status, head.header("content-length")) == (200, str(len(CONTENT)))
    assert known.status == 304
    assert (outside.status, outside.header("content-range")) == (416, f"bytes */{len(CONTENT)}")
    assert not any(answer.headers("x-accel-redirect") for answer in (head, known, outside))


async def test_ranges_are_left_to_nginx(listener: Callable[..., AsgiClient], instance: Instance) -> None:
    await instance.push_blob("app", CONTENT)
    answer = await asked(listener(ACCEL), range="bytes=1-2")
    assert (answer.status, bool(answer.header("x-accel-redirect"))) == (200, True)
    stale = await asked(listener(ACCEL), range="bytes=100-", if_range='"another"')
    assert (stale.status, bool(stale.header("x-accel-redirect"))) == (200, True)


@pytest.mark.parametrize("fate", ["never pushed", "deleted", "missing", "cut short", "of another repository"])
async def test_what_we_would_not_send_nginx_is_not_told_of(
    listener: Callable[..., AsgiClient], instance: Instance, fate: str
) -> None:
    client = listener(ACCEL)
    path = instance.objects / layout.blob_key(Digest.parse(digest_of(CONTENT)))
    if fate != "never pushed":
        await instance.push_blob("other" if fate == "of another repository" else "app", CONTENT)
    if fate == "deleted":
        assert (await asked(client, "DELETE")).status == 202
    elif fate == "missing":
        path.unlink()
    elif fate == "cut short":
        path.write_bytes(CONTENT[:-1])

    for _ in range(2):
        answer = await asked(client)
        assert (answer.status, answer.codes) == (404, ["BLOB_UNKNOWN"])
        assert not answer.headers("x-accel-redirect")


@pytest.mark.parametrize(
    "reference", ["sha256:..", "sha256:%2e%2e", "sha256:" + "A" * 64, "x:y", "sha256:" + "a" * 63 + "%0a"]
)
async def test_only_a_digest_becomes_a_path(listener: Callable[..., AsgiClient], reference: str) -> None:
    answer = await listener(ACCEL).request("GET", f"/v2/app/blobs/{reference}")
    assert answer.status == 400
    assert not answer.headers("x-accel-redirect")
