"""Sets of IP addresses as settings spell them, such as those of trusted proxies."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

WORDS: Final = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
}
"""Words for common sets of networks: this machine; the networks of RFC 1918 and RFC 4193."""

LONGEST_ADDRESS: Final = 45
"""Length of an IPv6 address with an IPv4 one in it; nothing longer is parsed or remembered."""

REMEMBERED: Final = 4096
"""Number of texts whose address is remembered: parsing costs more than all the rest."""


@lru_cache(maxsize=REMEMBERED)
def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def parse_address(text: str) -> Address | None:
    """Returns the address that ``text`` spells, or None; one of IPv4 in IPv6 (``::ffff:192.0.2.1``) is the IPv4 one.

    A zone (``fe80::1%eth0``) means something only on the machine that wrote it, so such an address is none either.
    """
    return _parse(text) if len(text) <= LONGEST_ADDRESS else None


@dataclass(frozen=True, slots=True)
class NetworkSet:
    """A set of the addresses of some networks."""

    networks: tuple[Network, ...]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Parses addresses, networks (``10.1.0.0/16``) and ``WORDS``.

        Raises:
            ValueError: one of ``texts`` is none of these, or would name everybody; the message says which.
        """
        networks = [network for text in texts for network in _networks(text.strip())]
        return cls(tuple(dict.fromkeys(networks)))

    def __contains__(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self.networks)

    def has(self, text: str) -> bool:
        """Returns True if ``text`` spells an address in the set."""
        address = parse_address(text)
        return address is not None and address in self


def _networks(text: str) -> list[Network]:
    if text in WORDS:
        return [ipaddress.ip_network(network) for network in WORDS[text]]
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        words = " or ".join(WORDS)
        raise ValueError(f"{text!r} is no address, no network such as 10.1.0.0/16, and not {words}") from None
    if network.prefixlen == 0:
        raise ValueError(f"{text!r} is everybody, so that anybody could say to be anyone: name the proxies")
    return [network]
