"""Where a redirect may lead: never from a wider network into a narrower one.

A registry elsewhere chooses the targets of its redirects, but this server makes the requests, from inside a network
that the other cannot reach (CVE-2026-2376 is a registry that followed such a redirect). So a redirect may lead to an
address that is as public as the registry's own, or more so; and it is followed to the very address that was looked at,
since a name may stand for another one a moment later.
"""

import asyncio
import enum
import ipaddress
import socket


class Reach(enum.IntEnum):
    """Who can reach an address."""

    PUBLIC = 0
    PRIVATE = 1
    """Only machines of the same network: 10.0.0.0/8 and the like."""
    LOCAL = 2
    """Only this machine or its link, where clouds answer with a machine's credentials (169.254.169.254)."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses that a host's name stands for, at least one.

    Raises:
        OSError: the name is not known.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))


def reach_of(address: str) -> Reach:
    """Who can reach an address."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or parsed.sixtofour or parsed
    if parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified or parsed.is_multicast:
        return Reach.LOCAL
    return Reach.PUBLIC if parsed.is_global else Reach.PRIVATE
