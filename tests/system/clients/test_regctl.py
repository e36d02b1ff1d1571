"""regctl copies layouts in and out, keeps artifacts with their subject, and deletes tags one by one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.factories.images import digest_of, write_oci_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.factories.images import Index
    from tests.system.machines import Machine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

pytestmark = pytest.mark.needs("regctl")


@pytest.fixture
def regctl(client: Callable[..., Machine], server: RegistryServer) -> Callable[[], Machine]:
    """Makes machines with regctl, told that the server speaks plain HTTP."""

    def make() -> Machine:
        return client("regctl", "--host", f"reg={server.host},tls=disabled")

    return make


def test_a_layout_comes_back_byte_for_byte(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    regctl: Callable[[], Machine],
    platforms: Index,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}:v1"
    layout = write_oci_layout(tmp_path / "layout", v1=platforms)

    regctl()("image", "copy", f"ocidir://{layout}:v1", name)
    second = regctl()
    second("image", "copy", name, f"ocidir://{tmp_path / 'back'}:v1")

    stored = witness.everything(repository, "v1")
    assert stored.body == platforms.manifest
    assert second("image", "digest", name).text == platforms.digest
    for digest in stored.manifests | stored.blobs:
        assert digest_of((tmp_path / "back" / "blobs" / "sha256" / digest[7:]).read_bytes()) == digest


def test_an_artifact_travels_with_its_subject(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    regctl: Callable[[], Machine],
    platforms: Index,
    tmp_path: Path,
) -> None:
    name, copy = f"{server.host}/{repository}:v1", f"{server.host}/{repository}/copy:v1"
    here = regctl()
    here("image", "copy", f"ocidir://{write_oci_layout(tmp_path / 'layout', v1=platforms)}:v1", name)
    kind = "application/vnd.example.note"
    here("artifact", "put", "--subject", name, "--artifact-type", kind, stdin="a note")

    regctl()("image", "copy", "--referrers", name, copy)

    listed = here.json("artifact", "list", copy, "--format", "{{jsonPretty .}}")["descriptors"]
    assert [each["artifactType"] for each in listed] == [kind]
    assert here("artifact", "get", "--subject", copy, "--filter-artifact-type", kind).stdout == "a note"
    if server.has_referrers:
        found = witness.referrers(f"{repository}/copy", platforms.digest)
        assert [each["digest"] for each in found] == [each["digest"] for each in listed]
        assert not [tag for tag in witness.tags(f"{repository}/copy") if tag.startswith("sha256-")]


@pytest.mark.usefixtures("ours_only")
def test_a_tag_is_deleted_without_its_manifest(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    regctl: Callable[[], Machine],
    platforms: Index,
    tmp_path: Path,
) -> None:
    base, here = f"{server.host}/{repository}", regctl()
    layout = write_oci_layout(tmp_path / "layout", v1=platforms)
    for tag in ("v1", "v2"):
        here("image", "copy", f"ocidir://{layout}:v1", f"{base}:{tag}")

    here("tag", "delete", f"{base}:v1")

    assert here("tag", "ls", base).text.split() == ["v2"]
    assert not witness.has(repository, "v1")
    assert witness.everything(repository, platforms.digest).body == platforms.manifest


def test_blobs_and_manifests_by_hand(
    server: RegistryServer, witness: Witness, repository: str, regctl: Callable[[], Machine]
) -> None:
    base, here = f"{server.host}/{repository}", regctl()
    empty = here("blob", "put", base, stdin="{}").text
    assert empty == digest_of(b"{}")
    descriptor = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2}
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.thing",
        "config": descriptor,
        "layers": [descriptor],
    }
    body = json.dumps(document, indent=3)

    here("manifest", "put", f"{base}:odd-spacing", stdin=body)

    assert witness.everything(repository, "odd-spacing").body == body.encode()
    assert here("manifest", "get", "--format", "raw-body", f"{base}:odd-spacing").stdout == body
    assert here("blob", "get", base, empty).stdout == "{}"
