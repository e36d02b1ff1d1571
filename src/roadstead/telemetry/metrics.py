"""All metrics in one registry of prometheus-client, with registry:2's names where it has them."""

import math
import platform
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from roadstead.telemetry.notifications import NotificationMetrics
from roadstead.telemetry.requests import RequestCounters

STORAGE_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of registry:2's buckets (Prometheus's defaults) and three below them: a local disk is faster than 5 ms."""

LAG_BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Observer(Protocol):
    """A measure that takes durations in seconds; from any thread."""

    def observe(self, amount: float) -> None:
        """Adds a duration."""
        ...


class SummedCounter(Collector):
    """A counter whose numbers are kept by others, and asked for when somebody looks."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self.sources: list[Callable[[], int]] = []
        """Functions that each return a number so far."""

    def collect(self) -> Iterable[Metric]:
        """Yields the one counter."""
        value = sum(source() for source in self.sources)
        yield CounterMetricFamily(self._name, self._documentation, value=value)


class Metrics:
    """All metrics. Methods without a note may be called from any thread."""

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter, which registry:2 does not have
        self.registry = CollectorRegistry()
        self.requests = RequestCounters()
        """The counts of HTTP requests; from the event loop only."""
        self.registry.register(self.requests)
        self._storage = Histogram(
            "registry_storage_action_seconds",
            "The number of seconds that the storage action takes",
            ("driver", "action"),
            buckets=STORAGE_BOUNDS,
            registry=self.registry,
        )
        self._observers: dict[tuple[str, str], Observer] = {}
        self.loop_lag = Histogram(
            "roadstead_event_loop_lag_seconds",
            "How late the event loop runs what is due",
            buckets=LAG_BOUNDS,
            registry=self.registry,
        )
        self.upload_sessions = self._gauge("roadstead_upload_sessions", "Upload sessions that are not finished")
        self.quarantined_blobs = self._gauge("roadstead_quarantined_blobs", "Blobs that were found damaged")
        self.connections = self._gauge("roadstead_connections", "Open connections of the main listener")
        self.maintenance = self._gauge("roadstead_maintenance", "Maintenance mode: 0 off, 1 read-only, 2 closed")
        self.failing_health_checks = self._gauge("roadstead_failing_health_checks", "Health checks that fail")
        self._refused = self._counter(
            "roadstead_refused_requests", "Requests and connections ended by a limit", "reason"
        )
        self.notifications = NotificationMetrics(self.registry)
        self.garbage_due = self._gauge("roadstead_garbage_due", "Reviews and deleted manifests whose time has come")
        self.links_set_aside = self._gauge(
            "roadstead_links_set_aside", "Repositories whose links for registry:2 cannot be written"
        )
        self._collected = Counter(
            "roadstead_garbage_collected", "What was collected for good", ("kind",), registry=self.registry
        )
        self._collected_bytes = Counter(
            "roadstead_garbage_collected_bytes", "Bytes of blobs that were collected", registry=self.registry
        )
        self._scrubbed_bytes = Counter(
            "roadstead_scrubbed_bytes", "Bytes read again and compared with their digest", registry=self.registry
        )
        self._scrub_damage = Counter(
            "roadstead_scrub_damage", "What the scrub found damaged", ("kind",), registry=self.registry
        )
        self._refetched = Counter(
            "roadstead_refetched", "What was damaged and has been fetched again", registry=self.registry
        )
        self.scrub_completed_seconds = self._gauge(
            "roadstead_scrub_completed_timestamp_seconds", "When the last whole pass of the scrub ended; 0 for never"
        )
        self.certificate_days_left = self._gauge(
            "roadstead_certificate_days_left", "Days until the main listener's certificate ends; NaN without one"
        )
        self.certificate_days_left.set(math.nan)
        self.lost_lines = self._summed("roadstead_log_lines_lost", "Lines of the log that could not be written")
        self.database_retries = self._summed(
            "roadstead_database_retries", "Transactions that ran again because another stood in their way"
        )
        self._add_process_metrics(version)

    def _summed(self, name: str, documentation: str) -> SummedCounter:
        counter = SummedCounter(name, documentation)
        self.registry.register(counter)
        return counter

    def storage_action(self, driver: str, action: str) -> Observer:
        """Returns the observer of one storage action; keep it, or ask each time (a dictionary lookup)."""
        observer = self._observers.get((driver, action))
        if observer is None:
            observer = self._observers[driver, action] = self._storage.labels(driver, action)
        return observer

    def count_refusal(self, reason: str) -> None:
        """Adds a request that a limit ended; ``reason`` is one of a few fixed words."""
        self._refused.labels(reason).inc()

    def count_collected(self, kind: str, amount: int, size_bytes: int = 0) -> None:
        """Adds garbage that was removed; ``kind`` is blob, manifest, link or repository."""
        self._collected.labels(kind).inc(amount)
        self._collected_bytes.inc(size_bytes)

    def count_scrubbed(self, size_bytes: int) -> None:
        """Adds bytes that were read again."""
        self._scrubbed_bytes.inc(size_bytes)

    def count_scrub_damage(self, kind: str) -> None:
        """Adds something damaged; ``kind`` is blob, manifest or unreadable."""
        self._scrub_damage.labels(kind).inc()

    def count_refetched(self) -> None:
        """Adds a blob or manifest that is whole again."""
        self._refetched.inc()

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(name, description, labels, registry=self.registry)

    def _gauge(self, name: str, description: str) -> Gauge:
        return Gauge(name, description, registry=self.registry)

    def _add_process_metrics(self, version: str) -> None:
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        build = Info("roadstead_build", "The version that runs", registry=self.registry)
        build.info({"version": version, "python": platform.python_version()})
