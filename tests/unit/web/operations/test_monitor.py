"""Probes in the background: when they count, what they say, and that a hung one hangs nobody else."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from roadstead.config import HealthSettings
from roadstead.storage.probe import Probed
from roadstead.web.operations import (
    Check,
    CheckResult,
    CheckState,
    HealthMonitor,
    OperationsApplication,
    Probe,
    listed_probes,
    stopping_check,
    storage_probe,
)
from roadstead.web.operations.probes import DetachedCall, shown_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from roadstead.web.http import Message

pytestmark = pytest.mark.anyio

OK, DEGRADED, FAILED = CheckState


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Looks:
    """What a probe finds, one after the other; then it is looking for ever."""

    def __init__(self, *found: CheckState | Exception) -> None:
        self.found = list(found)
        self.is_done = False

    async def look(self) -> CheckResult:
        """The next one."""
        if not self.found:
            self.is_done = True
            await asyncio.sleep(3600)
        found = self.found.pop(0)
        if isinstance(found, Exception):
            raise found
        return CheckResult(found, "as made")


async def watched(monitor: HealthMonitor, until: Callable[[], bool]) -> None:
    watching = asyncio.create_task(monitor.watch())
    async with asyncio.timeout(10):
        while not until():  # noqa: ASYNC110 - a monitor tells nobody
            await asyncio.sleep(0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def probe(looks: Looks, *, threshold: int = 3) -> Probe:
    return Probe(look=looks.look, interval_seconds=0, timeout_seconds=5, threshold=threshold)


async def state_of(monitor: HealthMonitor, name: str) -> CheckState:
    return (await monitor.checks()[name]()).state


@pytest.mark.parametrize(
    ("found", "is_healthy", "state"),
    [
        ([], True, OK),
        ([FAILED], True, DEGRADED),
        ([FAILED, FAILED], True, DEGRADED),
        ([FAILED, FAILED, OK], True, OK),
        ([FAILED, FAILED, DEGRADED, FAILED, FAILED], True, DEGRADED),
        ([FAILED, FAILED, OK, FAILED, FAILED, FAILED], False, FAILED),
        ([FAILED] * 9, False, FAILED),
        ([*[FAILED] * 9, OK], True, OK),
    ],
)
async def test_failures_count_when_there_were_enough_in_a_row(
    found: list[CheckState], state: CheckState, *, is_healthy: bool
) -> None:
    looks = Looks(*found)
    monitor = HealthMonitor({"storage": probe(looks)})
    await watched(monitor, lambda: looks.is_done)
    assert (monitor.is_healthy(), await state_of(monitor, "storage")) == (is_healthy, state)


async def test_a_probe_that_raises_or_takes_too_long_has_failed() -> None:
    async def hang() -> CheckResult:
        await asyncio.sleep(3600)
        raise AssertionError

    monitor = HealthMonitor(
        {
            "raising": probe(Looks(ValueError("/srv/secret")), threshold=1),
            "hanging": Probe(look=hang, interval_seconds=0, timeout_seconds=0.01, threshold=1),
            "well": probe(Looks(OK)),
        }
    )
    await watched(monitor, lambda: monitor.failing == 2)
    details = {name: (await check()).detail for name, check in monitor.checks().items()}
    assert details["raising"] == "the probe itself failed: ValueError"
    assert details["hanging"] == "no result within 0.01 seconds"
    assert await state_of(monitor, "well") is OK


async def test_a_hung_storage_takes_one_thread_and_no_loop() -> None:
    """A network file system without its server: the call returns never, and cannot be ended."""
    let_go, calls = threading.Event(), list[bool]()

    def hang(is_writing: bool) -> Probed:  # noqa: FBT001 - as the application passes it
        calls.append(is_writing)
        let_go.wait(60)
        return Probed()

    settings = HealthSettings(storage_interval_seconds=0.001, storage_threshold=3, timeout_seconds=0.01)
    monitor = HealthMonitor({"storage": storage_probe(hang, lambda: True, settings)})
    await watched(monitor, lambda: not monitor.is_healthy())
    assert calls == [True]
    let_go.set()
    await watched(monitor, monitor.is_healthy)
    assert len(calls) >= 1


@pytest.mark.parametrize(
    ("probed", "state"),
    [(Probed(), OK), (Probed(unreachable="gone"), FAILED), (Probed(unwritable="read-only"), DEGRADED)],
)
async def test_what_the_storage_says(probed: Probed, state: CheckState) -> None:
    asked: list[bool] = []

    def look(is_writing: bool) -> Probed:  # noqa: FBT001 - as the application passes it
        asked.append(is_writing)
        return probed

    found = await storage_probe(look, lambda: False, HealthSettings()).look()
    assert found.state is state
    assert asked == [False], "during maintenance nothing is written"


async def test_a_detached_call_raises_where_it_is_waited_for() -> None:
    def fail() -> None:
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        await DetachedCall(fail, "test").result()


async def test_a_file_takes_the_registry_out_of_service_at_once(tmp_path: Path) -> None:
    file = tmp_path / "down"
    probes = listed_probes(HealthSettings(files=(file,), threshold=3))
    look = probes[str(file)]
    assert (await look.look()).state is OK
    file.touch()
    assert (look.threshold, await look.look()) == (1, CheckResult(FAILED, "file exists"))


async def test_addresses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        probes = listed_probes(HealthSettings(addresses=(address,), threshold=2))
        assert (await probes[address].look()).state is OK
    assert await probes[address].look() == CheckResult(FAILED, f"connection to {address} failed")
    assert probes[address].threshold == 2


@pytest.mark.parametrize(("status", "state"), [(200, OK), (302, OK), (404, FAILED), (503, FAILED)])
async def test_urls(status: int, state: CheckState) -> None:
    methods: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        methods.append((await reader.readuntil(b"\r\n\r\n")).split()[0])
        writer.write(f"HTTP/1.1 {status} X\r\nLocation: /\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        probes = listed_probes(HealthSettings(urls=(f"http://user:secret@{host}/x",)))
        assert list(probes) == [f"http://{host}/x"], "the password is not shown"
        assert (await probes[f"http://{host}/x"].look()).state is state
    assert methods == [b"HEAD"]
    gone = await probes[f"http://{host}/x"].look()
    assert gone == CheckResult(FAILED, f"error while checking: http://{host}/x")


def test_passwords_in_urls_are_not_shown() -> None:
    assert shown_url("https://a:b@c@example.com/x@y") == "https://example.com/x@y"
    assert shown_url("https://example.com/x@y") == "https://example.com/x@y"


async def ask(path: str, **checks: CheckState) -> tuple[int, Any]:
    def check(state: CheckState) -> Check:
        async def found() -> CheckResult:
            return CheckResult(state, "as made")

        return found

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    application = OperationsApplication(None, {name: check(state) for name, state in checks.items()})
    await application(scope, receive, send)
    return sent[0]["status"], msgspec.json.decode(sent[1]["body"])


async def test_debug_health_has_registry_2s_form() -> None:
    assert await ask("/debug/health", storage=OK, blobs=DEGRADED) == (200, {})
    assert await ask("/debug/health", storage=FAILED, blobs=DEGRADED) == (503, {"storage": "as made"})


async def test_readiness_ends_when_the_server_is_told_to_stop() -> None:
    is_stopping = False
    check = stopping_check(lambda: is_stopping)
    assert (await check()).state is OK
    is_stopping = True
    assert (await check()).state is FAILED
