"""nerdctl, containerd's docker-like client, loads, pushes, pulls elsewhere and runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.factories.images import write_docker_archive
from tests.system.machines import NO_NETWORK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.factories.greetings import Greeting
    from tests.system.machines import ContainerdMachine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

pytestmark = pytest.mark.needs("nerdctl", "containerd", "runc", "busybox-static")


def test_what_one_machine_pushes_another_pulls_and_runs(
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
    here, there = containerd.nerdctl(), other_containerd.nerdctl()
    here("load", "--input", write_docker_archive(tmp_path / "image.tar", name, greeting.image))

    here("push", name)
    stored = witness.everything(repository, "v1")
    assert stored.document["config"]["digest"] == greeting.image.image_id

    here("rmi", name)
    assert here("images", "--quiet", name).text == ""
    for puller in (here, there):
        puller("pull", name)
        found = puller.json("image", "inspect", "--mode", "dockercompat", name)[0]
        assert found["RepoDigests"] == [f"{server.host}/{repository}@{stored.digest}"]
        assert found["RootFS"]["Layers"] == [each.diff_id for each in greeting.image.layers]
    before_running()
    assert there("run", "--rm", *NO_NETWORK, name).text == greeting.text
