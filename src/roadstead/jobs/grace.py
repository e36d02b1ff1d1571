"""Grace time (see ``roadstead.clock``) goes on from where the last process of this catalogue was.

Several machines may share a catalogue. Each begins near the latest time that any of them has noted, and then counts
for itself what really passes, so that they differ by at most ``SAVE_SECONDS``, and by ``LONGEST_OFF_MS`` where a
calendar was wrong at a start: little against waits of hours and days. What must be exact compares no clocks
(``roadstead.jobs.lease``).
"""

import asyncio
from typing import Final

import structlog
from msgspec import MsgspecError, json

from roadstead.clock import GraceAnchor, SystemClock, continued, is_same_boot
from roadstead.database import Database, DatabaseError, Transaction
from roadstead.errors import RoadsteadError
from roadstead.jobs.states import find_state, lock_state, save_state

STATE: Final = "clock"
"""Its row in ``states``."""

SAVE_SECONDS: Final = 600.0
"""Between two notes of the time: so much of grace time, less what counts of a reboot, a machine's crash may cost."""

_log = structlog.get_logger("roadstead.jobs")


async def open_clock(database: Database, boot_id: str) -> SystemClock:
    """Returns the clock of a process that opens a catalogue.

    After a boot the first process says where grace time goes on from, and the others follow it. One that may not write
    goes on alone: it changes nothing either.
    """
    kept = _decoded(await find_state(database, STATE))
    if kept is None or not is_same_boot(kept, boot_id):
        try:
            kept = await database.write(lambda transaction: _begin(transaction, boot_id))
        except DatabaseError as error:
            _log.debug("grace time not kept", reason=str(error))
    return SystemClock(continued(kept, boot_id))


async def _begin(transaction: Transaction, boot_id: str) -> GraceAnchor:
    anchor = continued(_decoded(await lock_state(transaction, STATE)), boot_id)
    await _put(transaction, anchor)
    return anchor


async def keep_clock(database: Database, clock: SystemClock) -> None:
    """Notes the time again and again, and at the end, until cancelled."""
    try:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await _note(database, clock)
    finally:
        await asyncio.shield(_note(database, clock))


async def _note(database: Database, clock: SystemClock) -> None:
    try:
        await database.write(lambda transaction: _save(transaction, clock.anchor), durable=False)
    except RoadsteadError as error:
        _log.info("grace time not kept", reason=str(error))


async def _save(transaction: Transaction, anchor: GraceAnchor) -> None:
    """Notes ``anchor``, unless another machine is further: grace time never goes back."""
    kept = _decoded(await lock_state(transaction, STATE))
    if kept is None or kept.boot_id == anchor.boot_id or kept.grace_ms < anchor.grace_ms:
        await _put(transaction, anchor)


async def _put(transaction: Transaction, anchor: GraceAnchor) -> None:
    await save_state(transaction, STATE, json.encode(anchor).decode())


def _decoded(value: str | None) -> GraceAnchor | None:
    try:
        return json.decode(value, type=GraceAnchor) if value else None
    except MsgspecError:
        return None  # a later version's: the calendar has to do
