"""The operations listener as an ASGI application."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from prometheus_client.exposition import choose_encoder

from roadstead.oci import ErrorCode
from roadstead.telemetry import Metrics
from roadstead.web.http import Headers, Receive, Request, Response, Scope, Send, json_response
from roadstead.web.operations.health import (
    NO_STORE,
    Check,
    failed_checks,
    failures_response,
    readiness,
    run_checks,
    serve_health,
)
from roadstead.web.requirement import RateClass, RouteRequirement

ENDPOINTS: Final = {
    "/debug/health": "the checks that fail, by name, as registry:2 has it; 503 when there are any",
    "/healthz": "whether the process answers",
    "/metrics": "Prometheus or OpenMetrics text",
    "/readyz": "whether the server can do its work, check by check; 503 when it cannot",
}


_OPEN: Final = RouteRequirement(rate=RateClass.FREE, is_open=True)

REQUIREMENTS: Final[Mapping[tuple[str, str], RouteRequirement]] = {
    (path, method): _OPEN for path in ENDPOINTS for method in ("GET", "HEAD")
}
"""By path and method: the listener is for who looks after the machine, and nothing of it changes anything."""


class OperationsApplication:
    """Answers ``/metrics``, ``/healthz``, ``/readyz`` and ``/debug/health``; to anything else 404 with their list."""

    def __init__(self, metrics: Metrics | None, checks: Mapping[str, Check]) -> None:
        """Keeps its arguments; if ``metrics`` is None there is no ``/metrics``."""
        self._metrics = metrics
        self._checks = checks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope, receive)
        path: str = scope["path"]
        refusal = find_refusal(path, request.method)
        if path == "/metrics" and self._metrics is None:
            refusal = not_found()
        if refusal is not None:
            await refusal.send(send)
        elif path == "/healthz":
            await serve_health(scope, receive, send)
        elif path == "/readyz":
            await (await readiness(self._checks)).send(send)
        elif path == "/debug/health":
            await failures_response(failed_checks(await run_checks(self._checks))).send(send)
        elif self._metrics is not None:
            await _metrics_response(self._metrics, request).send(send)


def _metrics_response(metrics: Metrics, request: Request) -> Response:
    encode, content_type = choose_encoder(request.header(b"accept"))
    headers: Headers = [(b"content-type", content_type.encode("ascii")), NO_STORE]
    return Response(HTTPStatus.OK, headers, encode(metrics.registry))


def find_refusal(path: str, method: str) -> Response | None:
    """The answer to what has no row in the table; None for what is answered."""
    if path not in ENDPOINTS:
        return not_found()
    return None if (path, method) in REQUIREMENTS else method_not_allowed()


def not_found() -> Response:
    """Returns the answer for any other path: the list of those there are."""
    error = {"code": ErrorCode.UNSUPPORTED, "message": "no such endpoint", "detail": {"endpoints": ENDPOINTS}}
    return json_response(HTTPStatus.NOT_FOUND, {"errors": [error]})


def method_not_allowed() -> Response:
    """Returns the answer for any other method."""
    error = {"code": ErrorCode.UNSUPPORTED, "message": "only GET and HEAD are supported here", "detail": None}
    return json_response(HTTPStatus.METHOD_NOT_ALLOWED, {"errors": [error]}, [(b"allow", b"GET, HEAD")])
