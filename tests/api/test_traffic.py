"""Pulls are counted for each manifest, traffic for each project and day: in memory, then added up, by any replica."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from roadstead.database import DatabaseBusyError, Row, Statement
from roadstead.registry.content import traffic
from roadstead.registry.content.repositories import project_of
from roadstead.registry.content.traffic import GET_PULLS, Traffic, forget_old_days, sum_pulls
from roadstead.registry.tables import project_days
from roadstead.testing.images import image
from roadstead.testing.instance import Instance

if TYPE_CHECKING:
    from roadstead.database import Database

pytestmark = pytest.mark.anyio

IMAGE = image(b"a layer")
BLOBS = sum(len(blob.content) for blob in IMAGE.blobs)
DAYS = Statement(select(project_days).order_by(project_days.c.day, project_days.c.project))


async def pull(instance: Instance, repository: str, reference: str) -> None:
    assert (await instance.client.request("GET", f"/v2/{repository}/manifests/{reference}")).status == 200


async def counted(instance: Instance, repository: str) -> Row | None:
    return await instance.registry.database.fetch_one(GET_PULLS, repository=repository, digest=IMAGE.digest)


async def flush(instance: Instance) -> None:
    await instance.registry.traffic.flush(instance.registry.database)


async def test_pulls_of_a_manifest_add_up(instance: Instance) -> None:
    for repository in ("team/app", "team/other"):
        await instance.push(repository, IMAGE, "1")
    for _ in range(2):
        await pull(instance, "team/app", "1")
        await pull(instance, "team/app", IMAGE.digest)
        await instance.client.request("HEAD", "/v2/team/app/manifests/1")
        await flush(instance)
    assert await counted(instance, "team/app") == (4, instance.clock.now_ms())
    assert await counted(instance, "team/other") is None


async def test_days_of_projects(instance: Instance) -> None:
    await instance.push("team/app", IMAGE, "1")
    await instance.push("alone", IMAGE, "1")
    await pull(instance, "team/app", "1")
    for blob in IMAGE.blobs:
        await instance.client.request("GET", f"/v2/team/app/blobs/{blob.digest}")
    await instance.client.request("GET", f"/v2/alone/blobs/{IMAGE.blobs[0].digest}", headers={"range": "bytes=0-1"})
    await flush(instance)
    day = instance.clock.now_ms() // traffic.DAY_MS
    size = len(IMAGE.content)
    assert await instance.registry.database.fetch_all(DAYS) == [
        ("library", day, 0, 2, 1, size + BLOBS, None),
        ("team", day, 1, size + BLOBS, 1, size + BLOBS, None),
    ]
    instance.clock.advance(3 * 24 * 3600)
    await pull(instance, "team/app", "1")
    await flush(instance)
    clock = instance.clock
    assert [await sum_pulls(instance.registry.database, clock, days) for days in (1, 3, 4, 7)] == [1, 1, 2, 2]


async def test_replicas_add_up(instance: Instance) -> None:
    names = [f"team{number}/app" for number in range(4)]
    for name in names:
        await instance.push(name, IMAGE, "1")
    replicas = [Traffic(instance.clock) for _ in range(4)]
    for round_number in range(5):
        for number, replica in enumerate(replicas):
            for name in names if (number + round_number) % 2 else reversed(names):
                replica.pulled(name, IMAGE.digest, 1)
        await asyncio.gather(*(replica.flush(instance.registry.database) for replica in replicas))
    assert [(await counted(instance, name) or (0,))[0] for name in names] == [20, 20, 20, 20]
    assert await sum_pulls(instance.registry.database, instance.clock, 1) == 80


async def test_what_is_gone_is_not_counted(instance: Instance) -> None:
    instance.registry.traffic.pulled("team/gone", IMAGE.digest, 1)
    await flush(instance)
    assert await counted(instance, "team/gone") is None
    assert await sum_pulls(instance.registry.database, instance.clock, 1) == 1


async def test_what_could_not_be_written_is_counted_later(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    await instance.push("team/app", IMAGE, "1")
    await pull(instance, "team/app", "1")
    database: Database = instance.registry.database

    async def fail(*_: object, **__: object) -> None:
        raise DatabaseBusyError(30)

    with monkeypatch.context() as patch:
        patch.setattr(type(database), "write", fail)
        with pytest.raises(DatabaseBusyError):
            await flush(instance)
    await pull(instance, "team/app", "1")
    await flush(instance)
    assert (await counted(instance, "team/app") or (0,))[0] == 2
    await flush(instance)
    assert await sum_pulls(database, instance.clock, 1) == 2


async def test_memory_is_bounded(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "MOST_MANIFESTS", 2)
    monkeypatch.setattr(traffic, "MOST_REPOSITORIES", 1)
    counting = instance.registry.traffic
    for number in range(3):
        counting.pulled("team/app", f"sha256:{number}", 1)
    counting.sent("team/other", 1)
    assert counting.dropped == 2
    await flush(instance)
    assert await sum_pulls(instance.registry.database, instance.clock, 1) == 3


async def test_old_days_go(instance: Instance) -> None:
    database = instance.registry.database
    instance.registry.traffic.sent("team/app", 1)
    await flush(instance)
    for advance, left in ((traffic.DAYS_KEPT, 1), (1, 0)):
        instance.clock.advance(advance * 24 * 3600)
        await forget_old_days(database, instance.clock)
        assert len(await database.fetch_all(DAYS)) == left


@pytest.mark.parametrize(("repository", "project"), [("a/b/c", "a"), ("a", "library"), ("library/a", "library")])
def test_projects(repository: str, project: str) -> None:
    assert project_of(repository) == project
