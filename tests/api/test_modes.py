"""Maintenance modes, the switch for deletions and limits, on every route there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from roadstead.access import Policy
from roadstead.config import LimitSettings
from roadstead.registry.content.foreign_urls import UrlRules
from roadstead.registry.operation.maintenance import MaintenanceMode
from roadstead.testing.asgi import Answer, AsgiClient
from roadstead.testing.clock import SettableClock
from roadstead.testing.images import BlobContent, digest_of, image
from roadstead.testing.instance import Instance
from roadstead.web.authentication import Authentication
from roadstead.web.distribution import Distribution
from roadstead.web.distribution.requirements import REQUIREMENTS, is_change
from roadstead.web.maintenance_gate import HealthGate, MaintenanceGate
from roadstead.web.rates import ClientRates, RateLimit
from roadstead.web.requirement import READING

pytestmark = pytest.mark.anyio

OFF, READ_ONLY, CLOSED = MaintenanceMode
IMAGE: Final = image(b"layer")
ROUTES: Final = sorted(REQUIREMENTS)
"""Handler and method of everything that the content plane answers."""


class Stage:
    """A registry with something of everything in it, behind a gate."""

    def __init__(self, instance: Instance, digest: str, upload: str) -> None:
        self.instance = instance
        self.maintenance = instance.registry.maintenance
        self.client = AsgiClient(MaintenanceGate(distribution(instance), self.maintenance, is_change))
        self.upload = upload
        self.paths = {
            "base": "/v2/",
            "catalog": "/v2/_catalog",
            "tags": "/v2/app/tags/list",
            "manifest": "/v2/app/manifests/latest",
            "blob": f"/v2/app/blobs/{IMAGE.blobs[0].digest}",
            "blob_upload": "/v2/app/blobs/uploads/",
            "blob_upload_chunk": upload,
            "referrers": f"/v2/app/referrers/{digest}",
            "undo_history": "/v2/app/_roadstead/undo/history",
            "undo_removed": "/v2/app/_roadstead/undo/removed",
            "undo_restore": "/v2/app/_roadstead/undo/restore",
        }

    async def ask(self, handler: str, method: str) -> Answer:
        """A request that succeeds, or is refused for its content alone, where it is allowed."""
        body = IMAGE.content if (handler, method) == ("manifest", "PUT") else b""
        headers = {"content-type": IMAGE.media_type} if body else {}
        return await self.client.request(method, self.paths[handler], body=body, headers=headers)


def distribution(
    instance: Instance, *, deletion: bool = True, rates: ClientRates | None = None, limits: LimitSettings | None = None
) -> Distribution:
    return Distribution(
        instance.registry, limits or LimitSettings(), Authentication(Policy()), deletion=deletion, rates=rates
    )


@pytest.fixture
async def stage(instance: Instance) -> Stage:
    digest = await instance.push("app", IMAGE, "latest")
    begun = await instance.client.request("POST", "/v2/app/blobs/uploads/")
    chunk = await instance.client.request("PATCH", begun.header("location"), body=b"so far")
    assert chunk.status == 202
    return Stage(instance, digest, begun.header("location"))


async def test_what_changes_something_is_what_http_calls_so(stage: Stage) -> None:
    """Each row is its own decision; that they agree today is what clients and proxies in between rely on."""
    for (handler, method), requirement in REQUIREMENTS.items():
        scope = {"method": method, "raw_path": stage.paths[handler].encode()}
        assert is_change(scope) == requirement.changes == (method not in READING), (handler, method)
    for path in (b"/", b"/v2/app/nothing", b"/v2//app/tags/list", b"/v2/app/tags/list", b"/v2/UPPER/tags/list"):
        assert is_change({"method": "TRACE", "raw_path": path}), "what no row has counts as a change"
        assert not is_change({"method": "OPTIONS", "raw_path": path})


async def test_every_route_is_asked(stage: Stage) -> None:
    assert {handler for handler, _ in ROUTES} == set(stage.paths), "add the path of the new handler above"


@pytest.mark.parametrize(("handler", "method"), ROUTES)
async def test_read_only_refuses_changes_as_registry_2_does_and_nothing_else(
    stage: Stage, handler: str, method: str
) -> None:
    before = stage.instance.files()
    await stage.maintenance.set(READ_ONLY, "copying the disk")
    answer = await stage.ask(handler, method)
    if not REQUIREMENTS[handler, method].changes:
        assert answer.status < 300, answer
        return
    assert (answer.status, answer.codes, answer.header("allow")) == (405, ["UNSUPPORTED"], "GET, HEAD")
    assert "copying the disk" in answer.json()["errors"][0]["message"]
    assert stage.instance.files() == before
    await stage.maintenance.set(OFF)
    assert (await stage.ask(handler, method)).status < 500


@pytest.mark.parametrize(("handler", "method"), ROUTES)
async def test_closed_refuses_everything(stage: Stage, handler: str, method: str) -> None:
    await stage.maintenance.set(CLOSED, "back at 5")
    answer = await stage.ask(handler, method)
    assert (answer.status, answer.header("retry-after")) == (503, "30")
    if method != "HEAD":
        assert answer.codes == ["UNAVAILABLE"]
        assert "back at 5" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
async def test_a_method_that_no_route_knows_counts_as_a_change(stage: Stage, method: str) -> None:
    await stage.maintenance.set(READ_ONLY)
    answer = await stage.client.request(method, "/v2/app/tags/list")
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("mode", [READ_ONLY, CLOSED])
async def test_an_upload_on_its_way_is_ended_and_goes_on_afterwards(stage: Stage, mode: MaintenanceMode) -> None:
    """registry:2 lets a body that is arriving go on for hours (it looks at the mode only when a request begins)."""
    arrived = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b", and more"
        arrived.set()
        await asyncio.sleep(3600)

    patch = asyncio.create_task(stage.client.request("PATCH", stage.upload, body=body()))
    await asyncio.wait_for(arrived.wait(), 5)
    state = await stage.maintenance.set(mode)
    answer = await asyncio.wait_for(patch, 5)
    assert answer.status == (405 if mode is READ_ONLY else 503)
    await stage.maintenance.obey()
    serving = await asyncio.wait_for(stage.maintenance.wait_until_obeyed(state.generation), 5)
    assert [process.changes for process in serving] == [0]
    status = await stage.client.request("GET", stage.upload)
    assert status.status == (204 if mode is READ_ONLY else 503)
    await stage.maintenance.set(OFF)
    blob = BlobContent(b"so far, and more, and the end")
    status = await stage.client.request("GET", stage.upload)
    assert status.header("range") == f"0-{len(b'so far, and more') - 1}"
    done = await stage.client.request("PUT", f"{stage.upload}?digest={blob.digest}", body=b", and the end")
    assert done.status == 201, done


async def test_somebody_elses_cancellation_is_not_taken_for_ours(stage: Stage) -> None:
    arrived = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        arrived.set()
        await asyncio.sleep(3600)
        yield b""

    patch = asyncio.create_task(stage.client.request("PATCH", stage.upload, body=body()))
    await asyncio.wait_for(arrived.wait(), 5)
    patch.cancel()
    await stage.maintenance.set(READ_ONLY)
    with pytest.raises(asyncio.CancelledError):
        await patch


@pytest.mark.parametrize(("handler", "method"), [route for route in ROUTES if route[1] == "DELETE"])
async def test_without_deletion_no_route_deletes(stage: Stage, handler: str, method: str) -> None:
    """CVE-2026-41888: registry:3 looked at the switch for manifests by digest, not for tags."""
    stage.client = AsgiClient(distribution(stage.instance, deletion=False))
    answer = await stage.ask(handler, method)
    if handler == "blob_upload_chunk":
        assert answer.status == 204
        return
    assert (answer.status, answer.codes) == (405, ["UNSUPPORTED"])
    assert "deletion is disabled" in answer.json()["errors"][0]["message"]
    assert "DELETE" not in answer.header("allow")
    assert (await stage.ask(handler, "HEAD")).status == 200, "it is still there"


async def test_without_deletion_no_reference_deletes(stage: Stage) -> None:
    client = AsgiClient(distribution(stage.instance, deletion=False))
    for reference in ("latest", IMAGE.digest, IMAGE.digest.replace(":", "%3A"), "absent", digest_of(b"absent")):
        answer = await client.request("DELETE", f"/v2/app/manifests/{reference}")
        assert (answer.status, answer.codes) == (405, ["UNSUPPORTED"])
    assert (await client.request("GET", "/v2/app/manifests/latest")).status == 200


async def test_while_a_health_check_fails_nothing_is_answered(stage: Stage) -> None:
    is_healthy = True
    client = AsgiClient(HealthGate(distribution(stage.instance), lambda: is_healthy))
    assert (await client.request("GET", "/v2/")).status == 200
    is_healthy = False
    answer = await client.request("GET", "/v2/app/manifests/latest")
    assert (answer.status, answer.codes, answer.header("retry-after")) == (503, ["UNAVAILABLE"], "30")


async def test_requests_beyond_the_rate_are_refused(stage: Stage) -> None:
    clock, told = SettableClock(), list[str]()
    client = AsgiClient(distribution(stage.instance, rates=ClientRates(RateLimit(0.5, 3, clock), told.append)))
    for _ in range(3):
        assert (await client.request("GET", "/v2/app/manifests/latest")).status == 200
    answer = await client.request("GET", "/v2/app/manifests/latest")
    assert (answer.status, answer.codes, answer.header("retry-after")) == (429, ["TOOMANYREQUESTS"], "2")
    clock.advance(int(answer.header("retry-after")))
    assert (await client.request("GET", "/v2/app/manifests/latest")).status == 200
    assert told == ["rate"]


LIMIT: Final = 1000


@pytest.fixture
async def limited(tmp_path: Path, database_url: str) -> AsyncIterator[Instance]:
    limits = LimitSettings(blob_bytes=LIMIT, catalog_page_maximum=2)
    instance = Instance(tmp_path, limits=limits, database_url=database_url)
    await instance.open()
    yield instance
    await instance.close()


async def test_a_blob_of_the_limit_is_accepted_in_every_way(limited: Instance) -> None:
    content = b"x" * LIMIT
    await limited.push_blob("whole", content)
    begun = await limited.client.request("POST", "/v2/parts/blobs/uploads/")
    location = begun.header("location")
    assert (await limited.client.request("PATCH", location, body=content[:500])).status == 202
    done = await limited.client.request("PUT", f"{location}?digest={digest_of(content)}", body=content[500:])
    assert done.status == 201


@pytest.mark.parametrize("is_stated", [True, False])
@pytest.mark.parametrize("way", ["POST", "PATCH", "PATCH twice", "PUT"])
async def test_a_larger_blob_is_refused_and_nothing_is_left(limited: Instance, way: str, *, is_stated: bool) -> None:
    content = b"x" * (LIMIT + 1)
    digest = digest_of(content)

    def body(piece: bytes) -> bytes | list[bytes]:
        return piece if is_stated else [piece[:300], piece[300:]]

    if way == "POST":
        answer = await limited.client.request("POST", f"/v2/app/blobs/uploads/?digest={digest}", body=body(content))
    else:
        location = (await limited.client.request("POST", "/v2/app/blobs/uploads/")).header("location")
        if way == "PATCH":
            answer = await limited.client.request("PATCH", location, body=body(content))
        else:
            first = await limited.client.request("PATCH", location, body=body(content[:600]))
            assert first.status == 202
            method, query = ("PATCH", "") if way == "PATCH twice" else ("PUT", f"?digest={digest}")
            answer = await limited.client.request(method, f"{location}{query}", body=body(content[600:]))
        assert (await limited.client.request("GET", location)).codes == ["BLOB_UPLOAD_UNKNOWN"]
    assert (answer.status, answer.codes) == (413, ["SIZE_INVALID"])
    assert str(LIMIT) in answer.json()["errors"][0]["message"]
    assert limited.files() == {}


async def test_what_is_stated_to_be_too_large_is_not_read(limited: Instance) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield pytest.fail("the body was asked for")

    answer = await limited.client.request(
        "POST", f"/v2/app/blobs/uploads/?digest={digest_of(b'x')}", body=body(), content_length=10**15
    )
    assert answer.status == 413


async def test_the_catalogue_has_a_limit_of_its_own(limited: Instance) -> None:
    for number in range(4):
        await limited.push(f"app{number}", IMAGE, "a", "b", "c")
    answer = await limited.client.request("GET", "/v2/_catalog?n=100000")
    assert answer.json()["repositories"] == ["app0", "app1"]
    assert answer.next_link == "/v2/_catalog?n=2&last=app1"
    assert "reduced to 2" in answer.header("warning"), "where registry:2 answers 400"
    assert (await limited.client.request("GET", "/v2/_catalog")).json()["repositories"] == ["app0", "app1"]
    assert (await limited.client.request("GET", "/v2/app0/tags/list")).json()["tags"] == ["a", "b", "c"]


async def test_a_manifest_with_a_url_that_is_not_allowed_is_refused(tmp_path: Path) -> None:
    instance = Instance(tmp_path, foreign_urls=UrlRules(["^https://example"]))
    await instance.open()
    await instance.push_blob("app", b"{}")
    for url, status in (("https://example.com/x", 201), ("https://elsewhere.example/x", 400)):
        layer = (
            '{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":1,'
            f'"digest":"{digest_of(b"x")}","urls":["{url}"]}}'
        )
        media_type = "application/vnd.docker.distribution.manifest.v2+json"
        config = '{"mediaType":"application/vnd.docker.container.image.v1+json","size":2,'
        document = (
            f'{{"schemaVersion":2,"mediaType":"{media_type}","config":{config}"digest":"{digest_of(b"{}")}"}},'
            f'"layers":[{layer}]}}'
        )
        answer = await instance.client.request(
            "PUT", "/v2/app/manifests/windows", body=document.encode(), headers={"content-type": media_type}
        )
        assert answer.status == status, answer
        if status == 400:
            assert answer.codes == ["MANIFEST_INVALID"]
            assert answer.json()["errors"][0]["detail"] == {"pointer": "/layers/0/urls/0"}
    await instance.close()
