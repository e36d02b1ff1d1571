"""Holding off the collector: while somebody copies what a snapshot of the catalogue names, no blob is given up.

How a backup and the collector agree, each in transactions of one catalogue:

1. the backup writes a hold, and only then takes its snapshot;
2. the collector asks ``is_collection_held`` inside the transaction that marks a blob as being deleted;
3. the first changes what the second keeps (``locks``): a transaction that marks has ended before a hold is written, or
   begins after it and sees it.

So a blob that is not marked in the snapshot was not marked when the hold was written, and is not marked until the hold
ends: its bytes stay. A hold is a row of ``states`` with a time at which it ends by itself, renewed while its owner
lives: a backup that was killed keeps garbage for ``HOLD_MS``, not for ever.
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
"""How long a hold lasts without renewal: longer than any pause of a machine that a backup should survive."""

RENEWAL_SECONDS: Final = 30.0
"""Time between two renewals: several may fail before the hold ends."""

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

    def require(self) -> None:
        """Sees that the hold never ended; after this is the time to believe what was copied.

        Raises:
            HoldLapsedError: it did, or the clock says so.
        """
        if self._clock.grace_ms() >= self._expires_ms:
            raise HoldLapsedError

    async def begin(self) -> None:
        """Writes the hold; forgets those of the dead."""
        now_ms = self._clock.grace_ms()

        async def work(transaction: Transaction) -> None:
            for name, value in (await list_states(transaction, _PREFIX)).items():
                if _expires_ms(value) <= now_ms:
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
        return json.dumps({"expires_ms": now_ms + HOLD_MS, "reason": self._reason})


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


async def is_collection_held(reader: Reader, now_ms: int) -> bool:
    """Whether blobs must stay; ask inside the transaction that marks them."""
    return any(_expires_ms(value) > now_ms for value in (await list_states(reader, _PREFIX)).values())


async def list_holds(reader: Reader, now_ms: int) -> list[str]:
    """The reasons of the holds in force."""
    values = (await list_states(reader, _PREFIX)).values()
    return [str(json.loads(value)["reason"]) for value in values if _expires_ms(value) > now_ms]


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
