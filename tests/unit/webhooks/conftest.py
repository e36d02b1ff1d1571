"""A catalogue with an outbox that wants everything, and events in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from roadstead.database import Transaction
from roadstead.events import KEPT, Event, EventAction, Outbox
from roadstead.testing.instance import Instance
from tests.factories.access import BY_TEST

Tell = Callable[..., Awaitable[None]]


@pytest.fixture
async def instance(tmp_path: Path, database_url: str) -> AsyncIterator[Instance]:
    instance = Instance(tmp_path, database_url=database_url)
    await instance.open()
    instance.registry.outbox.wants_pulls = True
    yield instance
    await instance.close()


@pytest.fixture
def tell(instance: Instance) -> Tell:
    """Writes so many events, of an action."""

    async def write(count: int = 1, action: EventAction = EventAction.PUSH) -> None:
        await write_events(instance, count, action)

    return write


async def write_events(instance: Instance, count: int, action: EventAction = EventAction.PUSH) -> None:
    """Writes so many events in one transaction."""
    outbox: Outbox = instance.registry.outbox

    async def work(transaction: Transaction) -> None:
        for number in range(count):
            event = Event(action=action, repository=f"app{number % 3}", digest="sha256:" + "0" * 64, cause=BY_TEST)
            await outbox.record(transaction, event)

    await instance.registry.database.write(work, locks=[KEPT], durable=False)
