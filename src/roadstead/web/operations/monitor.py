"""Makes probes again and again in the background, as registry:2's health checks do.

A probe counts as failing after a number of failures in a row; from then on the main listener answers 503 to everything
(``web.gates.HealthGate``), readiness fails, and ``/debug/health`` names it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from roadstead.web.operations.health import Check, CheckResult, CheckState

_log = structlog.get_logger("roadstead.health")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A repeated check of a condition for health; ``look`` makes it."""

    look: Callable[[], Awaitable[CheckResult]]
    interval_seconds: float
    timeout_seconds: float
    threshold: int
    """Number of failures in a row after which the probe fails, 1 or more."""


@dataclass(slots=True)
class _Standing:
    probe: Probe
    latest: CheckResult = field(default_factory=lambda: CheckResult(CheckState.OK, "not looked at yet"))
    failures: int = 0

    @property
    def is_failing(self) -> bool:
        return self.failures >= self.probe.threshold


class HealthMonitor:
    """The monitor that makes the probes and keeps their results."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        """Keeps the ``probes``, by the names under which they are reported."""
        self._standings = {name: _Standing(probe) for name, probe in probes.items()}
        self._failing = 0

    def is_healthy(self) -> bool:
        """True if no probe fails; asked for every request."""
        return not self._failing

    @property
    def failing(self) -> int:
        """The number of probes that fail."""
        return self._failing

    def checks(self) -> dict[str, Check]:
        """Returns a check for each probe that reports its last result, without making it."""
        return {name: _check_of(standing) for name, standing in self._standings.items()}

    async def watch(self) -> None:
        """Makes the probes, each at its interval, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, standing in self._standings.items():
                group.create_task(self._watch_one(name, standing))

    async def _watch_one(self, name: str, standing: _Standing) -> None:
        while True:
            await self._look(name, standing)
            await asyncio.sleep(standing.probe.interval_seconds)

    async def _look(self, name: str, standing: _Standing) -> None:
        probe, was_failing = standing.probe, standing.is_failing
        try:
            async with asyncio.timeout(probe.timeout_seconds):
                standing.latest = await probe.look()
        except TimeoutError:
            standing.latest = CheckResult(CheckState.FAILED, f"no result within {probe.timeout_seconds:g} seconds")
        except Exception as error:  # noqa: BLE001 - a probe that cannot be made is one that failed
            standing.latest = CheckResult(CheckState.FAILED, f"the probe itself failed: {type(error).__name__}")
        standing.failures = standing.failures + 1 if standing.latest.state is CheckState.FAILED else 0
        self._failing = sum(other.is_failing for other in self._standings.values())
        if standing.is_failing and not was_failing:
            _log.error("health check failed", check=name, reason=standing.latest.detail, failures=standing.failures)
        elif was_failing and not standing.is_failing:
            _log.warning("health check passed again", check=name)


def _check_of(standing: _Standing) -> Check:
    async def check() -> CheckResult:
        latest, threshold = standing.latest, standing.probe.threshold
        if latest.state is CheckState.FAILED and not standing.is_failing:
            detail = f"{latest.detail} (failure {standing.failures} of {threshold} before it counts)"
            return CheckResult(CheckState.DEGRADED, detail)
        return latest

    return check
