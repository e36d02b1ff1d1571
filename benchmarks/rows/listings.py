"""Pages of the catalogue and of tags in a large registry, walked by following the Link of each page.

roadstead is walked from the first page to the last. The reference reads its whole folder tree for a page and its
tags come all at once, so of it only the first, a middle and the last page are asked for, and its 99th percentile is
the slowest of the three. "Flat" is held against two limits: a hundred times the size, and the place of the page.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.catalogue import BIG, Content, load_distribution, load_roadstead, tag_name
from benchmarks.model import ON_POSTGRESQL, PEERS, SUBJECT, Result, Sample, at_most
from benchmarks.peers import Server
from benchmarks.percentiles import percentile
from benchmarks.runner import Bench, Plan, Row, RowRun
from benchmarks.server_catalogue import load_statements
from benchmarks.variants import LOAD
from benchmarks.wire import Connection, UnexpectedResponseError

OURS = (SUBJECT, ON_POSTGRESQL)
PARTIES = (*OURS, *PEERS)

PAGE = 100
"""The page that docker-registry gives when a client names none."""

LARGE_PAGE = 1000

COMPARISONS = 100
"""How often each page is asked for that is compared with others."""

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
    """Walks both listings of a loaded registry; `smaller` are servers with a hundredth of it, by peer."""

    def __init__(self, content: Content, smaller: Mapping[str, Server] | None = None) -> None:
        self.content = content
        self.smaller = smaller or {}
        self.walks = walks_of(content)

    def seed(self, peer: str, folder: Path) -> None:
        """Load the records."""
        if peer == ON_POSTGRESQL:
            (folder / LOAD).write_text(";\n".join(load_statements(self.content)))
            return
        load = load_roadstead if peer == SUBJECT else load_distribution
        load(folder / "data", self.content)

    def prepare(self, server: Server) -> None:
        """Walk once, so that no first time is timed; this checks that every entry comes, once and in order."""
        if server.peer.key in OURS:
            connection = Connection(server.port)
            for walk in self.walks.values():
                _walk(connection, walk, LARGE_PAGE)

    def measure(self, server: Server) -> Sample:
        """Time pages."""
        connection = Connection(server.port)
        sample: dict[str, float] = {}
        for name, walk in self.walks.items():
            if server.peer.key in OURS:
                sample[f"{name}_p99"] = percentile(_walk(connection, walk, PAGE), 0.99)
                sample[f"{name}_p99_large"] = percentile(_walk(connection, walk, LARGE_PAGE), 0.99)
                sample.update(self._compare(server, connection, name))
            else:
                sample[f"{name}_p99"] = max(_jump(connection, walk, start) for start in walk.starts)
        connection.close()
        return {**sample, "memory": server.process.memory_mb()}

    def _compare(self, server: Server, connection: Connection, name: str) -> Sample:
        """Compare places and sizes by asking for a page of each in turn, so that noise meets all alike."""
        pages = {("full", start): (connection, self.walks[name], start) for start in self.walks[name].starts}
        if smaller := self.smaller.get(server.peer.key):
            small, walk = Connection(smaller.port), walks_of(self.content.hundredth())[name]
            pages |= {("hundredth", start): (small, walk, start) for start in walk.starts}
        times: dict[tuple[str, str], list[float]] = {key: [] for key in pages}
        for _ in range(COMPARISONS):
            for key, (asked, walk, start) in pages.items():
                times[key].append(_jump(asked, walk, start))
        medians = {key: statistics.median(found) for key, found in times.items()}
        full = [median for (size, _), median in medians.items() if size == "full"]
        small_medians = [median for (size, _), median in medians.items() if size == "hundredth"]
        sample = {f"{name}_position": max(full) / min(full)}
        if small_medians:
            sample[f"{name}_growth"] = statistics.mean(full) / statistics.mean(small_medians)
        return sample


def walks_of(content: Content) -> dict[str, Walk]:
    """Return the two listings of a registry with this content."""
    names = sorted(content.names())
    tags = [tag_name(number) for number in range(content.big_tags)]
    return {
        "catalogue": Walk("/v2/_catalog", "repositories", len(names), _starts(names)),
        "tags": Walk(f"/v2/{BIG}/tags/list", "tags", len(tags), _starts(tags)),
    }


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
    at_most("catalogue_p99", 5),
    at_most("tags_p99", 5),
    at_most("catalogue_growth", FLAT),
    at_most("tags_growth", FLAT),
    at_most("catalogue_position", FLAT),
    at_most("tags_position", FLAT),
)
ON_SERVER_TARGETS = tuple(
    at_most(metric, FLAT, of=ON_POSTGRESQL)
    for metric in ("catalogue_growth", "tags_growth", "catalogue_position", "tags_position")
)


def _run(bench: Bench, result: Result) -> None:
    scale = bench.scale
    result.detail = f"{scale.repositories:,} / {scale.tags:,}"
    content = Content(scale.repositories, scale.tags)
    with ExitStack() as stack:
        bench.find_peers(PARTIES)
        smaller = {
            key: stack.enter_context(bench.serve(Listings(content.hundredth()), key))
            for key in OURS
            if key in bench.versions
        }
        bench.alternate(Listings(content, smaller), Plan(PARTIES, min(bench.rounds, 2)), result)


LISTING_ROWS: tuple[tuple[Row, RowRun], ...] = (
    (
        Row(
            "listing",
            "catalogue and tags, by page: repositories / tags",
            f"n={PAGE}, whole walks by Link; one repository holds a tenth of the tags; of docker-registry three pages",
            (*TARGETS, *ON_SERVER_TARGETS),
        ),
        _run,
    ),
)
