"""Counts of HTTP requests under registry:2's names, made for the hot path.

prometheus-client's own counters and histograms take a lock and a linear search each; four of them a request cost as
much as a lookup in the catalogue. Here a request is one dictionary lookup and two bisections in the event loop, and
the series are derived when somebody asks.

Source of names, labels and buckets: docker/go-metrics ``handler.go`` (what registry:2 uses) and promhttp.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString  # pyright: ignore[reportUnknownVariableType]

DURATION_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
SIZE_BOUNDS: Final = tuple(1024.0 * 2**power for power in range(22))
"""Bounds of sizes: 1 KiB to 2 GiB, doubling."""

METHODS: Final = {
    method: method.lower()
    for method in ("GET", "PUT", "HEAD", "POST", "DELETE", "CONNECT", "OPTIONS", "NOTIFY", "TRACE", "PATCH")
}
"""Label values of methods, as promhttp has them; any other method is ``unknown``."""

UNKNOWN_METHOD: Final = "unknown"
MAXIMUM_HANDLERS: Final = 200
"""Number of handlers at most. They are named by routes; more than this many would be names that clients chose."""

OTHER_HANDLER: Final = "other"

CONTENT_HANDLERS: Final = frozenset({"manifest", "blob", "blob_upload", "blob_upload_chunk"})
PUSH_METHODS: Final = frozenset({"POST", "PATCH", "PUT"})
PULL_METHODS: Final = frozenset({"GET"})
FIRST_REFUSAL: Final = 400


class HasHandler(Protocol):
    """A running request, as far as counting needs it."""

    handler: str


class _Counts:
    """The counts of requests with one handler, method and status."""

    __slots__ = ("durations", "requests", "response_bytes", "seconds", "sent", "sizes", "total_bytes")

    def __init__(self) -> None:
        self.requests = 0
        self.seconds = 0.0
        self.durations = [0] * (len(DURATION_BOUNDS) + 1)
        self.sent = [0] * (len(SIZE_BOUNDS) + 1)
        self.response_bytes = 0
        self.sizes = [0] * (len(SIZE_BOUNDS) + 1)
        self.total_bytes = 0


class RequestCounters(Collector):
    """The counts of requests by handler, method and status; written from the event loop only."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], _Counts] = {}
        self._handlers: set[str] = set()
        self.in_flight: set[HasHandler] = set()
        """Running requests; the handler is read when somebody asks, since routing comes after the start."""

    def count(
        self, handler: str, method: str, status: int, duration_seconds: float, received_bytes: int, sent_bytes: int
    ) -> None:
        """Adds a request that has ended."""
        counts = self._counts.get((handler, method, status))
        if counts is None:
            counts = self._counts_of(handler, method, status)
        counts.requests += 1
        counts.seconds += duration_seconds
        counts.durations[bisect_left(DURATION_BOUNDS, duration_seconds)] += 1
        counts.sent[bisect_left(SIZE_BOUNDS, sent_bytes)] += 1
        counts.response_bytes += sent_bytes
        if received_bytes:
            counts.sizes[bisect_left(SIZE_BOUNDS, received_bytes)] += 1
            counts.total_bytes += received_bytes
        else:
            counts.sizes[0] += 1

    def _counts_of(self, handler: str, method: str, status: int) -> _Counts:
        if len(self._handlers) >= MAXIMUM_HANDLERS and handler not in self._handlers:
            handler = OTHER_HANDLER
        self._handlers.add(handler)
        method = method if method in METHODS else UNKNOWN_METHOD  # so that a client's word is never kept
        return self._counts.setdefault((handler, method, status), _Counts())

    def collect(self) -> Iterable[Metric]:
        """Yields the series as prometheus-client prints them."""
        yield self._in_flight()
        yield self._requests()
        yield self._histogram(
            "registry_http_request_duration_seconds",
            "The HTTP request latencies in seconds.",
            ("handler", "method"),
            DURATION_BOUNDS,
            lambda counts: (counts.durations, counts.seconds),
        )
        yield self._histogram(
            "registry_http_request_size_bytes",
            "The HTTP request sizes in bytes.",
            ("handler",),
            SIZE_BOUNDS,
            lambda counts: (counts.sizes, counts.total_bytes),
        )
        yield self._histogram(
            "registry_http_response_size_bytes",
            "The HTTP response sizes in bytes.",
            ("handler",),
            SIZE_BOUNDS,
            lambda counts: (counts.sent, counts.response_bytes),
        )

        yield self._traffic(
            "roadstead_pushed_bytes",
            "Bytes of blobs and manifests that were accepted",
            PUSH_METHODS,
            lambda counts: counts.total_bytes,
        )
        yield self._traffic(
            "roadstead_pulled_bytes",
            "Bytes of blobs and manifests that were sent",
            PULL_METHODS,
            lambda counts: counts.response_bytes,
        )

    def describe(self) -> Iterable[Metric]:
        """Yields the same series; cheap before the first request, when the registry asks for the names."""
        return self.collect()

    def _in_flight(self) -> Metric:
        family = GaugeMetricFamily(
            "registry_http_in_flight_requests", "The in-flight HTTP requests.", labels=("handler",)
        )
        under_way = Counter(request.handler for request in self.in_flight)
        for handler in sorted(self._handlers | set(under_way)):
            family.add_metric((handler,), under_way[handler])
        return family

    def _requests(self) -> Metric:
        family = CounterMetricFamily(
            "registry_http_requests_total", "Total number of HTTP requests made.", labels=("code", "handler", "method")
        )
        for (handler, method, status), counts in self._counts.items():
            family.add_metric((str(status), handler, METHODS.get(method, method)), counts.requests)
        return family

    def _traffic(self, name: str, description: str, methods: frozenset[str], read: Callable[[_Counts], int]) -> Metric:
        """Returns the bytes of content in successful requests, derived from the counts of all requests."""
        total = sum(
            read(counts)
            for (handler, found, status), counts in self._counts.items()
            if handler in CONTENT_HANDLERS and found in methods and status < FIRST_REFUSAL
        )
        return CounterMetricFamily(name, description, value=total)

    def _histogram(
        self,
        name: str,
        description: str,
        labels: tuple[str, ...],
        bounds: tuple[float, ...],
        read: Callable[[_Counts], tuple[list[int], float]],
    ) -> Metric:
        buckets: dict[tuple[str, ...], list[int]] = {}
        sums: dict[tuple[str, ...], float] = {}
        for (handler, method, _status), counts in self._counts.items():
            key = (handler, METHODS.get(method, method))[: len(labels)]
            values, total = read(counts)
            buckets[key] = [a + b for a, b in zip(buckets[key], values, strict=True)] if key in buckets else values
            sums[key] = sums.get(key, 0.0) + total
        family = HistogramMetricFamily(name, description, labels=labels)
        for key, values in buckets.items():
            family.add_metric(key, list(_cumulative(bounds, values)), sums[key])
        return family


def _cumulative(bounds: tuple[float, ...], values: list[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, value in zip((*bounds, float("inf")), values, strict=True):
        total += value
        yield floatToGoString(bound), total  # type: ignore[no-untyped-call]
