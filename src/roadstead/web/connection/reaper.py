"""A timer of a server that looks at all its connections, in place of timers for each."""

import abc
import weakref
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from uvicorn.server import ServerState

from roadstead.config import LimitSettings
from roadstead.web.connection.tls_peer import CertificateUserPart
from roadstead.web.context import Refusal

LONGEST_INTERVAL_SECONDS: Final = 1.0
"""Time between two looks at the connections, at most; ten thousand of them take about ten milliseconds."""

LOOKS_WITHIN_LIMIT: Final = 4
"""Number of looks within a limit, which is so kept to within a quarter of itself."""

LINGER_SECONDS: Final = 2.0
"""Time for a refused client to read the reason. Closing with unread data resets the connection and loses the answer."""


class Inspected(abc.ABC):
    """A connection that ends itself when it is asked."""

    @abc.abstractmethod
    def inspect(self, now: float) -> None:
        """Ends the connection if its client has used up its time; ``now`` is the loop's."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that the connections of one server share."""

    limits: LimitSettings
    on_refusal: Callable[[Refusal], None] | None
    headers: Sequence[tuple[bytes, bytes]] = ()
    """Headers that the settings add to every answer, refusals too."""
    certificate_user: CertificateUserPart = "none"
    """The part of a client's certificate that names its user."""
    reapers: "weakref.WeakKeyDictionary[ServerState, Reaper]" = field(default_factory=weakref.WeakKeyDictionary)

    @property
    def interval_seconds(self) -> float:
        """The time between two looks."""
        limits = self.limits
        shortest = min(
            limits.header_timeout_seconds,
            limits.body_idle_timeout_seconds,
            limits.request_timeout_seconds,
            limits.write_idle_timeout_seconds,
            limits.keep_alive_timeout_seconds,
        )
        return min(LONGEST_INTERVAL_SECONDS, shortest / LOOKS_WITHIN_LIMIT)

    @property
    def linger_seconds(self) -> float:
        """The time for which a refused client may still read."""
        return min(LINGER_SECONDS, self.limits.header_timeout_seconds)


class Reaper:
    """The timer that looks at all connections of a server, as long as there are any."""

    def __init__(self, state: ServerState, loop: AbstractEventLoop, interval_seconds: float) -> None:
        self._connections = cast("set[object]", state.connections)
        self._loop = loop
        self._interval_seconds = interval_seconds
        self._timer: TimerHandle | None = None

    def wake(self) -> None:
        """Starts the timer, unless it runs."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval_seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        try:
            for connection in list(self._connections):
                if isinstance(connection, Inspected):
                    connection.inspect(now)
        finally:
            if self._connections:
                self.wake()
