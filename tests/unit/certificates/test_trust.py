"""What clients trust: their own places, written once, nothing of others overwritten."""

from pathlib import Path
from typing import Any

import pytest

from roadstead.certificates import CertificateError, TrustFolderError
from roadstead.certificates.trust import detect_clients, trust_files, write_trust

HOST = "registry.example.com:5000"
PEM = b"-----BEGIN CERTIFICATE-----\n"


def put(client: Any, root: Path, pem: bytes = PEM) -> dict[str, str]:
    return {str(file.path): write_trust(file, root) for file in trust_files(client, HOST, pem, root)}


@pytest.mark.parametrize(
    ("client", "path"),
    [
        ("docker", f"/etc/docker/certs.d/{HOST}/ca.crt"),
        ("podman", f"/etc/containers/certs.d/{HOST}/ca.crt"),
        ("containerd", f"/etc/containerd/certs.d/{HOST}/ca.crt"),
    ],
)
def test_every_client_has_its_place_and_a_second_time_changes_nothing(tmp_path: Path, client: str, path: str) -> None:
    assert put(client, tmp_path)[path] == "written"
    file = tmp_path / path[1:]
    assert file.read_bytes() == PEM
    assert file.stat().st_mode & 0o777 == 0o644
    assert set(put(client, tmp_path).values()) == {"unchanged"}
    assert put(client, tmp_path, b"another")[path] == "written"


def test_hosts_of_containerd_that_somebody_wrote_stay(tmp_path: Path) -> None:
    hosts = tmp_path / "etc/containerd/certs.d" / HOST / "hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text('server = "https://mirror.example.com"\n')
    assert put("containerd", tmp_path)[f"/etc/containerd/certs.d/{HOST}/hosts.toml"] == "left alone"
    assert "mirror" in hosts.read_text()


@pytest.mark.parametrize("has_path", [False, True])
def test_containerd_is_told_where_to_look(tmp_path: Path, has_path: bool) -> None:  # noqa: FBT001 - a parameter
    config = tmp_path / "etc/containerd/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('  config_path = "/etc/containerd/certs.d"\n' if has_path else '# config_path = "certs.d"\n')
    notes = [file.note for file in trust_files("containerd", HOST, PEM, tmp_path) if file.note]
    assert bool(notes) is not has_path


@pytest.mark.parametrize(
    ("store", "program"),
    [
        ("usr/local/share/ca-certificates", "update-ca-certificates"),
        ("etc/pki/ca-trust/source/anchors", "update-ca-trust"),
    ],
)
def test_the_systems_store_is_that_of_the_distribution(tmp_path: Path, store: str, program: str) -> None:
    (tmp_path / store).mkdir(parents=True)
    (file,) = trust_files("system", HOST, PEM, tmp_path)
    assert file.command[0] == program
    assert write_trust(file, tmp_path) == "written"
    assert [each.suffix for each in (tmp_path / store).iterdir()] == [".crt"]


def test_a_machine_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="ca-certificates"):
        trust_files("system", HOST, PEM, tmp_path)


def test_who_is_there(tmp_path: Path) -> None:
    assert detect_clients(tmp_path) == ()
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/skopeo").touch()
    assert detect_clients(tmp_path) == ("docker", "podman")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").touch()
    with pytest.raises(TrustFolderError, match="root"):
        put("docker", tmp_path)
