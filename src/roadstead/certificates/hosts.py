"""Reads names and addresses that certificates are made for."""

import fcntl
import ipaddress
import re
import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from roadstead.certificates.errors import CertificateNameInvalidError
from roadstead.certificates.model import Host

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_LONGEST: Final = 253
_SIOCGIFADDR: Final = 0x8915


def parse_host(text: str) -> Host:
    """Parses a DNS name (with a star as its first label, if wanted) or an address.

    Raises:
        CertificateNameInvalidError: it spells neither.
    """
    name = text.strip().rstrip(".").lower().removeprefix("[").removesuffix("]")
    try:
        return Host(str(ipaddress.ip_address(name)), is_address=True)
    except ValueError:
        pass
    ascii_name = _to_ascii(text, name)
    labels = ascii_name.removeprefix("*.").split(".")
    if len(ascii_name) > _LONGEST or not all(_LABEL.fullmatch(label) for label in labels):
        raise CertificateNameInvalidError(text, "no host name and no address (without scheme, port and path)")
    if ascii_name.startswith("*.") and len(labels) < 2:  # noqa: PLR2004 - a star for a whole top-level domain
        raise CertificateNameInvalidError(text, "a star stands for one label of a name that has at least two others")
    return Host(ascii_name, is_address=False)


def parse_hosts(texts: Iterable[str]) -> tuple[Host, ...]:
    """Parses all texts and returns the hosts in their order, each once."""
    return tuple(dict.fromkeys(parse_host(text) for text in texts))


def this_machine() -> Iterator[Host]:
    """Yields the names and addresses under which this machine is likely to be reached."""
    for text in (socket.gethostname(), "localhost", "127.0.0.1", "::1", *_addresses()):
        try:
            yield parse_host(text)
        except CertificateNameInvalidError:  # a machine may be called anything
            continue


def _to_ascii(text: str, name: str) -> str:
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        raise CertificateNameInvalidError(text, "no host name") from None


def _addresses() -> Iterator[str]:
    """Yields the addresses of all interfaces, except those that need the name of an interface beside them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, interface in socket.if_nameindex():
            request = struct.pack("256s", interface.encode()[:15])
            try:
                yield socket.inet_ntoa(fcntl.ioctl(probe, _SIOCGIFADDR, request)[20:24])
            except OSError:  # an interface without an address
                continue
    try:
        lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
    except OSError:
        return
    for line in lines:
        address = ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))
        if not address.is_link_local:
            yield str(address)
