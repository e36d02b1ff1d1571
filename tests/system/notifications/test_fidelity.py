"""The same client does the same to us and to registry:2 and :3: receivers cannot tell the events apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

import pytest

from roadstead.testing.images import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, image, index
from tests.factories.receivers import ReceivingServer
from tests.system.notifications.conftest import Client, PeerServer, Serve, endpoint_of

DOCKER_IMAGE: Final = image(b"layer", b"another", docker=True)
OCI_IMAGE: Final = image(b"layer")
INDEX: Final = index(OCI_IMAGE)
LAYER: Final = DOCKER_IMAGE.blobs[-1].digest
ACCEPT: Final = {"accept": f"{DOCKER_MANIFEST}, {OCI_MANIFEST}, {OCI_INDEX}"}

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def use(url: str) -> int:
    """Everything that both registries tell of; the number of events."""
    with Client(url) as client:
        http = client.http
        client.push("team/app", DOCKER_IMAGE, "1.0")
        client.push("team/app", OCI_IMAGE, OCI_IMAGE.digest)
        client.put_manifest("team/app", INDEX, "index")
        for path in ("1.0", DOCKER_IMAGE.digest, "index", "none"):
            http.head(f"/v2/team/app/manifests/{path}", headers=ACCEPT)
            http.get(f"/v2/team/app/manifests/{path}", headers=ACCEPT)
        known = {"if-none-match": f'"{DOCKER_IMAGE.digest}"'}
        http.get(f"/v2/team/app/manifests/{DOCKER_IMAGE.digest}", headers={**ACCEPT, **known})
        http.head(f"/v2/team/app/blobs/{LAYER}")
        http.get(f"/v2/team/app/blobs/{LAYER}")
        http.get(f"/v2/team/app/blobs/{LAYER}", headers={"range": "bytes=1-2"})
        http.get(f"/v2/team/app/blobs/{LAYER}", headers={"if-none-match": f'"{LAYER}"'})
        http.post(f"/v2/team/copy/blobs/uploads/?mount={LAYER}&from=team/app")
        http.delete(f"/v2/team/copy/blobs/{LAYER}")
        http.delete(f"/v2/team/app/manifests/{OCI_IMAGE.digest}")
    blobs = len(DOCKER_IMAGE.blobs) + len(OCI_IMAGE.blobs)
    return blobs + 3 + 6 + 4 + 3


def told(receiver: ReceivingServer, url: str) -> list[dict[str, Any]]:
    """What a receiver was told, what no two runs have in common checked and replaced."""
    events = receiver.wait_for_events(use(url))
    assert len({event["id"] for event in events}) == len(events)
    return sorted((_settled(event, url) for event in events), key=lambda event: json.dumps(event, sort_keys=True))


def _settled(event: dict[str, Any], url: str) -> dict[str, Any]:
    assert _UUID.fullmatch(event.pop("id"))
    assert _TIME.fullmatch(event.pop("timestamp"))
    assert _UUID.fullmatch(event["source"].pop("instanceID"))
    host, port = event["source"].pop("addr").rsplit(":", 1)
    assert host
    assert port == url.rsplit(":", 1)[1]
    assert event["request"].pop("id")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", event["request"].pop("addr"))
    assert event["request"].pop("host") == url.removeprefix("http://")
    if "url" in event["target"]:
        event["target"]["url"] = event["target"]["url"].removeprefix(url)
    return event


def _without_empty(event: dict[str, Any]) -> dict[str, Any]:
    """registry:3 writes ``mediaType: ""`` and ``size: 0`` into what was deleted; registry:2 and we leave them out."""
    if event["action"] == "delete":
        event["target"] = {name: value for name, value in event["target"].items() if value}
    return event


def _without_platforms(event: dict[str, Any]) -> dict[str, Any]:
    """registry:2 knows no platform in a reference; registry:3 and we do."""
    for reference in event["target"].get("references", ()):
        reference.pop("platform", None)
    return event


@pytest.mark.parametrize(
    "tool",
    [
        pytest.param("docker-registry", marks=pytest.mark.needs("docker-registry")),
        pytest.param("registry3", marks=pytest.mark.needs("registry3")),
    ],
)
def test_events_are_those_of(
    tool: str, serve: Serve, peer: Callable[[str, str], PeerServer], receiver: ReceivingServer
) -> None:
    with ReceivingServer() as theirs:
        expected = told(theirs, peer(tool, theirs.url).url)
        server = serve({"include_references": True, "endpoints": [endpoint_of(receiver, headers={"X-Key": ["4f1c"]})]})
        found = told(receiver, server.url)
    if tool == "docker-registry":
        expected, found = [[_without_platforms(event) for event in events] for events in (expected, found)]
    assert [_without_empty(event) for event in found] == [_without_empty(event) for event in expected]
    ours, their = receiver.posted[0], theirs.posted[0]
    assert ours.headers["x-key"] == their.headers["x-key"] == "4f1c"
    version = "v1" if tool == "docker-registry" else "v2"
    assert their.headers["content-type"] == f"application/vnd.docker.distribution.events.{version}+json"
    assert ours.headers["content-type"] == "application/vnd.docker.distribution.events.v2+json"
    assert (ours.path, list(ours.document)) == (their.path, list(their.document))


def test_a_tag_is_deleted_without_the_manifest(serve: Serve, receiver: ReceivingServer) -> None:
    """registry:2 cannot; registry:3 tells of it so."""
    server = serve({"endpoints": [endpoint_of(receiver, ignored_actions=["push"])]})
    with Client(server.url) as client:
        client.push("app", OCI_IMAGE, "1.0")
        client.http.delete("/v2/app/manifests/1.0")
    (event,) = receiver.wait_for_events(1)
    assert event["target"] == {"digest": "", "repository": "app", "tag": "1.0"}
