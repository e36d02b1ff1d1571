"""The registry's services on the back ends that the settings name."""

import functools
import uuid
from pathlib import Path

import structlog

from roadstead import webhooks
from roadstead.app.installation import Installation
from roadstead.config import Settings
from roadstead.database import Database
from roadstead.database.copy_errors import CopyUnfinishedError
from roadstead.database.copying import find_source
from roadstead.events import Outbox
from roadstead.jobs import open_clock, open_shared_clock
from roadstead.oci import Digest
from roadstead.registry import Registry
from roadstead.registry.content.exclusive_rows import RowExclusive
from roadstead.registry.content.foreign_urls import UrlRules
from roadstead.registry.layout import BLOBS
from roadstead.registry.operation.maintenance import Maintenance, MaintenanceMode
from roadstead.registry.operation.storage_owner import find_owner
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry2.links import TOP_FOLDERS
from roadstead.remotes import Upstream
from roadstead.storage import DataFolder, FilesystemStore, MeasuredStore, Presence, SmallFiles
from roadstead.telemetry import Metrics

_log = structlog.get_logger("roadstead.app")


def build_storage(folder: DataFolder, owner: str = "") -> FilesystemStore:
    """The place for bytes; that of ``owner``, if it is one that a catalogue has claimed."""
    presence = _presence(folder, owner)
    return FilesystemStore(folder.objects, presence=presence, trusted=TOP_FOLDERS, known_folder=BLOBS)


def build_link_files(folder: DataFolder, owner: str = "") -> SmallFiles:
    """The files of registry:2's tree of links, beside the blobs; ``owner`` as above."""
    return SmallFiles(folder.objects, trusted=TOP_FOLDERS, presence=_presence(folder, owner), known_folder=BLOBS)


def _presence(folder: DataFolder, owner: str) -> Presence | None:
    return Presence(folder.objects, owner, BLOBS) if owner else None


async def build_registry(settings: Settings, metrics: Metrics) -> Registry:
    """A registry on the back ends that the settings name; the catalogue must have its schema.

    Raises:
        DatabaseDamagedError, DatabaseUnavailableError: the catalogue cannot be opened.
    """
    installation = Installation(settings)

    def on_quarantine(digest: Digest, reason: str) -> None:
        _log.error("blob put into quarantine", digest=str(digest), reason=reason)

    database, boot_id = await installation.open_database(), _boot_id()
    if (source := await find_source(database)) is not None:
        await database.close()
        raise CopyUnfinishedError(source)
    files = build_storage(installation.folder, await find_owner(database))
    clock = await (open_shared_clock if installation.is_shared else open_clock)(database, boot_id)
    storage = MeasuredStore(files, clock, functools.partial(metrics.storage_action, "filesystem"))
    if installation.is_shared:
        _count_retries(database, metrics)
    return Registry.on(
        database,
        storage,
        clock,
        exclusive=RowExclusive(database, storage, clock) if installation.is_shared else None,
        on_quarantine=on_quarantine,
        boot_id=boot_id,
        minimum_free_bytes=settings.storage.minimum_free_bytes,
        rules=garbage_rules(settings),
        accepts_missing_blobs=settings.content.missing_blobs == "accept",
        accepts_wrong_sizes=settings.content.wrong_sizes == "accept",
        maintenance=Maintenance(
            database,
            clock,
            floor=MaintenanceMode(settings.maintenance.mode),
            message=settings.maintenance.message,
        ),
        maximum_blob_bytes=settings.limits.blob_bytes,
        foreign_urls=UrlRules(settings.content.foreign_urls_allow, settings.content.foreign_urls_deny),
        outbox=Outbox(clock, wants_pulls=webhooks.wants_pulls(settings.notifications)),
    )


def _count_retries(database: Database, metrics: Metrics) -> None:
    from roadstead.database.postgresql import PostgresqlDatabase  # noqa: PLC0415 - who has a file does not need it

    if isinstance(database, PostgresqlDatabase):
        metrics.database_retries.sources.append(lambda: database.retries)


def _boot_id() -> str:
    """The id that Linux gives this run of the machine; where it cannot be read, no earlier run is ever recognised."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return uuid.uuid4().hex


def garbage_rules(settings: Settings) -> GarbageRules:
    """The times for which settings keep what was deleted."""
    garbage = settings.garbage
    return GarbageRules(
        undo_ms=garbage.grace_seconds * 1000,
        upload_ms=garbage.upload_grace_seconds * 1000,
        collects_untagged=garbage.untagged == "collect",
        history_entries=garbage.history_entries,
    )


async def close_registry(registry: Registry) -> None:
    """Finishes what was begun and closes the back ends."""
    await registry.database.close()
    await registry.storage.close()


def build_upstream(settings: Settings) -> Upstream | None:
    """The registry from which what is damaged is fetched again, if the settings name one.

    Raises:
        UpstreamUrlInvalidError: what they name is no registry's URL.
    """
    return Upstream(settings.scrub.upstream) if settings.scrub.upstream else None
