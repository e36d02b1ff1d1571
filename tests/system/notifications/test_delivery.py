"""Real processes: whatever dies, each event arrives, in order; and a dead endpoint costs nothing."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from roadstead.testing.images import image
from tests.factories.receivers import ReceivingServer, Reply
from tests.system.notifications.conftest import Client, Serve, endpoint_of
from tests.system.process import run, until
from tests.system.servers import RegistryServer

PROGRAM: Final = Path(sys.executable).parent / "roadstead"
IMAGE: Final = image(b"layer")


def command(server: RegistryServer, *arguments: str) -> list[dict[str, Any]]:
    """What `roadstead notifications` prints beside the running server."""
    words = [str(PROGRAM), "notifications", *arguments, "--config", str(server.folder / "roadstead.yaml")]
    done = subprocess.run([*words, "--data", str(server.data), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def status(server: RegistryServer, name: str = "ci") -> dict[str, Any]:
    """How an endpoint is doing."""
    return next(row for row in command(server, "status") if row["name"] == name)


def metrics(server: RegistryServer) -> str:
    return httpx.get(f"http://127.0.0.1:{server.operations_port}/metrics", trust_env=False).text


def pending_by_metric(server: RegistryServer) -> float:
    """How many events the server says wait for `ci`; it counts every few seconds."""
    found = re.search(r'registry_notifications_pending_total\{endpoint="ci"\} (\S+)', metrics(server))
    return float(found[1]) if found else 0.0


def push_blobs(server: RegistryServer, repository: str, count: int) -> list[str]:
    """Pushes small blobs one after the other; their digests."""
    with Client(server.url) as client:
        return [client.push_blob(repository, os.urandom(20)) for _ in range(count)]


def pull_many(server: RegistryServer, path: str, count: int) -> None:
    """Asks with HEAD so many times over one connection; several times faster than a client that knows HTTP."""
    request = f"HEAD {path} HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        for _ in range(count):
            connection.sendall(request)
            answered = connection.recv(1 << 16)
            while answered and not answered.endswith(b"\r\n\r\n"):
                answered += connection.recv(1 << 16)
            assert answered.startswith(b"HTTP/1.1 200"), answered


def counted(server: RegistryServer) -> tuple[int, int, bool]:
    """How many events wait for `ci`, how many are parked for it, and whether it is taken to be down.

    Straight from the catalogue, since starting the command line again and again takes long on a busy machine.
    """
    with closing(sqlite3.connect(server.data / "roadstead.db", timeout=30)) as catalogue:
        (row,) = catalogue.execute(
            "SELECT (SELECT coalesce(max(id), 0) FROM events) - event_id, suspect_id,"
            " (SELECT count(*) FROM parked_events WHERE endpoint = 'ci') FROM notification_cursors"
            " WHERE endpoint = 'ci'"
        )
    return row[0], row[2], bool(row[1])


def resident_bytes(pid: int) -> int:
    """What a process holds in memory."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def digests(events: list[dict[str, Any]], repository: str = "") -> list[str]:
    return [
        event["target"]["digest"] for event in events if not repository or event["target"]["repository"] == repository
    ]


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of an endpoint that takes every connection, reads nothing and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        connections: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    connections.append(listening.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        listening.shutdown(socket.SHUT_RDWR)
        for connection in connections:
            connection.close()


def test_a_server_that_is_killed_between_change_and_delivery_tells_of_it_when_it_is_back(
    serve: Serve, receiver: ReceivingServer
) -> None:
    server = serve({"endpoints": [endpoint_of(receiver)]})
    expected: list[str] = []
    for _ in range(2):
        receiver.stop()
        expected += push_blobs(server, "app", 4)
        server.kill()
        server.start()
        receiver.start()
    receiver.wait_for(lambda: set(expected) <= set(digests(receiver.events)), "all that was acknowledged")
    assert list(dict.fromkeys(digests(receiver.events))) == expected, "in order"


def test_kills_at_any_time_lose_nothing_and_repeat_with_the_same_id(serve: Serve, receiver: ReceivingServer) -> None:
    server = serve({"endpoints": [endpoint_of(receiver)]})
    expected: list[str] = []

    def push() -> None:
        try:
            with Client(server.url) as client:
                for _ in range(200):
                    digest = client.push_blob("app", os.urandom(20))
                    expected.append(digest)
        except httpx.HTTPError:
            return  # the server was killed: what was acknowledged before counts

    for delay in (0.05, 0.2, 0.4):
        thread = threading.Thread(target=push)
        thread.start()
        time.sleep(delay)
        server.kill()
        thread.join()
        server.start()
    receiver.wait_for(lambda: set(expected) <= set(digests(receiver.events)), "all that was acknowledged")
    ids: dict[str, set[str]] = {}
    for event in receiver.events:
        ids.setdefault(event["target"]["digest"], set()).add(event["id"])
    assert all(len(each) == 1 for each in ids.values()), "a repetition has the id of the first"
    first = list(dict.fromkeys(digests(receiver.events)))
    assert [digest for digest in first if digest in set(expected)] == expected


def test_an_endpoint_that_was_down_is_told_everything_in_order(serve: Serve, receiver: ReceivingServer) -> None:
    with ReceivingServer() as other:
        server = serve(
            {"attempts": 3, "endpoints": [endpoint_of(receiver), endpoint_of(other, name="audit")]},
        )
        receiver.stop()
        expected = push_blobs(server, "app", 20)
        assert digests(other.wait_for_events(20)) == expected, "another endpoint does not wait for it"
        until(lambda: counted(server) == (19, 1, True), what="the endpoint is taken to be down")
        assert status(server)["state"] == "held"
        assert [row["event"] for row in command(server, "list", "--parked")] == [1]
        assert len(command(server, "list", "--pending")) == 19
        receiver.start()
        assert digests(receiver.wait_for_events(20)) == expected
        assert len(receiver.posted) == 20, "each once"
        until(lambda: counted(server) == (0, 0, False), what="all is well again")
        assert 'registry_notifications_events_total{endpoint="audit",type="Successes"} 20' in metrics(server)
    assert "endpoint does not take events" in server.log()
    assert "endpoint is told again" in server.log()


def test_an_event_that_is_refused_is_parked_listed_and_told_on_request(serve: Serve, receiver: ReceivingServer) -> None:
    receiver.reply = lambda event: Reply(400 if event["target"]["repository"] == "bad" else 200)
    server = serve({"endpoints": [endpoint_of(receiver)]})
    before, refused, after = (push_blobs(server, name, 2) for name in ("good", "bad", "good"))
    assert digests(receiver.wait_for_events(4)) == before + after
    until(lambda: counted(server)[1] == 2, what="both are parked")
    parked = command(server, "list", "--parked")
    assert [row["digest"] for row in parked] == refused
    assert {row["error"] for row in parked} == {"400 Bad Request"}
    receiver.reply = lambda _event: Reply()
    assert command(server, "replay", "--endpoint", "ci", "--parked") == [{"endpoint": "ci", "replayed": 2}]
    assert digests(receiver.wait_for_events(6))[4:] == refused
    until(lambda: counted(server)[1] == 0, what="nothing is parked")
    command(server, "replay", "--endpoint", "ci", "--since", "1h")
    assert digests(receiver.wait_for_events(12))[6:] == before + refused + after
    assert len({event["id"] for event in receiver.events}) == 6


def test_two_workers_tell_each_event_once_and_in_order(serve: Serve, receiver: ReceivingServer) -> None:
    server = serve({"endpoints": [endpoint_of(receiver, ignored_actions=["pull"])]}, "--workers", "2")
    names = [f"app{number}" for number in range(4)]

    def push(name: str) -> list[str]:
        found = []
        for _ in range(15):  # a connection each, so that both workers take part
            with Client(server.url) as client:
                found.append(client.push_blob(name, os.urandom(20)))
        return found

    with ThreadPoolExecutor(4) as pool:
        expected = dict(zip(names, pool.map(push, names), strict=True))
    events = receiver.wait_for_events(60)
    assert {name: digests(events, name) for name in names} == expected
    answered = set(re.findall(r'registry_http_requests_total\{.*worker="(\d)"\}', metrics(server)))
    assert answered == {"0", "1"}
    assert len(receiver.posted) == 60


def test_pulls_are_told_in_bulk_and_a_live_endpoint_takes_hundreds_a_second(
    serve: Serve, receiver: ReceivingServer
) -> None:
    server = serve({"endpoints": [endpoint_of(receiver)]})
    with Client(server.url) as client:
        client.push("app", IMAGE, "1.0")
        pushed = len(receiver.wait_for_events(len(IMAGE.blobs) + 1))
        pull_many(server, "/v2/app/manifests/1.0", 1000)
        receiver.wait_for_events(pushed + 1000)
    command(server, "replay", "--endpoint", "ci", "--since", "1h")
    began = time.monotonic()
    receiver.wait_for_events(2 * (pushed + 1000))
    rate = 1000 / (time.monotonic() - began)
    print(f"\n{rate:.0f} events a second")
    assert rate > 20, "one for each wake-up would be 5"


def test_a_dead_endpoint_costs_no_memory_and_slows_no_push(serve: Serve, silent: str) -> None:
    dead = {"name": "ci", "url": silent, "timeout_seconds": 30}
    told, quiet = serve({"endpoints": [dead]}), serve({})
    with Client(told.url) as client, Client(quiet.url) as other:
        client.push("app", IMAGE, "1.0")
        other.push("app", IMAGE, "1.0")
        for each in (client, other):  # what a server takes at first is not what it grows by
            for _ in range(20):
                each.push_blob("app", os.urandom(20))
        for server in (told, quiet):
            pull_many(server, "/v2/app/manifests/1.0", 5000)
        until(lambda: counted(told)[0] > 5000, what="events wait")
        before = resident_bytes(told.pid)
        pull_many(told, "/v2/app/manifests/1.0", 10_000)
        until(lambda: counted(told)[0] > 15_000, what="10,000 more wait")
        grown = resident_bytes(told.pid) - before
        durations: dict[int, list[float]] = {0: [], 1: []}
        for _ in range(60):
            for place, each in enumerate((client, other)):
                began = time.perf_counter()
                each.push_blob("app", os.urandom(20))
                durations[place].append(time.perf_counter() - began)
    ratio = statistics.median(durations[0]) / statistics.median(durations[1])
    print(f"\n10,000 events waiting: {grown / 2**20:.1f} MiB more, pushes take {ratio:.2f} times as long")
    assert grown < 12 << 20
    assert ratio < 2
    until(lambda: pending_by_metric(told) > 500, what="the metric tells of those that wait")


def test_a_new_endpoint_is_not_flooded_with_history(serve: Serve, receiver: ReceivingServer) -> None:
    server = serve({"endpoints": [endpoint_of(receiver)]})
    push_blobs(server, "app", 3)
    receiver.wait_for_events(3)
    with ReceivingServer() as other:
        server.stop()
        config = server.folder / "roadstead.yaml"
        document = {"notifications": {"endpoints": [endpoint_of(receiver), endpoint_of(other, name="new")]}}
        config.write_text(json.dumps(document), encoding="utf-8")
        server.start()
        (digest,) = push_blobs(server, "app", 1)
        assert digests(other.wait_for_events(1)) == [digest]
        assert len(other.posted) == 1


def test_no_secret_is_printed(serve: Serve, receiver: ReceivingServer) -> None:
    url = receiver.url.replace("http://", "http://user:s3cr3t@")
    endpoint = {**endpoint_of(receiver), "url": url, "headers": {"Authorization": ["Bearer 4f1c"]}}
    server = serve({"attempts": 2, "endpoints": [endpoint]}, log={"level": "debug"})
    push_blobs(server, "app", 1)
    receiver.wait_for_events(1)
    receiver.stop()
    push_blobs(server, "app", 1)
    until(lambda: counted(server)[1] == 1, what="the event is parked")
    shown = run(
        [PROGRAM, "notifications", "status", "--config", server.folder / "roadstead.yaml", "--data", server.data],
        exit_code=1,
    )
    for text in (server.log(), shown.both, metrics(server)):
        assert "s3cr3t" not in text
        assert "4f1c" not in text
