"""One timer a server that looks at all its connections, in place of timers for each."""

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
"""Between two looks at the connections; ten thousand of them take about ten milliseconds."""

LOOKS_WITHIN_LIMIT: Final = 4
"""So that a limit is kept to within a quarter of itself."""

LINGER_SECONDS: Final = 2.0
"""Time for a refused client to read why. Closing with unread data resets the connection and loses the answer."""


class Inspected(abc.ABC):
    """A connection that ends itself when it is asked."""

    @abc.abstractmethod
    def inspect(self, now: float) -> None:
        """Ends the connection if its client has used up its time; ``now`` is the loop's."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the connections of one server share."""

    limits: LimitSettings
    on_refusal: Callable[[Refusal], None] | None
    headers: Sequence[tuple[bytes, bytes]] = ()
    """What the settings add to every answer, refusals too."""
    certificate_user: CertificateUserPart = "none"
    """What in a client's certificate names its user."""
    reapers: "weakref.WeakKeyDictionary[ServerState, Reaper]" = field(default_factory=weakref.WeakKeyDictionary)

    @property
    def interval_seconds(self) -> float:
        """Between two looks."""
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
        """For which a refused client may still read."""
        return min(LINGER_SECONDS, self.limits.header_timeout_seconds)


class Reaper:
    """Looks at all connections of a server, as long as there are any."""

    def __init__(self, state: ServerState, loop: AbstractEventLoop, interval_seconds: float) -> None:
        self._connections = cast("set[object]", state.connections)
        self._loop = loop
        self._interval_seconds = interval_seconds
        self._timer: TimerHandle | None = None

    def wake(self) -> None:
        """Begins to look, unless it does."""
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
