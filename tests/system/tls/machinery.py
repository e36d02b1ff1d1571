"""Servers that speak TLS, the certificates they do it with, and clients that say what they see."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.system.process import Answer, run
from tests.system.servers import RegistryServer

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = str(Path(sys.executable).parent / "roadstead")
UNTRUSTED = 60  # curl's exit code for a certificate that it does not accept


@dataclass(frozen=True, slots=True)
class Certificates:
    """A folder that `roadstead certs create` filled."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, *options: str) -> Certificates:
        """For 127.0.0.1 and localhost, and whatever the options say."""
        run([PROGRAM, "certs", "create", "--host", "localhost", "--ip", "127.0.0.1", *options, "--out", folder])
        return cls(folder)

    def renew(self) -> None:
        """The same command again."""
        self.make(self.folder)

    @property
    def authority(self) -> Path:
        """What clients trust."""
        return self.folder / "ca.crt"

    @property
    def certificate(self) -> Path:
        """The server's certificate."""
        return self.folder / "server.crt"

    @property
    def key(self) -> Path:
        """Its key."""
        return self.folder / "server.key"

    @property
    def flags(self) -> list[str]:
        """What `roadstead serve` is told."""
        return ["--tls-cert", str(self.certificate), "--tls-key", str(self.key)]

    def copy_to(self, other: Certificates) -> None:
        """Puts certificate and key in the place of another's, each in one step."""
        for source, target in ((self.certificate, other.certificate), (self.key, other.key)):
            temporary = target.with_name(f"{target.name}.new")
            temporary.write_bytes(source.read_bytes())
            temporary.replace(target)

    def client(self, user: str) -> tuple[Path, Path]:
        """Certificate and key of a user."""
        run([PROGRAM, "certs", "create", "--client", user, "--out", self.folder])
        folder = self.folder / "clients" / user
        return folder / "client.cert", folder / "client.key"


class TlsServer(RegistryServer):
    """`roadstead serve` with TLS, ready once a client that trusts `authority` is answered."""

    def __init__(
        self, folder: Path, authority: Path, arguments: Sequence[str], *, address: str = "127.0.0.1", ready: int = 200
    ) -> None:
        self._address = address
        self._authority = authority
        self._ready = ready
        super().__init__(folder, arguments=arguments, peer="")

    @property
    def host(self) -> str:
        """`ADDRESS:PORT`."""
        return f"{self._address}:{self.port}"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"https://{self.host}"

    @property
    def operations(self) -> str:
        """Where health and metrics are."""
        return f"http://127.0.0.1:{self.operations_port}"

    def readiness(self) -> dict[str, Any]:
        """The check of the certificate, as `/readyz` has it."""
        document = httpx.get(f"{self.operations}/readyz", trust_env=False, timeout=10).json()
        return dict(document["checks"]["certificate"])

    def is_ready(self) -> bool:
        """Whether `/readyz` says so of all workers."""
        return httpx.get(f"{self.operations}/readyz", trust_env=False, timeout=10).is_success

    def days_left(self) -> float:
        """The metric."""
        text = httpx.get(f"{self.operations}/metrics", trust_env=False, timeout=10).text
        (line,) = [each for each in text.splitlines() if each.startswith("roadstead_certificate_days_left ")]
        return float(line.split()[1])

    def curl(self, *options: str | Path, path: str = "/v2/", exit_code: int | None = 0) -> Answer:
        """Run curl with only the system's authorities, unless told otherwise."""
        return run(["curl", "-sS", "--noproxy", "*", *options, f"{self.url}{path}"], exit_code=exit_code)

    def fingerprint(self) -> bytes:
        """The certificate that a new connection is shown."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection((self._address, self.port), 10) as plain,
            context.wrap_socket(plain) as connection,
        ):
            return connection.getpeercert(binary_form=True) or b""

    def push(self, content: bytes, digest: str, repository: str = "app") -> str:
        """Pushes a blob and returns the path at which it can be pulled."""
        context = ssl.create_default_context(cafile=self._authority)
        with httpx.Client(verify=context, base_url=self.url, trust_env=False, timeout=60) as client:
            answer = client.post(f"/v2/{repository}/blobs/uploads/?digest={digest}", content=content)
            assert answer.status_code == httpx.codes.CREATED, answer.text
        return f"/v2/{repository}/blobs/{digest}"

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, httpx.TransportError):
            if not self._authority.exists():
                return False
            context = ssl.create_default_context(cafile=self._authority)
            with httpx.Client(verify=context, trust_env=False, timeout=2) as client:
                return client.get(f"{self.url}/v2/").status_code == self._ready
        return False
