"""containerd's `ctr` pushes from one containerd, and another pulls and runs."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.factories.images import write_oci_layout
from tests.system.process import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.factories.greetings import Greeting
    from tests.factories.images import Image, Index
    from tests.system.machines import ContainerdMachine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

pytestmark = pytest.mark.needs("containerd", "runc")


def _import(containerd: ContainerdMachine, folder: Path, name: str, content: Image | Index) -> None:
    """Import an archive made of an OCI layout, under a name."""
    layout = write_oci_layout(folder / "layout", v1=content)
    run(["tar", "--create", "--file", folder / "image.tar", "--directory", layout, "."])
    base = name.rpartition(":")[0]
    containerd.client("images", "import", "--all-platforms", "--base-name", base, folder / "image.tar")


def _target(containerd: ContainerdMachine, name: str) -> str:
    """The digest that an image's name stands for, as `ctr images ls` prints it; empty when there is none."""
    lines = [line.split() for line in containerd.client("images", "ls").stdout.splitlines()]
    return next((words[2] for words in lines if words[0] == name), "")


@pytest.mark.needs("busybox-static")
def test_what_one_containerd_pushes_another_pulls_and_runs(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    containerd: ContainerdMachine,
    other_containerd: ContainerdMachine,
    greeting: Greeting,
    before_running: Callable[[], None],
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}:v1"
    _import(containerd, tmp_path, name, greeting.image)
    assert _target(containerd, name) == greeting.image.digest

    containerd.client("images", "push", "--plain-http", name)
    assert witness.everything(repository, "v1").digest == greeting.image.digest

    containerd.client("images", "rm", "--sync", name)
    assert _target(containerd, name) == ""
    for puller in (containerd, other_containerd):
        puller.client("images", "pull", "--plain-http", name)
        assert _target(puller, name) == greeting.image.digest
    before_running()
    task = f"t{secrets.token_hex(4)}"
    assert other_containerd.client("run", "--rm", name, task).text == greeting.text


def test_all_platforms_of_an_index(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    containerd: ContainerdMachine,
    other_containerd: ContainerdMachine,
    platforms: Index,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}:v1"
    _import(containerd, tmp_path, name, platforms)
    containerd.client("images", "push", "--plain-http", name)
    assert witness.everything(repository, "v1").manifests >= {each.digest for each in platforms.images}

    other_containerd.client("content", "fetch", "--plain-http", "--all-platforms", name)

    held = other_containerd.client("content", "ls", "--quiet").stdout.split()
    assert {platforms.digest, *(each.digest for each in platforms.images)} <= set(held)


def test_pull_by_digest(
    server: RegistryServer,
    repository: str,
    containerd: ContainerdMachine,
    other_containerd: ContainerdMachine,
    platforms: Index,
    tmp_path: Path,
) -> None:
    image = platforms.images[0]
    name = f"{server.host}/{repository}:v1"
    _import(containerd, tmp_path, name, image)
    containerd.client("images", "push", "--plain-http", name)

    by_digest = f"{server.host}/{repository}@{image.digest}"
    other_containerd.client("images", "pull", "--plain-http", by_digest)

    assert _target(other_containerd, by_digest) == image.digest
