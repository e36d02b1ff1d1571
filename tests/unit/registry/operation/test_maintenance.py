"""Maintenance: what a process obeys, when it says so, and who is waited for."""

from __future__ import annotations

import asyncio

import pytest

from roadstead.database import Database, Transaction
from roadstead.jobs import list_states, save_state
from roadstead.registry.errors import RegistryClosedError, RegistryReadOnlyError
from roadstead.registry.operation.maintenance import (
    LEASE_MS,
    SERVING,
    STALE_SECONDS,
    STATE,
    Maintenance,
    MaintenanceMode,
    ServingProcess,
)
from roadstead.testing.clock import SettableClock
from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio

OFF, READ_ONLY, CLOSED = MaintenanceMode


class Process:
    """A serving process of its own on the same catalogue."""

    def __init__(self, instance: Instance, database: Database, floor: MaintenanceMode = OFF) -> None:
        self.database = database
        self.maintenance = Maintenance(database, instance.clock, floor=floor, message="as configured")

    @classmethod
    async def begin(cls, instance: Instance, floor: MaintenanceMode = OFF) -> Process:
        """Opens the catalogue once more."""
        opened = Instance(instance.folder, database_url=instance.database_url)
        await opened.open()
        return cls(instance, opened.registry.database, floor)


@pytest.fixture
async def other(instance: Instance) -> Process:
    return await Process.begin(instance)


async def test_off_until_it_is_set(instance: Instance, other: Process) -> None:
    assert (await instance.registry.maintenance.find()).mode is OFF
    async with other.maintenance.change():
        assert not other.maintenance.is_still
    await other.database.close()


@pytest.mark.parametrize(("mode", "error"), [(READ_ONLY, RegistryReadOnlyError), (CLOSED, RegistryClosedError)])
async def test_another_process_obeys_once_it_has_looked(
    instance: Instance, other: Process, mode: MaintenanceMode, error: type[Exception]
) -> None:
    await other.maintenance.refresh()
    state = await instance.registry.maintenance.set(mode, "back at 5")
    assert state.since_ms == instance.clock.now_ms()
    assert other.maintenance.state.mode is OFF
    await other.maintenance.refresh()
    with pytest.raises(error, match="back at 5"):
        async with other.maintenance.change():
            pytest.fail("a change began")
    await instance.registry.maintenance.set(OFF)
    await other.maintenance.refresh()
    async with other.maintenance.change():
        assert other.maintenance.state.generation == 2
    await other.database.close()


async def test_a_process_that_was_frozen_looks_before_it_changes_anything(instance: Instance, other: Process) -> None:
    await other.maintenance.refresh()
    await instance.registry.maintenance.set(READ_ONLY)
    instance.clock.advance(STALE_SECONDS + 1)
    with pytest.raises(RegistryReadOnlyError):
        async with other.maintenance.change():
            pytest.fail("a change began")
    await other.database.close()


@pytest.mark.parametrize("floor", list(MaintenanceMode))
@pytest.mark.parametrize("mode", list(MaintenanceMode))
async def test_the_stricter_of_row_and_settings_counts(
    instance: Instance, floor: MaintenanceMode, mode: MaintenanceMode
) -> None:
    process = await Process.begin(instance, floor)
    assert process.maintenance.state.mode is floor, "before the first look too"
    await instance.registry.maintenance.set(mode, "as set")
    state = await process.maintenance.refresh()
    assert state.mode is max(floor, mode, key=lambda each: each.strictness)
    assert state.message == ("as set" if mode.strictness > floor.strictness else "as configured")
    await process.database.close()


async def test_a_row_of_a_later_version_allows_no_changes(instance: Instance, other: Process) -> None:
    async def work(transaction: Transaction) -> None:
        await save_state(transaction, STATE, '{"mode":"on fire","message":"","generation":9,"since_ms":1}')

    await instance.registry.database.write(work)
    assert (await other.maintenance.refresh()).mode is READ_ONLY
    await other.database.close()


async def test_waiting_ends_when_the_last_change_has(instance: Instance, other: Process) -> None:
    interrupted = asyncio.Event()
    await other.maintenance.obey()
    seen: list[tuple[ServingProcess, ...]] = []
    async with other.maintenance.change(interrupted.set):
        state = await instance.registry.maintenance.set(READ_ONLY)
        waiting = asyncio.create_task(
            instance.registry.maintenance.wait_until_obeyed(state.generation, interval_seconds=0, on_wait=seen.append)
        )
        await other.maintenance.obey()
        assert interrupted.is_set()
        await asyncio.sleep(0.01)
        assert not waiting.done(), "its change is still under way"
    await other.maintenance.obey()
    (process,) = await asyncio.wait_for(waiting, 5)
    assert (process.generation, process.mode, process.changes) == (state.generation, READ_ONLY, 0)
    assert {(each.generation, each.changes) for processes in seen for each in processes} <= {(0, 0), (0, 1)}
    assert (0, 1) in {(each.generation, each.changes) for processes in seen for each in processes}
    await other.database.close()


async def test_turning_it_off_waits_for_no_change(instance: Instance, other: Process) -> None:
    await other.maintenance.obey()
    async with other.maintenance.change():
        state = await instance.registry.maintenance.set(OFF)
        await other.maintenance.obey()
        serving = await asyncio.wait_for(instance.registry.maintenance.wait_until_obeyed(state.generation), 5)
    assert [process.generation for process in serving] == [state.generation]
    await other.database.close()


async def test_nobody_waits_for_the_dead(instance: Instance, other: Process) -> None:
    await other.maintenance.obey()
    state = await instance.registry.maintenance.set(CLOSED)
    assert len(await instance.registry.maintenance.list_serving()) == 1
    instance.clock.advance(LEASE_MS / 1000 + 1)
    assert await asyncio.wait_for(instance.registry.maintenance.wait_until_obeyed(state.generation), 5) == ()
    assert await list_states(instance.registry.database, SERVING) == {}
    await other.database.close()


async def test_a_process_says_that_it_lives_and_that_it_leaves(instance: Instance, other: Process) -> None:
    following = asyncio.create_task(other.maintenance.follow())
    async with asyncio.timeout(5):
        while not await instance.registry.maintenance.list_serving():  # noqa: ASYNC110 - rows tell nobody
            await asyncio.sleep(0.001)
    first = await list_states(instance.registry.database, SERVING)
    instance.clock.advance(1)
    await other.maintenance.obey()
    assert await list_states(instance.registry.database, SERVING) == first, "nothing new, so nothing is written"
    instance.clock.advance(LEASE_MS / 1000 - 2)
    await other.maintenance.obey()
    instance.clock.advance(LEASE_MS / 1000 - 2)
    assert len(await instance.registry.maintenance.list_serving()) == 1, "renewed"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert await instance.registry.maintenance.list_serving() == ()
    await other.database.close()


async def test_a_clock_that_was_set_back_keeps_nobody_waiting_for_ever(instance: Instance, other: Process) -> None:
    clock: SettableClock = instance.clock
    await other.maintenance.obey()
    clock.set_ms(clock.now_ms() - 3_600_000)
    state = await instance.registry.maintenance.set(READ_ONLY)
    await other.maintenance.obey()
    serving = await asyncio.wait_for(instance.registry.maintenance.wait_until_obeyed(state.generation), 5)
    assert [process.generation for process in serving] == [state.generation]
    await other.database.close()


async def test_background_work_pauses_and_is_waited_for(instance: Instance, other: Process) -> None:
    go_on, begun, rounds = asyncio.Event(), asyncio.Event(), list[int]()

    async def work() -> bool:
        rounds.append(1)
        begun.set()
        await go_on.wait()
        return True

    paused = other.maintenance.paused(work)
    await other.maintenance.obey()
    working = asyncio.create_task(paused())
    await begun.wait()
    state = await instance.registry.maintenance.set(READ_ONLY)
    await other.maintenance.obey()
    (process,) = await instance.registry.maintenance.list_serving()
    assert process.generation < state.generation, "its round is not over"
    assert await paused() is False, "no new round begins"
    go_on.set()
    assert await working is True
    await other.maintenance.obey()
    (process,) = await instance.registry.maintenance.wait_until_obeyed(state.generation)
    assert process.changes == 0
    await instance.registry.maintenance.set(OFF)
    await other.maintenance.obey()
    assert await paused() is True
    assert len(rounds) == 2
    await other.database.close()


async def test_each_setting_is_a_generation_of_its_own(instance: Instance, other: Process) -> None:
    both = (instance.registry.maintenance, other.maintenance)
    states = await asyncio.gather(*(each.set(READ_ONLY) for each in both * 3))
    assert sorted(state.generation for state in states) == [1, 2, 3, 4, 5, 6]
    await other.database.close()
