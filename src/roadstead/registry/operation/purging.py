"""Unfinished uploads that nobody goes on with: dropped after a while, or only named in the log."""

import asyncio
from typing import Final

import structlog

from roadstead.config import LimitSettings
from roadstead.errors import RoadsteadError
from roadstead.registry.content.uploads import Uploads
from roadstead.registry.errors import RegistryClosedError, RegistryReadOnlyError
from roadstead.registry.operation.confirmation import Confirmation
from roadstead.registry.operation.maintenance import Maintenance

SHOWN_UPLOADS: Final = 100
"""Stale uploads that a dry run names in one line."""

_log = structlog.get_logger("roadstead.purging")


async def keep_purging(
    uploads: Uploads, maintenance: Maintenance, confirmation: Confirmation, limits: LimitSettings
) -> None:
    """Looks for stale uploads again and again, until cancelled; returns at once where nothing is to be done."""
    while limits.upload_purge != "off":
        try:
            is_dry_run = limits.upload_purge == "dry-run" or await confirmation.is_waiting()
            await purge_uploads(uploads, maintenance, limits.upload_age_seconds, is_dry_run=is_dry_run)
        except (RegistryReadOnlyError, RegistryClosedError):
            _log.debug("stale uploads are left alone during maintenance")
        except RoadsteadError as error:
            _log.error("could not purge stale uploads", reason=str(error))
        await asyncio.sleep(limits.upload_purge_interval_seconds)


async def purge_uploads(uploads: Uploads, maintenance: Maintenance, age_seconds: int, *, is_dry_run: bool) -> None:
    """One look.

    Raises:
        RegistryReadOnlyError, RegistryClosedError: nothing may change now.
    """
    older_than_ms = age_seconds * 1000
    if is_dry_run:
        stale = await uploads.list_stale(older_than_ms=older_than_ms, limit=SHOWN_UPLOADS)
        if stale:
            _log.info("stale uploads would be dropped", uploads=stale)
        return
    async with maintenance.change():
        dropped = await uploads.purge(older_than_ms=older_than_ms)
    if dropped:
        _log.info("stale uploads dropped", uploads=dropped)
