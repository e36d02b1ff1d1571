"""Skopeo copies, syncs, inspects and deletes, and what comes back is byte for byte what was written."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Final

import pytest

from tests.factories.greetings import make_platforms
from tests.factories.images import DOCKER_LIST, digest_of, image, layer, write_oci_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.factories.greetings import Greeting
    from tests.factories.images import Index
    from tests.system.machines import Machine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

LARGE_BYTES: Final = 32 << 20

pytestmark = pytest.mark.needs("skopeo")


def _files(folder: Path) -> dict[str, bytes]:
    """All blobs of an OCI layout, by digest."""
    return {f"sha256:{path.name}": path.read_bytes() for path in (folder / "blobs" / "sha256").iterdir()}


def test_an_image_comes_back_byte_for_byte(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    machine: Callable[[str], Machine],
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    there = f"docker://{server.host}/{repository}:v1"
    layout = write_oci_layout(tmp_path / "out", v1=greeting.image)
    machine("skopeo")("copy", f"oci:{layout}:v1", there)
    assert witness.everything(repository, "v1").digest == greeting.image.digest

    second = machine("skopeo")
    second("copy", there, f"oci:{tmp_path / 'back'}:v1")

    assert _files(tmp_path / "back") == _files(layout)
    assert second("inspect", "--raw", there).stdout.encode() == greeting.image.manifest
    assert second.json("inspect", there)["Digest"] == greeting.image.digest


def test_all_platforms_of_an_index(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    machine: Callable[[str], Machine],
    platforms: Index,
    tmp_path: Path,
) -> None:
    there = f"docker://{server.host}/{repository}:v1"
    layout = write_oci_layout(tmp_path / "out", v1=platforms)
    machine("skopeo")("copy", "--all", f"oci:{layout}:v1", there)
    stored = witness.everything(repository, "v1")
    assert stored.body == platforms.manifest
    assert stored.manifests == {platforms.digest, *(each.digest for each in platforms.images)}

    machine("skopeo")("copy", "--all", there, f"oci:{tmp_path / 'back'}:v1")

    assert _files(tmp_path / "back") == _files(layout)


def test_one_platform_of_an_index(
    server: RegistryServer,
    repository: str,
    machine: Callable[[str], Machine],
    platforms: Index,
    tmp_path: Path,
) -> None:
    there = f"docker://{server.host}/{repository}:v1"
    here = machine("skopeo")
    here("copy", "--all", f"oci:{write_oci_layout(tmp_path / 'out', v1=platforms)}:v1", there)

    here("--override-arch", "arm64", "copy", there, f"oci:{tmp_path / 'back'}:v1")

    arm64 = platforms.images[1]
    assert set(_files(tmp_path / "back")) == {arm64.digest, *arm64.blobs()}


def test_a_docker_manifest_list_keeps_its_types(
    server: RegistryServer, witness: Witness, repository: str, machine: Callable[[str], Machine], tmp_path: Path
) -> None:
    listed = make_platforms(docker=True)
    source = tmp_path / "dir"
    source.mkdir()
    (source / "version").write_text("Directory Transport Version: 1.1\n")
    (source / "manifest.json").write_bytes(listed.manifest)
    for each in listed.images:
        (source / f"{each.digest.removeprefix('sha256:')}.manifest.json").write_bytes(each.manifest)
        for digest, data in each.blobs().items():
            (source / digest.removeprefix("sha256:")).write_bytes(data)

    machine("skopeo")("copy", "--all", "--preserve-digests", f"dir:{source}", f"docker://{server.host}/{repository}:v1")

    stored = witness.everything(repository, "v1")
    assert (stored.body, stored.media_type) == (listed.manifest, DOCKER_LIST)


def test_sync_to_a_folder_and_to_another_repository(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    machine: Callable[[str], Machine],
    greeting: Greeting,
    platforms: Index,
    tmp_path: Path,
) -> None:
    here = machine("skopeo")
    layout = write_oci_layout(tmp_path / "out", v1=greeting.image, v2=platforms)
    for tag in ("v1", "v2"):
        here("copy", "--all", f"oci:{layout}:{tag}", f"docker://{server.host}/{repository}:{tag}")

    here("sync", "--all", "--src", "docker", "--dest", "dir", f"{server.host}/{repository}", tmp_path / "mirror")
    here(
        "sync",
        "--all",
        "--src",
        "dir",
        "--dest",
        "docker",
        tmp_path / "mirror",
        f"{server.host}/mirror-of/{repository}",
    )

    base = repository.rpartition("/")[2]
    mirrored = f"mirror-of/{repository}/{base}"
    assert sorted(witness.tags(mirrored)) == ["v1", "v2"]
    assert witness.everything(mirrored, "v1").digest == greeting.image.digest
    assert witness.everything(mirrored, "v2").digest == platforms.digest


def test_list_and_delete(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    machine: Callable[[str], Machine],
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    here, there = machine("skopeo"), f"docker://{server.host}/{repository}"
    here("copy", f"oci:{write_oci_layout(tmp_path / 'out', v1=greeting.image)}:v1", f"{there}:v1")
    assert here.json("list-tags", there)["Tags"] == ["v1"]

    here("delete", f"{there}:v1")

    assert not witness.has(repository, "v1")
    assert not witness.has(repository, greeting.image.digest)
    here("inspect", f"{there}:v1", exit_code=None)


def test_conversion_on_the_way_in(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    machine: Callable[[str], Machine],
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    here, there = machine("skopeo"), f"docker://{server.host}/{repository}:v1"
    layout = write_oci_layout(tmp_path / "out", v1=greeting.image)

    here("copy", "--format", "v2s2", "--digestfile", tmp_path / "digest", f"oci:{layout}:v1", there)

    stored = witness.everything(repository, "v1")
    assert stored.digest == (tmp_path / "digest").read_text().strip()
    assert stored.digest == digest_of(here("inspect", "--raw", there).stdout.encode())
    old, new = (json.loads(body)["layers"] for body in (greeting.image.manifest, stored.body))
    assert [each["digest"] for each in new] == [each["digest"] for each in old]


def test_a_layer_of_many_megabytes(
    server: RegistryServer, witness: Witness, repository: str, machine: Callable[[str], Machine], tmp_path: Path
) -> None:
    there = f"docker://{server.host}/{repository}:v1"
    large = image([layer({"data": secrets.token_bytes(LARGE_BYTES)})])

    machine("skopeo")("copy", f"oci:{write_oci_layout(tmp_path / 'out', v1=large)}:v1", there)
    machine("skopeo")("copy", there, f"oci:{tmp_path / 'back'}:v1")

    assert witness.everything(repository, "v1").digest == large.digest
    assert _files(tmp_path / "back") == _files(tmp_path / "out")
