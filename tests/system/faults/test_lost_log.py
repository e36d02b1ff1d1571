"""A log on a full disk, in a pipe that nobody has open, or in one that nobody reads: lines are lost, nothing else is.

Each test serves requests while the log is in such a state, sees that the loss is told by a metric, and ends the server
with a signal: it finishes what is under way and exits with 0 within seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import time
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from tests.system.faults.client import Client, digest_of
from tests.system.faults.server import FaultyServer
from tests.system.faults.test_full_disk import disk, fill
from tests.system.faults.wire import Wire, head
from tests.system.process import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["disk"]

LOST: Final = "roadstead_log_lines_lost_total"
REQUESTS: Final = 200
END_SECONDS: Final = 5.0
"""More than a server needs that waits for no request, less than any of its limits."""

pytestmark = pytest.mark.xdist_group("lost_log")


@pytest.fixture
def started(scratch: Path) -> Iterator[Callable[..., FaultyServer]]:
    """Starts servers whose output goes where a shell's words say."""
    with contextlib.ExitStack() as stack:

        def start(redirection: str, *, workers: int = 1) -> FaultyServer:
            folder = scratch / f"lost-{secrets.token_hex(3)}"
            server = FaultyServer(
                folder,
                settings={"log.format": "json", "listen.workers": workers},
                wrapper=["sh", "-c", f'exec "$@" {redirection}', "sh"],
            )
            return stack.enter_context(server)

        yield start


def require_service(server: FaultyServer, path: str = "/v2/") -> float:
    """Requests are answered, and the server is ready; the longest wait for an answer, in seconds."""
    longest = 0.0
    with Client(server.port, timeout_seconds=5) as client:
        for _ in range(REQUESTS):
            began = time.monotonic()
            assert client.ask("GET", path).status in {200, 404}
            longest = max(longest, time.monotonic() - began)
    assert httpx.get(f"http://127.0.0.1:{server.operations_port}/readyz", trust_env=False).status_code == 200
    return longest


def lost_lines(server: FaultyServer) -> float:
    """What the metric says, of all workers together."""
    text = httpx.get(f"http://127.0.0.1:{server.operations_port}/metrics", trust_env=False).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(LOST))


def require_end(server: FaultyServer, number: signal.Signals = signal.SIGTERM) -> None:
    """The signal ends it, soon and well."""
    os.kill(server.pid, number)
    assert server.wait_for_end(END_SECONDS) == 0


@pytest.mark.parametrize(
    ("where", "number", "workers"),
    [
        pytest.param("2>/dev/full", signal.SIGTERM, 1, id="full"),
        pytest.param("2>/dev/full", signal.SIGINT, 1, id="full, SIGINT"),
        pytest.param(">/dev/full 2>&1", signal.SIGTERM, 1, id="both full"),
        pytest.param(">/dev/full 2>&1", signal.SIGTERM, 2, id="both full, workers"),
        pytest.param("<&- >&- 2>&-", signal.SIGTERM, 1, id="closed"),
        pytest.param("<&- >&- 2>&-", signal.SIGINT, 2, id="closed, SIGINT, workers"),
    ],
)
def test_a_log_that_cannot_be_written(
    started: Callable[..., FaultyServer], where: str, number: signal.Signals, workers: int
) -> None:
    server = started(where, workers=workers)
    require_service(server)
    if "full" in where:
        until(lambda: lost_lines(server) >= REQUESTS, what="the loss is counted")
    require_end(server, number)


def test_a_request_in_hand_is_finished(started: Callable[..., FaultyServer]) -> None:
    """A push that is under way when the signal comes is acknowledged, and is there after a restart."""
    server = started("2>/dev/full")
    blob = secrets.token_bytes(100_000)
    with Client(server.port) as client, Wire(server.port) as wire:
        location = client.begin("lost/log")
        wire.send(head("PUT", f"{location}?digest={digest_of(blob)}", {"Content-Length": str(len(blob))}) + blob[:500])
        until(lambda: client.ask("GET", location).status == 204, what="the push is under way")
        server.terminate()
        time.sleep(0.2)
        wire.send(blob[500:])
        assert wire.reply("PUT").status == 201
    assert server.wait_for_end(END_SECONDS) == 0


def test_a_pipe_that_nobody_has_open_any_more(started: Callable[..., FaultyServer], scratch: Path) -> None:
    fifo = scratch / f"log-{secrets.token_hex(3)}"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    server = started(f">{fifo} 2>&1")
    require_service(server)
    os.close(reading)
    require_service(server)
    until(lambda: lost_lines(server) >= REQUESTS, what="the loss is counted")
    require_end(server)


def test_a_pipe_whose_reader_stopped(started: Callable[..., FaultyServer], scratch: Path) -> None:
    """As in `roadstead serve 2>&1 | less`: lines are lost once a mebibyte waits, and come again when it is read."""
    fifo = scratch / f"log-{secrets.token_hex(3)}"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(reading, "rb", buffering=0) as reader:
        server = started(f">{fifo} 2>&1")
        long = f"/v2/{'x' * 1000}"
        while not lost_lines(server):
            assert require_service(server, long) < 1
        lines = Lines(reader.fileno())
        until(lambda: len(lines.read()) > 500, what="what waited was not lost")
        require_service(server, "/v2/again/tags/list")
        until(lambda: any("again" in line for line in lines.read()), what="lines come again")
        while not lost_lines(server) or require_service(server, long) > 1:
            pass
        require_end(server)


class Lines:
    """What comes out of a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._data = b""

    def read(self) -> list[str]:
        """The whole lines that have come so far; those of JSON must be whole objects."""
        while select.select([self._descriptor], [], [], 0.2)[0] and (piece := os.read(self._descriptor, 1 << 16)):
            self._data += piece
        lines = self._data[: self._data.rfind(b"\n")].decode().splitlines()
        assert all(is_json(line) for line in lines if line.startswith("{"))
        return lines


def test_lines_come_again_when_a_disk_has_room(started: Callable[..., FaultyServer], disk: Path) -> None:
    """What was torn by the full disk does not spoil the line after it."""
    log = disk / "log"
    server = started(f"2>>{log}")
    require_service(server)
    filler = fill(disk)
    while not lost_lines(server):
        require_service(server, f"/v2/{'x' * 500}")
    filler.unlink()
    require_service(server, "/v2/again/tags/list")
    until(lambda: '/v2/again/tags/list"' in log.read_text(), what="lines are written again")
    require_end(server)
    torn = [line for line in log.read_text().splitlines() if not is_json(line)]
    assert len(torn) <= 1
    assert all("again" not in line for line in torn)


def is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
