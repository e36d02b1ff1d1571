"""Pages of the catalogue and of tags in a large registry, walked by following the Link of each page.

roadstead is walked from the first page to the last. The reference reads its whole folder tree for a page and its
tags come all at once, so of it only the first, a middle and the last page are asked for, and its 99th percentile is
the slowest of the three. "Flat" is held against two limits: ten times the size, and the place of the page.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.catalogue import BIG, Content, load_distribution, load_roadstead, tag_name
from benchmarks.model import SUBJECT, Bound, Kind, Result, Sample, Target
from benchmarks.peers import Server
from benchmarks.percentiles import percentile
from benchmarks.runner import Bench, Plan, Row, RowRun
from benchmarks.wire import Connection, UnexpectedResponseError

PAGE = 100
"""The page that docker-registry gives when a client names none."""

LARGE_PAGE = 1000

LINK = re.compile(r"<([^>]+)>")
FLAT = 1.5
"""What counts as flat, as a ratio of medians: above what the clock and the caches of a busy machine make of equals."""


@dataclass(frozen=True, slots=True)
class Walk:
    """One listing: where it begins, the key of its entries, how many there are, some names to jump to."""

    path: str
    key: str
    count: int
    starts: tuple[str, ...]


class Listings:
    """Walks both listings of a loaded registry."""

    def __init__(self, content: Content, smaller: Sample | None = None) -> None:
        self.content = content
        self.smaller = smaller
        names = sorted(content.names())
        self.walks = {
            "catalogue": Walk("/v2/_catalog", "repositories", len(names), _starts(names)),
            "tags": Walk(
                f"/v2/{BIG}/tags/list",
                "tags",
                content.big_tags,
                _starts([tag_name(n) for n in range(content.big_tags)]),
            ),
        }

    def seed(self, peer: str, folder: Path) -> None:
        """Load the records."""
        load = load_roadstead if peer == SUBJECT else load_distribution
        load(folder / "data", self.content)

    def prepare(self, server: Server) -> None:
        """Walk once, so that no first time is timed; this checks that every entry comes, once and in order."""
        if server.peer.key == SUBJECT:
            connection = Connection(server.port)
            for walk in self.walks.values():
                _walk(connection, walk, LARGE_PAGE)

    def measure(self, server: Server) -> Sample:
        """Time pages."""
        connection = Connection(server.port)
        sample: dict[str, float] = {}
        for name, walk in self.walks.items():
            if server.peer.key == SUBJECT:
                sample.update(self._walked(connection, name, walk))
            else:
                sample[f"{name}_p99"] = max(_jump(connection, walk, start) for start in walk.starts)
        connection.close()
        return {**sample, "memory": server.process.memory_mb()}

    def _walked(self, connection: Connection, name: str, walk: Walk) -> Sample:
        pages = _walk(connection, walk, PAGE)
        large = _walk(connection, walk, LARGE_PAGE)
        tenth = max(1, len(pages) // 10)
        middle = len(pages) // 2
        places = [pages[:tenth], pages[middle : middle + tenth], pages[-tenth:]]
        medians = [statistics.median(place) for place in places]
        sample = {
            f"{name}_p99": percentile(pages, 0.99),
            f"{name}_p99_large": percentile(large, 0.99),
            f"{name}_position": max(medians) / min(medians),
            f"{name}_median": statistics.median(pages),
        }
        if self.smaller:
            sample[f"{name}_growth"] = sample[f"{name}_median"] / self.smaller[f"{name}_median"]
        return sample


def _starts(names: Sequence[str]) -> tuple[str, ...]:
    """Return `last` values that lead to the first, a middle and the last page."""
    return ("", names[len(names) // 2], names[max(0, len(names) - PAGE - 1)])


def _walk(connection: Connection, walk: Walk, size: int) -> list[float]:
    """Walk a listing to its end; return the milliseconds of each page; raise unless all came, in order."""
    target: str | None = f"{walk.path}?n={size}"
    times, entries = [], list[str]()
    while target:
        began = time.perf_counter()
        response = connection.request("GET", target)
        times.append((time.perf_counter() - began) * 1000)
        entries += json.loads(response.expect(200).body)[walk.key]
        link = LINK.search(response.headers.get("link", ""))
        target = link[1] if link else None
    if len(entries) != walk.count or entries != sorted(set(entries)):
        raise UnexpectedResponseError(f"{walk.path}: {len(entries)} entries, not {walk.count}, or not in order")
    return times


def _jump(connection: Connection, walk: Walk, last: str) -> float:
    """Ask for one page; return its milliseconds."""
    began = time.perf_counter()
    response = connection.request("GET", f"{walk.path}?n={PAGE}" + (f"&last={last}" if last else ""))
    took = (time.perf_counter() - began) * 1000
    if not json.loads(response.expect(200).body)[walk.key]:
        raise UnexpectedResponseError(f"{walk.path} after {last!r}: an empty page")
    return took


TARGETS = (
    Target("catalogue_p99", Kind.FIGURE, Bound.AT_MOST, 5),
    Target("tags_p99", Kind.FIGURE, Bound.AT_MOST, 5),
    Target("catalogue_growth", Kind.FIGURE, Bound.AT_MOST, FLAT),
    Target("tags_growth", Kind.FIGURE, Bound.AT_MOST, FLAT),
    Target("catalogue_position", Kind.FIGURE, Bound.AT_MOST, FLAT),
    Target("tags_position", Kind.FIGURE, Bound.AT_MOST, FLAT),
)
PEERS = (SUBJECT, "docker-registry", "registry:3")


def _run(bench: Bench, result: Result) -> None:
    scale = bench.scale
    result.detail = f"{scale.repositories:,} / {scale.tags:,}"
    smaller = Result(result.key, result.title, result.how, ())
    tenth = Content(scale.repositories // 10, scale.tags // 10)
    bench.alternate(Listings(tenth), Plan((SUBJECT,), 1), smaller)
    found = smaller.samples.get(SUBJECT)
    work = Listings(Content(scale.repositories, scale.tags), found[0] if found else None)
    bench.alternate(work, Plan(PEERS, min(bench.rounds, 2)), result)


LISTING_ROWS: tuple[tuple[Row, RowRun], ...] = (
    (
        Row(
            "listing",
            "catalogue and tags, by page: repositories / tags",
            f"n={PAGE}, whole walks by Link; one repository holds a tenth of the tags; of docker-registry three pages",
            TARGETS,
        ),
        _run,
    ),
)
