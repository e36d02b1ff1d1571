"""One push, interrupted at each of its calls to the disk: by SIGKILL, by EIO, by ENOSPC.

A push is traced once to learn which thread makes which calls. Then, for each of them, the push is done again with a
tracer that lets the first, the second, … such call kill the server or fail, until the push gets through untouched.
The normal form takes every call that makes something durable or visible, and a sample of the plain writes; the long
form (`ROADSTEAD_CRASH_CYCLES` set) takes each.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.faults.checker import Checker
from tests.system.faults.client import NETWORK_ERRORS, Client, RefusedError, digest_of, manifest_of
from tests.system.faults.recorder import Journal
from tests.system.faults.server import FaultyServer, Tracer, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

CALLS: Final = ("mkdirat", "openat", "write", "pwrite64", "ftruncate", "fdatasync", "fsync", "renameat", "unlink")
DURABLE: Final = {"fdatasync", "fsync", "renameat"}
PLAIN: Final = {"openat", "write", "pwrite64"}
"""Calls that make nothing durable: many, and the same outcome for most of them."""

IS_LONG: Final = "ROADSTEAD_CRASH_CYCLES" in os.environ
SAMPLE: Final = 1 if IS_LONG else 8
MAIN: Final = "main"
REPOSITORY: Final = "exact/points"
MOST_CALLS: Final = 400
"""Of one kind in one push by one thread; more would mean that the push never gets through."""

pytestmark = [pytest.mark.needs("strace"), pytest.mark.timeout(3600 if IS_LONG else 280)]


@dataclass(frozen=True, slots=True)
class Point:
    """A kind of call that one thread makes during a push."""

    thread: str
    call: str

    def __str__(self) -> str:
        return f"{self.thread}-{self.call}"


@dataclass(slots=True)
class Push:
    """What one push sends, so that it can be done again."""

    layers: tuple[bytes, bytes]
    config: bytes
    tag: str
    begun: str = ""
    """Where an upload was begun before the push, and no byte was sent."""
    ended: list[str] = field(default_factory=list)
    """Where uploads were that are over: the client was told so."""

    @classmethod
    def new(cls) -> Push:
        """A push of what nobody has."""
        name = f"t{secrets.token_hex(4)}"
        return cls((secrets.token_bytes(20_000), secrets.token_bytes(30_000)), json.dumps({"n": name}).encode(), name)

    @property
    def manifest(self) -> bytes:
        """The manifest."""
        return manifest_of(self.config, self.layers)


def push(client: Client, journal: Journal, what: Push) -> None:
    """A blob by POST and PUT, one in chunks, one in a single POST, then the manifest; noted before and after."""
    one, two = what.layers
    ways: list[tuple[bytes, Callable[[], str]]] = [
        (one, lambda: client.put_blob(REPOSITORY, one)),
        (two, lambda: client.push_chunks(REPOSITORY, [two[:10_000], two[10_000:]])),
        (what.config, lambda: client.post_blob(REPOSITORY, what.config)),
    ]
    for data, way in ways:
        key = (REPOSITORY, digest_of(data))
        journal.blobs.begin(key, True)  # noqa: FBT003 - a value
        way()
        journal.blobs.settle(key, True)  # noqa: FBT003 - a value
    digest = digest_of(what.manifest)
    journal.bodies[digest] = what.manifest
    journal.manifests.begin((REPOSITORY, digest), True)  # noqa: FBT003 - a value
    journal.tags.begin((REPOSITORY, what.tag), digest)
    client.put_manifest(REPOSITORY, what.tag, what.manifest)
    journal.manifests.settle((REPOSITORY, digest), True)  # noqa: FBT003 - a value
    journal.tags.settle((REPOSITORY, what.tag), digest)


def threads(server: FaultyServer) -> dict[str, int]:
    """The threads that serve, by the names of their pools."""
    found = {name: ids[0] for name, ids in server.threads().items() if name in {"storage", "catalogue", "default"}}
    return {MAIN: server.pid, **found}


def warm(server: FaultyServer, journal: Journal) -> None:
    """A push, after which every thread that a push needs is there."""
    with Client(server.port) as client:
        push(client, journal, Push.new())


def recorded(server: FaultyServer, journal: Journal) -> Counter[Point]:
    """How often a push makes which call in which thread."""
    ids = {thread: name for name, thread in threads(server).items()}
    tracer = Tracer("-e", f"trace={','.join(CALLS)}", threads=list(ids), log=server.folder / "strace")
    with Client(server.port) as client, tracer:
        push(client, journal, Push.new())
    counts: Counter[Point] = Counter()
    for line in tracer.lines():
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match:
            counts[Point(ids[int(match[1])], match[2])] += 1
    return counts


def numbers(point: Point) -> Iterator[int]:
    """Which of the calls to interrupt."""
    yield from range(1, MOST_CALLS, SAMPLE if point.call in PLAIN else 1)


def interrupted(
    server: FaultyServer, journal: Journal, point: Point, fault: str, number: int
) -> tuple[Push, Exception | None]:
    """A push that is hit at the nth such call, and what became of it; uploads that are begun or over by then."""
    what = Push.new()
    options = ("-e", f"trace={point.call}", "-e", f"inject={point.call}:{fault}:when={number}")
    with Client(server.port) as client:
        what.ended = client.ended
        what.begun = client.begin(REPOSITORY)
        client.cancel(client.begin(REPOSITORY))
        tracer = Tracer(*options, threads=[threads(server)[point.thread]], log=server.folder / "strace")
        try:
            with tracer:
                push(client, journal, what)
        except (RefusedError, *NETWORK_ERRORS) as failure:
            return what, failure
    return what, None


def require_intact(server: FaultyServer, journals: Sequence[Journal], moment: str) -> None:
    problems = Checker(server.port, server.data).check(journals)
    assert not problems, f"{moment}:\n" + "\n".join(problems)


def require_uploads(server: FaultyServer, what: Push, moment: str) -> None:
    """What was over is unknown, whatever is asked of it, and what was begun goes on."""
    with Client(server.port) as client:
        for location in what.ended:
            for method in ("GET", "PATCH", "PUT", "DELETE"):
                path = f"{location}?digest={digest_of(b'')}" if method == "PUT" else location
                reply = client.ask(method, path)
                assert reply.status == 404, f"{moment}: {method} of an upload that was over: {reply}"
        data = secrets.token_bytes(100)
        client.patch(what.begun, data, 0)
        client.finish(what.begun, digest_of(data))


@pytest.mark.xdist_group("exact_points_kill")
def test_killed_at_each_call(scratch: Path) -> None:
    """Whenever the server dies, what was acknowledged is there, nothing half-written is, and the push can be redone."""
    journals = [Journal()]
    kills: Counter[Point] = Counter()
    with serving(FaultyServer(scratch / f"exact-{secrets.token_hex(3)}", single_threaded=True)) as server:
        warm(server, journals[0])
        points = recorded(server, journals[0])
        for point in points:
            for number in numbers(point):
                journal = Journal()
                journals.append(journal)
                what, failure = interrupted(server, journal, point, "signal=KILL", number)
                if failure is None:
                    break
                server.kill()
                server.start()
                kills[point] += 1
                require_uploads(server, what, f"killed at {point} {number}")
                require_intact(server, [journal], f"killed at {point} {number}")
                with Client(server.port) as client:
                    push(client, journal, what)  # after which the threads that it needs are there
            else:
                pytest.fail(f"a push with more than {MOST_CALLS} calls: {point}")
        require_intact(server, journals, "after all")
        server.check_data("--deep")
    print({str(point): f"{kills[point]} of {count}" for point, count in points.items()})
    require_reached(points, kills)


def require_reached(points: Counter[Point], hits: Counter[Point]) -> None:
    """Each kind of call that the recorded push made was interrupted: the sweep would otherwise show nothing.

    A push makes some calls more or fewer than another, since folders may be there already; hence the half.
    """
    durable = {point: count for point, count in points.items() if point.call in DURABLE}
    assert {point.call for point in durable} >= DURABLE
    missed = {str(point): count for point, count in durable.items() if hits[point] < count / 2}
    assert not missed, f"never interrupted at {missed}"


FAULTS: Final = ("EIO", "ENOSPC")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.xdist_group("exact_points_error")
def test_each_call_fails(scratch: Path, fault: str) -> None:
    """Whichever call fails, the client hears a clear 5xx, the server goes on, and the push can be redone."""
    journal = Journal()
    hits: Counter[Point] = Counter()
    answers: Counter[int] = Counter()
    with serving(FaultyServer(scratch / f"exact-{secrets.token_hex(3)}", single_threaded=True)) as server:
        warm(server, journal)
        points = recorded(server, journal)
        chosen = [point for point in points if is_of_the_disk(point)]
        for point in chosen:
            for number in numbers(point):
                what, failure = interrupted(server, journal, point, f"error={fault}", number)
                if not was_hit(server, fault):
                    break
                hits[point] += 1
                moment = f"{fault} at {point} {number}"
                if failure is not None:
                    answers[require_clear(failure, fault, moment)] += 1
                server.check()
                assert server.is_healthy(), moment
                with Client(server.port) as client:
                    push(client, journal, what)
        require_intact(server, [journal], "after all")
        server.check_data("--deep")
    print({str(point): f"{hits[point]} of {points[point]}" for point in chosen}, answers)
    require_reached(points, hits)


def is_of_the_disk(point: Point) -> bool:
    """Plain writes are also answers, log lines, and how threads wake each other: `test_a_write_fails` picks its own."""
    return point.call != "write" and not (point.thread == MAIN and point.call == "openat")


def was_hit(server: FaultyServer, fault: str) -> bool:
    log = (server.folder / "strace").read_text(errors="replace")
    return f"{fault} " in log and "(INJECTED)" in log


def require_clear(failure: Exception, fault: str, moment: str) -> int:
    assert isinstance(failure, RefusedError), f"{moment}: {failure!r}"
    reply = failure.reply
    assert reply.status in {503, 507}, f"{moment}: {reply}"
    assert reply.codes == ["UNAVAILABLE"], f"{moment}: {reply}"
    message = reply.errors[0]["message"]
    assert message, moment
    assert "registry" not in message, f"no path: {message}"
    if fault == "ENOSPC":
        assert reply.status == 507, f"{moment}: {reply}"
        assert "storage is full" in message, moment
    return reply.status


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.xdist_group("exact_points_error")
def test_a_write_fails(scratch: Path, fault: str) -> None:
    """A chunk that cannot be written is refused; after that the blob can be pushed, and what was there still is."""
    journal = Journal()
    blob = secrets.token_bytes(50_000)
    with serving(FaultyServer(scratch / f"exact-{secrets.token_hex(3)}", single_threaded=True)) as server:
        warm(server, journal)
        with Client(server.port) as client:
            location = client.begin(REPOSITORY)
            client.patch(location, blob[:10_000], 0)
            file = server.data / "registry" / "uploads" / location.rpartition("/")[2]
            options = ("-P", str(file), "-e", "trace=write", "-e", f"inject=write:error={fault}:when=1")
            with Tracer(*options, threads=[threads(server)["storage"]], log=server.folder / "strace"):
                reply = client.ask("PATCH", location, blob[10_000:], {"Content-Range": "10000-49999"})
            assert was_hit(server, fault)
            require_clear(RefusedError("PATCH", reply), fault, fault)
            if fault == "ENOSPC":  # what was acknowledged of the upload is there still, and it goes on
                assert client.offset(location) == 10_000
                client.finish(location, digest_of(blob), blob[10_000:])
            else:  # after an error of the device nothing is known about the file: the client begins again
                client.expect(404, "GET", location)
                client.put_blob(REPOSITORY, blob)
            assert client.blob(REPOSITORY, digest_of(blob)) == blob
        require_intact(server, [journal], "after all")
