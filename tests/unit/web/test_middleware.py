"""What every request goes through, driven as an ASGI server would."""

import asyncio
import contextvars
import io
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
import structlog

from roadstead.telemetry import AccessLog, Metrics
from roadstead.web.context import RequestContext
from roadstead.web.http import Application, Headers, Message, Receive, Scope, Send
from roadstead.web.middleware import RequestMiddleware


class Call:
    """One request through the middleware, and all that came of it."""

    def __init__(
        self,
        application: Application,
        *,
        method: str = "GET",
        path: str = "/v2/app/manifests/latest",
        headers: Headers | None = None,
        received: Sequence[Message] = ({"type": "http.request", "body": b"", "more_body": False},),
    ) -> None:
        self.messages: list[Message] = []
        self.metrics = Metrics("0.1")
        self.scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": headers or [],
            "client": ("10.0.0.1", 1234),
        }
        self._received = list(received)
        stream = io.BytesIO()
        asyncio.run(self._run(application, stream))
        self.line: dict[str, Any] = msgspec.json.decode(stream.getvalue())

    async def _run(self, application: Application, stream: io.BytesIO) -> None:
        access_log = AccessLog(stream)
        middleware = RequestMiddleware(application, metrics=self.metrics, access_log=access_log)
        try:
            await middleware(self.scope, self._receive, self._send)
        finally:
            access_log.flush()

    async def _receive(self) -> Message:
        return self._received.pop(0)

    async def _send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        """Of the answer."""
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Of the answer."""
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        """Of the answer."""
        return b"".join(message["body"] for message in self.messages[1:])


HEADERS: Headers = [(b"content-length", b"4")]


async def manifest(scope: Scope, _receive: Receive, send: Send) -> None:
    context: RequestContext = scope["roadstead"]
    context.handler = "manifest"
    context.repository = "app"
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"bo", "more_body": True})
    await send({"type": "http.response.body", "body": b"dy"})


async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise ValueError("/srv/secret/place is wrong")


async def broken_half_way(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await broken(scope, receive, send)


async def broken_by_its_client(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    await broken(scope, receive, send)


def test_an_answer_passes_with_the_fixed_headers_added() -> None:
    call = Call(manifest)
    assert (call.status, call.body) == (200, b"body")
    assert call.headers[b"content-length"] == b"4"
    assert call.headers[b"docker-distribution-api-version"] == b"registry/2.0"
    assert call.headers[b"x-content-type-options"] == b"nosniff"
    assert len(call.headers[b"x-request-id"]) == 32
    assert len(HEADERS) == 1


def test_the_version_header_is_the_content_planes() -> None:
    assert b"docker-distribution-api-version" not in Call(manifest, path="/healthz").headers


@pytest.mark.parametrize("request_id", [b"a", b"Az09._-", b"x" * 128])
def test_a_harmless_id_of_the_client_is_taken(request_id: bytes) -> None:
    call = Call(manifest, headers=[(b"x-request-id", request_id)])
    assert call.headers[b"x-request-id"] == request_id
    assert call.line["request_id"] == request_id.decode()


@pytest.mark.parametrize("request_id", [b"", b"x" * 129, b"a b", b"a\tb", b"<script>", b"caf\xe9", b"a\n"])
def test_any_other_id_is_replaced(request_id: bytes) -> None:
    call = Call(manifest, headers=[(b"x-request-id", request_id)])
    assert call.headers[b"x-request-id"] != request_id
    assert len(call.headers[b"x-request-id"]) == 32


def test_the_log_and_the_metrics_know_what_happened() -> None:
    call = Call(manifest, headers=[(b"user-agent", b"docker/27.1")])
    assert call.line["handler"] == "manifest"
    assert call.line["repository"] == "app"
    assert call.line["status"] == 200
    assert call.line["bytes"] == 4
    assert call.line["client"] == "10.0.0.1"
    assert call.line["user_agent"] == "docker/27.1"
    assert value(call.metrics, "registry_http_requests_total", code="200", handler="manifest", method="get") == 1
    assert value(call.metrics, "registry_http_response_size_bytes_sum", handler="manifest") == 4
    assert value(call.metrics, "registry_http_in_flight_requests", handler="manifest") == 0


def test_a_body_is_counted_as_it_is_received() -> None:
    pieces = [
        {"type": "http.request", "body": b"12345", "more_body": True},
        {"type": "http.request", "body": b"678", "more_body": False},
    ]

    async def upload(_scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    call = Call(upload, method="PATCH", received=pieces)
    assert value(call.metrics, "registry_http_request_size_bytes_sum", handler="base") == 8


def test_head_has_no_body() -> None:
    call = Call(manifest, method="HEAD")
    assert call.body == b""
    assert call.headers[b"content-length"] == b"4"
    assert call.line["bytes"] == 0


def test_an_exception_becomes_the_specifications_error_without_its_words() -> None:
    call = Call(broken, headers=[(b"x-request-id", b"id-1")])
    assert call.status == 500
    document = msgspec.json.decode(call.body)
    assert document["errors"][0]["code"] == "UNKNOWN"
    assert "id-1" in document["errors"][0]["message"]
    assert b"secret" not in call.body
    assert call.headers[b"content-type"] == b"application/json"
    assert call.headers[b"x-request-id"] == b"id-1"
    assert call.line["status"] == 500


def test_an_exception_is_in_the_log_with_its_traceback() -> None:
    with structlog.testing.capture_logs() as events:
        Call(broken)
    (event,) = events
    assert event["log_level"] == "error"
    assert isinstance(event["exc_info"], ValueError)


def test_an_exception_after_the_beginning_leaves_the_answer_incomplete() -> None:
    """Then the server closes the connection, which tells the client."""
    call = Call(broken_half_way)
    assert len(call.messages) == 1
    assert call.line["status"] == 200


def test_a_client_that_went_away_is_no_error_of_ours() -> None:
    with structlog.testing.capture_logs() as events:
        call = Call(broken_by_its_client, received=[{"type": "http.disconnect"}])
    assert [event["log_level"] for event in events] == ["info"]
    assert not call.messages
    assert call.line["status"] == 499


def test_what_the_connection_answered_itself_is_in_the_log() -> None:
    async def refused(scope: Scope, receive: Receive, _send: Send) -> None:
        scope["roadstead.refused"] = 408
        await receive()

    assert Call(refused, received=[{"type": "http.disconnect"}]).line["status"] == 408


def test_a_request_that_the_server_ends_is_told_so_and_counted() -> None:
    metrics = Metrics("0.1")
    sent: list[Message] = []

    async def run() -> None:
        async def endless(_scope: Scope, _receive: Receive, _send: Send) -> None:
            await asyncio.sleep(60)

        async def receive() -> Message:
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": None}
        task = asyncio.create_task(_call(RequestMiddleware(endless, metrics=metrics), scope, receive, send))
        await asyncio.sleep(0)
        assert value(metrics, "registry_http_in_flight_requests", handler="base") == 1
        task.cancel()
        await task

    asyncio.run(run())
    assert sent[0]["status"] == 503
    assert msgspec.json.decode(sent[1]["body"])["errors"][0]["code"] == "UNAVAILABLE"
    assert value(metrics, "registry_http_in_flight_requests", handler="base") == 0
    assert value(metrics, "registry_http_requests_total", code="503", handler="base", method="get") == 1


def test_events_of_a_request_carry_its_id(request: pytest.FixtureRequest) -> None:
    stream = io.StringIO()
    _configure(stream, request)

    async def talkative(scope: Scope, receive: Receive, send: Send) -> None:
        structlog.get_logger().info("inside")
        await manifest(scope, receive, send)

    contextvars.copy_context().run(lambda: Call(talkative, headers=[(b"x-request-id", b"id-7")]))
    assert msgspec.json.decode(stream.getvalue())["request_id"] == "id-7"


def test_scopes_of_another_kind_pass() -> None:
    seen: list[str] = []

    async def lifespan(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    async def unused(*_: Any) -> Any:
        raise AssertionError

    asyncio.run(_call(RequestMiddleware(lifespan), {"type": "lifespan"}, unused, unused))
    assert seen == ["lifespan"]


async def _call(application: Application, scope: Scope, receive: Receive, send: Send) -> None:
    await application(scope, receive, send)


def _configure(stream: io.StringIO, request: pytest.FixtureRequest) -> None:
    from roadstead.telemetry import configure_logging  # noqa: PLC0415

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def restore() -> None:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()

    request.addfinalizer(restore)
    configure_logging(stream, log_format="json")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    read: Callable[..., float | None] = metrics.registry.get_sample_value
    return read(name, labels)
