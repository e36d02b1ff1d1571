"""Holding off the collector: while somebody copies what a snapshot of the catalogue names, no blob is given up.

How a backup and the collector agree, each in transactions of one catalogue:

1. the backup writes a hold, and only then takes its snapshot;
2. the collector asks ``HoldWatch.is_held`` inside the transaction that marks a blob as being deleted;
3. the first changes what the second keeps (``locks``): a transaction that marks has ended before a hold is written, or
   begins after it and sees it.

So a blob that is not marked in the snapshot was not marked when the hold was written, and is not marked until the hold
ends: its bytes stay. A hold is a row of ``states``, renewed while its owner lives: a backup that was killed keeps
garbage for ``HOLD_MS``, not for ever. On one machine a row has a time at which it ends by itself. Replicas on several
machines compare no clocks: a row whose text has stood still for as long, by the clock of the process that watches, is a
dead process's. One that has only just begun to watch lets every row count.
"""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncGenerator
from typing import Final

from roadstead.clock import Clock
from roadstead.database import Database, Reader, Transaction
from roadstead.errors import RoadsteadError
from roadstead.jobs import delete_state, list_states, save_state
from roadstead.registry.locks import COLLECTION_CHANGED

HOLD_MS: Final = 300_000
"""Time for which a hold lasts without renewal: longer than any pause of a machine that a backup should survive."""

RENEWAL_SECONDS: Final = 30.0
"""Time between two renewals: several may fail before the hold ends."""

FORGOTTEN_MS: Final = 86_400_000
"""Age of a row from which on it is a dead process's whatever clocks say: they differ by less than a day."""

_PREFIX: Final = "hold:"


class HoldLapsedError(RoadsteadError):
    """A hold ended before its owner was done (the process stood still, or the clock jumped): begin anew."""

    def __init__(self) -> None:
        super().__init__(
            "this process stood still for so long that garbage may have been collected meanwhile: run it again"
        )


class Hold:
    """A hold in force, made by ``hold_collection``."""

    def __init__(self, database: Database, clock: Clock, reason: str) -> None:
        self._database = database
        self._clock = clock
        self._reason = reason
        self._name = f"{_PREFIX}{uuid.uuid4().hex}"
        self._expires_ms = 0
        self._renewals = 0

    def require(self) -> None:
        """Sees that the hold never ended; after this is the time to believe what was copied.

        Raises:
            HoldLapsedError: it did, or the clock says so.
        """
        if self._clock.grace_ms() >= self._expires_ms:
            raise HoldLapsedError

    async def begin(self) -> None:
        """Writes the hold; forgets those of processes that died long ago."""
        now_ms = self._clock.grace_ms()

        async def work(transaction: Transaction) -> None:
            for name, value in (await list_states(transaction, _PREFIX)).items():
                if _expires_ms(value) <= now_ms - FORGOTTEN_MS:
                    await delete_state(transaction, name)
            await save_state(transaction, self._name, self._value(now_ms))

        await self._database.write(work, locks=[COLLECTION_CHANGED], durable=False)
        self._expires_ms = now_ms + HOLD_MS

    async def renew(self) -> None:
        """Moves the hold's end.

        Raises:
            HoldLapsedError: it had ended.
        """
        self.require()
        now_ms = self._clock.grace_ms()
        self._renewals += 1

        async def work(transaction: Transaction) -> None:
            await save_state(transaction, self._name, self._value(now_ms))

        await self._database.write(work, locks=[COLLECTION_CHANGED], durable=False)
        self.require()  # the write itself may have waited
        self._expires_ms = now_ms + HOLD_MS

    async def end(self) -> None:
        """Lets the collector go on."""

        async def work(transaction: Transaction) -> None:
            await delete_state(transaction, self._name)

        await self._database.write(work, durable=False)

    def _value(self, now_ms: int) -> str:
        return json.dumps({"expires_ms": now_ms + HOLD_MS, "reason": self._reason, "renewals": self._renewals})


@contextlib.asynccontextmanager
async def hold_collection(database: Database, clock: Clock, reason: str) -> AsyncGenerator[Hold, None]:
    """No blob is marked as being deleted inside; ``reason`` is for people who ask why nothing is collected."""
    hold = Hold(database, clock, reason)
    await hold.begin()
    renewing = asyncio.create_task(_renew(hold), name="hold-renewal")
    try:
        yield hold
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        with contextlib.suppress(RoadsteadError):  # it ends by itself
            await hold.end()


class HoldWatch:
    """Knows the holds, and if their owners are alive, for one process."""

    def __init__(self, clock: Clock, *, is_shared: bool) -> None:
        """``is_shared``: owners may be on other machines, whose clocks are others."""
        self._clock = clock
        self._is_shared = is_shared
        self._seen: dict[str, tuple[str, float]] = {}

    async def is_held(self, reader: Reader) -> bool:
        """True if blobs must stay; to be asked inside the transaction that marks them."""
        return bool(await self._find_alive(reader))

    async def list_reasons(self, reader: Reader) -> list[str]:
        """The reasons of the holds in force."""
        return [str(json.loads(value)["reason"]) for value in (await self._find_alive(reader)).values()]

    async def forget_dead(self, transaction: Transaction) -> None:
        """Removes the rows of processes that were seen to be dead, after ``is_held``."""
        if not self._seen:
            return
        rows = await list_states(transaction, _PREFIX)
        for name in set(rows) - set(await self._find_alive(transaction)):
            await delete_state(transaction, name)

    async def _find_alive(self, reader: Reader) -> dict[str, str]:
        rows = await list_states(reader, _PREFIX)
        now = self._clock.monotonic_seconds()
        seen = {name: self._seen.get(name, (value, now)) for name, value in rows.items()}
        self._seen = {name: seen[name] if seen[name][0] == value else (value, now) for name, value in rows.items()}
        return {name: value for name, value in rows.items() if self._is_alive(name, value, now)}

    def _is_alive(self, name: str, value: str, now: float) -> bool:
        now_ms = self._clock.grace_ms()
        if self._is_shared:
            return now - self._seen[name][1] < HOLD_MS / 1000 and _expires_ms(value) > now_ms - FORGOTTEN_MS
        return _expires_ms(value) > now_ms


async def forget_holds(transaction: Transaction) -> None:
    """Ends all: for a catalogue that was copied while one was in force."""
    for name in await list_states(transaction, _PREFIX):
        await delete_state(transaction, name)


async def _renew(hold: Hold) -> None:
    while True:
        await asyncio.sleep(RENEWAL_SECONDS)
        try:
            await hold.renew()
        except HoldLapsedError:
            return  # the owner learns it by ``require``
        except RoadsteadError:
            continue  # the catalogue may answer the next time


def _expires_ms(value: str) -> int:
    return int(json.loads(value)["expires_ms"])
