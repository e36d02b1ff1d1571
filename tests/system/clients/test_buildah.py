"""Buildah builds an image from nothing, pushes it, and another machine pulls, reads and runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.machines import Machine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

pytestmark = pytest.mark.needs("buildah", "busybox-static")


def _build(here: Machine, name: str, text: str, folder: Path, architecture: str = "amd64") -> None:
    """An image that has a busybox and a text, built step by step as a script would."""
    (folder / "greeting").write_text(text)
    container = here("from", "--arch", architecture, "scratch").text
    here("copy", "--chmod", "755", container, path_of("busybox-static"), "/bin/busybox")
    here("copy", container, folder / "greeting", "/etc/greeting")
    here("config", "--cmd", '["/bin/busybox", "cat", "/etc/greeting"]', "--env", "PATH=/bin", container)
    here("commit", "--rm", container, name)


def test_build_push_pull_and_run(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    machine: Callable[[str], Machine],
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}:v1"
    here, there = machine("buildah"), machine("buildah")
    _build(here, name, repository, tmp_path)

    here("push", "--digestfile", tmp_path / "digest", name)
    stored = witness.everything(repository, "v1")
    assert stored.digest == (tmp_path / "digest").read_text().strip()

    here("rmi", name)
    assert here.json("images", "--json") in (None, [])
    container = there("from", name).text
    found = there.json("inspect", "--type", "image", name)
    assert found["FromImageDigest"] == stored.digest
    assert f"sha256:{found['FromImageID']}" == stored.document["config"]["digest"]
    assert there("run", container, "--", "/bin/busybox", "cat", "/etc/greeting").text == repository


def test_a_containerfile_that_starts_from_a_pushed_image(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    machine: Callable[[str], Machine],
    tmp_path: Path,
) -> None:
    base, name = f"{server.host}/{repository}:base", f"{server.host}/{repository}:v2"
    here, there = machine("buildah"), machine("buildah")
    _build(here, base, repository, tmp_path)
    here("push", base)
    (tmp_path / "Containerfile").write_text(f'FROM {base}\nRUN ["/bin/busybox", "touch", "/etc/second"]\n')

    there("build", "--tag", name, "--file", tmp_path / "Containerfile", tmp_path)
    there("push", name)

    first, second = witness.everything(repository, "base"), witness.everything(repository, "v2")
    old = [each["digest"] for each in first.document["layers"]]
    assert [each["digest"] for each in second.document["layers"]][: len(old)] == old
    assert len(second.document["layers"]) == len(old) + 1


def test_a_manifest_list_is_pushed_with_all_its_images(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    machine: Callable[[str], Machine],
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}:v1"
    here = machine("buildah")
    here("manifest", "create", "both")
    for architecture in ("amd64", "arm64"):
        _build(here, f"{name}-{architecture}", architecture, tmp_path, architecture)
        here("manifest", "add", "--arch", architecture, "both", f"containers-storage:{name}-{architecture}")

    here(
        "manifest",
        "push",
        "--all",
        "--digestfile",
        tmp_path / "digest",
        "both",
        f"docker://{server.host}/{repository}:all",
    )

    stored = witness.everything(repository, "all")
    assert stored.digest == (tmp_path / "digest").read_text().strip()
    assert [each["platform"]["architecture"] for each in stored.document["manifests"]] == ["amd64", "arm64"]
