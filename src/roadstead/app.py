"""The composition root: settings in, applications out. The only place that constructs back ends."""

import asyncio
import contextlib
import functools
import uuid
from collections.abc import AsyncGenerator, Coroutine, Mapping
from pathlib import Path
from typing import Final

import structlog

from roadstead import __version__
from roadstead.clock import SystemClock
from roadstead.config import Settings
from roadstead.config.networks import NetworkSet
from roadstead.database import SqliteDatabase, migrate
from roadstead.database.migrate import HEAD, current_revision
from roadstead.errors import RoadsteadError
from roadstead.oci import Digest
from roadstead.registry import Registry
from roadstead.registry.recovery import recover
from roadstead.registry.statistics import measure_unfinished
from roadstead.storage import DataFolder, FilesystemStore, MeasuredStore
from roadstead.telemetry import AccessLog, Metrics, measure_loop_lag
from roadstead.web.distribution import Distribution
from roadstead.web.forwarding import Forwarding
from roadstead.web.http import Application, Receive, Scope, Send
from roadstead.web.locations import Locations, needs_locations
from roadstead.web.middleware import AnswerHeaders, RequestMiddleware
from roadstead.web.operations import FleetOperations, OperationsApplication, registry_checks, serve_health

HOUSEKEEPING_SECONDS: Final = 600
"""How often stale uploads are looked for; a look costs one indexed query."""

WATCH_SECONDS: Final = 5
"""How often gauges are read from the catalogue; both reads follow small indexes."""

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


def data_folder(settings: Settings) -> DataFolder:
    """The data folder that the settings name."""
    return DataFolder(settings.data.folder, catalogue=settings.database_file, objects=settings.storage_folder)


def build_registry(settings: Settings, metrics: Metrics) -> Registry:
    """A registry on the back ends that the settings name; the catalogue must have its schema.

    Raises:
        DatabaseDamagedError, DatabaseUnavailableError: the catalogue cannot be opened.
    """
    folder, clock = data_folder(settings), SystemClock()

    def on_quarantine(digest: Digest, reason: str) -> None:
        _log.error("blob put into quarantine", digest=str(digest), reason=reason)

    files = FilesystemStore(folder.objects)
    return Registry.on(
        SqliteDatabase.open(folder.catalogue),
        MeasuredStore(files, clock, functools.partial(metrics.storage_action, "filesystem")),
        clock,
        on_quarantine=on_quarantine,
        boot_id=_boot_id(),
        minimum_free_bytes=settings.storage.minimum_free_bytes,
        accepts_missing_blobs=settings.content.missing_blobs == "accept",
    )


def _boot_id() -> str:
    """What Linux calls this run of the machine; where it cannot be read, no earlier run is ever recognised."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return uuid.uuid4().hex


def build_main(registry: Registry, settings: Settings, metrics: Metrics, access_log: AccessLog | None) -> Application:
    """The main listener's application: the content plane and ``/healthz``."""
    http = settings.http
    distribution = Distribution(registry, settings.limits, accel_location=http.accel_location)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/healthz":
            await serve_health(scope, receive, send)
        else:
            await distribution(scope, receive, send)

    counted = metrics if settings.metrics.enabled else None
    answering = RequestMiddleware(
        Locations(application, http) if needs_locations(http) else application,
        metrics=counted,
        access_log=access_log,
        headers=AnswerHeaders(http.headers, prefix=http.prefix),
    )
    return Forwarding(answering, NetworkSet.parse(http.trusted_proxies)) if http.trusted_proxies else answering


def build_operations(registry: Registry, settings: Settings, metrics: Metrics) -> Application:
    """The operations listener's application: metrics and health."""
    checks = registry_checks(registry, minimum_free_bytes=settings.storage.minimum_free_bytes)
    return OperationsApplication(metrics if settings.metrics.enabled else None, checks)


def build_fleet_operations(sockets: Mapping[str, Path]) -> FleetOperations:
    """The operations listener's application of a parent: what its workers say on their own ``sockets``."""
    return FleetOperations(sockets)


@contextlib.asynccontextmanager
async def open_registry(settings: Settings) -> AsyncGenerator[Registry, None]:
    """A registry's services for a command, safe beside a running server.

    Raises:
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
    registry = build_registry(settings, Metrics(__version__))
    try:
        yield registry
    finally:
        await close_registry(registry)


async def close_registry(registry: Registry) -> None:
    """Finishes what was begun and closes the back ends."""
    await registry.database.close()
    await registry.storage.close()


def prepare(settings: Settings) -> DataFolder:
    """Makes ready what a server needs before it opens anything, and locks the data folder.

    Raises:
        DataFolderError: the folder cannot be used, or another server uses it.
        DatabaseError: the catalogue cannot be brought to this version's schema.
    """
    folder = data_folder(settings)
    folder.prepare()
    folder.lock()
    if migrate(folder.catalogue):
        _log.info("catalogue migrated", schema=HEAD)
    return folder


async def tidy_up(registry: Registry) -> None:
    """What a crash has left behind; only while this process alone uses the data folder."""
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
    registry = build_registry(settings, Metrics(__version__))
    try:
        await tidy_up(registry)
    finally:
        await close_registry(registry)


def background_work(registry: Registry, settings: Settings, metrics: Metrics) -> list[Coroutine[None, None, None]]:
    """What a serving process does beside answering, each until cancelled.

    Every worker runs all of it; what only one at a time may do takes a lease (``roadstead.jobs``).
    """
    return [
        keep_house(registry, settings),
        watch(registry, metrics),
        measure_loop_lag(metrics.loop_lag, settings.metrics.loop_lag_interval_seconds),
    ]


async def watch(registry: Registry, metrics: Metrics) -> None:
    """Keeps the gauges that come from the catalogue up to date, until cancelled."""
    while True:
        with contextlib.suppress(RoadsteadError):  # the request that meets the same error reports it
            unfinished = await measure_unfinished(registry.database)
            metrics.upload_sessions.set(unfinished.uploads)
            metrics.quarantined_blobs.set(unfinished.quarantined)
        await asyncio.sleep(WATCH_SECONDS)


async def keep_house(registry: Registry, settings: Settings) -> None:
    """Ends stale uploads, until cancelled."""
    age_ms = settings.limits.upload_age_seconds * 1000
    while True:
        try:
            await registry.uploads.purge(older_than_ms=age_ms)
        except RoadsteadError as error:
            _log.error("could not purge stale uploads", reason=str(error))
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
