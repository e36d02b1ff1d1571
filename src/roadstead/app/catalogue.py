"""Where a registry is: its data folder, made ready for a server or opened for a command."""

import contextlib
from collections.abc import AsyncGenerator
from urllib.parse import unquote

import msgspec
import structlog

from roadstead import __version__, webhooks
from roadstead.app.authentication import check_authentication
from roadstead.app.installation import Installation
from roadstead.app.secrets import require_master_key
from roadstead.app.services import build_registry, build_upstream, close_registry
from roadstead.certificates.serving import prepare_certificate
from roadstead.config import SecretText, Settings
from roadstead.database.migrate import HEAD
from roadstead.jobs import delete_leases
from roadstead.registry import Registry
from roadstead.registry.operation.adoption_state import find_adoption
from roadstead.registry.operation.confirmation import REMEDY, find_unconfirmed
from roadstead.registry.operation.recovery import recover
from roadstead.telemetry import Metrics

_log = structlog.get_logger("roadstead.app")


def prepare(settings: Settings) -> Installation:
    """Makes ready what a server needs before it opens anything, and locks the data folder; see ``own_storage`` too.

    Raises:
        SettingsInvalidError: nobody could come in, or by rules that cannot be understood.
        UpstreamUrlInvalidError: the scrub's upstream is no URL of a registry.
        DataFolderError: the folder cannot be used, or another server uses it.
        DatabaseError: the catalogue cannot be brought to this version's schema.
    """
    check_authentication(settings)
    build_upstream(settings)
    installation = Installation(settings)
    installation.lock()
    prepare_certificate(settings)
    if installation.migrate():
        _log.info("catalogue migrated", schema=HEAD)
    return installation


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
    installation = Installation(settings)
    await installation.require_current()
    settings = await _with_storage_of(installation)
    registry = await build_registry(settings, Metrics(__version__))
    try:
        if needs_storage:
            await Installation(settings).require_storage(registry.database)
        yield registry
    finally:
        await close_registry(registry)


async def with_known_storage(settings: Settings) -> Settings:
    """The settings with the storage that the catalogue was made for, where they do not name one.

    Who adopted a folder elsewhere need not name it to each command; and a command that looked for the blobs in the data
    folder would find all of them missing.
    """
    installation = Installation(settings)
    if _names_storage(installation) or await installation.find_revision() is None:
        return settings
    return await _with_storage_of(installation)


def _names_storage(installation: Installation) -> bool:
    return installation.settings.storage.url is not None or (installation.folder.objects / "docker").exists()


async def _with_storage_of(installation: Installation) -> Settings:
    """As ``with_known_storage``, where there is a catalogue."""
    settings = installation.settings
    if _names_storage(installation):
        return settings
    database = await installation.open_database()
    try:
        known = (await find_adoption(database)).storage
    finally:
        await database.close()
    if not known:
        return settings
    storage = msgspec.structs.replace(settings.storage, url=SecretText(unquote(known)))
    return msgspec.structs.replace(settings, storage=storage)


async def tidy_up(registry: Registry, settings: Settings) -> None:
    """Sees to what the first request must find; and to what a crash has left behind, where no other server can be.

    Raises:
        MasterKeyError: this server could not open the secrets of its catalogue.
        DatabaseError: the catalogue cannot be read or written.
    """
    recovers = Installation(settings).recovers
    await require_master_key(registry.database, registry.clock, settings)
    await _tell_unconfirmed(registry)
    if recovers:
        await registry.database.write(delete_leases)
    await webhooks.register(registry.database, registry.clock, settings.notifications, settings.events)
    if not recovers:
        return
    found = await recover(registry.database, registry.storage)
    if found.orphaned_blobs or found.orphaned_uploads or found.ended_sessions:
        _log.warning(
            "tidied up after an unclean end",
            blobs=found.orphaned_blobs,
            uploads=found.orphaned_uploads,
            sessions=found.ended_sessions,
        )


async def _tell_unconfirmed(registry: Registry) -> None:
    """Says that nothing is removed from storage, where that is so; notices first if the catalogue is another."""
    before = await find_unconfirmed(registry.database)
    found = await registry.confirmation.notice()
    if before is not None and found is not None:  # else noticing has said it
        _log.warning("nothing is removed from storage until it is confirmed", reason=found.reason, remedy=REMEDY)


async def tidy_up_alone(settings: Settings) -> None:
    """The same for a parent, which closes all that it opened before it starts its workers."""
    registry = await build_registry(settings, Metrics(__version__))
    try:
        await tidy_up(registry, settings)
    finally:
        await close_registry(registry)
