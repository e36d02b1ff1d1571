"""Podman pushes, pulls and runs, and writes the digests that the registry gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.factories.images import DOCKER_MANIFEST, OCI_MANIFEST, write_docker_archive, write_oci_layout
from tests.system.machines import NO_NETWORK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.factories.greetings import Greeting
    from tests.system.machines import Machine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

# Podman asks for more open files than a machine without CAP_SYS_RESOURCE may give.
LIMITS: Final = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")

pytestmark = pytest.mark.needs("podman", "busybox-static")


@pytest.mark.parametrize(("manifest", "media_type"), [("oci", OCI_MANIFEST), ("v2s2", DOCKER_MANIFEST)])
def test_what_one_machine_pushes_another_pulls_and_runs(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    machine: Callable[[str], Machine],
    greeting: Greeting,
    tmp_path: Path,
    before_running: Callable[[], None],
    *,
    manifest: str,
    media_type: str,
) -> None:
    name = f"{server.host}/{repository}:v1"
    here, there = machine("podman"), machine("podman")
    here("load", "--input", write_docker_archive(tmp_path / "image.tar", name, greeting.image))

    here("push", "--format", manifest, "--digestfile", tmp_path / "digest", name)
    stored = witness.everything(repository, "v1")
    assert stored.digest == (tmp_path / "digest").read_text().strip()
    assert stored.media_type == media_type

    here("rmi", name)
    here("image", "exists", name, exit_code=1)
    for puller in (here, there):
        image_id = puller("pull", "--quiet", name).text
        found = puller.json("image", "inspect", name)[0]
        assert found["Id"] == image_id == stored.document["config"]["digest"].removeprefix("sha256:")
        assert found["Digest"] == stored.digest
        assert found["RootFS"]["Layers"] == [each.diff_id for each in greeting.image.layers]
    before_running()
    assert there("run", "--rm", *LIMITS, *NO_NETWORK, name).text == greeting.text


def test_an_oci_image_keeps_its_bytes(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    machine: Callable[[str], Machine],
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}"
    here, there = machine("podman"), machine("podman")
    image_id = here("pull", "--quiet", f"oci:{write_oci_layout(tmp_path / 'layout', v1=greeting.image)}:v1").text
    assert f"sha256:{image_id}" == greeting.image.image_id

    here("push", image_id, f"{name}:v1")

    assert witness.everything(repository, "v1").document["config"]["digest"] == greeting.image.image_id
    digest = witness.manifest(repository, "v1").digest
    there("pull", f"{name}@{digest}")
    assert there.json("image", "inspect", f"{name}@{digest}")[0]["Digest"] == digest


def test_zstd_layers(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    machine: Callable[[str], Machine],
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}:v1"
    here, there = machine("podman"), machine("podman")
    here("load", "--input", write_docker_archive(tmp_path / "image.tar", name, greeting.image))

    here("push", "--compression-format", "zstd", "--format", "oci", name)

    layers = witness.everything(repository, "v1").document["layers"]
    assert {each["mediaType"] for each in layers} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    there("pull", name)
    found = there.json("image", "inspect", name)[0]
    assert found["RootFS"]["Layers"] == [each.diff_id for each in greeting.image.layers]


def test_an_unknown_tag_is_said_to_be_unknown(
    server: RegistryServer, repository: str, machine: Callable[[str], Machine]
) -> None:
    answer = machine("podman")("pull", f"{server.host}/{repository}:none", exit_code=None)

    assert "unknown" in answer.stderr
