"""The operations listener, driven as an ASGI server would."""

import asyncio
from typing import Any

import msgspec
import pytest

from roadstead.telemetry import Metrics
from roadstead.web.http import Message
from roadstead.web.operations import Check, CheckResult, CheckState, OperationsApplication, serve_health
from roadstead.web.operations.application import ENDPOINTS, REQUIREMENTS
from roadstead.web.operations.health import readiness
from roadstead.web.requirement import RateClass


def check(state: CheckState, detail: str = "") -> Check:
    async def run() -> CheckResult:
        return CheckResult(state, detail)

    return run


async def raising() -> CheckResult:
    raise OSError("/srv/data: cannot be read")


async def hanging() -> CheckResult:
    await asyncio.sleep(60)
    raise AssertionError


def get(
    path: str, *, method: str = "GET", accept: str = "", metrics: Metrics | None = None, **checks: Check
) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"accept", accept.encode())] if accept else []
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    asyncio.run(OperationsApplication(metrics, checks)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def document(body: bytes) -> Any:
    return msgspec.json.decode(body)


def test_alive_says_so_whatever_the_checks_say() -> None:
    status, _, body = get("/healthz", database=check(CheckState.FAILED))
    assert (status, document(body)) == (200, {"status": "ok"})


def test_the_main_listener_can_say_so_as_well() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    asyncio.run(serve_health({}, receive, send))
    assert sent[0]["status"] == 200


def test_ready_names_each_check() -> None:
    status, headers, body = get("/readyz", database=check(CheckState.OK), storage=check(CheckState.OK, "40 GiB free"))
    assert status == 200
    assert headers[b"cache-control"] == b"no-store"
    assert document(body) == {
        "status": "ok",
        "checks": {"database": {"status": "ok", "detail": ""}, "storage": {"status": "ok", "detail": "40 GiB free"}},
    }


def test_without_checks_it_is_ready() -> None:
    assert get("/readyz")[0] == 200


def test_degraded_is_ready_still() -> None:
    status, _, body = get("/readyz", database=check(CheckState.OK), blobs=check(CheckState.DEGRADED, "2 damaged"))
    assert (status, document(body)["status"]) == (200, "degraded")


def test_one_failure_is_enough() -> None:
    status, _, body = get(
        "/readyz", database=check(CheckState.FAILED), blobs=check(CheckState.DEGRADED), storage=check(CheckState.OK)
    )
    assert (status, document(body)["status"]) == (503, "failed")
    assert document(body)["checks"]["storage"]["status"] == "ok"


def test_a_check_that_raises_has_failed_and_tells_no_path() -> None:
    status, _, body = get("/readyz", storage=raising)
    assert status == 503
    assert b"/srv" not in body


def test_a_check_that_hangs_has_failed() -> None:
    response = asyncio.run(readiness({"database": hanging}, timeout_seconds=0.05))
    assert response.status == 503
    assert document(response.body)["checks"]["database"]["detail"] == "no result within 0.05 seconds"


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        ("", b"text/plain; version=0.0.4; charset=utf-8", b"\n"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", b"application/openmetrics-text", b"# EOF\n"),
    ],
)
def test_metrics_in_the_format_that_is_asked_for(accept: str, content_type: bytes, end: bytes) -> None:
    metrics = Metrics("0.1")
    metrics.requests.count("manifest", "GET", 200, 0.001, 0, 1)
    status, headers, body = get("/metrics", accept=accept, metrics=metrics)
    assert status == 200
    assert headers[b"content-type"].startswith(content_type)
    assert b'registry_http_requests_total{code="200",handler="manifest",method="get"} 1.0' in body
    assert body.endswith(end)


def test_metrics_may_be_switched_off() -> None:
    assert get("/metrics")[0] == 404


@pytest.mark.parametrize("path", ["/", "/v2/", "/metrics/", "/debug"])
def test_elsewhere_there_is_a_list_of_what_there_is(path: str) -> None:
    status, _, body = get(path)
    assert status == 404
    assert set(document(body)["errors"][0]["detail"]["endpoints"]) == {
        "/debug/health",
        "/healthz",
        "/metrics",
        "/readyz",
    }


def test_other_methods_are_not_known() -> None:
    status, headers, _ = get("/healthz", method="POST")
    assert (status, headers[b"allow"]) == (405, b"GET, HEAD")
    assert get("/healthz", method="HEAD")[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", [*ENDPOINTS, "/", "/v2/"])
def test_what_has_a_row_is_answered_and_nothing_else(path: str, method: str) -> None:
    """Refusals are this plane's own: they list what there is, and never ask who it is."""
    requirement = REQUIREMENTS.get((path, method))
    status, headers, body = get(path, method=method, metrics=Metrics("1.0.0"))
    assert b"www-authenticate" not in headers
    if requirement is not None:
        assert (status, requirement.is_open, requirement.changes) == (200, True, False)
        assert requirement.rate is RateClass.FREE
    elif path in ENDPOINTS:
        assert (status, headers[b"allow"]) == (405, b"GET, HEAD")
    else:
        assert (status, set(document(body)["errors"][0]["detail"]["endpoints"])) == (404, set(ENDPOINTS))
