"""crane pushes, pulls, copies, lists, changes, validates and deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.factories.images import layer, write_docker_archive, write_oci_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.factories.greetings import Greeting
    from tests.factories.images import Index
    from tests.system.machines import Machine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

pytestmark = pytest.mark.needs("crane")


@pytest.mark.needs("busybox-static")
def test_an_archive_is_pushed_and_pulled(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    client: Callable[..., Machine],
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}:v1"
    archive = write_docker_archive(tmp_path / "image.tar", name, greeting.image)
    here, there = client("crane"), client("crane")

    pushed = here("push", archive, name).text
    archive.unlink()
    there("pull", name, tmp_path / "pulled.tar")

    stored = witness.everything(repository, "v1")
    assert pushed == f"{server.host}/{repository}@{stored.digest}"
    assert greeting.image.image_id in stored.blobs
    assert there("digest", "--tarball", tmp_path / "pulled.tar").text == stored.digest
    assert there("digest", name).text == stored.digest
    there("validate", "--remote", name)
    text = there("export", name, "-", timeout_seconds=30).both
    assert greeting.text in text


def test_a_layout_with_an_index_is_pushed_and_pulled(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    client: Callable[..., Machine],
    platforms: Index,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}:v1"
    layout = write_oci_layout(tmp_path / "layout", v1=platforms)

    client("crane")("push", "--index", layout, name)
    client("crane")("pull", "--format", "oci", name, tmp_path / "pulled")

    stored = witness.everything(repository, "v1")
    assert {each.digest for each in platforms.images} <= stored.manifests
    for digest in stored.manifests | stored.blobs:
        assert (tmp_path / "pulled" / "blobs" / "sha256" / digest.partition(":")[2]).exists()


@pytest.mark.needs("busybox-static")
def test_copy_tag_list_and_delete(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    client: Callable[..., Machine],
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    crane, base = client("crane"), f"{server.host}/{repository}"
    crane("push", write_oci_layout(tmp_path / "layout", v1=greeting.image), f"{base}:v1")
    assert crane("digest", f"{base}:v1").text == greeting.image.digest

    crane("copy", f"{base}:v1", f"{base}/copy:v1")
    crane("tag", f"{base}:v1", "v2")
    assert crane("ls", base).text.split() == ["v1", "v2"]
    assert repository in crane("catalog", server.host).text.split()
    assert crane("manifest", f"{base}:v1").stdout.encode().rstrip() == greeting.image.manifest

    crane("delete", f"{base}@{greeting.image.digest}")

    assert not witness.has(repository, greeting.image.digest)
    assert witness.everything(f"{repository}/copy", "v1").digest == greeting.image.digest


@pytest.mark.needs("busybox-static")
def test_append_and_mutate_on_the_registry(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    client: Callable[..., Machine],
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    crane, base = client("crane"), f"{server.host}/{repository}"
    crane("push", write_oci_layout(tmp_path / "layout", v1=greeting.image), f"{base}:v1")
    extra = layer({"etc/extra": b"more"})
    (tmp_path / "extra.tar").write_bytes(extra.tar)

    crane("append", "--base", f"{base}:v1", "--new_layer", tmp_path / "extra.tar", "--new_tag", f"{base}:v2")
    crane("mutate", "--label", "kind=test", "--tag", f"{base}:v3", f"{base}:v2")

    two, three = witness.everything(repository, "v2"), witness.everything(repository, "v3")
    assert len(two.document["layers"]) == len(greeting.image.layers) + 1
    assert three.document["layers"] == two.document["layers"]
    assert crane.json("config", f"{base}:v3")["config"]["Labels"] == {"kind": "test"}
