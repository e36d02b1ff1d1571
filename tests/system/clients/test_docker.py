"""Docker's daemon and client push, pull and run through the registry, and two daemons agree on every digest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.factories.images import write_docker_archive
from tests.system.machines import NO_NETWORK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.factories.greetings import Greeting
    from tests.system.machines import DockerMachine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

pytestmark = pytest.mark.needs("docker", "busybox-static")


def _pushed_digest(output: str) -> str:
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", output)
    assert found is not None, output
    return found[1]


def _load(dockerd: DockerMachine, folder: Path, greeting: Greeting, name: str) -> None:
    dockerd.client("load", "--input", write_docker_archive(folder / "image.tar", name, greeting.image))
    assert dockerd.inspect(name)["Id"] == greeting.image.image_id


def test_what_one_daemon_pushes_another_pulls_and_runs(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    dockerd: DockerMachine,
    other_dockerd: DockerMachine,
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}:v1"
    _load(dockerd, tmp_path, greeting, name)

    digest = _pushed_digest(dockerd.client("push", name).stdout)
    stored = witness.everything(repository, "v1")
    assert stored.digest == digest
    assert greeting.image.image_id in stored.blobs

    dockerd.client("rmi", name)
    assert not dockerd.has(name)
    for machine in (dockerd, other_dockerd):
        machine.client("pull", name)
        found = machine.inspect(name)
        assert found["Id"] == greeting.image.image_id
        assert found["RepoDigests"] == [f"{server.host}/{repository}@{digest}"]
        assert found["RootFS"]["Layers"] == [each.diff_id for each in greeting.image.layers]
    assert other_dockerd.client("run", "--rm", *NO_NETWORK, name).text == greeting.text


def test_pull_by_digest(
    server: RegistryServer,
    repository: str,
    dockerd: DockerMachine,
    other_dockerd: DockerMachine,
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}:v1"
    _load(dockerd, tmp_path, greeting, name)
    digest = _pushed_digest(dockerd.client("push", name).stdout)

    other_dockerd.client("pull", f"{server.host}/{repository}@{digest}")

    assert other_dockerd.inspect(f"{server.host}/{repository}@{digest}")["Id"] == greeting.image.image_id


def test_a_second_push_uploads_no_layer(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    dockerd: DockerMachine,
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}"
    _load(dockerd, tmp_path, greeting, f"{name}:v1")
    dockerd.client("tag", f"{name}:v1", f"{name}:v2")
    first = _pushed_digest(dockerd.client("push", f"{name}:v1").stdout)

    again = dockerd.client("push", f"{name}:v2").stdout

    assert _pushed_digest(again) == first
    assert again.count("Layer already exists") == len(greeting.image.layers)
    assert witness.tags(repository) == ["v1", "v2"]


def test_a_push_to_another_repository_mounts_the_layers(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    dockerd: DockerMachine,
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}"
    _load(dockerd, tmp_path, greeting, f"{name}:v1")
    dockerd.client("push", f"{name}:v1")
    dockerd.client("tag", f"{name}:v1", f"{name}/copy:v1")

    output = dockerd.client("push", f"{name}/copy:v1").stdout

    assert f"Mounted from {repository}" in output
    assert witness.everything(f"{repository}/copy", "v1").digest == _pushed_digest(output)


def test_push_of_all_tags(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    dockerd: DockerMachine,
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}"
    _load(dockerd, tmp_path, greeting, f"{name}:v1")
    for tag in ("v2", "latest"):
        dockerd.client("tag", f"{name}:v1", f"{name}:{tag}")

    dockerd.client("push", "--all-tags", name)

    assert sorted(witness.tags(repository)) == ["latest", "v1", "v2"]


def test_pull_of_all_tags(
    server: RegistryServer,
    repository: str,
    dockerd: DockerMachine,
    other_dockerd: DockerMachine,
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}"
    _load(dockerd, tmp_path, greeting, f"{name}:v1")
    dockerd.client("tag", f"{name}:v1", f"{name}:v2")
    dockerd.client("push", "--all-tags", name)

    other_dockerd.client("pull", "--all-tags", name)

    assert {other_dockerd.inspect(f"{name}:{tag}")["Id"] for tag in ("v1", "v2")} == {greeting.image.image_id}


def test_a_manifest_list_is_pushed_and_resolved(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    dockerd: DockerMachine,
    other_dockerd: DockerMachine,
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    name = f"{server.host}/{repository}"
    _load(dockerd, tmp_path, greeting, f"{name}:amd64")
    child = _pushed_digest(dockerd.client("push", f"{name}:amd64").stdout)
    dockerd.client("manifest", "create", "--insecure", f"{name}:all", f"{name}:amd64")

    digest = dockerd.client("manifest", "push", "--insecure", f"{name}:all").text.splitlines()[-1]

    stored = witness.everything(repository, "all")
    assert stored.digest == digest
    assert stored.manifests == {digest, child}
    other_dockerd.client("pull", f"{name}:all")
    assert other_dockerd.inspect(f"{name}:all")["Id"] == greeting.image.image_id


def test_a_build_that_starts_from_a_pushed_image(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    dockerd: DockerMachine,
    other_dockerd: DockerMachine,
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    base, name = f"{server.host}/{repository}:base", f"{server.host}/{repository}:built"
    _load(dockerd, tmp_path, greeting, base)
    dockerd.client("push", base)
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {base}\nCOPY Dockerfile /etc/recipe\n")

    other_dockerd.client("build", "--pull", "--tag", name, context)
    pushed = other_dockerd.client("push", name).stdout

    first, second = witness.everything(repository, "base"), witness.everything(repository, "built")
    assert second.digest == _pushed_digest(pushed)
    assert second.document["layers"][:-1] == first.document["layers"]


def test_an_unknown_tag_is_said_to_be_unknown(server: RegistryServer, repository: str, dockerd: DockerMachine) -> None:
    answer = dockerd.client("pull", f"{server.host}/{repository}:none", exit_code=1)

    assert "not found" in answer.stderr


def test_trying_tls_first_is_no_alarm(server: RegistryServer, repository: str, dockerd: DockerMachine) -> None:
    """Docker does so for each command to localhost: it is counted, and the log says nothing above debug."""

    def tried() -> int:
        metrics = httpx.get(f"http://127.0.0.1:{server.operations_port}/metrics", trust_env=False).text
        found = re.search(r'^roadstead_refused_requests_total\{reason="tls"\} (\d+)', metrics, re.MULTILINE)
        return int(found[1]) if found else 0

    before, logged = tried(), len(server.log())
    dockerd.client("pull", f"{server.host}/{repository}:none", exit_code=1)
    assert tried() > before
    assert "client refused" not in server.log()[logged:]
