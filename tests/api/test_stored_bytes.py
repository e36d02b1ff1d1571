"""What projects store is noted once a day: each blob once a project, however many of its repositories have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from roadstead.database import Statement
from roadstead.registry.content.traffic import DAY_MS
from roadstead.registry.operation import stored_bytes
from roadstead.registry.operation.stored_bytes import note_stored_bytes
from roadstead.registry.tables import project_days
from roadstead.testing.clock import START_MS

if TYPE_CHECKING:
    from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio

_DAYS = Statement(
    select(project_days.c.project, project_days.c.day, project_days.c.stored_bytes).order_by(
        project_days.c.day, project_days.c.project
    )
)


async def days(instance: Instance) -> list[Any]:
    today = START_MS // DAY_MS
    rows = await instance.registry.database.fetch_all(_DAYS)
    return [(project, day - today, stored) for project, day, stored in rows]


@pytest.mark.parametrize("batch", [1, 2, 1000])
async def test_each_blob_counts_once_for_each_project(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(stored_bytes, "BATCH", batch)
    for repository in ("team/one", "team/two", "other/app", "alone"):
        await instance.push_blob(repository, b"in all of them")
    await instance.push_blob("team/one", b"once")
    database, clock = instance.registry.database, instance.clock
    assert await note_stored_bytes(database, clock)
    assert await days(instance) == [("library", 0, 14), ("other", 0, 14), ("team", 0, 18)]
    await instance.push_blob("other/app", b"later")
    assert not await note_stored_bytes(database, clock), "once a day"
    clock.advance(86_400)
    await instance.registry.traffic.flush(database)
    assert await note_stored_bytes(database, clock)
    found = await days(instance)
    assert found[:3] == [("library", 0, 14), ("other", 0, 14), ("team", 0, 18)]
    assert found[3:] == [("library", 1, 14), ("other", 1, 19), ("team", 1, 18)]
