"""Whoever records an event, or changes what is noted, holds the events: a database for tests refuses others."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, func, insert, select, update

from roadstead.database import NameLock, Statement, Transaction, metadata
from roadstead.events import KEPT, SETTLED, Event, EventAction
from roadstead.registry.locks import COLLECTION_KEPT, adding_to, removing_from
from roadstead.testing.guarded_database import NOTED
from tests.factories.access import BY_TEST

if TYPE_CHECKING:
    from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("locks", [(), (COLLECTION_KEPT,)])
async def test_an_event_is_not_recorded_without_the_lock(instance: Instance, locks: Sequence[NameLock]) -> None:
    with pytest.raises(AssertionError, match=r"events without events\.KEPT"):
        await instance.registry.database.write(lambda transaction: record(instance, transaction), locks=locks)


@pytest.mark.parametrize("locks", [(KEPT,), (SETTLED,), adding_to("app"), removing_from("app")])
async def test_it_is_recorded_with_it(instance: Instance, locks: Sequence[NameLock]) -> None:
    await instance.registry.database.write(lambda transaction: record(instance, transaction), locks=locks)
    assert await count(instance) == 1


async def test_a_lock_that_is_taken_later_counts(instance: Instance) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.take(removing_from("app"))
        await record(instance, transaction)

    await instance.registry.database.write(work)
    assert await count(instance) == 1


@pytest.mark.parametrize("table", NOTED)
async def test_what_is_noted_is_not_changed_without_the_lock(instance: Instance, table: str) -> None:
    made = [each(metadata.tables[table]) for each in (insert, update, delete)]

    for element in made:
        if isinstance(element, NOTED[table]):
            statement = Statement(element)
            with pytest.raises(AssertionError, match=table):
                await instance.registry.database.write(functools.partial(execute, statement=statement))


async def execute(transaction: Transaction, statement: Statement) -> None:
    await transaction.execute(statement)


async def count(instance: Instance) -> int:
    row = await instance.registry.database.fetch_one(
        Statement(select(func.count()).select_from(metadata.tables["events"]))
    )
    assert row is not None
    return int(row[0])


async def record(instance: Instance, transaction: Transaction) -> None:
    event = Event(action=EventAction.DELETE, repository="app", digest="sha256:0", cause=BY_TEST)
    await instance.registry.outbox.record(transaction, event)
