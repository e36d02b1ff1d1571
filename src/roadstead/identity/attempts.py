"""Counts a client's failed logins, and makes it wait for them.

Counted for each client and user, and for each client: the first few attempts are free, then each has to wait twice as
long as the one before, up to a minute. No user is locked out for other clients by that. An attempt counts when it
begins, so that many at once are no way around it, and is taken back when it succeeds. Memory is bounded: who has not
been seen for longest is forgotten first.
"""

import ipaddress
from collections import OrderedDict
from typing import Final

from roadstead.clock import Clock
from roadstead.identity.errors import AttemptsExceededError

FREE: Final = 5
"""Number of wrong passwords for one user without a wait: a person who has three in mind tries each, and one twice."""

FREE_OF_CLIENT: Final = 30
"""Number of wrong passwords for all users from one address without a wait; behind it may be an office."""

LONGEST_SECONDS: Final = 60
FORGET_SECONDS: Final = 900
"""Time without an attempt after which a client's count begins at zero again."""

CLIENTS: Final = 10_000
"""Number of pairs and addresses that are kept: a few megabytes."""

_NETWORK_BITS: Final = 64
"""Length of an IPv6 network in bits: a host has a whole such network to itself."""


class FailedAttempts:
    """The counts of attempts of all clients; used from the event loop only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def begin(self, client: str, user: str) -> None:
        """Counts an attempt.

        Raises:
            AttemptsExceededError: it comes too early, and is not counted.
        """
        now = self._clock.monotonic_seconds()
        keys = _keys(client, user)
        wait = max(self._wait(key, free, now) for key, free in keys)
        if wait > 0:
            raise AttemptsExceededError(int(wait) + 1)
        for key, _ in keys:
            count, _ = self._record(key, now)
            self._records[key] = (count + 1, now)
            self._records.move_to_end(key)
        while len(self._records) > CLIENTS:
            self._records.popitem(last=False)

    def succeed(self, client: str, user: str) -> None:
        """Takes back an attempt that was no failure: the user's count begins at zero, the client's has one less."""
        (pair, _), (alone, _) = _keys(client, user)
        self._records.pop(pair, None)
        count, last = self._records.get(alone, (0, 0.0))
        if count > 1:
            self._records[alone] = (count - 1, last)
        else:
            self._records.pop(alone, None)

    def _record(self, key: tuple[str, str], now: float) -> tuple[int, float]:
        count, last = self._records.get(key, (0, now))
        return (0, now) if now - last > FORGET_SECONDS else (count, last)

    def _wait(self, key: tuple[str, str], free: int, now: float) -> float:
        count, last = self._record(key, now)
        if count < free:
            return 0.0
        return last + min(2.0 ** min(count - free, 16), LONGEST_SECONDS) - now


def _keys(client: str, user: str) -> tuple[tuple[tuple[str, str], int], tuple[tuple[str, str], int]]:
    address = _network(client)
    return ((address, user), FREE), ((address, ""), FREE_OF_CLIENT)


def _network(client: str) -> str:
    """Returns an IPv4 address, or the network of an IPv6 one."""
    if ":" not in client:
        return client
    try:
        address = ipaddress.IPv6Address(client.partition("%")[0])
    except ValueError:
        return client
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.IPv6Network((int(address), _NETWORK_BITS), strict=False))
