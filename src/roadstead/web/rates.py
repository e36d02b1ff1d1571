"""Limits the requests of each client with token buckets, in a bounded amount of memory.

A bucket is one number, the time at which it is full again (the "generic cell rate algorithm"): a request moves it by
one interval, and is refused when it would lie more than a burst ahead. Whoever has asked for nothing for as long as its
bucket takes to fill is not remembered.

Each process has its own buckets. The workers of one server share a listening socket: a client with one connection
meets one of them, a client with many meets them all, and gets at most as many times the limit as there are workers.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from roadstead.clock import Clock
from roadstead.web.errors import TooManyRequestsError
from roadstead.web.http import Scope

BUCKETS: Final = 50_000
"""Number of clients remembered at one time, about 12 MB; beyond it the ones that asked longest ago are forgotten."""

SITE_PREFIX: Final = 64
"""Number of an IPv6 address's bits that tell customers apart: a client chooses the others as it likes."""


class RateLimit:
    """A set of token buckets by name."""

    def __init__(self, requests_per_second: float, burst: int, clock: Clock, *, capacity: int = BUCKETS) -> None:
        """Allows ``burst`` requests at once, then ``requests_per_second`` (above 0) on average."""
        self._interval = 1.0 / requests_per_second
        self._ahead = (burst - 1) * self._interval
        self._now = clock.monotonic_seconds
        self._capacity = capacity
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, client: str) -> float:
        """Takes a token of ``client`` and returns 0; if there is none, returns the seconds until there is one."""
        now = self._now()
        full_at = max(now, self._full_at.get(client, now))
        wait = full_at - now - self._ahead
        if wait > self._interval * 1e-9:  # sums of intervals are not exact
            return wait
        self._full_at[client] = full_at + self._interval
        self._full_at.move_to_end(client)
        self._forget_some(now)
        return 0.0

    def _forget_some(self, now: float) -> None:
        """Forgets the oldest buckets, two at a time: full ones count like none, and too many make room for new ones."""
        for _ in range(2):
            client, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= self._capacity:
                return
            del self._full_at[client]


class ClientRates:
    """The limits on requests of the content plane, by user or address.

    A request is its user's where that was proved, so that many users behind one address do not pay for each other; else
    its address's. Guesses of passwords are limited where these are looked at (``identity``).
    """

    def __init__(self, limit: RateLimit, on_refusal: Callable[[str], None]) -> None:
        """Keeps its arguments; ``on_refusal`` gets a fixed word for the metrics."""
        self._limit = limit
        self._on_refusal = on_refusal

    def admit(self, scope: Scope, user: str) -> None:
        """Counts a request of ``user``, which is empty if nobody has logged in.

        Raises:
            TooManyRequestsError: it is one too many.
        """
        wait = self._limit.take(f"user {user}" if user else _address_of(scope))
        if wait:
            self._on_refusal("rate")
            raise TooManyRequestsError(wait)


def _address_of(scope: Scope) -> str:
    client = scope["client"]
    return network_of(client[0]) if client else ""


def network_of(address: str) -> str:
    """Returns an IPv4 address itself, the /64 network of an IPv6 one, and any other text as it stands."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> SITE_PREFIX << SITE_PREFIX, SITE_PREFIX)))
