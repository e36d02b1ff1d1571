"""Collects the garbage of a catalogue whose bytes are not there: `python -m benchmarks.collecting DATA [URL]`.

A process of its own, so that its memory is the collector's alone. Prints one JSON object. Catalogue time is what the
collector spends inside the catalogue: each transaction from the wish to write to the end of its commit, with the flush
to the disk where it is durable, and each read. The storage answers at once, so nothing of it is in the figures.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from roadstead.clock import SystemClock
from roadstead.database import SqliteDatabase
from roadstead.database.postgresql import PostgresqlDatabase
from roadstead.registry import Registry
from roadstead.registry.content.exclusive_rows import RowExclusive
from roadstead.registry.garbage.collected import Collected
from roadstead.registry.garbage.collection import Collector
from roadstead.storage import FilesystemStore
from roadstead.testing.wrapped_database import WrappedDatabase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from roadstead.database import Database, NameLock, Transaction
    from roadstead.storage import StorageError
    from roadstead.storage.lock_files import LockFiles

P = ParamSpec("P")
T = TypeVar("T")

WARM = 0.1
"""The part of the work after which memory is looked at first: caches have their size by then."""


class TimedDatabase(WrappedDatabase):
    """A catalogue with a stopwatch."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.fetch_one = self._timed(database.fetch_one)
        self.fetch_all = self._timed(database.fetch_all)
        self.seconds = 0.0
        self.longest = 0.0

    def _add(self, began: float) -> None:
        took = time.perf_counter() - began
        self.seconds += took
        self.longest = max(self.longest, took)

    def _timed(self, read: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        async def timed(*arguments: P.args, **parameters: P.kwargs) -> T:
            began = time.perf_counter()
            try:
                return await read(*arguments, **parameters)
            finally:
                self._add(began)

        return timed

    async def write(
        self,
        work: Callable[[Transaction], Awaitable[T]],
        *,
        locks: Iterable[NameLock] = (),
        durable: bool = True,
        is_long: bool = False,
    ) -> T:
        """Write, timed."""
        began = time.perf_counter()
        try:
            return await super().write(work, locks=locks, durable=durable, is_long=is_long)
        finally:
            self._add(began)


class BytelessStore(FilesystemStore):
    """A store in which nothing has to be removed or locked."""

    def exclusive(self, *_names: str) -> LockFiles:
        """Nobody else is there."""
        return super().exclusive()

    async def delete_all(self, keys: Sequence[str]) -> Sequence[bool | StorageError]:
        """There is nothing."""
        return [False] * len(keys)

    async def remove_as(self, token: str, keys: Sequence[str]) -> Sequence[bool | StorageError]:  # noqa: ARG002
        """There is nothing."""
        return [False] * len(keys)


async def collect(data: Path, url: str = "") -> dict[str, float]:
    """Collect all that is due; return the figures. The catalogue is at `url`, or else a file in `data`."""
    database = TimedDatabase(await PostgresqlDatabase.open(url) if url else SqliteDatabase.open(data / "roadstead.db"))
    storage, clock = BytelessStore(data / "registry"), SystemClock()
    exclusive = RowExclusive(database, storage, clock) if url else None
    registry = Registry.on(database, storage, clock, on_quarantine=lambda *_: None, exclusive=exclusive)
    collector = Collector(registry)
    due = await collector.count_due()
    database.seconds = database.longest = 0.0
    total, warm_mb = Collected(), 0.0
    while True:
        done = await collector.step()
        total.add(done)
        if not done.looked_at:
            break
        if not warm_mb and total.blobs >= due * WARM:
            warm_mb = status_mb("VmRSS")
            reset_peak()
    await database.close()
    await storage.close()
    return {
        "blobs": total.blobs,
        "seconds": database.seconds,
        "longest": database.longest,
        "growth": status_mb("VmHWM") - warm_mb,
    }


def reset_peak() -> None:
    """Make the kernel forget the highest memory."""
    Path("/proc/self/clear_refs").write_text("5")


def status_mb(name: str) -> float:
    """Return a figure of this process's memory in megabytes."""
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


if __name__ == "__main__":
    print(json.dumps(asyncio.run(collect(Path(sys.argv[1]), *sys.argv[2:]))))
