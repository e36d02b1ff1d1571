"""Replicas that are frozen in the middle of what they hold, and wake up when it is another's: nothing is lost.

The replica is a process that stops itself right before a system call; the test is another replica. What was answered
with 201 is there with the right bytes, before the first wakes up and after, and the first is not told that something is
stored which is not.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.garbage.collection import Collector
from roadstead.testing.images import digest_of
from roadstead.testing.instance import Instance
from tests.system.database.freezing import CONTENT, DAY_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio
DATABASES = ("postgresql",)
BLOB = digest_of(CONTENT)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


class Frozen:
    """The other replica."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, instance: Instance, action: str, call: str) -> Frozen:
        """Starts it and waits until it has stopped."""
        arguments = (instance.database_url, str(instance.folder), action, call)
        command = (sys.executable, "-m", "tests.system.database.freezing", *arguments)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert await cls(process)._line() == "frozen"
        while not _is_stopped(process.pid):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        return cls(process)

    async def _line(self) -> str:
        """What it says next, between the lines of its log."""
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            while line := (await self._process.stdout.readline()).decode().strip():
                if line == "frozen" or line.startswith("ended "):
                    break
        return line

    async def wake(self) -> str:
        """Lets it go on to its end; what became of its action."""
        os.kill(self._process.pid, signal.SIGCONT)
        line = await self._line()
        await self._process.wait()
        return line.removeprefix("ended ")

    async def kill(self) -> None:
        """As the kernel does that needs its memory."""
        self._process.kill()
        await self._process.wait()


def _is_stopped(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    return status.rpartition(")")[2].split()[0] == "T"


@pytest.fixture
async def instance(tmp_path: Path, database_url: str) -> AsyncIterator[Instance]:
    instance = Instance(tmp_path, database_url=database_url)
    instance.lapse_seconds = 1.0
    await instance.open()
    yield instance
    await instance.close()


async def pull(instance: Instance) -> bytes:
    return (await instance.client.request("GET", f"/v2/app/blobs/{BLOB}")).body


async def collect(instance: Instance) -> None:
    collector = Collector(instance.registry)
    while (await collector.step()).looked_at:
        pass


async def test_a_collector_frozen_before_it_removes(instance: Instance) -> None:
    await instance.push_blob("app", CONTENT)
    frozen = await Frozen.start(instance, "collect", "take")
    await instance.push_blob("app", CONTENT)  # waits for the hold to lapse
    assert await pull(instance) == CONTENT
    assert await frozen.wake() == "0"
    assert await pull(instance) == CONTENT
    assert not instance.quarantined


async def test_without_a_bar_it_removes_what_is_another_s(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""

    async def let_it(_token: str, _key: str) -> None:
        pass

    monkeypatch.setattr(instance.registry.storage, "bar", let_it)
    await instance.push_blob("app", CONTENT)
    frozen = await Frozen.start(instance, "collect", "take")
    await instance.push_blob("app", CONTENT)
    await frozen.wake()
    assert await pull(instance) != CONTENT


async def test_a_quarantine_frozen_before_it_moves(instance: Instance) -> None:
    await instance.push_blob("app", CONTENT)
    frozen = await Frozen.start(instance, "quarantine", "take")
    await instance.push_blob("app", CONTENT)
    assert await pull(instance) == CONTENT
    assert await frozen.wake() == "ObjectBarredError", sorted(instance.files())
    assert await pull(instance) == CONTENT


@pytest.mark.parametrize("is_held", [False, True])
async def test_a_push_frozen_before_it_publishes(instance: Instance, *, is_held: bool) -> None:
    """Another pushes the same, deletes it, and collects: the first stores it anew, or says that it did not."""
    if is_held:
        await damage(instance)
    frozen = await Frozen.start(instance, "push", "copy_in_place:2" if is_held else "copy_in_place")
    await instance.push_blob("app", CONTENT)
    assert await pull(instance) == CONTENT
    await remove_and_collect(instance)
    outcome = await frozen.wake()
    found = await instance.client.request("GET", f"/v2/late/blobs/{BLOB}")
    assert (outcome, found.status) in ([("503", 404)] if is_held else [("201", 200)])


@pytest.mark.parametrize("call", ["copy_in_place", "_record_blob"])
async def test_a_push_frozen_while_another_serves(instance: Instance, call: str) -> None:
    frozen = await Frozen.start(instance, "push", call)
    await instance.push_blob("app", CONTENT)
    assert await frozen.wake() == "201"
    assert await pull(instance) == CONTENT
    late = await instance.client.request("GET", f"/v2/late/blobs/{BLOB}")
    assert late.body == CONTENT


async def test_a_push_frozen_between_publishing_and_recording(instance: Instance) -> None:
    """What it has published is collected meanwhile, with the record of another."""
    frozen = await Frozen.start(instance, "push", "_record_blob")
    await instance.push_blob("app", CONTENT)
    await remove_and_collect(instance)
    assert not (instance.objects / layout.blob_key(layout_digest())).exists()
    assert await frozen.wake() == "201"
    late = await instance.client.request("GET", f"/v2/late/blobs/{BLOB}")
    assert late.body == CONTENT


async def test_killed_while_it_holds(instance: Instance) -> None:
    await instance.push_blob("app", CONTENT)
    frozen = await Frozen.start(instance, "collect", "take")
    await frozen.kill()
    await instance.push_blob("app", CONTENT)
    assert await pull(instance) == CONTENT
    await remove_and_collect(instance)
    assert [key for key in instance.files() if not key.startswith("aside/")] == []


async def damage(instance: Instance) -> None:
    await instance.push_blob("app", CONTENT)
    await instance.registry.blobs.quarantine(layout_digest(), "test")


def layout_digest() -> Digest:
    return Digest(BLOB)


async def remove_and_collect(instance: Instance) -> None:
    answer = await instance.client.request("DELETE", f"/v2/app/blobs/{BLOB}")
    assert answer.status == 202
    instance.clock.advance(2 * DAY_SECONDS)
    await collect(instance)
