"""Grace time grows by what really passed: within a boot exactly, after another by what a reboot takes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from roadstead.clock import LONGEST_OFF_MS, GraceAnchor, SystemClock, calendar_ms, go_on
from roadstead.database import SqliteDatabase, migrate
from roadstead.database.postgresql import PostgresqlDatabase
from roadstead.jobs import open_clock, open_shared_clock, save_state
from roadstead.jobs.grace import share_time
from roadstead.testing.clock import START_MS, SettableClock

if TYPE_CHECKING:
    from pathlib import Path

DAY_MS = 24 * 3_600_000
KEPT = GraceAnchor("this boot", 1_000_000, START_MS, START_MS - DAY_MS)


@pytest.mark.parametrize(
    ("now", "passed_ms"),
    [
        (GraceAnchor("this boot", 1_000_000, START_MS, 0), 0),
        (GraceAnchor("this boot", 1_040_000, START_MS + 30 * DAY_MS, 0), 40_000),
        (GraceAnchor("this boot", 1_040_000, START_MS - 30 * DAY_MS, 0), 40_000),
        (GraceAnchor("this boot", 1_000_000 + 3 * DAY_MS, START_MS + 3 * DAY_MS, 0), 3 * DAY_MS),
        (GraceAnchor("this boot", 500_000, START_MS + 60_000, 0), 60_000),
        (GraceAnchor("another", 20_000, START_MS + 90_000, 0), 90_000),
        (GraceAnchor("another", 20_000, START_MS + 30 * DAY_MS, 0), LONGEST_OFF_MS),
        (GraceAnchor("another", 20_000, START_MS - DAY_MS, 0), 0),
        (GraceAnchor("another", 20_000, 90_000, 0), 0),
    ],
    ids=[
        "at once",
        "the calendar jumped ahead",
        "the calendar jumped back",
        "the server was stopped for three days",
        "a virtual machine was set back",
        "a reboot",
        "off for a month, or a wrong calendar",
        "a calendar that went back",
        "no battery: the machine begins in 1970",
    ],
)
def test_what_passed(now: GraceAnchor, passed_ms: int) -> None:
    found = go_on(KEPT, now)
    assert found.grace_ms == KEPT.grace_ms + passed_ms
    assert (found.boot_id, found.boot_ms, found.wall_ms) == (now.boot_id, now.boot_ms, now.wall_ms)


def test_a_new_catalogue_begins_with_the_calendar() -> None:
    assert go_on(None, KEPT).grace_ms == KEPT.wall_ms


def test_from_1970_to_the_right_time_no_grace_time_is_lost_or_won() -> None:
    """A board without a battery: the calendar jumps by 56 years when the time server answers."""
    booted = go_on(KEPT, GraceAnchor("another", 5_000, 60_000, 0))
    set_right = go_on(booted, GraceAnchor("another", 15_000, START_MS + DAY_MS, 0))
    assert set_right.grace_ms == KEPT.grace_ms + 10_000


def catalogue(tmp_path: Path) -> SqliteDatabase:
    migrate(tmp_path / "roadstead.db")
    return SqliteDatabase.open(tmp_path / "roadstead.db")


def keep(database: SqliteDatabase, **changed: object) -> None:
    with closing(sqlite3.connect(database.path)) as connection, connection:
        row = connection.execute("SELECT value FROM states WHERE name = 'clock'").fetchone()
        value = json.dumps(json.loads(row[0]) | changed)
        connection.execute("UPDATE states SET value = ? WHERE name = 'clock'", (value,))


@pytest.mark.anyio
async def test_processes_agree_and_go_on_from_the_catalogue(tmp_path: Path) -> None:
    database = catalogue(tmp_path)
    one, two = await open_clock(database, "boot"), await open_clock(database, "boot")
    assert 0 <= two.grace_ms() - one.grace_ms() < 1000
    keep(database, grace_ms=START_MS - DAY_MS)
    again = await open_clock(database, "boot")
    assert 0 <= again.grace_ms() - (START_MS - DAY_MS) < 60_000, "however the calendar stands"
    keep(database, wall_ms=1_000_000)
    after = await open_clock(database, "next boot")
    follower = await open_clock(database, "next boot")
    assert 0 <= after.grace_ms() - (START_MS - DAY_MS) - LONGEST_OFF_MS < 60_000
    assert 0 <= follower.grace_ms() - after.grace_ms() < 1000, "the first of a boot decides"
    assert SystemClock(follower.anchor).grace_ms() - follower.grace_ms() < 1000
    await database.close()


@pytest.mark.anyio
async def test_a_state_that_cannot_be_read_is_begun_anew(tmp_path: Path) -> None:
    database = catalogue(tmp_path)
    await open_clock(database, "boot")
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("UPDATE states SET value = '[]' WHERE name = 'clock'")
    clock = await open_clock(database, "boot")
    assert abs(clock.grace_ms() - clock.now_ms()) < 1000
    await database.close()


def behind(clock: SystemClock, seconds: float) -> SystemClock:
    anchor = clock.anchor
    return SystemClock(GraceAnchor("another machine", anchor.boot_ms, 0, anchor.grace_ms - round(seconds * 1000)))


@pytest.mark.anyio
async def test_machines_that_share_a_catalogue_agree(catalogue_url: str) -> None:
    """Whatever their own calendars say; who is behind goes forward, and nobody goes back."""
    database = await PostgresqlDatabase.open(catalogue_url)
    ahead = await open_shared_clock(database, "a machine")
    assert abs(ahead.grace_ms() - ahead.now_ms()) < 5000, "tests run beside their server"
    late = behind(ahead, 3000)
    await share_time(database, late)
    await share_time(database, ahead)
    assert ahead.grace_ms() - late.grace_ms() > 2_900_000, "nobody goes back"
    await share_time(database, late)
    assert abs(ahead.grace_ms() - late.grace_ms()) < 5000
    newcomer = await open_shared_clock(database, "a third machine")
    assert abs(ahead.grace_ms() - newcomer.grace_ms()) < 5000
    await database.close()


@pytest.mark.anyio
@pytest.mark.parametrize(("off_ms", "passed_ms"), [(-30 * DAY_MS, LONGEST_OFF_MS), (30 * DAY_MS, 0)])
async def test_a_server_s_calendar_that_jumps_counts_for_little(
    catalogue_url: str, off_ms: int, passed_ms: int
) -> None:
    database = await PostgresqlDatabase.open(catalogue_url)
    now = (await open_shared_clock(database, "a machine")).anchor
    noted = GraceAnchor("a machine", now.boot_ms, now.wall_ms + off_ms, START_MS)
    await database.write(lambda transaction: save_state(transaction, "clock", msgspec.json.encode(noted).decode()))
    clock = await open_shared_clock(database, "another machine")
    assert 0 <= clock.grace_ms() - START_MS - passed_ms < 5000
    await database.close()


def test_people_are_shown_the_calendar() -> None:
    clock = SettableClock()
    assert calendar_ms(clock, START_MS + 5) == START_MS + 5
    clock.set_ms(START_MS + 30_000)
    assert calendar_ms(clock, START_MS + 5) == START_MS + 5, "what a time server corrects does not show"
    clock.set_ms(START_MS + DAY_MS)
    assert calendar_ms(clock, START_MS + 5) == START_MS + DAY_MS + 5
