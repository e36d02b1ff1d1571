"""What `make image` and `make packages` make, made once for the same sources, and engines to run it in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.image.building import Built, bare_system, build, build_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.system.machines import DockerMachine, Machine


@pytest.fixture(scope="session")
def image() -> Built:
    """The image's two archives."""
    return build_once("image")


@pytest.fixture(scope="session")
def packages() -> Built:
    """The wheel and the Debian package."""
    return build_once("packages")


@pytest.fixture
def build_again(scratch: Path) -> Iterator[Callable[[str], Path]]:
    """Builds from another folder, as somebody with other habits; returns the folder of the results."""
    folder = scratch / "built-again"

    def again(what: str) -> Path:
        return build(what, folder, umask=0o077)

    yield again
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def docker_name(image: Built, dockerd: DockerMachine) -> str:
    """The image's name in docker, which has loaded it."""
    dockerd.client("load", "--input", image.file("*.docker.tar"), timeout_seconds=300)
    return f"roadstead:{image.version}"


@pytest.fixture
def podman(machine: Callable[[str], Machine]) -> Machine:
    """A machine with podman and nothing on it."""
    return machine("podman")


@pytest.fixture
def bare_root(packages: Built, scratch: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The root of a Debian with Python and nothing else, the package in its `/root`; the parameter is the release."""
    root = scratch / f"bare-{request.param}"
    bare_system(str(request.param), root)
    shutil.copy(packages.file("*.deb"), root / "root" / "roadstead.deb")
    yield root
    shutil.rmtree(root)
