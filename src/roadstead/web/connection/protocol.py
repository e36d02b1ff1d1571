"""A client's connection: uvicorn's, with limits on what a client may send and how slowly.

Promises: a client that sends too much, too slowly or no HTTP, or does not read what it asked for, is told so with the
specification's error body where that is still possible, and loses its connection; others do not notice. An answer is
never cut by an error in what the client sent after its request.

How it is cheap: nothing is timed per request or per piece of a body. A piece received costs two attribute stores; one
timer a server looks at all its connections a few times within the shortest limit, so limits are kept to within one
such interval.
"""

import re
from asyncio import AbstractEventLoop, BaseTransport, Transport
from collections.abc import Iterable
from typing import Any, ClassVar, Final, NoReturn, cast

import httptools
import structlog
import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from roadstead.web.connection import refusals as reasons
from roadstead.web.connection.body_receiver import RECEIVED_BYTES, BodyReceiver
from roadstead.web.connection.gathering import GatheringTransport
from roadstead.web.connection.reaper import Inspected, Reaper, Rules
from roadstead.web.connection.refusals import Reason, refusal_answer
from roadstead.web.connection.tls_peer import certificate_user
from roadstead.web.connection.tls_transport import SlicedTransport
from roadstead.web.context import CERTIFICATE_USER_KEY, GIVE_WAY_KEY, REFUSED_KEY, Refusal, new_request_id
from roadstead.web.transfer import FILES_KEY, OFFER_KEY

PIPELINED: Final = 64
"""Number of requests that may wait on one connection; no client of registries pipelines, and each takes memory."""

TLS_HANDSHAKE: Final = 0x16
"""The first byte of a client that speaks TLS (RFC 8446, section 5.1); no HTTP begins with it."""

SSL_2_HELLO: Final = re.compile(rb"[\x80-\xff].\x01", re.DOTALL)
"""Pattern of the first bytes of older clients that offer TLS in an SSL 2.0 hello (RFC 5246, appendix E.2)."""

HEAD_END: Final = b"\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

MAPPED: Final = "::ffff:"
"""Prefix of an IPv4 client's address on a socket for both kinds; logs, rules and events have the IPv4 address."""

_log = structlog.get_logger("roadstead.connection")


RECEIVED_METHODS: Final = frozenset({"PATCH", "POST", "PUT"})
"""The methods of requests with bodies that may be long."""


class _RefusedError(Exception):
    """Leaves the parser's callbacks after a refusal, which the connection has recorded."""


class LimitedConnection(HttpToolsProtocol, Inspected):
    """A client's connection; made by uvicorn, of a class that ``connection_class`` made."""

    rules: ClassVar[Rules]

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.url = b""
        self.access_log = False  # the middleware's says more and costs less
        self._running: RequestResponseCycle | None = None
        self._received_bytes = 0
        self._has_received = False
        self._quiet_bytes = 0  # received since something came of it: a request's head, or a piece of a body
        self._is_reading_header = False
        self._is_refused = False
        self._is_lost = False
        self._is_upgrade = False
        self._fault: Reason | None = None
        self._requests = 0
        self._phase: tuple[str, int] = ("", 0)
        self._phase_since = 0.0
        self._body_since = 0.0
        self._pace_since = 0.0
        self._pace_bytes = 0
        self._linger_until = 0.0
        self._unsent_bytes = 0
        self._unsent_since = 0.0
        self._body: BodyReceiver | None = None
        self._tls: SlicedTransport | None = None
        self._certificate_user: str | None = None

    # Called by the transport

    def connection_made(self, transport: BaseTransport) -> None:
        """Accepts a client, or refuses it if there are too many."""
        rules = self.rules
        if transport.get_extra_info("sslcontext") is not None:
            self._tls = SlicedTransport(cast("Transport", transport))
            self._certificate_user = certificate_user(transport.get_extra_info("peercert"), rules.certificate_user)
        inner = cast("Transport", self._tls or transport)
        super().connection_made(cast("Any", GatheringTransport(inner, self.loop)))
        if self.client and self.client[0].startswith(MAPPED):
            self.client = (self.client[0].removeprefix(MAPPED), self.client[1])
        reaper = rules.reapers.get(self.server_state)
        if reaper is None:
            reaper = Reaper(self.server_state, self.loop, rules.interval_seconds)
            rules.reapers[self.server_state] = reaper
        reaper.wake()
        if len(self.connections) > rules.limits.connections:
            self._refuse(reasons.CONNECTIONS)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, whose callbacks are below."""
        self._has_received = True
        if self._is_refused:
            return
        if self._body is not None:
            self._body.hold(data)
            return
        end = 0 if self._has_body_to_come() else data.find(HEAD_END) + len(HEAD_END)
        if end < len(HEAD_END) or data[0] in HEAD_END:  # the end of a head that arrived in pieces: not to be split here
            self._feed(data)
            return
        self._feed(data[:end])
        rest = data[end:]
        if self._has_body_to_come() and self._body is None:
            self._body = self._receiver_before(rest)
        if self._body is not None:
            self._body.hold(rest)
        elif rest:
            self._feed(rest)

    def _has_body_to_come(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and cycle.more_body

    def _receiver_before(self, rest: bytes) -> BodyReceiver | None:
        """Returns the receiver of a body whose head was just parsed; ``rest`` are the bytes behind that head.

        None leaves it to the parser: what is short, or has arrived already, or waits behind another request.
        """
        cycle = self.cycle
        scope = cast("dict[str, Any]", cycle.scope)
        if scope["method"] not in RECEIVED_METHODS or self.pipeline or self._is_refused:
            return None
        length, coding = _framing(scope["headers"])
        if length is None:
            is_plain = coding.lower() == b"chunked" and scope["http_version"] == "1.1"
            if not is_plain or rest.endswith(LAST_CHUNK):
                return None
        elif length < RECEIVED_BYTES or length <= len(rest):
            return None
        receiver = BodyReceiver(self, cycle, length)
        scope[OFFER_KEY] = receiver.offer
        cast("Any", cycle).receive = receiver.receive  # the application's task has not begun yet
        return receiver

    def _feed(self, data: bytes) -> None:
        if self._is_refused:
            return
        is_first = not self._received_bytes
        self._quiet_bytes += len(data)
        self._received_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._resume_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._fault or (reasons.TLS if is_first and _is_tls(data) else reasons.MALFORMED))
        if self._quiet_bytes > self.rules.limits.header_bytes:
            self._refuse(reasons.HEADER_TOO_LARGE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the running and the waiting requests: the client has gone."""
        self._is_lost = True
        pipelined = [cycle for cycle, _ in self.pipeline]
        self.pipeline.clear()
        for cycle in (self._running, *pipelined):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)
        cast("GatheringTransport", self.transport).release()

    def eof_received(self) -> None:
        """Sends the answers so far before the transport closes: the client will send no more."""
        cast("GatheringTransport", self.transport).flush()
        if self._tls is not None:
            self._tls.flush()

    def pause_writing(self) -> None:
        """Stops writing: the transport is full."""
        if self._tls is not None:
            self._tls.pause()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Resumes writing: the transport takes more."""
        if self._tls is None or self._tls.resume():
            super().resume_writing()

    # Called by the parser

    def on_message_begin(self) -> None:
        """Begins a request."""
        super().on_message_begin()
        if self._tls is None:
            cast("dict[str, Any]", self.scope)[FILES_KEY] = True
        if self._certificate_user is not None:
            cast("dict[str, Any]", self.scope)[CERTIFICATE_USER_KEY] = self._certificate_user
        cast("dict[str, Any]", self.scope)[GIVE_WAY_KEY] = self._give_way
        self._requests += 1
        self._is_reading_header = True

    def on_url(self, url: bytes) -> None:
        """Adds a piece of the URL."""
        self.url += url
        if len(self.url) > self.rules.limits.url_bytes:
            self._fault_with(reasons.URL_TOO_LONG)

    def on_headers_complete(self) -> None:
        """Starts the application: the request's head is complete."""
        limit = self.rules.limits.header_bytes
        if self._quiet_bytes > limit and self._header_bytes() > limit:
            self._fault_with(reasons.HEADER_TOO_LARGE)
        if len(self.pipeline) >= PIPELINED:
            self._fault_with(reasons.PIPELINED)
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            self._fault_with(reasons.HOST)
        if self.parser.should_upgrade():
            self._is_upgrade = True
            return
        super().on_headers_complete()
        self.headers = []  # what comes after the body (trailers) is not the application's to see
        self._is_reading_header = False
        self._quiet_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Adds a piece of the body."""
        cycle = self.cycle
        self._quiet_bytes = 0
        if cycle.response_complete:
            return
        waiting = cast("object", cycle.body)
        if isinstance(waiting, Pieces):
            waiting.append(body)
        else:
            cycle.body = cast("bytearray", Pieces(body))  # uvicorn asks it for bytes, then puts a new bytearray here
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Ends the body."""
        if self._is_upgrade:
            return
        self._quiet_bytes = 0
        self.cycle.more_body = False
        if not self.cycle.response_complete:
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Begins the next request: an answer is complete. uvicorn's timer for idle connections is not needed."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._body is not None:
            self._body.answered()
        if not self.pipeline:
            self.flow.resume_reading()
            return
        cycle, app = self.pipeline.pop()
        self._start_asgi_task(cycle, app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _fault_with(self, reason: Reason) -> NoReturn:
        self._fault = reason
        raise _RefusedError

    def _resume_without_upgrade(self, rest: bytes) -> None:
        """Reads the request again as if it asked for no upgrade (to h2c, as Java's clients do; to WebSocket).

        A server may ignore that wish (RFC 9110, section 7.8), but the parser stops at it and would lose the body.
        """
        method = self.parser.get_method()
        if method == b"CONNECT" or not self._is_upgrade:
            self._refuse(reasons.MALFORMED)
            return
        version = self.parser.get_http_version().encode("ascii")
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        lines += [b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade"]
        self._is_upgrade = False
        self._quiet_bytes = 0
        self._renew_parser()
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _renew_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets up the first

    # Called by the receiver of a body

    @property
    def is_refused(self) -> bool:
        """True if the client was refused, so that nobody reads what it still sends."""
        return self._is_refused

    def note_received(self, size_bytes: int) -> None:
        """Records that bytes of the body arrived."""
        self._has_received = True
        self._received_bytes += size_bytes

    def end_body(self, rest: bytes, *, is_complete: bool) -> None:
        """Continues parsing with ``rest``: of this body, or of what comes after it if that ``is_complete``."""
        self._body = None
        if self._is_lost:
            return
        self.flow.resume_reading()
        if not is_complete:
            self._feed(rest)
            return
        self._renew_parser()
        self.on_message_complete()
        if rest:
            self.data_received(rest)

    def refuse_body(self) -> None:
        """Refuses the body, which is not HTTP."""
        self._refuse(reasons.MALFORMED)

    # Called by the reaper

    def inspect(self, now: float) -> None:
        """Ends the connection if its client has used up its time; ``now`` is the loop's."""
        has_received, self._has_received = self._has_received, False
        if self._is_stuck(now):
            self._abort(reasons.WRITE_IDLE)
        elif self.transport.is_closing():
            self._inspect_closing(now)
        elif self._linger_until:
            if now >= self._linger_until:
                self.transport.close()
        elif self._has_pending():
            self._inspect_pending(now, has_received=has_received)
        else:
            self._inspect_waiting(now)

    def _is_stuck(self, now: float) -> bool:
        """Returns True if the client has for too long read nothing of the bytes that wait for it."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent_bytes:
            self._unsent_bytes = unsent
            self._unsent_since = now
            return False
        return now - self._unsent_since >= self.rules.limits.write_idle_timeout_seconds

    def _inspect_closing(self, now: float) -> None:
        """Drops a closing TLS connection whose client has received everything, but does not say that it is done too."""
        is_over = self._elapsed("closing", now) >= self.rules.linger_seconds
        if self._tls is not None and is_over and self._tls.has_arrived():
            self.transport.abort()

    def _has_pending(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _inspect_pending(self, now: float, *, has_received: bool) -> None:
        cycle = self.cycle
        limits = self.rules.limits
        if self._elapsed("answering", now) >= limits.request_timeout_seconds:
            self._refuse(reasons.REQUEST_TIMEOUT if cycle.more_body else reasons.ANSWER_TIMEOUT)
            return
        # Time in which we do not want to read, or have not asked for the body yet, is not the client's.
        is_held = self._body is not None and not self._body.is_active
        is_ours = not cycle.more_body or is_held or self.flow.read_paused or cycle.waiting_for_100_continue
        if has_received or is_ours or self._phase_since == now:
            self._body_since = now
        elif now - self._body_since >= limits.body_idle_timeout_seconds:
            self._refuse(reasons.BODY_IDLE)
            return
        if self._is_slow(now, is_ours=is_ours or self._phase_since == now):
            self._refuse(reasons.BODY_RATE)

    def _is_slow(self, now: float, *, is_ours: bool) -> bool:
        """Returns True if a body has come more slowly than the least rate; checked once in each idle timeout."""
        limits = self.rules.limits
        seconds = now - self._pace_since
        if not is_ours and seconds < limits.body_idle_timeout_seconds:
            return False
        received = self._received_bytes - self._pace_bytes
        self._pace_since, self._pace_bytes = now, self._received_bytes
        return not is_ours and received < limits.body_minimum_bytes_per_second * seconds

    def _inspect_waiting(self, now: float) -> None:
        limits = self.rules.limits
        if self._is_reading_header:
            if self._elapsed("header", now) >= limits.header_timeout_seconds:
                self._refuse(reasons.HEADER_TIMEOUT)
        elif not self._requests:
            if self._elapsed("new", now) >= limits.header_timeout_seconds:
                self.transport.close()  # without a word: a client that connects ahead of need expects none
        elif self.cycle.more_body:  # answered before the end of the request, which may still come, but not for long
            if self._elapsed("draining", now) >= self.rules.linger_seconds:
                self.transport.close()
        elif self._elapsed("idle", now) >= limits.keep_alive_timeout_seconds:
            self.transport.close()

    def _elapsed(self, phase: str, now: float) -> float:
        """Returns seconds since the first look that found the connection in this phase of this request."""
        current = (phase, self._requests)
        if current != self._phase:
            self._phase = current
            self._phase_since = now
        return now - self._phase_since

    # The end of the connection

    def _refuse(self, reason: Reason) -> None:
        """Stops reading, and tells the client the reason if no answer stands in the way."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        if not self._has_pending():
            self._tell(reason, is_head=self._requests > 0 and self.parser.get_method() == b"HEAD")
        elif self._is_reading_header:
            self.cycle.keep_alive = False  # requests before the bad one are answered, then it closes
            self._report(reason, 0, new_request_id())
        elif self.pipeline or self.cycle.response_started:
            self._abort(reason)
        else:
            cycle = self.cycle
            cast("dict[str, Any]", cycle.scope)[REFUSED_KEY] = reason.status
            self._tell(reason, is_head=cycle.scope["method"] == "HEAD")
            cycle.disconnected = True
            cycle.message_event.set()

    def _give_way(self) -> None:
        """Ends the running request, whose client is slow, to free the memory that it takes."""
        if self._is_reading_header:
            self._abort(reasons.MEMORY)
        else:
            self._refuse(reasons.MEMORY)

    def _tell(self, reason: Reason, *, is_head: bool) -> None:
        request_id = new_request_id()
        self._report(reason, reason.status, request_id)
        default, added = self.server_state.default_headers, self.rules.headers
        self.transport.write(refusal_answer(reason, request_id, default, is_head=is_head, added=added))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()  # to discard it, see LINGER_SECONDS
        self._linger_until = self.loop.time() + self.rules.linger_seconds

    def _abort(self, reason: Reason) -> None:
        """Drops the connection with all bytes that were not sent."""
        self._is_refused = True
        self._report(reason, 0, new_request_id())
        self.transport.abort()

    def _report(self, reason: Reason, status: int, request_id: str) -> None:
        client = self.client[0] if self.client else "-"
        # Docker and containerd try TLS first on every push and pull to localhost
        log = _log.debug if reason is reasons.TLS else _log.info
        log("client refused", reason=reason.word, status=status, client=client, request_id=request_id)
        if self.rules.on_refusal is not None:
            self.rules.on_refusal(Refusal(reason.word, status, client, request_id))


def _is_tls(data: bytes) -> bool:
    """Returns True if a connection's first bytes are those of a client that tries TLS; they may arrive one by one."""
    return data[0] == TLS_HANDSHAKE or SSL_2_HELLO.match(data) is not None


def _framing(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int | None, bytes]:
    """Returns the stated length and the transfer coding of a request; the parser has seen that they do not conflict."""
    length: int | None = None
    codings: list[bytes] = []
    for name, value in headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            codings.append(value)
    return (None if codings else length), b",".join(codings)


class Pieces:
    """Pieces of a body that wait for the application: joined once, when it takes them.

    Stands where uvicorn expects a bytearray: has a length, can be added to, and becomes bytes. uvicorn adds each piece
    to a bytearray and copies that; with clients that send chunks of 32 KiB, eight to a read, copying would be a fifth
    of what a push costs.
    """

    __slots__ = ("_pieces", "_size")

    def __init__(self, first: bytes) -> None:
        self._pieces = [first]
        self._size = len(first)

    def append(self, piece: bytes) -> None:
        """Adds a piece."""
        self._pieces.append(piece)
        self._size += len(piece)

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
