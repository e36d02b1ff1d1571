"""The address on which a server listens."""

import ipaddress
from dataclasses import dataclass
from typing import Final, Self

HIGHEST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A host and a TCP port; port 0 lets the system choose one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses ``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT`` (every IPv4 address).

        Raises:
            ValueError: it does not; the message says what is expected.
        """
        host, colon, port = text.strip().rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > HIGHEST_PORT:
            raise ValueError("expected HOST:PORT, such as 127.0.0.1:5000 or [::1]:5000")
        return cls(_parse_host(host), int(port))

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach the address; a name other than ``localhost`` counts as open to others."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _parse_host(host: str) -> str:
    if not host or host == "*":
        return "0.0.0.0"  # noqa: S104 - what was asked for; whether it is allowed is decided with all settings in view
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1]))
    if ":" in host:
        raise ValueError("an IPv6 address is written in brackets: [::1]:5000")
    if any(character.isspace() or character in "/@" for character in host):
        raise ValueError("expected HOST:PORT without a scheme or path, such as 127.0.0.1:5000")
    return host
