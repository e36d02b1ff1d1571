"""The background work of a serving process."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final

import structlog

from roadstead import webhooks
from roadstead.app.installation import data_folder
from roadstead.app.services import build_link_files, build_upstream
from roadstead.clock import SystemClock
from roadstead.config import Settings
from roadstead.errors import RoadsteadError
from roadstead.jobs import Lease, Presence, keep_clock, keep_shared_clock, run_alone
from roadstead.oci import Digest
from roadstead.registry import Registry
from roadstead.registry.content.part_intake import PartIntake
from roadstead.registry.garbage.collected import Collected
from roadstead.registry.garbage.collection import Collector
from roadstead.registry.garbage.object_sweep import ObjectSweep
from roadstead.registry.integrity.refetch import Refetcher
from roadstead.registry.integrity.scrub import POLL_SECONDS, Damage, Scrubber, ScrubObserver, find_scrub
from roadstead.registry.integrity.statistics import measure_unfinished
from roadstead.registry.operation.confirmation import STAMP_SECONDS
from roadstead.registry.operation.purging import keep_purging
from roadstead.registry.operation.storage_owner import find_owner
from roadstead.registry.operation.stored_bytes import INTERVAL_SECONDS as NOTE_SECONDS
from roadstead.registry.operation.stored_bytes import note_stored_bytes
from roadstead.registry.operation.takeover import Takeover
from roadstead.registry.pace import Pace
from roadstead.registry2.release.link_following import LinkFollower, stop_following
from roadstead.registry2.release.link_troubles import list_troubles
from roadstead.storage import FolderStore
from roadstead.telemetry import Metrics
from roadstead.telemetry.metrics import Observer
from roadstead.web.operations import (
    HealthMonitor,
)

REFETCH_SECONDS: Final = 10.0
"""Seconds after which quarantine is looked through for what an upstream may have; a look follows a small index."""

TAKEOVER_SECONDS: Final = 60.0
"""Seconds after which one of several replicas looks through the open uploads, of which there are few."""

SWEEP_SECONDS: Final = 6 * 3600.0
"""Seconds after which the whole bucket is listed: a request for each thousand objects."""

WATCH_SECONDS: Final = 5
"""Seconds after which gauges are read from the catalogue; both reads follow small indexes."""

_log = structlog.get_logger("roadstead.app")


def while_present(registry: Registry, work: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    """Rounds of ``work`` that do nothing while the storage is not there: ``watch`` says so, once."""

    async def round_of_work() -> bool:
        return not registry.storage.find_absence() and await work()

    return round_of_work


def while_confirmed(registry: Registry, work: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    """Rounds of ``work``, which removes bytes or links, that do nothing until the catalogue is confirmed."""

    async def round_of_work() -> bool:
        return not await registry.confirmation.is_waiting() and await work()

    return round_of_work


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
            while_present(registry, registry.maintenance.paused(functools.partial(collector.round, tell))),
            interval_seconds=settings.garbage.interval_seconds,
            name="garbage",
        )
    ]


def background_work(
    registry: Registry, settings: Settings, metrics: Metrics, monitor: HealthMonitor
) -> list[Coroutine[None, None, None]]:
    """The background work of a serving process: coroutines, each of which runs until it is cancelled.

    Every worker runs all of it; what only one at a time may do takes a lease (``roadstead.jobs``).
    """
    return [
        keep_purging(registry.uploads, registry.maintenance, registry.confirmation, settings.limits),
        registry.uploads.sessions.keep_tidy(),
        watch(registry, metrics, monitor),
        registry.maintenance.follow(),
        *count_traffic(registry),
        monitor.watch(),
        *webhooks.background_work(registry, settings, metrics.notifications),
        *collect_garbage(registry, settings, metrics),
        *scrub(registry, settings, metrics),
        follow_links(registry, settings),
        *share(registry),
        *sweep(registry),
        *_keep_time(registry),
        measure_loop_lag(metrics.loop_lag, settings.metrics.loop_lag_interval_seconds),
    ]


def share(registry: Registry) -> list[Coroutine[None, None, None]]:
    """A replica's work for the others: it gives signs of life, and one of them takes up what the dead have left."""
    if not registry.exclusive.is_shared:
        return []
    watching = Lease(registry.database, registry.clock, "confirmation")
    return [
        Presence(registry.database, registry.clock).keep(),
        *_take_over(registry),
        run_alone(
            watching,
            while_present(registry, registry.confirmation.round),
            interval_seconds=STAMP_SECONDS,
            name="confirmation",
        ),
    ]


def _take_over(registry: Registry) -> list[Coroutine[None, None, None]]:
    """Taking up what dead replicas have left in a folder; in a bucket a commit leaves nothing half done."""
    if not isinstance(registry.storage, FolderStore):
        return []
    takeover = Takeover(registry.database, registry.storage, registry.clock, registry.rules)

    async def work() -> bool:
        found = await takeover.round()
        if found.orphaned_blobs or found.orphaned_uploads or found.ended_sessions:
            _log.warning(
                "took up what a dead replica left",
                blobs=found.orphaned_blobs,
                uploads=found.orphaned_uploads,
                sessions=found.ended_sessions,
            )
        return False

    lease = Lease(registry.database, registry.clock, "takeover")
    rounds = while_present(registry, while_confirmed(registry, registry.maintenance.paused(work)))
    return [run_alone(lease, rounds, interval_seconds=TAKEOVER_SECONDS, name="takeover")]


def sweep(registry: Registry) -> list[Coroutine[None, None, None]]:
    """Removing what nothing names from a bucket: parts of uploads that ended in the middle, and old objects."""
    intake = registry.uploads.intake
    if not isinstance(intake, PartIntake):
        return []
    objects = ObjectSweep(registry)

    async def forget() -> bool:
        return await intake.forget_lost() > 0

    async def work() -> bool:
        if removed := await objects.round():
            _log.warning("removed objects that nothing names", objects=removed)
        return False

    def alone(name: str, job: Callable[[], Awaitable[bool]], interval_seconds: float) -> Coroutine[None, None, None]:
        lease = Lease(registry.database, registry.clock, name)
        rounds = while_present(registry, while_confirmed(registry, registry.maintenance.paused(job)))
        return run_alone(lease, rounds, interval_seconds=interval_seconds, name=name)

    return [alone("lost-parts", forget, TAKEOVER_SECONDS), alone("object-sweep", work, SWEEP_SECONDS)]


def count_traffic(registry: Registry) -> list[Coroutine[None, None, None]]:
    """Writing what each process counts, and noting once a day what projects store; not while nothing may change."""
    counting = functools.partial(registry.traffic.round, registry.database)

    async def note() -> bool:
        await note_stored_bytes(registry.database, registry.clock)
        return False

    lease = Lease(registry.database, registry.clock, "stored-bytes")
    noting = registry.maintenance.paused(note)
    return [
        registry.traffic.keep_flushing(registry.maintenance.paused(counting)),
        run_alone(lease, noting, interval_seconds=NOTE_SECONDS, name="stored-bytes"),
    ]


def _keep_time(registry: Registry) -> list[Coroutine[None, None, None]]:
    """Noting grace time for the next start; a clock of a test has none to keep."""
    if not isinstance(registry.clock, SystemClock):
        return []
    keep = keep_shared_clock if registry.exclusive.is_shared else keep_clock
    return [keep(registry.database, registry.clock)]


async def follow_links(registry: Registry, settings: Settings) -> None:
    """Keeps registry:2's links close behind the catalogue, in one process of the fleet, until cancelled."""
    if settings.links.mode != "follow":
        await stop_following(registry.database)
        return
    files = build_link_files(data_folder(settings), await find_owner(registry.database))
    follower = LinkFollower(
        registry.database, registry.storage, registry.exclusive, files, registry.clock, registry.maintenance
    )
    lease = Lease(registry.database, registry.clock, "links")
    work = while_confirmed(registry, registry.maintenance.paused(follower.round))
    await run_alone(
        lease, while_present(registry, work), interval_seconds=settings.links.interval_seconds, name="links"
    )


def scrub(registry: Registry, settings: Settings, metrics: Metrics) -> list[Coroutine[None, None, None]]:
    """Reading everything again slowly, and fetching what was damaged, each in one process of the fleet."""
    upstream = build_upstream(settings)
    work: list[Coroutine[None, None, None]] = []
    refetcher = Refetcher(registry, upstream, metrics.count_refetched) if upstream else None
    if refetcher is not None and upstream is not None:
        lease = Lease(registry.database, registry.clock, "refetch")
        rounds = run_alone(
            lease, while_present(registry, refetcher.round), interval_seconds=REFETCH_SECONDS, name="refetch"
        )
        work.append(_closing(upstream.close, rounds))
    if settings.scrub.enabled:
        heal = refetcher.heal_manifest if refetcher else None
        scrubber = build_scrubber(registry, settings, settings.scrub.bytes_per_second, metrics, heal)
        lease = Lease(registry.database, registry.clock, "scrub")
        reading = while_present(registry, while_confirmed(registry, registry.maintenance.paused(scrubber.round)))
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
    """Makes the scrubber, which reads everything again, no faster than ``bytes_per_second`` (0: as fast as it goes)."""

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
    absence = ""
    while True:
        absence = _tell_absence(registry.storage.find_absence(), absence)
        metrics.maintenance.set(registry.maintenance.state.mode.strictness)
        metrics.failing_health_checks.set(monitor.failing)
        with contextlib.suppress(RoadsteadError):  # the request that meets the same error reports it
            unfinished = await measure_unfinished(registry.database)
            metrics.upload_sessions.set(unfinished.uploads)
            metrics.quarantined_blobs.set(unfinished.quarantined)
            metrics.garbage_due.set(await Collector(registry).count_due())
            metrics.links_set_aside.set(len(await list_troubles(registry.database)))
            metrics.scrub_completed_seconds.set((await find_scrub(registry.database)).completed_ms / 1000)
        await asyncio.sleep(WATCH_SECONDS)


def _tell_absence(absence: str, before: str) -> str:
    """Says that the storage has gone, or is there again; ``absence``."""
    if absence and not before:
        _log.error("storage is not there", reason=absence)
    elif before and not absence:
        _log.warning("storage is there again")
    return absence


async def measure_loop_lag(observer: Observer, interval_seconds: float) -> None:
    """Tells ``observer`` every ``interval_seconds`` how late the loop woke it: what blocks it delays all requests."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval_seconds
        await asyncio.sleep(interval_seconds)
        observer.observe(max(0.0, loop.time() - due))
