"""Container clients and certificates: what `roadstead certs trust` writes is enough, and without it nothing works."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from roadstead.certificates.hosts import this_machine
from tests.factories.images import write_docker_archive
from tests.skips import skip
from tests.system.machines import containers_machine
from tests.system.process import run
from tests.system.tls.machinery import PROGRAM, Certificates, TlsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.factories.greetings import Greeting
    from tests.system.machines import ContainerdMachine, DockerMachine, Machine

UNKNOWN = ("x509: certificate signed by unknown authority", "tls: failed to verify certificate")


def trust(certificates: Certificates, host: str, client: str, root: Path) -> Path:
    """Has the client of a machine trust the authority; returns the client's folder for the host."""
    command: list[str | Path] = [
        PROGRAM,
        "certs",
        "trust",
        certificates.authority,
        "--host",
        host,
        "--for",
        client,
        "--root",
        root,
    ]
    assert "written" in run(command).stdout
    assert "unchanged" in run(command).stdout
    folders = {"docker": "docker", "podman": "containers", "containerd": "containerd"}
    return root / "etc" / folders[client] / "certs.d" / host


@pytest.fixture
def root(place: Path) -> Path:
    """The root of a machine."""
    path = place / "root"
    path.mkdir()
    return path


@pytest.fixture
def machine(place: Path) -> Iterator[Callable[[str, TlsServer], Machine]]:
    """A machine with podman or skopeo that takes nothing without a good certificate."""
    homes: list[Path] = []

    def make(name: str, server: TlsServer) -> Machine:
        homes.append(place / f"m{len(homes)}")
        made = containers_machine(name, homes[-1], server)
        (homes[-1] / ".config" / "containers" / "registries.conf").write_text("")  # which named it as insecure
        return made

    yield make
    for home in homes:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.needs("podman", "busybox-static")
def test_podman(
    start: Callable[..., TlsServer],
    certificates: Certificates,
    machine: Callable[[str, TlsServer], Machine],
    greeting: Greeting,
    root: Path,
    place: Path,
) -> None:
    if os.geteuid() != 0:
        skip("podman needs root", enable_with="sudo make test")
    server = start()
    podman = machine("podman", server)
    name = f"{server.host}/tls/podman:v1"
    podman("load", "--input", write_docker_archive(place / "image.tar", name, greeting.image))
    assert any(word in podman("push", name, exit_code=None).both for word in UNKNOWN)
    folder = trust(certificates, server.host, "podman", root)
    podman("push", "--cert-dir", folder, name)
    podman("rmi", name)
    podman("pull", "--cert-dir", folder, name)


@pytest.mark.needs("skopeo", "openssl")
def test_skopeo_with_a_certificate_of_its_own(
    place: Path,
    certificates: Certificates,
    machine: Callable[[str, TlsServer], Machine],
    greeting: Greeting,
    root: Path,
) -> None:
    """Mutual TLS with the names that docker's and podman's folders have."""
    certificate, key = certificates.client("alice")
    config = place / "roadstead.yaml"
    config.write_text(f"tls: {{client_certificates: required, client_authorities: [{certificates.authority}]}}\n")
    from tests.system.tls.test_serving import MutualServer  # noqa: PLC0415 - a server that is asked with a certificate

    server = MutualServer(place / "server", certificates.authority, [*certificates.flags, "--config", str(config)])
    server.client = ["--cacert", certificates.authority, "--cert", certificate, "--key", key]
    with server:
        skopeo = machine("skopeo", server)
        archive = write_docker_archive(place / "image.tar", "x:v1", greeting.image)
        copy = ("copy", f"docker-archive:{archive}", f"docker://{server.host}/tls/skopeo:v1")
        assert any(word in skopeo(*copy, exit_code=None).both for word in UNKNOWN)
        folder = trust(certificates, server.host, "podman", root)
        assert "certificate required" in skopeo(*copy, "--dest-cert-dir", folder, exit_code=None).both
        for file in (certificate, key):
            shutil.copy(file, folder)
        skopeo(*copy, "--dest-cert-dir", folder)
        server.shut_down()


@pytest.fixture
def outside(place: Path) -> Iterator[TlsServer]:
    """A server on an address of this machine that is not loopback, of which docker and containerd expect less."""
    address = next((host.name for host in this_machine() if host.is_address and _is_outside(host.name)), None)
    if address is None:
        skip("this machine has no address but loopback", enable_with="ip address add 192.0.2.1/32 dev lo")
    certificates = Certificates.make(place / "outside", "--ip", address)
    flags = [*certificates.flags, "--auth", "none"]
    with TlsServer(place / "outside-server", certificates.authority, flags, address=address) as server:
        yield server
        server.shut_down()


def _is_outside(address: str) -> bool:
    return ":" not in address and not address.startswith("127.")


@pytest.mark.needs("containerd", "skopeo")
def test_containerd(
    outside: TlsServer,
    containerd: ContainerdMachine,
    greeting: Greeting,
    machine: Callable[[str, TlsServer], Machine],
    root: Path,
    place: Path,
) -> None:
    certificates = Certificates(place / "outside")
    name = f"{outside.host}/tls/containerd:v1"
    archive = write_docker_archive(place / "image.tar", "x:v1", greeting.image)
    authorities = trust(certificates, outside.host, "podman", root)
    machine("skopeo", outside)("copy", "--dest-cert-dir", authorities, f"docker-archive:{archive}", f"docker://{name}")
    said = containerd.client("images", "pull", name, exit_code=None).both
    assert any(word in said for word in UNKNOWN), said
    hosts = trust(certificates, outside.host, "containerd", root).parent
    containerd.client("images", "pull", "--hosts-dir", hosts, name)
    assert name in containerd.client("images", "ls", "--quiet").text


@pytest.mark.needs("docker", "busybox-static")
def test_docker(
    outside: TlsServer, place: Path, dockerd: DockerMachine, other_dockerd: DockerMachine, greeting: Greeting
) -> None:
    name = f"{outside.host}/tls/docker:v1"
    dockerd.client("load", "--input", write_docker_archive(place / "image.tar", name, greeting.image))
    said = dockerd.client("push", name, exit_code=None).both
    assert any(word in said for word in UNKNOWN), said
    folder = Path("/etc/docker/certs.d") / outside.host
    try:
        trust(Certificates.make(place / "wrong"), outside.host, "docker", Path("/"))
        assert any(word in dockerd.client("push", name, exit_code=None).both for word in UNKNOWN)
        shutil.rmtree(folder)
        trust(Certificates(place / "outside"), outside.host, "docker", Path("/"))
        dockerd.client("push", name)  # without a restart of the daemon
        other_dockerd.client("pull", name)
        assert other_dockerd.inspect(name)["Id"] == greeting.image.image_id
    finally:
        shutil.rmtree(folder, ignore_errors=True)
