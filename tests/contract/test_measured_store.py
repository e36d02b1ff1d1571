"""Timing a store changes nothing about it."""

from collections.abc import AsyncIterator

import pytest

from roadstead.storage import MeasuredStore
from roadstead.testing.clock import SettableClock
from roadstead.testing.memory_store import MemoryStore
from roadstead.testing.object_store_contract import ObjectStoreContract, write

pytestmark = pytest.mark.anyio


class Durations:
    """Gathers what it is given."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def observe(self, amount: float) -> None:
        """Takes one."""
        self.seconds.append(amount)


@pytest.fixture
async def store() -> AsyncIterator[MeasuredStore]:
    memory = MemoryStore()
    store = MeasuredStore(memory, SettableClock(), lambda _action: Durations())
    yield store
    await store.close()
    assert memory.open_handles == 0


class TestMeasuredStore(ObjectStoreContract):
    """The suite on a measured store."""


async def test_each_action_is_timed_once_under_its_name() -> None:
    taken: dict[str, Durations] = {}
    store = MeasuredStore(MemoryStore(), SettableClock(), lambda action: taken.setdefault(action, Durations()))
    await write(store, "a", b"1")
    (await store.open_reader("a")).close()
    await store.find("a")
    await store.move("a", "b")
    await store.delete("b")
    assert {action: durations.seconds for action, durations in taken.items()} == {
        "Reader": [0.0],
        "Writer": [0.0],
        "Stat": [0.0],
        "Move": [0.0],
        "Delete": [0.0],
    }
