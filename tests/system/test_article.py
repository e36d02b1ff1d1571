"""The demonstration of the article, in full: tag, push to localhost, pull elsewhere, run.

    docker tag myapp:latest localhost:5000/myapp:v1
    docker push localhost:5000/myapp:v1
    docker pull localhost:5000/myapp:v1          (on another host: here a second daemon)
    docker run -d localhost:5000/myapp:v1

The only difference is the port. A step that this machine cannot do is a listed skip that names the step and why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.factories.images import write_docker_archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.factories.greetings import Greeting
    from tests.system.machines import DockerMachine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

pytestmark = pytest.mark.needs("docker", "busybox-static")


@pytest.fixture
def myapp(dockerd: DockerMachine, greeting: Greeting, tmp_path: Path) -> Iterator[Greeting]:
    """`myapp:latest` on the machine where images are made."""
    dockerd.client("load", "--input", write_docker_archive(tmp_path / "myapp.tar", "myapp:latest", greeting.image))
    yield greeting
    dockerd.client("rmi", "--force", "myapp:latest")


def test_tag_push_pull_and_run(
    own_server: RegistryServer,
    dockerd: DockerMachine,
    other_dockerd: DockerMachine,
    myapp: Greeting,
    before_running: Callable[[], None],
) -> None:
    name = f"{own_server.localhost}/myapp:v1"

    dockerd.client("tag", "myapp:latest", name)
    pushed = dockerd.client("push", name).stdout
    dockerd.client("rmi", name)
    other_dockerd.client("pull", name)

    found = other_dockerd.inspect(name)
    assert found["Id"] == myapp.image.image_id
    assert found["RepoDigests"][0].partition("@")[2] in pushed
    before_running()
    container = other_dockerd.client("run", "-d", name).text
    assert other_dockerd.client("wait", container).text == "0"
    assert other_dockerd.client("logs", container).text == myapp.text
    other_dockerd.client("rm", container)


def test_what_was_pushed_outlives_a_restart(
    own_server: RegistryServer, dockerd: DockerMachine, other_dockerd: DockerMachine, myapp: Greeting
) -> None:
    name = f"{own_server.localhost}/myapp:v1"
    dockerd.client("tag", "myapp:latest", name)
    dockerd.client("push", name)
    dockerd.client("rmi", name)

    own_server.shut_down()
    own_server.start()

    other_dockerd.client("pull", name)
    assert other_dockerd.inspect(name)["Id"] == myapp.image.image_id


def test_the_registry_lists_what_was_pushed(
    own_server: RegistryServer, dockerd: DockerMachine, myapp: Greeting, own_witness: Witness
) -> None:
    name = f"{own_server.localhost}/myapp:v1"
    dockerd.client("tag", "myapp:latest", name)
    dockerd.client("push", name)
    dockerd.client("rmi", name)

    assert own_witness.get("/v2/_catalog").json() == {"repositories": ["myapp"]}
    assert own_witness.get("/v2/myapp/tags/list").json() == {"name": "myapp", "tags": ["v1"]}
    assert myapp.image.image_id in own_witness.everything("myapp", "v1").blobs
