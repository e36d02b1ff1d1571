"""Answers whether the server lives, and whether it is ready for requests."""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import structlog

from roadstead.web.errors import MethodUnsupportedError, error_response
from roadstead.web.http import Receive, Response, Scope, Send, json_response

CHECK_TIMEOUT_SECONDS: Final = 5.0
"""Time limit of a check: less than the ten seconds for which probes usually wait."""

NO_STORE: Final = (b"cache-control", b"no-store")

_log = structlog.get_logger("roadstead.health")


class CheckState(enum.StrEnum):
    """The state of one part of the server."""

    OK = "ok"
    DEGRADED = "degraded"
    """The part works, but somebody should look: the server stays ready."""
    FAILED = "failed"
    """The part does not work: the server should get no requests."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check; ``detail`` is a sentence for a person, without paths or secrets."""

    state: CheckState
    detail: str = ""


Check = Callable[[], Awaitable[CheckResult]]


async def serve_health(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers ``/healthz`` with 200 as long as the process answers at all. For both listeners."""
    await json_response(HTTPStatus.OK, {"status": "ok"}, [NO_STORE]).send(send)


async def serve_root(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers ``/`` of the main listener with 200 and nothing, as registry:2 does, since load balancers ask there."""
    if scope["method"] in {"GET", "HEAD"}:
        await Response(HTTPStatus.OK, [(b"cache-control", b"no-cache")]).send(send)
    else:
        await error_response(MethodUnsupportedError(scope["method"], ("GET", "HEAD"))).send(send)


async def run_checks(
    checks: Mapping[str, Check], timeout_seconds: float = CHECK_TIMEOUT_SECONDS
) -> dict[str, CheckResult]:
    """Runs all checks and returns their results; a check that raises or takes too long has failed."""
    results = await asyncio.gather(*(_run(name, check, timeout_seconds) for name, check in checks.items()))
    return dict(zip(checks, results, strict=True))


async def readiness(checks: Mapping[str, Check], timeout_seconds: float = CHECK_TIMEOUT_SECONDS) -> Response:
    """Answers ``/readyz``: each check by name, and 503 if one failed, raised, or took too long."""
    results = await run_checks(checks, timeout_seconds)
    states = {result.state for result in results.values()}
    worst = next((state for state in (CheckState.FAILED, CheckState.DEGRADED) if state in states), CheckState.OK)
    document = {
        "status": worst,
        "checks": {name: {"status": result.state, "detail": result.detail} for name, result in results.items()},
    }
    status = HTTPStatus.SERVICE_UNAVAILABLE if worst is CheckState.FAILED else HTTPStatus.OK
    return json_response(status, document, [NO_STORE])


def failed_checks(results: Mapping[str, CheckResult]) -> dict[str, str]:
    """Returns the checks that failed, with the reasons."""
    return {name: result.detail for name, result in results.items() if result.state is CheckState.FAILED}


def failures_response(failures: Mapping[str, str]) -> Response:
    """Answers ``/debug/health`` in registry:2's form: ``{}``, or 503 and the reasons by the names of the checks."""
    status = HTTPStatus.SERVICE_UNAVAILABLE if failures else HTTPStatus.OK
    return json_response(status, dict(failures), [NO_STORE])


async def _run(name: str, check: Check, timeout_seconds: float) -> CheckResult:
    try:
        async with asyncio.timeout(timeout_seconds):
            return await check()
    except TimeoutError:
        return CheckResult(CheckState.FAILED, f"no result within {timeout_seconds:g} seconds")
    except Exception:  # noqa: BLE001 - a check that cannot be made is a check that failed
        _log.exception("check failed unexpectedly", check=name)
        return CheckResult(CheckState.FAILED, "the check itself failed; the server's log says why")
