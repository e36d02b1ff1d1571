"""Grace time (see ``roadstead.clock``) goes on from where the last process of this catalogue was.

Several machines may share a catalogue on a server. Each counts for itself what really passes, notes it every few
seconds with the time by the server's calendar, and goes forward to what another has noted, so that they differ by about
a second. The server's calendar is asked only for what has passed since the last note: if it jumps, grace time goes
wrong by ``FOLLOWED_MS``, or by ``LONGEST_OFF_MS`` where nobody served meanwhile. What must be exact compares no clocks
(``roadstead.jobs.lease``).
"""

import asyncio
from dataclasses import replace
from typing import Final

import structlog
from msgspec import MsgspecError, json
from sqlalchemy import BigInteger, cast, extract, func, select

from roadstead.clock import LONGEST_OFF_MS, GraceAnchor, SystemClock, continued, is_same_boot, reached
from roadstead.database import Database, DatabaseError, Reader, Statement, Transaction
from roadstead.errors import RoadsteadError
from roadstead.jobs.states import find_state, lock_state, save_state

STATE: Final = "clock"
"""Its row in ``states``."""

SAVE_SECONDS: Final = 600.0
"""Between two notes of the time: so much of grace time, less what counts of a reboot, a machine's crash may cost."""

FOLLOW_SECONDS: Final = 5.0
"""Between two notes where machines share a catalogue."""

FOLLOWED_MS: Final = 60_000
"""Of the time since another machine's note that counts: it was written a few seconds ago."""

_SERVER_MS: Final = Statement(select(cast(extract("epoch", func.clock_timestamp()) * 1000, BigInteger)))

_log = structlog.get_logger("roadstead.jobs")


async def open_shared_clock(database: Database, boot_id: str) -> SystemClock:
    """Returns the clock of a process that opens a catalogue on a server."""
    wall_ms = await _server_ms(database)
    kept = _decoded(await find_state(database, STATE))
    grace_ms = wall_ms if kept is None else reached(kept, wall_ms, LONGEST_OFF_MS)
    return SystemClock(replace(continued(None, boot_id), grace_ms=grace_ms))


async def keep_shared_clock(database: Database, clock: SystemClock) -> None:
    """Notes the time, and goes forward to that of others, again and again until cancelled."""
    while True:
        try:
            await share_time(database, clock)
        except RoadsteadError as error:
            _log.info("grace time not kept", reason=str(error))
        await asyncio.sleep(FOLLOW_SECONDS)


async def share_time(database: Database, clock: SystemClock) -> None:
    """One round of it."""
    clock.follow(await database.write(lambda transaction: _share(transaction, clock), durable=False))


async def _share(transaction: Transaction, clock: SystemClock) -> int:
    """Grace time as the farthest has it, which is noted."""
    kept = _decoded(await lock_state(transaction, STATE))
    wall_ms = await _server_ms(transaction)
    anchor = clock.anchor
    others_ms = 0 if kept is None else reached(kept, wall_ms, FOLLOWED_MS)
    grace_ms = max(anchor.grace_ms, others_ms)
    await _put(transaction, GraceAnchor(anchor.boot_id, anchor.boot_ms, wall_ms, grace_ms))
    return grace_ms


async def _server_ms(reader: Reader) -> int:
    row = await reader.fetch_one(_SERVER_MS)
    return 0 if row is None else int(row[0])


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
