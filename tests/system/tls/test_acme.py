"""Certificates from a real ACME server: ordered, renewed, refused, out of reach."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.system.process import until
from tests.system.servers import free_port
from tests.system.tls.acme_server import Pebble, names_of_this_machine
from tests.system.tls.machinery import Certificates, TlsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs("pebble", "curl")

HOSTS = ("registry.example.com", "other.example.com", "127.0.0.1")


@pytest.fixture
def names() -> Iterator[str]:
    with names_of_this_machine() as address:
        yield address


class AcmeServer(TlsServer):
    """Ready when it answers on the listener for operations: the certificate comes later, or never."""

    def __init__(
        self,
        folder: Path,
        pebble: Pebble,
        authority: Path,
        *,
        challenge_port: int,
        hosts: tuple[str, ...] = HOSTS,
        workers: int = 1,
    ) -> None:
        folder.mkdir(exist_ok=True)
        config = folder / "roadstead.yaml"
        config.write_text(
            "tls:\n"
            "  mode: acme\n"
            f"  hosts: [{', '.join(hosts)}]\n"
            f"  acme_directory: {pebble.directory}\n"
            f"  acme_authority: {authority}\n"
            f"  acme_challenge_listen: 127.0.0.1:{challenge_port}\n"
            "  acme_email: admin@example.com\n"
        )
        self.issuer = folder / "issuer.pem"
        super().__init__(folder, self.issuer, ["--config", str(config), "--workers", str(workers)])

    @property
    def pair(self) -> Path:
        """The file of key and certificate."""
        return self.data / "secrets" / "acme" / "server.pem"

    def is_trusted(self, name: str) -> bool:
        """Whether a client that trusts the ACME server's authority accepts it under a name."""
        command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(self.issuer), f"https://{name}:{self.port}/v2/"]
        resolve = ["--resolve", f"{name}:{self.port}:127.0.0.1"]
        return subprocess.run([*command, *resolve], capture_output=True, timeout=20, check=False).stdout == b"{}\n"

    def _answers(self) -> bool:
        return (
            b"certificate"
            in subprocess.run(
                ["curl", "-s", "--noproxy", "*", f"{self.operations}/readyz"],
                capture_output=True,
                timeout=10,
                check=False,
            ).stdout
        )


@pytest.fixture
def port() -> int:
    """Where challenges are answered."""
    return free_port()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_certificate_is_ordered_once_and_kept(
    place: Path, certificates: Certificates, names: str, port: int, workers: int
) -> None:
    with (
        Pebble(place / "pebble", certificates, names, challenge_port=port) as pebble,
        AcmeServer(place / "server", pebble, certificates.authority, challenge_port=port, workers=workers) as server,
    ):
        server.issuer.write_bytes(pebble.root())
        for name in HOSTS:
            until(partial(server.is_trusted, name), what=f"{name} has a certificate", timeout_seconds=90)
        assert server.pair.stat().st_mode & 0o777 == 0o600
        assert (server.pair.parent / "account.key").stat().st_mode & 0o777 == 0o600
        until(server.is_ready, what="ready")
        before = server.pair.read_bytes()
        server.shut_down()
        server.start()
        until(lambda: server.is_trusted(HOSTS[0]), what="the certificate is used again")
        assert server.pair.read_bytes() == before
        assert server.log().count("certificate ordered") == 1
        server.shut_down()


def test_a_certificate_is_renewed_before_its_end(
    place: Path, certificates: Certificates, names: str, port: int
) -> None:
    """And the new one is served without a restart."""
    with (
        Pebble(place / "pebble", certificates, names, challenge_port=port, lifetime_seconds=20) as pebble,
        AcmeServer(place / "server", pebble, certificates.authority, challenge_port=port) as server,
    ):
        server.issuer.write_bytes(pebble.root())
        until(server.pair.exists, what="a first certificate", timeout_seconds=60)
        first = server.pair.read_bytes()
        until(lambda: server.pair.read_bytes() != first, what="a second certificate", timeout_seconds=60)
        until(lambda: _serves(server, server.pair.read_bytes()), what="it is served")
        assert server.log().count("certificate ordered") >= 2
        server.shut_down()


def _serves(server: AcmeServer, pem: bytes) -> bool:
    text = pem.decode()
    first = text[text.index("-----BEGIN CERTIFICATE") :]
    first = first[: first.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")]
    with contextlib.suppress(OSError):
        return server.fingerprint() == ssl.PEM_cert_to_DER_cert(first)
    return False


def test_a_server_out_of_reach_is_no_reason_not_to_start(
    place: Path, certificates: Certificates, names: str, port: int
) -> None:
    pebble = Pebble(place / "pebble", certificates, names, challenge_port=port)
    with AcmeServer(place / "server", pebble, certificates.authority, challenge_port=port) as server:
        until(lambda: "certificate not ordered" in server.log(), what="the log says so")
        assert "cannot be reached" in server.log()
        assert server.readiness() == {"status": "failed", "detail": "there is no certificate yet"}
        server.curl("-k", exit_code=None)
        with pebble:
            server.issuer.write_bytes(pebble.root())
            server.shut_down()
            server.start()  # instead of waiting for a minute
            until(lambda: server.is_trusted(HOSTS[0]), what="the certificate is there", timeout_seconds=60)
            server.shut_down()


def test_a_challenge_that_nobody_answers(place: Path, certificates: Certificates, names: str, port: int) -> None:
    with (
        Pebble(place / "pebble", certificates, names, challenge_port=free_port()) as pebble,
        AcmeServer(
            place / "server", pebble, certificates.authority, challenge_port=port, hosts=("registry.example.com",)
        ) as server,
    ):
        until(lambda: "certificate not ordered" in server.log(), what="the log says so", timeout_seconds=60)
        assert "registry.example.com" in server.log()
        assert "could not see that the host is ours" in server.log()
        assert not server.pair.exists()
        server.shut_down()


def test_a_challenge_port_in_use(place: Path, certificates: Certificates, names: str) -> None:
    with (
        Pebble(place / "pebble", certificates, names, challenge_port=free_port()) as pebble,
        AcmeServer(place / "server", pebble, certificates.authority, challenge_port=pebble.port) as server,
    ):
        until(lambda: "certificate not ordered" in server.log(), what="the log says so", timeout_seconds=60)
        assert "acme_challenge_listen" in server.log()
        server.shut_down()


def test_an_authority_that_is_not_trusted(place: Path, certificates: Certificates, names: str, port: int) -> None:
    stranger = Certificates.make(place / "stranger")
    with (
        Pebble(place / "pebble", certificates, names, challenge_port=port) as pebble,
        AcmeServer(place / "server", pebble, stranger.authority, challenge_port=port) as server,
    ):
        until(lambda: "certificate not ordered" in server.log(), what="the log says so", timeout_seconds=60)
        assert "CERTIFICATE_VERIFY_FAILED" in server.log()
        server.shut_down()


def test_nonces_that_are_rejected(place: Path, certificates: Certificates, names: str, port: int) -> None:
    """The library asks again once, which with so many rejected would rarely do."""
    with (
        Pebble(place / "pebble", certificates, names, challenge_port=port, rejected_nonces=35) as pebble,
        AcmeServer(
            place / "server", pebble, certificates.authority, challenge_port=port, hosts=("registry.example.com",)
        ) as server,
    ):
        server.issuer.write_bytes(pebble.root())
        until(lambda: server.is_trusted("registry.example.com"), what="a certificate", timeout_seconds=50)
        assert "certificate not ordered" not in server.log()
        server.shut_down()
