"""The nouns of a measurement: metric, target, sample, result. Plain values, no I/O."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

REFERENCE = "docker-registry"
"""The peer of Debian: what most people run."""

PEERS = (REFERENCE, "registry:3")
"""The registries that every row measures beside roadstead, where they can do the work at all."""

CEILINGS = ("nginx", "sink")
"""The servers that do no registry's work: what the machine and the load generator could reach."""

ON_POSTGRESQL = "roadstead-postgresql"
ONE_REPLICA = "roadstead-one-replica"
TWO_REPLICAS = "roadstead-two-replicas"
BEFORE = "roadstead-before"
VARIANTS = (ON_POSTGRESQL, ONE_REPLICA, TWO_REPLICAS, BEFORE)
"""Other forms of roadstead (`benchmarks.variants`)."""

BETTER = "the better peer"
"""In a target: the one of PEERS whose median is the better one, figure by figure."""

TIMES = "\N{MULTIPLICATION SIGN}"

SUBJECT = "roadstead"
"""The peer that the targets are for."""

REGISTRIES = (SUBJECT, *PEERS)
"""Who takes part in a row, in the order in which they are measured first."""

Sample = Mapping[str, float]
"""What one round found for one peer: metric key to value."""


class Bound(enum.Enum):
    """The side on which the target lies."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True)
class Metric:
    """One kind of figure. `digits` are the decimal places it is printed with. More is worse unless `is_gain`."""

    key: str
    title: str
    unit: str
    digits: int = 1
    is_gain: bool = False

    def is_lost(self, ratio: float) -> bool:
        """Tell whether a ratio to another server is on the worse side."""
        return ratio < 1 if self.is_gain else ratio > 1


METRICS: Mapping[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("requests", "requests per second", "/s", 0, is_gain=True),
        Metric("p99", "99th percentile of latency", "ms", 2),
        Metric("cpu_requests", "CPU seconds per 1,000 requests", "s", 3),
        Metric("images", "images per second", "/s", 1, is_gain=True),
        Metric("cpu_images", "CPU seconds per 1,000 images", "s", 2),
        Metric("bytes", "megabytes per second", "MB/s", 0, is_gain=True),
        Metric("cpu_bytes", "CPU seconds per gigabyte", "s", 3),
        Metric("catalogue_p99", "page of the catalogue, 99th percentile", "ms", 2),
        Metric("catalogue_p99_large", "page of 1,000 of the catalogue, 99th percentile", "ms", 2),
        Metric("tags_p99", "page of tags, 99th percentile", "ms", 2),
        Metric("tags_p99_large", "page of 1,000 tags, 99th percentile", "ms", 2),
        Metric("catalogue_growth", "page of the catalogue, median at full size / at a hundredth", "times", 2),
        Metric("tags_growth", "page of tags, median at full size / at a hundredth", "times", 2),
        Metric("catalogue_position", "page of the catalogue, slowest of first, middle, last / fastest", "times", 2),
        Metric("tags_position", "page of tags, slowest of first, middle, last / fastest", "times", 2),
        Metric("rest", "memory at rest", "MB", 1),
        Metric("above_rest", "memory above rest under load, highest", "MB", 1),
        Metric("memory", "memory after the load", "MB", 1),
        Metric("start", "process start to first answer", "s", 3),
        Metric("worst", "longest", "ms", 1),
        Metric("p99_collecting", "99th percentile of latency while collecting", "ms", 2),
        Metric("worst_collecting", "longest while collecting", "ms", 1),
        Metric("freed", "blobs collected per second beside the load", "/s", 0, is_gain=True),
        Metric("catalogue_time", "catalogue time for 1,000,000 blobs", "s", 1),
        Metric("transaction", "longest transaction or read", "ms", 1),
        Metric("growth", "growth of memory over the last nine tenths", "MB", 1),
        Metric("reclaimed", "blobs per second", "/s", 0, is_gain=True),
        Metric("cpu_blobs", "CPU seconds per 1,000 blobs", "s", 3),
        Metric("together", "pushes into one repository per second", "/s", 0, is_gain=True),
        Metric("apart", "pushes into as many repositories per second", "/s", 0, is_gain=True),
        Metric("crowding", "time in one repository / in as many", "times", 2),
        Metric("retried", "transactions that ran again", "%", 2),
        Metric("database", "cores used by the database", "cores", 2),
        Metric("collecting_growth", "collection of a blob, at full size / at a hundredth", "times", 2),
        Metric("client", "cores used by the load generator", "cores", 2),
        Metric("others", "cores used by what is no part of the run", "cores", 2),
    )
}


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the lowest and the highest of the rounds."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Summarise at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Target:
    """A bound that roadstead has to keep in one metric of one row.

    It bounds the ratio to the server named in `to` (one of PEERS or CEILINGS, or BETTER), or without one the figure
    itself; by the median, or in each single round where `is_strict`.
    """

    metric: str
    bound: Bound
    limit: float
    to: str | None = None
    is_strict: bool = False
    of: str = SUBJECT
    """Whose figure or ratio, where that is another form of roadstead."""

    def is_met(self, value: Spread) -> bool:
        """Tell whether the ratio or figure keeps the bound."""
        if self.bound is Bound.AT_LEAST:
            return (value.lowest if self.is_strict else value.median) >= self.limit
        return (value.highest if self.is_strict else value.median) <= self.limit

    def __str__(self) -> str:
        sign = TIMES if self.to else ""
        unit = "" if self.to else METRICS[self.metric].unit
        return f"{self.bound.value} {sign}{self.limit:g} {unit}".rstrip()


def at_least(metric: str, limit: float, to: str, *, is_strict: bool = False, of: str = SUBJECT) -> Target:
    """Bound the ratio to a server from below."""
    return Target(metric, Bound.AT_LEAST, limit, to, is_strict, of)


def at_most(metric: str, limit: float, to: str | None = None, *, of: str = SUBJECT) -> Target:
    """Bound the ratio to a server, or the figure where none is named, from above."""
    return Target(metric, Bound.AT_MOST, limit, to, of=of)


@dataclass(slots=True)
class Result:
    """All samples of one row: peer to the samples of its rounds, in order."""

    key: str
    title: str
    how: str
    targets: tuple[Target, ...]
    detail: str = ""
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def metrics(self) -> list[Metric]:
        """List the metrics that any peer has a value of, in the order of METRICS."""
        found = {key for samples in self.samples.values() for sample in samples for key in sample}
        return [metric for key, metric in METRICS.items() if key in found]

    def find_figure(self, peer: str, metric: str) -> Spread | None:
        """Return the spread of a metric, or None when the peer has none."""
        values = [sample[metric] for sample in self.samples.get(peer, []) if metric in sample]
        return Spread.of(values) if values else None

    def find_ratio(self, peer: str, metric: str, of: str = SUBJECT) -> Spread | None:
        """Return the spread of roadstead's ratios to a peer, round by round, or None when either has no value."""
        pairs = zip(self.samples.get(of, []), self.samples.get(peer, []), strict=False)
        ratios = [mine[metric] / its[metric] for mine, its in pairs if metric in mine and its.get(metric)]
        return Spread.of(ratios) if ratios else None

    def find_better(self, metric: str) -> str | None:
        """Return the one of PEERS whose median of a metric is the better one, or None when neither has a value."""
        found = {peer: figure.median for peer in PEERS if (figure := self.find_figure(peer, metric))}
        if not found:
            return None
        return (max if METRICS[metric].is_gain else min)(found, key=found.__getitem__)

    def find_value(self, target: Target) -> Spread | None:
        """Return what a target is to be held against: roadstead's ratio or figure."""
        if target.to is None:
            return self.find_figure(target.of, target.metric)
        peer = self.find_better(target.metric) if target.to == BETTER else target.to
        return self.find_ratio(peer, target.metric, target.of) if peer else None
