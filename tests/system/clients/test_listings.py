"""Every client that lists tags finds all of them, however many pages that takes, and the same set as the others."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from tests.factories.images import OCI_MANIFEST, descriptor, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.machines import Machine
    from tests.system.servers import RegistryServer

# More than the largest page that a registry gives, so that one answer cannot hold them all.
TAGS: Final = tuple(sorted(f"t{number}" for number in range(1_100)))

pytestmark = [pytest.mark.usefixtures("ours_only"), pytest.mark.xdist_group("listings")]


@pytest.fixture(scope="module")
def many_tags(running_server: RegistryServer) -> str:
    """A repository with many tags, made over plain HTTP."""
    repository = "system/many-tags"
    empty = b"{}"
    config = descriptor(empty, "application/vnd.oci.empty.v1+json")
    manifest = encode({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [config]})
    with httpx.Client(base_url=f"{running_server.url}/v2/{repository}", trust_env=False, timeout=20) as client:
        started = client.post("/blobs/uploads/", params={"digest": config["digest"]}, content=empty)
        assert started.status_code == httpx.codes.CREATED
        for tag in TAGS:
            answer = client.put(f"/manifests/{tag}", content=manifest, headers={"Content-Type": OCI_MANIFEST})
            assert answer.status_code == httpx.codes.CREATED
    return repository


@pytest.mark.needs("crane")
def test_crane(server: RegistryServer, many_tags: str, client: Callable[..., Machine]) -> None:
    assert tuple(client("crane")("ls", f"{server.host}/{many_tags}").text.split()) == TAGS


@pytest.mark.needs("oras")
def test_oras(server: RegistryServer, many_tags: str, client: Callable[..., Machine]) -> None:
    listed = client("oras")("repo", "tags", "--plain-http", f"{server.host}/{many_tags}").text.split()
    assert tuple(sorted(listed)) == TAGS


@pytest.mark.needs("skopeo")
def test_skopeo(server: RegistryServer, many_tags: str, machine: Callable[[str], Machine]) -> None:
    assert tuple(machine("skopeo").json("list-tags", f"docker://{server.host}/{many_tags}")["Tags"]) == TAGS


@pytest.mark.needs("podman")
def test_podman(server: RegistryServer, many_tags: str, machine: Callable[[str], Machine]) -> None:
    name = f"{server.host}/{many_tags}"
    found = machine("podman").json("search", "--list-tags", "--limit", "5000", "--format", "json", name)
    assert tuple(found[0]["Tags"]) == TAGS


@pytest.mark.needs("oras-python")
def test_oras_python(server: RegistryServer, many_tags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    client = importlib.import_module("oras.client").OrasClient(hostname=server.host, insecure=True)
    assert tuple(client.get_tags(f"{server.host}/{many_tags}")) == TAGS


@pytest.mark.needs("regctl")
def test_regctl_page_by_page(server: RegistryServer, many_tags: str, client: Callable[..., Machine]) -> None:
    regctl = client("regctl", "--host", f"reg={server.host},tls=disabled")
    listed: list[str] = []
    while True:
        last = ["--last", listed[-1]] if listed else []
        page = regctl("tag", "ls", "--limit", "400", *last, f"{server.host}/{many_tags}").text.split()
        if not page:
            break
        assert len(page) <= 400
        listed += page
    assert tuple(listed) == TAGS


def test_all_pages_over_http(server: RegistryServer, many_tags: str) -> None:
    listed: list[str] = []
    url: str | None = f"/v2/{many_tags}/tags/list?n=300"
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        while url is not None:
            answer = client.get(url)
            listed += json.loads(answer.content)["tags"]
            url = answer.links.get("next", {}).get("url")
    assert tuple(listed) == TAGS
