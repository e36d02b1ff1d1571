"""The context that uvloop gets for all TLS connections: it makes each from the certificate of that moment.

uvloop (as asyncio) asks ``SSLContext.wrap_bio`` for every connection. That one seam, which is public, is where a new
certificate takes effect, where handshakes are counted, and where a client whose handshake fails is told why: without it
uvloop drops the connection and the alert that says what was wrong.
"""

import ssl
import weakref
from collections.abc import Callable
from typing import Final, Self

from roadstead.web.connection import refusals as reasons
from roadstead.web.connection.refusals import Reason, refusal_answer
from roadstead.web.context import new_request_id

PLAIN_HTTP: Final = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})
"""OpenSSL's words for a client that speaks HTTP without TLS."""

OnFailure = Callable[[Reason, str], None]
"""A function that is told of a failed handshake: the reason for our counts, and OpenSSL's words for it."""


class Handshake(ssl.SSLObject):
    """The TLS of one connection; until its handshake is done it counts as one of ``ListeningContext``'s."""

    outgoing: ssl.MemoryBIO
    owner: "ListeningContext"
    failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Does one step of the handshake.

        A failure is raised only at the second call: uvloop drops the connection at once, and so the alert that
        tells the client what is wrong. Said to be waiting, it sends that, and the client closes or its time is over.
        """
        if self.failure is not None:
            raise self.failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLSyscallError):
            raise
        except ssl.SSLError as error:
            self.failure = error
            self.owner.fail(self, error.reason or "")
            raise ssl.SSLWantReadError from error
        self.owner.complete(self)


class ListeningContext(ssl.SSLContext):
    """The context of a listener whose certificate may change."""

    def __new__(
        cls,
        current: Callable[[], ssl.SSLContext | None],  # noqa: ARG004 - for __init__
        limit: int,  # noqa: ARG004
        on_failure: OnFailure,  # noqa: ARG004
    ) -> Self:
        """Makes the object as ``ssl.SSLContext`` wants it."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, current: Callable[[], ssl.SSLContext | None], limit: int, on_failure: OnFailure) -> None:
        """Takes contexts of connections from ``current``, and allows at most ``limit`` handshakes at one time.

        While ``current`` gives nothing, clients are turned away.
        """
        self._current = current
        self._limit = limit
        self._on_failure = on_failure
        self._pending: weakref.WeakSet[Handshake] = weakref.WeakSet()

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the standard library's signature
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begins a connection, or ends it.

        Raises:
            ConnectionAbortedError: there is no certificate yet, or there are too many handshakes.
        """
        context = self._current()
        if context is None:
            raise ConnectionAbortedError("there is no certificate yet")
        if len(self._pending) >= self._limit:
            self._on_failure(reasons.CONNECTIONS, "")
            raise ConnectionAbortedError("too many handshakes")
        context.sslobject_class = Handshake
        made = context.wrap_bio(
            incoming, outgoing, server_side=server_side, server_hostname=server_hostname, session=session
        )
        if isinstance(made, Handshake):
            made.outgoing, made.owner = outgoing, self
            self._pending.add(made)
        return made

    def complete(self, handshake: Handshake) -> None:
        """Counts a handshake that is done."""
        self._pending.discard(handshake)

    def fail(self, handshake: Handshake, word: str) -> None:
        """Reports a failed handshake, and answers a client without TLS in its own language."""
        if word in PLAIN_HTTP:
            handshake.outgoing.write(refusal_answer(reasons.PLAIN_HTTP, new_request_id(), [], is_head=False))
            self._on_failure(reasons.PLAIN_HTTP, "")
        else:
            self._on_failure(reasons.TLS_HANDSHAKE, word)
