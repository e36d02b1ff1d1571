"""Fixtures of the system tests: the server as a process, machines with real clients, images to push.

The server and the daemons are started once a worker, and only when a test asks for them; every test has repositories
of its own. After each test the server must be alive and its log without a traceback; after the run nothing may be
left running or mounted.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import skips
from tests.factories.greetings import Greeting, make_greeting, make_platforms
from tests.factories.images import Index, Layer, layer
from tests.system.machines import (
    NO_NETWORK,
    ContainerdMachine,
    DockerMachine,
    Machine,
    containers_machine,
    plain_machine,
)
from tests.system.oracle import Witness
from tests.system.process import CommandFailedError, clean, mounts_below
from tests.system.servers import PEER, RegistryServer
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pytest_configure(config: pytest.Config) -> None:
    """Register the skips when the tests' own conftest has not."""
    if not config.pluginmanager.is_registered(skips):
        config.pluginmanager.register(skips)


# ── The server ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder of this worker, with a path short enough for sockets; what is mounted in it at the end is an error."""
    folder = Path(tempfile.mkdtemp(prefix="roadstead-"))
    yield folder
    left = mounts_below(folder)
    clean(folder)
    shutil.rmtree(folder, ignore_errors=True)
    assert not left, f"left mounted: {left}"
    assert not folder.exists()


@pytest.fixture(scope="session")
def running_server(scratch: Path) -> Iterator[RegistryServer]:
    """The server of this worker; tests ask for `server`."""
    with RegistryServer(scratch / "server") as running:
        yield running
        running.shut_down()


@pytest.fixture
def server(running_server: RegistryServer) -> Iterator[RegistryServer]:
    """A running registry without authentication; must live through the test without an error of its own."""
    running_server.check()
    yield running_server
    running_server.check()


@pytest.fixture
def own_server(scratch: Path) -> Iterator[RegistryServer]:
    """A registry of this test alone, with an empty data folder, which the test may stop, kill and start."""
    with RegistryServer(scratch / f"server-{secrets.token_hex(3)}") as running:
        yield running
        running.shut_down()
    shutil.rmtree(running.folder)


@pytest.fixture
def witness(server: RegistryServer) -> Iterator[Witness]:
    """Reads the registry without any client."""
    reader = Witness(server.url)
    yield reader
    reader.close()


@pytest.fixture
def own_witness(own_server: RegistryServer) -> Iterator[Witness]:
    """Reads the registry of this test alone."""
    reader = Witness(own_server.url)
    yield reader
    reader.close()


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """The name of a repository that no other test uses."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return f"system/{name[:60].strip('-')}-{secrets.token_hex(4)}"


# ── Images ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def busybox() -> bytes:
    """The program that images run."""
    skips.require("busybox-static")
    return Path(path_of("busybox-static")).read_bytes()


@pytest.fixture
def busybox_layer(busybox: bytes) -> Layer:
    """A layer with a static busybox, and a mark that makes it this test's own.

    Clients remember layers by their content and push the compressed form that they met before, so a layer that
    tests had in common would make the digests of one depend on what ran before it.
    """
    return layer({"bin/busybox": (busybox, 0o755), "etc/mark": secrets.token_bytes(16)})


@pytest.fixture
def greeting(busybox_layer: Layer) -> Greeting:
    """A new image of two layers that nobody has."""
    return make_greeting(busybox_layer)


@pytest.fixture
def platforms() -> Index:
    """A new index of two platforms; neither is meant to be run."""
    return make_platforms()


# ── Machines ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def dockerd(scratch: Path) -> Iterator[DockerMachine]:
    """The machine where an image is made and pushed."""
    yield from _docker_machine(scratch / "docker-a")


@pytest.fixture(scope="session")
def other_dockerd(scratch: Path) -> Iterator[DockerMachine]:
    """Another machine, which has nothing but what it pulls."""
    yield from _docker_machine(scratch / "docker-b")


def _docker_machine(folder: Path) -> Iterator[DockerMachine]:
    skips.require("docker", "runc")
    _need_root("a docker daemon")
    with DockerMachine(folder) as machine:
        yield machine


@pytest.fixture(scope="session")
def containerd(scratch: Path) -> Iterator[ContainerdMachine]:
    """A containerd to push from."""
    yield from _containerd_machine(scratch / "containerd-a")


@pytest.fixture(scope="session")
def other_containerd(scratch: Path) -> Iterator[ContainerdMachine]:
    """A containerd that has nothing but what it pulls."""
    yield from _containerd_machine(scratch / "containerd-b")


def _containerd_machine(folder: Path) -> Iterator[ContainerdMachine]:
    skips.require("containerd")
    _need_root("a containerd")
    with ContainerdMachine(folder) as machine:
        yield machine


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        skips.skip(f"{what} needs root", enable_with="sudo make test")


@pytest.fixture(scope="session")
def why_not_run(dockerd: DockerMachine, busybox: bytes, scratch: Path) -> str:
    """Why this machine cannot run a container, found out without any registry; empty when it can."""
    root = scratch / "probe.tar"
    root.write_bytes(layer({"bin/busybox": (busybox, 0o755)}).tar)
    dockerd.client("import", "--change", 'CMD ["/bin/busybox","true"]', root, "probe:latest")
    try:
        dockerd.client("run", "--rm", *NO_NETWORK, "probe:latest")
    except CommandFailedError as failure:
        return str(failure)
    return ""


@pytest.fixture
def before_running(why_not_run: str) -> Callable[[], None]:
    """To be called before a container is run: what follows is skipped, and listed, where the machine cannot."""

    def check() -> None:
        if why_not_run:
            skips.skip(
                f"push and pull worked, running did not, nor does it without a registry: {why_not_run}",
                enable_with="sudo make test, on a machine where root may create containers",
            )

    return check


@pytest.fixture
def machine(scratch: Path, server: RegistryServer) -> Iterator[Callable[[str], Machine]]:
    """Makes machines with podman, buildah or skopeo, each with nothing on it; they are gone after the test.

    The first two need root: without it they depend on maps of user ids that only an administrator makes.
    """
    homes: list[Path] = []

    def make(name: str) -> Machine:
        if name != "skopeo":
            _need_root(name)
        homes.append(scratch / f"m{secrets.token_hex(3)}")
        return containers_machine(name, homes[-1], server)

    yield make
    _remove(homes)


@pytest.fixture
def client(scratch: Path) -> Iterator[Callable[..., Machine]]:
    """Makes machines with a client that needs only a home; they are gone after the test."""
    homes: list[Path] = []

    def make(name: str, *options: str, **variables: str) -> Machine:
        homes.append(scratch / f"m{secrets.token_hex(3)}")
        return plain_machine(name, homes[-1], *options, **variables)

    yield make
    _remove(homes)


def _remove(homes: list[Path]) -> None:
    for home in homes:
        clean(home)
        with suppress(FileNotFoundError):
            shutil.rmtree(home)


@pytest.fixture
def ours_only(server: RegistryServer) -> None:
    """For what the peer cannot do."""
    if server.is_peer:
        skips.skip(f"{PEER} cannot do this", enable_with="unset ROADSTEAD_TEST_PEER")
