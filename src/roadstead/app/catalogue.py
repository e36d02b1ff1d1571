"""Where a registry is: its data folder, made ready for a server or opened for a command."""

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import unquote

import msgspec
import structlog

from roadstead import __version__, webhooks
from roadstead.app.authentication import check_authentication
from roadstead.app.ownership import data_folder, require_storage
from roadstead.app.services import build_registry, build_upstream, close_registry
from roadstead.certificates.serving import prepare_certificate
from roadstead.config import SecretText, Settings
from roadstead.database import SqliteDatabase, migrate
from roadstead.database.migrate import HEAD, current_revision
from roadstead.errors import RoadsteadError
from roadstead.jobs import delete_leases
from roadstead.registry import Registry
from roadstead.registry.operation.adoption_state import find_adoption
from roadstead.registry.operation.recovery import recover
from roadstead.storage import DataFolder
from roadstead.telemetry import Metrics

_log = structlog.get_logger("roadstead.app")


class CatalogueAbsentError(RoadsteadError):
    """A command was pointed at a folder that no registry lives in."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"there is no registry in {path}: name its folder with --data, or start one with `roadstead serve`"
        )
        self.path = path


class CatalogueOutdatedError(RoadsteadError):
    """A command met a catalogue of an older version."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(f"the catalogue in {path} has schema {found or 'none'}, not {HEAD}: start the server once")
        self.path = path


def prepare_catalogue(settings: Settings) -> DataFolder:
    """As ``prepare``, for a command that needs the folder for itself.

    Raises:
        DataFolderError, DatabaseError: as ``prepare``.
    """
    folder = data_folder(settings)
    folder.prepare()
    folder.lock()
    folder.require_restored()
    migrate(folder.catalogue)
    return folder


def prepare(settings: Settings) -> DataFolder:
    """Makes ready what a server needs before it opens anything, and locks the data folder; see ``own_storage`` too.

    Raises:
        SettingsInvalidError: nobody could come in, or by rules that cannot be understood.
        UpstreamUrlInvalidError: the scrub's upstream is no URL of a registry.
        DataFolderError: the folder cannot be used, or another server uses it.
        DatabaseError: the catalogue cannot be brought to this version's schema.
    """
    check_authentication(settings)
    build_upstream(settings)
    folder = data_folder(settings)
    folder.prepare()
    folder.lock()
    folder.require_restored()
    prepare_certificate(settings)
    if migrate(folder.catalogue):
        _log.info("catalogue migrated", schema=HEAD)
    return folder


@contextlib.asynccontextmanager
async def open_registry(settings: Settings, *, needs_storage: bool = True) -> AsyncGenerator[Registry, None]:
    """A registry's services for a command, safe beside a running server.

    ``needs_storage``: the command works on bytes, or on what decides about them.

    Raises:
        StorageForeignError, StorageMissingError: the bytes are another catalogue's, or not there.
        DataFolderBusyError: a server of another data folder works on them.
        CatalogueAbsentError: there is no registry in the data folder.
        CatalogueOutdatedError: it was not yet migrated to this version.
        DatabaseDamagedError, DatabaseUnavailableError: its catalogue cannot be read.
    """
    folder = data_folder(settings)
    if not folder.catalogue.exists():
        raise CatalogueAbsentError(folder.path)
    revision = current_revision(folder.catalogue)
    if revision != HEAD:
        raise CatalogueOutdatedError(folder.path, revision)
    settings = await with_known_storage(settings)
    registry = await build_registry(settings, Metrics(__version__))
    try:
        if needs_storage:
            await require_storage(registry, data_folder(settings))
        yield registry
    finally:
        await close_registry(registry)


async def with_known_storage(settings: Settings) -> Settings:
    """The settings with the storage that the catalogue was made for, where they do not name one.

    Who adopted a folder elsewhere need not name it to each command; and a command that looked for the blobs in the data
    folder would find all of them missing.
    """
    folder = data_folder(settings)
    if settings.storage.url is not None or (folder.objects / "docker").exists() or not folder.catalogue.exists():
        return settings
    database = SqliteDatabase.open(folder.catalogue)
    try:
        known = (await find_adoption(database)).storage
    finally:
        await database.close()
    if not known:
        return settings
    storage = msgspec.structs.replace(settings.storage, url=SecretText(unquote(known)))
    return msgspec.structs.replace(settings, storage=storage)


async def tidy_up(registry: Registry, settings: Settings) -> None:
    """What a crash has left behind, and what the first request must find; only while this process alone is here."""
    await registry.database.write(delete_leases)
    await webhooks.register(registry.database, registry.clock, settings.notifications, settings.events)
    found = await recover(registry.database, registry.storage)
    if found.orphaned_blobs or found.orphaned_uploads or found.ended_sessions:
        _log.warning(
            "tidied up after an unclean end",
            blobs=found.orphaned_blobs,
            uploads=found.orphaned_uploads,
            sessions=found.ended_sessions,
        )


async def tidy_up_alone(settings: Settings) -> None:
    """The same for a parent, which closes all that it opened before it starts its workers."""
    registry = await build_registry(settings, Metrics(__version__))
    try:
        await tidy_up(registry, settings)
    finally:
        await close_registry(registry)
