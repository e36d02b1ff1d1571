"""Classes of addresses, so that a redirect never leads from a wider network into a narrower one.

A registry elsewhere chooses the targets of its redirects, but this server makes the requests, from inside a network
that the other cannot reach (CVE-2026-2376 is a registry that followed such a redirect). So a redirect may lead to an
address that is as public as the registry's own, or more so; and it is followed to the very address that was looked at,
since a name may stand for another one a moment later.
"""

import asyncio
import enum
import ipaddress
import socket
from collections.abc import Iterator
from typing import Final


class Reach(enum.IntEnum):
    """The class of an address: the set of machines that can reach it."""

    PUBLIC = 0
    PRIVATE = 1
    """Only machines of the same network can reach it: 10.0.0.0/8 and the like."""
    LOCAL = 2
    """Only this machine or its link can reach it, where clouds answer with a machine's credentials
    (169.254.169.254)."""


async def resolve(host: str, port: int) -> list[str]:
    """Returns the addresses that a host's name stands for, at least one.

    Raises:
        OSError: the name is not known.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))


def reach_of(address: str) -> Reach:
    """Returns the class of an address; an address that leads to an IPv4 one through a gateway counts as that too.

    Decided by the tables below rather than by ``ipaddress``, whose answers differ between versions of Python.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return _reach_of_ipv4(parsed)
    embedded = [_reach_of_ipv4(found) for found in _embedded(parsed)]
    return max(embedded) if embedded else _reach_of_ipv6(parsed)


def _networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_LOCAL: Final = _networks(
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local; AWS, Azure, Google, OpenStack and others answer at .169.254
    "224.0.0.0/4",
    "255.255.255.255/32",
    "100.100.100.200/32",  # metadata of Alibaba Cloud
    "168.63.129.16/32",  # Azure's agent
    "192.0.0.192/32",  # metadata of Oracle Cloud
    "::/127",
    "fe80::/10",
    "ff00::/8",
    "fd00:ec2::/32",  # metadata of AWS
    "fd00:42::42/128",  # metadata of Scaleway
    "fd20:ce::254/128",  # metadata of Google
)
"""This machine and its link (IANA's special-purpose address registries), and addresses of clouds' metadata services."""

_PRIVATE: Final = _networks(
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
)
"""Networks that are not routed in public (the same registries)."""

_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""The only IPv6 addresses that are given to the public (RFC 4291, section 2.4)."""

_IN_LAST_BITS: Final = _networks("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96")
"""Mapped, translated and compatible addresses, NAT64 (RFC 6052): the IPv4 address is the last 32 bits."""

_LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
"""NAT64 of a network's own (RFC 8215), whose operator chooses how long the prefix is."""

_NAT64_PREFIXES: Final = (48, 56, 64, 96)


def _reach_of_ipv4(address: ipaddress.IPv4Address) -> Reach:
    return Reach.LOCAL if _is_in(address, _LOCAL) else Reach.PRIVATE if _is_in(address, _PRIVATE) else Reach.PUBLIC


def _reach_of_ipv6(address: ipaddress.IPv6Address) -> Reach:
    if _is_in(address, _LOCAL):
        return Reach.LOCAL
    return Reach.PUBLIC if address in _GLOBAL_UNICAST and not _is_in(address, _PRIVATE) else Reach.PRIVATE


def _is_in(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...],
) -> bool:
    return any(address in network for network in networks)  # never one of the other version


def _embedded(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """Yields the IPv4 addresses to which gateways may pass on packets that are sent to an IPv6 address."""
    if address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif _is_in(address, _IN_LAST_BITS) and int(address) > 1:  # the first two are nowhere and this machine
        yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    elif address in _LOCAL_NAT64:
        yield ipaddress.IPv4Address("10.0.0.0")  # at least as private as the network whose gateway it is
        found = (_after_prefix(int(address), prefix) for prefix in _NAT64_PREFIXES)
        yield from (each for each in found if int(each) >> 24)  # else it is what stands behind a shorter prefix


def _after_prefix(address: int, prefix: int) -> ipaddress.IPv4Address:
    """Returns the IPv4 address after a NAT64 prefix, leaving out bits 64 to 71 of the whole (RFC 6052, section 2.2)."""
    bits = f"{address:0128b}"
    if prefix < 96:  # noqa: PLR2004 - the last prefix, whose bits lie before
        bits = bits[:64] + bits[72:]
    return ipaddress.IPv4Address(int(bits[prefix : prefix + 32], 2))
