"""Holds that are rows in the catalogue, for replicas that share it; see ``exclusive`` for why they are enough.

A row (see ``roadstead.jobs.lease_rows``) is named after its digest; its holder is a token that is made anew for each
hold, so that no two holds are ever taken for one another, though the row goes when the hold is given up. Several rows
are had all at once or not at all, so nobody waits while it holds some. Whoever waits looks again after a random pause.
"""

import asyncio
import contextlib
import random
import secrets
from collections.abc import Sequence
from typing import Final

import structlog

from roadstead.clock import Clock
from roadstead.database import Database, Transaction
from roadstead.errors import RoadsteadError
from roadstead.jobs import LeaseLostError, lease_rows
from roadstead.jobs.lease_rows import Watch
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.cancellation import uninterrupted
from roadstead.registry.content.exclusive import Hold
from roadstead.registry.model import Blob
from roadstead.storage import FolderStore, StorageError

LAPSE_SECONDS: Final = 10.0
"""Seconds after which the holder of a row that stands still is dead: so long a push waits for one that was killed."""

BEAT_SECONDS: Final = LAPSE_SECONDS / 5
"""Between two signs of life of a hold that lasts: most are given up before the first."""

PAUSE_SECONDS: Final = 0.005
LONGEST_PAUSE_SECONDS: Final = 0.2
"""The first and the longest pause, on average, between two looks; a holder needs some milliseconds."""

PREFIX: Final = "digest/"
"""Of the names of the rows."""

_log = structlog.get_logger("roadstead.exclusive")


class RowExclusive:
    """Holds of this process."""

    is_shared = True
    is_fenced = True

    def __init__(
        self, database: Database, storage: FolderStore, clock: Clock, *, lapse_seconds: float = LAPSE_SECONDS
    ) -> None:
        """``lapse_seconds`` is as ``LAPSE_SECONDS``, which all replicas have in common."""
        self.database = database
        self.storage = storage
        self.beat_seconds = lapse_seconds * BEAT_SECONDS / LAPSE_SECONDS
        self._watch = Watch(clock.monotonic_seconds, lapse_seconds)

    def hold(self, *digests: Digest) -> "_RowHold":
        """Holds the digests by rows."""
        return _RowHold(self, digests)

    async def take(self, names: list[str], token: str) -> dict[str, int] | None:
        """Takes all rows, or none: those of dead holders too. The fences by name; None if somebody lives in one."""
        asked = self._watch.now()
        held = await lease_rows.list_held(self.database, names)
        dead = {name: each for name, each in held.items() if self._watch.has_lapsed(name, each, asked=asked)}
        if len(dead) < len(held):
            return None
        for name, each in dead.items():
            await self.storage.bar(each.holder, layout.blob_key(_digest_of(name)))

        async def work(transaction: Transaction) -> dict[str, int]:
            await lease_rows.add_held(transaction, names, token)
            for name in sorted(dead):
                await lease_rows.take_over(transaction, name, dead[name], token)
            taken = await lease_rows.list_held(transaction, names)
            if any(each.holder != token for each in taken.values()):
                raise _NotAllError
            return {name: each.fence for name, each in taken.items()}

        try:
            fences = await self.database.write(work)  # durable: a row that is forgotten would be another's as well
        except _NotAllError:
            return None
        for name, each in dead.items():
            self._watch.forget(name)
            _log.warning(
                "taken over from a process that gives no sign of life", digest=_digest_of(name), was=each.holder
            )
        return fences


class _NotAllError(Exception):
    """Undoes the taking of some rows."""


class _RowHold(contextlib.AbstractAsyncContextManager[Hold]):
    def __init__(self, exclusive: RowExclusive, digests: Sequence[Digest]) -> None:
        self._exclusive = exclusive
        self._names = sorted({PREFIX + digest for digest in digests})
        self._token = secrets.token_hex(16)
        self._fences: dict[str, int] = {}
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Hold:
        pause = PAUSE_SECONDS
        try:
            while not (fences := await self._exclusive.take(self._names, self._token)):
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        except (RoadsteadError, asyncio.CancelledError):  # which may have happened after they were taken
            await uninterrupted(self._give_up())
            raise
        self._fences = fences
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *raised: object) -> None:
        if self._beating is not None:
            self._beating.cancel()
        await uninterrupted(self._give_up())

    async def _give_up(self) -> None:
        """Removes the rows; those that cannot be removed lapse."""
        try:
            work = self._remove_rows
            await self._exclusive.database.write(work, durable=False)
        except RoadsteadError as error:
            _log.info("hold not given up", reason=str(error))

    async def _remove_rows(self, transaction: Transaction) -> None:
        await lease_rows.remove(transaction, self._names, self._token)

    async def _beat(self) -> None:
        async def work(transaction: Transaction) -> None:
            for name, fence in self._fences.items():
                await lease_rows.beat(transaction, name, self._token, fence)

        while True:
            await asyncio.sleep(self._exclusive.beat_seconds)
            with contextlib.suppress(RoadsteadError):  # the next one comes soon; who waits too long takes over
                await self._exclusive.database.write(work, durable=False)

    async def require(self, transaction: Transaction) -> None:
        found = await lease_rows.keep_all_held(transaction, list(self._fences))
        for name, fence in self._fences.items():
            held = found.get(name)
            if held is None or (held.holder, held.fence) != (self._token, fence):
                raise LeaseLostError(_digest_of(name))

    async def remove(self, blobs: Sequence[Blob]) -> Sequence[bool | StorageError]:
        keys = [layout.blob_key(blob.digest) for blob in blobs]
        return await self._exclusive.storage.remove_as(self._token, keys)

    async def remove_aside(self, digests: Sequence[Digest]) -> Sequence[bool | StorageError]:
        return await self._exclusive.storage.delete_all([layout.quarantine_key(digest) for digest in digests])

    async def put_aside(self, digest: Digest) -> None:
        key = layout.blob_key(digest)
        await self._exclusive.storage.move_as(self._token, key, layout.quarantine_key(digest))


def _digest_of(name: str) -> Digest:
    return Digest(name.removeprefix(PREFIX))
