"""Stale uploads: dropped, or only named, and left alone during maintenance."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import structlog

from roadstead.config import LimitSettings
from roadstead.registry.errors import RegistryReadOnlyError
from roadstead.registry.operation.maintenance import MaintenanceMode
from roadstead.registry.operation.purging import keep_purging, purge_uploads

if TYPE_CHECKING:
    from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio

AGE_SECONDS = 3600


async def begin(instance: Instance) -> str:
    answer = await instance.client.request("POST", "/v2/app/blobs/uploads/")
    await instance.client.request("PATCH", answer.header("location"), body=b"some bytes")
    return answer.header("location")


async def is_there(instance: Instance, location: str) -> bool:
    return (await instance.client.request("GET", location)).status == 204


async def test_what_is_stale_is_dropped_with_its_bytes(instance: Instance) -> None:
    old = await begin(instance)
    instance.clock.advance(AGE_SECONDS + 1)
    young = await begin(instance)
    with structlog.testing.capture_logs() as logs:
        await purge_uploads(instance.registry.uploads, instance.registry.maintenance, AGE_SECONDS, is_dry_run=False)
    assert [await is_there(instance, each) for each in (old, young)] == [False, True]
    assert len(instance.files()) == 1
    assert [(log["event"], log["uploads"]) for log in logs] == [("stale uploads dropped", 1)]


async def test_a_dry_run_only_names_them(instance: Instance) -> None:
    old = await begin(instance)
    instance.clock.advance(AGE_SECONDS + 1)
    await begin(instance)
    with structlog.testing.capture_logs() as logs:
        await purge_uploads(instance.registry.uploads, instance.registry.maintenance, AGE_SECONDS, is_dry_run=True)
    assert len(instance.files()) == 2
    assert [(log["event"], log["uploads"]) for log in logs] == [
        ("stale uploads would be dropped", (old.rpartition("/")[2],))
    ]


async def test_during_maintenance_they_are_left_alone(instance: Instance) -> None:
    old = await begin(instance)
    instance.clock.advance(AGE_SECONDS + 1)
    await instance.registry.maintenance.set(MaintenanceMode.READ_ONLY)
    with pytest.raises(RegistryReadOnlyError):
        await purge_uploads(instance.registry.uploads, instance.registry.maintenance, AGE_SECONDS, is_dry_run=False)
    assert await is_there(instance, old)


@pytest.mark.parametrize(("purge", "is_kept"), [("on", False), ("dry-run", True)])
async def test_the_setting_decides(instance: Instance, purge: str, *, is_kept: bool) -> None:
    old = await begin(instance)
    instance.clock.advance(AGE_SECONDS + 1)
    limits = LimitSettings(upload_age_seconds=AGE_SECONDS, upload_purge=purge)  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as logs:
        registry = instance.registry
        house = asyncio.create_task(keep_purging(registry.uploads, registry.maintenance, registry.confirmation, limits))
        async with asyncio.timeout(5):
            while not logs:  # noqa: ASYNC110 - a log tells nobody
                await asyncio.sleep(0.001)
        house.cancel()
        await asyncio.gather(house, return_exceptions=True)
    assert await is_there(instance, old) == is_kept


async def test_switched_off_there_is_nothing_to_do(instance: Instance) -> None:
    old = await begin(instance)
    instance.clock.advance(AGE_SECONDS + 1)
    registry, limits = instance.registry, LimitSettings(upload_age_seconds=AGE_SECONDS, upload_purge="off")
    await asyncio.wait_for(keep_purging(registry.uploads, registry.maintenance, registry.confirmation, limits), 5)
    assert await is_there(instance, old)
