"""Metrics of notifications, with registry:2's names; labels are the configured endpoints' names."""

from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Gauge


class NotificationMetrics:
    """Counters and gauges of events that are told to endpoints."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "registry_notifications_events", "The number of total events", ("type", "endpoint"), registry=registry
        )
        self._statuses = Counter(
            "registry_notifications_status", "The number of status code", ("code", "endpoint"), registry=registry
        )
        self._pending = Gauge(
            "registry_notifications_pending_total",
            "The gauge of pending events in queue",
            ("endpoint",),
            registry=registry,
        )
        self.dropped_pulls = Gauge(
            "roadstead_pull_events_dropped", "Events of pulls that found no room in memory", registry=registry
        )

    def count(self, endpoint: str, kind: str, amount: int = 1) -> None:
        """Adds events; ``kind`` is one of a few fixed words."""
        self._events.labels(kind, endpoint).inc(amount)

    def count_status(self, endpoint: str, status: int) -> None:
        """Adds an endpoint's answer, in registry:2's words; statuses that HTTP has no word for are counted together."""
        try:
            code = f"{status} {HTTPStatus(status).phrase}"
        except ValueError:
            code = "other"
        self._statuses.labels(code, endpoint).inc()

    def set_pending(self, endpoint: str, events: int) -> None:
        """Sets the number of events that wait."""
        self._pending.labels(endpoint).set(events)
