"""The steps that every request passes: an id, the access log, metrics, and the answer to unexpected errors.

One callable around the application and one object a request, since each further layer costs a coroutine for every
message.
"""

import asyncio
import re
from collections.abc import Awaitable, Iterable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
import structlog

from roadstead.clock import Clock, SystemClock
from roadstead.oci import ErrorCode
from roadstead.telemetry import AccessLog, AccessRecord, Metrics, bind_request_id
from roadstead.web.context import REFUSED_KEY, SCOPE_KEY, RequestContext, new_request_id
from roadstead.web.http import JSON, Application, Headers, Message, Receive, Scope, Send
from roadstead.web.transfer import FilePiece

CLIENT_GONE: Final = 499
"""Status in the log and the metrics if the client went away unanswered, as in nginx."""

_ALLOWED_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
_REQUEST_ID: Final = b"x-request-id"
_VERSION: Final = (b"docker-distribution-api-version", b"registry/2.0")

_log = structlog.get_logger("roadstead.web")


class AnswerHeaders:
    """The headers of every answer, made once: the fixed ones, and those that the settings add.

    As with registry:2, a header that an answer has of its own is not replaced. ``X-Content-Type-Options`` of the
    settings takes our value's place.
    """

    def __init__(self, added: Mapping[str, Iterable[str]] | None = None, *, prefix: str = "/") -> None:
        """Keeps its arguments; ``prefix`` is the path below which the registry is served."""
        self.added = [header for header in encode_headers(added or {}) if header[0] != _REQUEST_ID]
        fixed = [] if any(name == _NO_SNIFFING[0] for name, _ in self.added) else [_NO_SNIFFING]
        self._others = [*fixed, *self.added]
        self._of_content = [_VERSION, *fixed, *(header for header in self.added if header[0] != _VERSION[0])]
        self._content = f"{prefix}v2"

    def complete(self, headers: Iterable[tuple[bytes, bytes]], path: str, request_id: str) -> Headers:
        """Returns an answer's headers with all that every answer has."""
        fixed = self._of_content if path.startswith(self._content) else self._others
        own = (_REQUEST_ID, request_id.encode("ascii"))
        if self.added:
            headers = list(headers)
            names = {name for name, _ in headers}
            return [*headers, *(header for header in fixed if header[0] not in names), own]
        return [*headers, *fixed, own]


class RequestMiddleware:
    """An ASGI application around another one.

    Puts a ``RequestContext`` into the scope, ``X-Request-Id`` and the fixed headers on the answer, a line into the
    access log and counts into the metrics; turns an exception into the specification's error body, or ends the
    connection when the answer had begun. No traceback reaches a client.
    """

    def __init__(
        self,
        application: Application,
        *,
        metrics: Metrics | None = None,
        access_log: AccessLog | None = None,
        clock: Clock | None = None,
        headers: AnswerHeaders | None = None,
    ) -> None:
        self._application = application
        self._headers = headers or AnswerHeaders()
        self._requests = metrics.requests if metrics is not None else None
        self._access_log = access_log
        self._now = (clock or SystemClock()).monotonic_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; scopes of another kind pass unchanged."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        context = RequestContext(_request_id(headers.get(_REQUEST_ID)))
        scope[SCOPE_KEY] = context
        bind_request_id(context.request_id)
        exchange = _Exchange(scope, receive, send, context, self._headers)
        started = self._now()
        if self._requests is not None:
            self._requests.in_flight.add(context)
        try:
            await self._application(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # only by the server, when the time to finish requests is over
            await exchange.stop()
        except Exception as error:  # noqa: BLE001 - the last resort
            await exchange.fail(error)
        finally:
            self._record(exchange, self._now() - started, headers)

    def _record(self, exchange: "_Exchange", duration_seconds: float, headers: dict[bytes, bytes]) -> None:
        context = exchange.context
        scope = exchange.scope
        status = exchange.status or scope.get(REFUSED_KEY, CLIENT_GONE)
        method: str = scope["method"]
        if self._requests is not None:
            self._requests.in_flight.discard(context)
            self._requests.count(
                context.handler, method, status, duration_seconds, exchange.received_bytes, exchange.sent_bytes
            )
        if self._access_log is not None:
            client = scope["client"]
            self._access_log.record(
                AccessRecord(
                    "",
                    context.request_id,
                    method,
                    scope["path"],
                    status,
                    exchange.sent_bytes,
                    round(duration_seconds, 6),
                    client[0] if client else "-",
                    headers.get(b"user-agent", b"-").decode("latin-1"),
                    context.handler,
                    context.repository,
                    context.actor or "-",
                )
            )


class _Exchange:
    """A request and its answer while they pass, with the counts of their bytes."""

    __slots__ = (
        "_file",
        "_given_bytes",
        "_headers",
        "_is_disconnected",
        "_is_head",
        "_receive",
        "_send",
        "context",
        "received_bytes",
        "scope",
        "status",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, context: RequestContext, headers: AnswerHeaders
    ) -> None:
        self.scope = scope
        self._headers = headers
        self.context = context
        self.status = 0
        self.received_bytes = 0
        self._given_bytes = 0
        self._file: FilePiece | None = None
        self._receive = receive
        self._send = send
        self._is_head: bool = scope["method"] == "HEAD"
        self._is_disconnected = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.received_bytes += len(message.get("body", b""))
        else:
            self._is_disconnected = True
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Sends a message. It is no coroutine of its own, but returns the server's."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = message.get("headers", ())
            message["headers"] = self._headers.complete(given, self.scope["path"], self.context.request_id)
            return self._send(message)
        if self._is_head:
            message["body"] = b""
        else:
            body = message.get("body", b"")
            self._given_bytes += len(body)
            if isinstance(body, FilePiece):
                self._file = body
        return self._send(message)

    @property
    def sent_bytes(self) -> int:
        """The number of bytes sent of the body; the last piece may be a file that the client did not wait for."""
        return self._given_bytes - (self._file.left if self._file is not None else 0)

    async def fail(self, error: Exception) -> None:
        """Answers in the application's place if it is not too late.

        When the answer has begun, returning without its end makes the server close the connection, which is how the
        client learns that it is incomplete.
        """
        if self._is_disconnected and not self.status:
            _log.info("client went away before the end of its request", reason=repr(error))
            return
        _log.error("request failed unexpectedly", method=self.scope["method"], path=self.scope["path"], exc_info=error)
        if self.status:
            return
        await self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, _internal_error(self.context.request_id))

    async def stop(self) -> None:
        """Answers that the server is stopping, if it is not too late for an answer."""
        _log.warning("request cut short: the server is stopping", method=self.scope["method"], path=self.scope["path"])
        if not self.status:
            await self._answer(HTTPStatus.SERVICE_UNAVAILABLE, _error(ErrorCode.UNAVAILABLE, "the server is stopping"))

    async def _answer(self, status: int, body: bytes) -> None:
        headers: Headers = [JSON, (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def encode_headers(headers: Mapping[str, Iterable[str]]) -> Headers:
    """Returns headers as ASGI wants them, from their spelling in the settings."""
    return [
        (name.lower().encode("ascii"), value.encode("latin-1")) for name, values in headers.items() for value in values
    ]


def _request_id(proposed: bytes | None) -> str:
    """Returns the client's own id if it is harmless, so that its log and ours can be read together, or a new one."""
    if proposed is not None and _ALLOWED_ID.fullmatch(proposed):
        return proposed.decode("ascii")
    return new_request_id()


def _internal_error(request_id: str) -> bytes:
    return _error(ErrorCode.UNKNOWN, f"the server failed to answer; its log says more under request id {request_id}")


def _error(code: ErrorCode, message: str) -> bytes:
    return msgspec.json.encode({"errors": [{"code": code, "message": message, "detail": None}]}) + b"\n"
