"""Leases against a model: some holders, each with a clock of its own that stands still or runs as it likes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadstead.database import Database, SqliteDatabase, Transaction, migrate
from roadstead.database.postgresql import PostgresqlDatabase
from roadstead.jobs import Lease, LeaseLostError, delete_leases, find_state, require_fence, save_state
from roadstead.jobs.lease import LEASE_SECONDS
from roadstead.testing.clock import SettableClock
from tests.profiles import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

HOLDERS = 3
STEPS = st.lists(
    st.tuples(
        st.integers(0, HOLDERS - 1),
        st.sampled_from(["take", "take", "work", "work", "give up"]),
        st.lists(
            st.sampled_from([0.0, 1.0, LEASE_SECONDS / 2, LEASE_SECONDS + 1.0]), min_size=HOLDERS, max_size=HOLDERS
        ),
    ),
    max_size=25,
)


@dataclass
class Model:
    """Who has the lease, and how often each of the others has seen it stand still."""

    holder: int | None = None
    fence: int = 0
    renewals: int = 0
    first_seen: dict[int, tuple[int, float]] = field(default_factory=dict)


class World:
    """The holders on one catalogue, and what they should find."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clocks = [SettableClock(1_000 * number) for number in range(HOLDERS)]
        self.leases = [Lease(database, clock, "work") for clock in self.clocks]
        self.model = Model()

    async def run(self, steps: Sequence[tuple[int, str, Sequence[float]]]) -> None:
        """Takes the steps, of a holder, an action and the seconds that pass before on each clock."""
        await self.database.write(delete_leases)
        for number, what, passed in steps:
            for clock, seconds in zip(self.clocks, passed, strict=True):
                clock.advance(seconds)
            if what == "take":
                await self.take(number)
            elif what == "work":
                await self.work(number)
            else:
                await self.leases[number].give_up()
                if self.model.holder == number:
                    self.model.holder = None

    async def take(self, number: int) -> None:
        """It is had by whoever finds it free, or has seen it stand still for long enough."""
        model, now = self.model, self.clocks[number].monotonic_seconds()
        seen = model.first_seen.get(number)
        is_dead = seen is not None and seen[0] == model.renewals and now - seen[1] >= LEASE_SECONDS
        is_free = model.holder in {None, number}
        assert await self.leases[number].take() == (is_free or is_dead)
        if is_free or is_dead:
            if model.holder != number:
                assert self.leases[number].fence > model.fence
                model.fence = self.leases[number].fence
            model.holder = number
            model.renewals += 1
        elif seen is None or seen[0] != model.renewals:
            model.first_seen[number] = (model.renewals, now)

    async def work(self, number: int) -> None:
        """Only the holder changes anything."""
        lease = self.leases[number]

        async def work(transaction: Transaction) -> None:
            await require_fence(transaction, lease)
            await save_state(transaction, "test", str(number))

        before = await find_state(self.database, "test")
        if self.model.holder == number:
            await self.database.write(work)
            assert await find_state(self.database, "test") == str(number)
        else:
            with pytest.raises(LeaseLostError):
                await self.database.write(work)
            assert await find_state(self.database, "test") == before


def test_one_holder_at_a_time(tmp_path: Path, database_kind: str, database_url: str) -> None:
    async def open_database() -> Database:
        if database_kind == "postgresql":
            return await PostgresqlDatabase.open(database_url, connections=2)
        migrate(tmp_path / "roadstead.db")
        return SqliteDatabase.open(tmp_path / "roadstead.db")

    with asyncio.Runner() as runner:
        database = runner.run(open_database())

        @settings(max_examples=scaled(60))
        @given(steps=STEPS)
        def check(steps: Sequence[tuple[int, str, Sequence[float]]]) -> None:
            runner.run(World(database).run(steps))

        check()
        runner.run(database.close())


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("database_kind")
def test_who_takes_over_waits_for_work_that_relies_on_the_lease(database_url: str) -> None:
    """Who takes over waits for the transaction of a holder that is in the middle of one."""

    async def main() -> None:
        databases = [await PostgresqlDatabase.open(database_url, connections=2) for _ in range(2)]
        clock = SettableClock()
        first, second = (Lease(database, clock, "work") for database in databases)
        assert await first.take()
        assert not await second.take()
        clock.advance(LEASE_SECONDS + 1)
        has_begun, may_end = asyncio.Event(), asyncio.Event()

        async def work(transaction: Transaction) -> None:
            await require_fence(transaction, first)
            has_begun.set()
            await may_end.wait()

        working = asyncio.create_task(databases[0].write(work))
        await has_begun.wait()
        taking = asyncio.create_task(second.take())
        await asyncio.wait([taking], timeout=0.3)
        assert not taking.done()
        may_end.set()
        await working
        assert await taking
        with pytest.raises(LeaseLostError):
            await databases[0].write(lambda transaction: require_fence(transaction, first))
        for database in databases:
            await database.close()

    asyncio.run(main())
