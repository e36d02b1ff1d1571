"""A transaction that fails or loses its connection, at each of its statements.

How often its work ran, what is kept, and what its caller is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from roadstead.database import DatabaseUnavailableError, Transaction
from roadstead.database.postgresql import PostgresqlDatabase
from roadstead.jobs import find_state, save_state
from tests.system.database.faulty_wire import Fault, FaultyWire, Order, nothing_fails

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

COMMIT: Final = 4
"""The number of the statement, after BEGIN and two changes."""


class Counted:
    """Work of two changes, which knows how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    async def work(self, transaction: Transaction) -> str:
        """Two changes that say which run they are of."""
        self.runs += 1
        await save_state(transaction, "first", str(self.runs))
        await save_state(transaction, "second", str(self.runs))
        return f"run {self.runs}"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def wire(catalogue_url: str) -> AsyncIterator[FaultyWire]:
    async with FaultyWire(catalogue_url) as wire:
        yield wire


@pytest.fixture
async def database(wire: FaultyWire) -> AsyncIterator[PostgresqlDatabase]:
    database = await PostgresqlDatabase.open(wire.url)
    yield database
    await database.close()


async def kept(database: PostgresqlDatabase, wire: FaultyWire) -> tuple[str | None, str | None]:
    wire.order = nothing_fails()
    return await find_state(database, "first"), await find_state(database, "second")


@pytest.mark.parametrize("step", range(1, COMMIT + 1))
@pytest.mark.parametrize("fault", [each for each in Fault if not each.is_cut])
async def test_what_another_stood_in_the_way_of_runs_again(
    database: PostgresqlDatabase, wire: FaultyWire, fault: Fault, step: int
) -> None:
    counted, wire.order = Counted(), Order(fault, step)
    result = await database.write(counted.work)
    assert (wire.order.failed, wire.order.at_commit, database.retries) == (1, step == COMMIT, 1)
    assert counted.runs == (1 if step == 1 else 2), "BEGIN fails before the work has begun"
    assert result == f"run {counted.runs}"
    assert await kept(database, wire) == (str(counted.runs), str(counted.runs))


@pytest.mark.parametrize("step", range(1, COMMIT))
@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER])
async def test_what_lost_its_connection_before_the_commit_runs_again(
    database: PostgresqlDatabase, wire: FaultyWire, fault: Fault, step: int
) -> None:
    counted, wire.order = Counted(), Order(fault, step)
    result = await database.write(counted.work)
    assert wire.order.failed == 1
    assert result == f"run {counted.runs}"
    assert await kept(database, wire) == (str(counted.runs), str(counted.runs))


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER])
async def test_a_commit_without_an_answer_is_told_as_such_and_never_run_again(
    database: PostgresqlDatabase, wire: FaultyWire, fault: Fault
) -> None:
    """Whether it was kept its caller finds out by looking: all of it was, or nothing."""
    counted, wire.order = Counted(), Order(fault, COMMIT)
    with pytest.raises(DatabaseUnavailableError):
        await database.write(counted.work)
    assert counted.runs == 1
    assert await kept(database, wire) == (("1", "1") if fault is Fault.CUT_AFTER else (None, None))
