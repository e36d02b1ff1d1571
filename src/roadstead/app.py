"""The composition root: settings in, applications out. The only place that constructs back ends."""

import asyncio
import contextlib
import functools
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import msgspec
import structlog

from roadstead import __version__, webhooks
from roadstead.access import Policy, Rule, RuleInvalidError
from roadstead.certificates.serving import keep_certificate, prepare_certificate
from roadstead.clock import SystemClock
from roadstead.config import SecretText, Settings, SettingsInvalidError
from roadstead.config.networks import NetworkSet
from roadstead.database import SqliteDatabase, migrate
from roadstead.database.migrate import HEAD, current_revision
from roadstead.errors import RoadsteadError
from roadstead.events import Outbox
from roadstead.identity import HtpasswdFile, PasswordFileInvalidError, Passwords
from roadstead.jobs import Lease, delete_leases, run_alone
from roadstead.oci import Digest
from roadstead.registry import Registry
from roadstead.registry.adoption_state import find_adoption
from roadstead.registry.collection import Collected, Collector
from roadstead.registry.foreign_urls import UrlRules
from roadstead.registry.link_following import LinkFollower, stop_following
from roadstead.registry.links import LINK_TREE, TOP_FOLDERS
from roadstead.registry.maintenance import Maintenance, MaintenanceMode
from roadstead.registry.pace import Pace
from roadstead.registry.purging import keep_purging
from roadstead.registry.recovery import recover
from roadstead.registry.refetch import Refetcher
from roadstead.registry.rules import GarbageRules
from roadstead.registry.scrub import POLL_SECONDS, Damage, Scrubber, ScrubObserver, find_scrub
from roadstead.registry.statistics import measure_unfinished
from roadstead.remotes import Upstream
from roadstead.storage import DataFolder, FilesystemStore, MeasuredStore, ObjectStore, SmallFiles
from roadstead.storage.probe import probe_folder
from roadstead.telemetry import AccessLog, Metrics, measure_loop_lag
from roadstead.web.authentication import Authentication
from roadstead.web.distribution import Distribution
from roadstead.web.forwarding import Forwarding
from roadstead.web.gates import HealthGate, MaintenanceGate
from roadstead.web.http import Application, Receive, Scope, Send
from roadstead.web.locations import Locations, needs_locations
from roadstead.web.middleware import AnswerHeaders, RequestMiddleware
from roadstead.web.operations import (
    FleetOperations,
    HealthMonitor,
    OperationsApplication,
    certificate_check,
    listed_probes,
    registry_checks,
    serve_health,
    serve_root,
    stopping_check,
    storage_probe,
)
from roadstead.web.rates import ClientRates, RateLimit

if TYPE_CHECKING:  # it brings cryptography, which a server without TLS does not need
    from roadstead.certificates.served import ServedCertificate

REFETCH_SECONDS: Final = 10.0
"""How often quarantine is looked through for what an upstream may have; a look follows a small index."""

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
    """The data folder that the settings name; one that is registry:2's own folder has its blobs where that has them."""
    objects = settings.storage_folder
    if settings.storage.url is None and not (objects / "docker").exists():
        data = settings.data.folder
        objects = data if (data / LINK_TREE).is_dir() else objects
    return DataFolder(settings.data.folder, catalogue=settings.database_file, objects=objects)


def build_storage(folder: DataFolder) -> ObjectStore:
    """The place for bytes of a registry whose catalogue is not there yet."""
    return FilesystemStore(folder.objects)


def build_link_files(folder: DataFolder) -> SmallFiles:
    """The files of registry:2's tree of links, beside the blobs."""
    return SmallFiles(folder.objects, trusted=TOP_FOLDERS)


def prepare_catalogue(settings: Settings) -> DataFolder:
    """As ``prepare``, but leaves the storage as it is, which may be read-only.

    Raises:
        DataFolderError, DatabaseError: as ``prepare``.
    """
    folder = data_folder(settings)
    folder.prepare(for_objects=False)
    folder.lock()
    folder.require_restored()
    migrate(folder.catalogue)
    return folder


def build_registry(settings: Settings, metrics: Metrics) -> Registry:
    """A registry on the back ends that the settings name; the catalogue must have its schema.

    Raises:
        DatabaseDamagedError, DatabaseUnavailableError: the catalogue cannot be opened.
    """
    folder, clock = data_folder(settings), SystemClock()

    def on_quarantine(digest: Digest, reason: str) -> None:
        _log.error("blob put into quarantine", digest=str(digest), reason=reason)

    files = FilesystemStore(folder.objects)
    database = SqliteDatabase.open(folder.catalogue)
    return Registry.on(
        database,
        MeasuredStore(files, clock, functools.partial(metrics.storage_action, "filesystem")),
        clock,
        on_quarantine=on_quarantine,
        boot_id=_boot_id(),
        minimum_free_bytes=settings.storage.minimum_free_bytes,
        rules=garbage_rules(settings),
        accepts_missing_blobs=settings.content.missing_blobs == "accept",
        maintenance=Maintenance(
            database,
            clock,
            floor=MaintenanceMode(settings.maintenance.mode),
            message=settings.maintenance.message,
        ),
        maximum_blob_bytes=settings.limits.blob_bytes,
        foreign_urls=UrlRules(settings.content.foreign_urls_allow, settings.content.foreign_urls_deny),
        outbox=Outbox(clock, webhooks.wanted_actions(settings.notifications)),
    )


def _boot_id() -> str:
    """What Linux calls this run of the machine; where it cannot be read, no earlier run is ever recognised."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return uuid.uuid4().hex


def build_policy(settings: Settings) -> Policy:
    """The rules of access.

    Raises:
        SettingsInvalidError: one of them cannot be understood.
    """
    rules: list[Rule] = []
    for number, rule in enumerate(settings.access.rules, 1):
        try:
            rules.append(Rule.parse(rule.users, rule.repositories, rule.actions))
        except RuleInvalidError as error:
            remedy = "see access.rules in the reference of settings"
            raise SettingsInvalidError(f"access.rules, rule {number}", str(error), remedy) from None
    return Policy(rules, can_log_in=settings.authentication.mode != "none")


def build_authentication(settings: Settings) -> Authentication:
    """Who may come in and do what; whoever builds it closes it.

    Raises:
        SettingsInvalidError: the rules cannot be understood, or there is no password file.
    """
    policy = build_policy(settings)
    wanted = settings.authentication
    if wanted.mode == "none":
        return Authentication(policy, realm=wanted.realm)
    if wanted.mode != "htpasswd" or wanted.htpasswd_file is None:
        raise SettingsInvalidError(
            "authentication.htpasswd_file", "there is no password file", "name one with --htpasswd"
        )
    passwords = Passwords(wanted.htpasswd_file, SystemClock(), remember_seconds=wanted.remember_seconds)
    return Authentication(policy, passwords, realm=wanted.realm)


def check_authentication(settings: Settings) -> None:
    """Refuses a start that would let nobody in.

    Raises:
        SettingsInvalidError: as ``build_authentication``, or the password file cannot be read or used.
    """
    build_authentication(settings).close()
    file = settings.authentication.htpasswd_file
    if settings.authentication.mode != "htpasswd" or file is None:
        return
    try:
        HtpasswdFile.parse(file.read_bytes())
    except (OSError, PasswordFileInvalidError) as error:
        reason = f"{file}: {error.strerror if isinstance(error, OSError) else error}"
        remedy = f"make it with `roadstead htpasswd {file} USER`"
        raise SettingsInvalidError("authentication.htpasswd_file", reason, remedy) from None


def build_main(
    registry: Registry,
    settings: Settings,
    metrics: Metrics,
    access_log: AccessLog | None,
    authentication: Authentication,
    monitor: HealthMonitor | None = None,
) -> Application:
    """The main listener's application: the content plane, ``/`` and ``/healthz``; shut while ``monitor`` says so."""
    http = settings.http
    distribution = Distribution(
        registry,
        settings.limits,
        authentication,
        accel_location=http.accel_location,
        deletion=settings.content.deletion,
        rates=build_rates(settings, metrics),
    )

    async def answering_all(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await serve_root(scope, receive, send)
        else:
            await distribution(scope, receive, send)

    gated: Application = MaintenanceGate(answering_all, registry.maintenance)
    if monitor is not None:
        gated = HealthGate(gated, monitor.is_healthy)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/healthz":
            await serve_health(scope, receive, send)
        else:
            await gated(scope, receive, send)

    counted = metrics if settings.metrics.enabled else None
    answering = RequestMiddleware(
        Locations(application, http) if needs_locations(http) else application,
        metrics=counted,
        access_log=access_log,
        headers=AnswerHeaders(http.headers, prefix=http.prefix),
    )
    return Forwarding(answering, NetworkSet.parse(http.trusted_proxies)) if http.trusted_proxies else answering


def build_rates(settings: Settings, metrics: Metrics) -> ClientRates | None:
    """The limit on each client's requests, None where there is none."""
    limits = settings.limits
    if not limits.requests_per_second:
        return None
    return ClientRates(
        RateLimit(limits.requests_per_second, limits.request_burst, SystemClock()), metrics.count_refusal
    )


def build_monitor(registry: Registry, settings: Settings) -> HealthMonitor:
    """The probes that the settings ask for, under registry:2's names."""
    probes = listed_probes(settings.health)
    if settings.health.storage_interval_seconds:
        root = data_folder(settings).objects
        probes["storagedriver_filesystem"] = storage_probe(
            lambda is_writing: probe_folder(root, is_writing=is_writing),
            lambda: not registry.maintenance.is_still,
            settings.health,
        )
    return HealthMonitor(probes)


def build_operations(
    registry: Registry,
    settings: Settings,
    metrics: Metrics,
    monitor: HealthMonitor,
    is_stopping: Callable[[], bool],
    certificate: "ServedCertificate | None" = None,
) -> Application:
    """The operations listener's application: metrics and health."""
    checks = {
        **registry_checks(registry, minimum_free_bytes=settings.storage.minimum_free_bytes),
        **monitor.checks(),
        "stopping": stopping_check(is_stopping),
    }
    if certificate is not None:
        checks["certificate"] = certificate_check(certificate, registry.clock)
    return OperationsApplication(metrics if settings.metrics.enabled else None, checks)


def keep_the_certificate(
    certificate: "ServedCertificate | None", registry: Registry, settings: Settings
) -> list[Coroutine[None, None, None]]:
    """What renews the certificate and takes up a new one; nothing without TLS."""
    return keep_certificate(
        certificate, settings, registry.clock, Lease(registry.database, registry.clock, "acme").take
    )


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
    registry = build_registry(await with_known_storage(settings), Metrics(__version__))
    try:
        # the command may not have been given the server's settings
        registry.outbox.want(await webhooks.find_wanted(registry.database))
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
    if not known or not (Path(unquote(urlsplit(known).path)) / LINK_TREE).is_dir():
        return settings
    storage = msgspec.structs.replace(settings.storage, url=SecretText(unquote(known)))
    return msgspec.structs.replace(settings, storage=storage)


async def close_registry(registry: Registry) -> None:
    """Finishes what was begun and closes the back ends."""
    await registry.database.close()
    await registry.storage.close()


def prepare(settings: Settings) -> DataFolder:
    """Makes ready what a server needs before it opens anything, and locks the data folder.

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


async def tidy_up(registry: Registry, settings: Settings) -> None:
    """What a crash has left behind, and what the first request must find; only while this process alone is here."""
    await registry.database.write(delete_leases)
    await webhooks.register(registry.database, registry.clock, settings.notifications)
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
        await tidy_up(registry, settings)
    finally:
        await close_registry(registry)


def garbage_rules(settings: Settings) -> GarbageRules:
    """What is kept for how long."""
    garbage = settings.garbage
    return GarbageRules(
        undo_ms=garbage.grace_seconds * 1000,
        upload_ms=garbage.upload_grace_seconds * 1000,
        collects_untagged=garbage.untagged == "collect",
        history_entries=garbage.history_entries,
    )


def collect_garbage(registry: Registry, settings: Settings, metrics: Metrics) -> list[Coroutine[None, None, None]]:
    """Collecting in small steps, in one process of the fleet; none where the settings leave it to a command."""
    if not settings.garbage.collect:
        return []
    collector = Collector(registry)

    def tell(done: Collected) -> None:
        metrics.count_collected("blob", done.blobs, done.blob_bytes)
        metrics.count_collected("manifest", done.manifests)
        metrics.count_collected("link", done.links)
        metrics.count_collected("repository", done.repositories)

    return [
        run_alone(
            Lease(registry.database, registry.clock, "garbage"),
            registry.maintenance.paused(functools.partial(collector.round, tell)),
            interval_seconds=settings.garbage.interval_seconds,
            name="garbage",
        )
    ]


def background_work(
    registry: Registry, settings: Settings, metrics: Metrics, monitor: HealthMonitor
) -> list[Coroutine[None, None, None]]:
    """What a serving process does beside answering, each until cancelled.

    Every worker runs all of it; what only one at a time may do takes a lease (``roadstead.jobs``).
    """
    return [
        keep_purging(registry, settings.limits),
        watch(registry, metrics, monitor),
        registry.maintenance.follow(),
        monitor.watch(),
        *webhooks.background_work(registry, settings, metrics.notifications),
        *collect_garbage(registry, settings, metrics),
        *scrub(registry, settings, metrics),
        follow_links(registry, settings),
        measure_loop_lag(metrics.loop_lag, settings.metrics.loop_lag_interval_seconds),
    ]


async def follow_links(registry: Registry, settings: Settings) -> None:
    """Keeps registry:2's links close behind the catalogue, in one process of the fleet, until cancelled."""
    if settings.links.mode != "follow":
        await stop_following(registry.database)
        return
    files = build_link_files(data_folder(settings))
    follower = LinkFollower(registry.database, registry.storage, files, registry.maintenance)
    lease = Lease(registry.database, registry.clock, "links")
    work = registry.maintenance.paused(follower.round)
    await run_alone(lease, work, interval_seconds=settings.links.interval_seconds, name="links")


def build_upstream(settings: Settings) -> Upstream | None:
    """The registry from which what is damaged is fetched again, if the settings name one.

    Raises:
        UpstreamUrlInvalidError: what they name is no registry's URL.
    """
    return Upstream(settings.scrub.upstream) if settings.scrub.upstream else None


def scrub(registry: Registry, settings: Settings, metrics: Metrics) -> list[Coroutine[None, None, None]]:
    """Reading everything again slowly, and fetching what was damaged, each in one process of the fleet."""
    upstream = build_upstream(settings)
    work: list[Coroutine[None, None, None]] = []
    refetcher = Refetcher(registry, upstream, metrics.count_refetched) if upstream else None
    if refetcher is not None and upstream is not None:
        lease = Lease(registry.database, registry.clock, "refetch")
        rounds = run_alone(lease, refetcher.round, interval_seconds=REFETCH_SECONDS, name="refetch")
        work.append(_closing(upstream.close, rounds))
    if settings.scrub.enabled:
        heal = refetcher.heal_manifest if refetcher else None
        scrubber = build_scrubber(registry, settings, settings.scrub.bytes_per_second, metrics, heal)
        lease = Lease(registry.database, registry.clock, "scrub")
        reading = registry.maintenance.paused(scrubber.round)
        rounds = run_alone(lease, reading, interval_seconds=POLL_SECONDS, name="scrub")
        work.append(_closing(scrubber.close, rounds, delay_seconds=settings.scrub.delay_seconds))
    return work


def build_scrubber(
    registry: Registry,
    settings: Settings,
    bytes_per_second: int,
    metrics: Metrics,
    heal_manifest: Callable[[Digest], Awaitable[bool]] | None = None,
) -> Scrubber:
    """What reads everything again, no faster than ``bytes_per_second`` (0: as fast as it goes)."""

    def found(damage: Damage, digest: str, reason: str) -> None:
        metrics.count_scrub_damage(damage)
        if damage is not Damage.BLOB:  # whoever puts a blob into quarantine says so
            _log.error("damage found by the scrub", kind=str(damage), digest=digest, reason=reason)

    return Scrubber(
        registry,
        Pace(bytes_per_second, registry.clock),
        ScrubObserver(read=metrics.count_scrubbed, found=found),
        interval_ms=settings.scrub.interval_seconds * 1000,
        heal_manifest=heal_manifest,
    )


async def _closing(
    close: Callable[[], Awaitable[None] | None], work: Coroutine[None, None, None], *, delay_seconds: float = 0
) -> None:
    """Does ``work`` after a while, and closes what it held when it is cancelled."""
    try:
        await asyncio.sleep(delay_seconds)
        await work
    finally:
        work.close()
        closed = close()
        if closed is not None:
            await closed


async def watch(registry: Registry, metrics: Metrics, monitor: HealthMonitor) -> None:
    """Keeps the gauges that are not counted on the way up to date, until cancelled."""
    while True:
        metrics.maintenance.set(registry.maintenance.state.mode.strictness)
        metrics.failing_health_checks.set(monitor.failing)
        with contextlib.suppress(RoadsteadError):  # the request that meets the same error reports it
            unfinished = await measure_unfinished(registry.database)
            metrics.upload_sessions.set(unfinished.uploads)
            metrics.quarantined_blobs.set(unfinished.quarantined)
            metrics.garbage_due.set(await Collector(registry).count_due())
            metrics.scrub_completed_seconds.set((await find_scrub(registry.database)).completed_ms / 1000)
        await asyncio.sleep(WATCH_SECONDS)
