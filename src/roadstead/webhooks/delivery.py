"""Sends events to endpoints: one process of the fleet does it, with one task for each endpoint.

A lease decides which process. It is renewed while events are posted; who cannot renew it stops. A process that was
frozen and wakes up late may repeat what its successor has told, and cannot move a cursor that the successor has moved.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from roadstead.clock import Clock
from roadstead.config import NotificationEndpoint, NotificationSettings, Settings
from roadstead.database import Database
from roadstead.errors import RoadsteadError
from roadstead.events import EventAction, SettledOrder, StoredEvent
from roadstead.jobs import Lease, run_alone
from roadstead.registry import Registry
from roadstead.registry.content import store as registry_store
from roadstead.telemetry.notifications import NotificationMetrics
from roadstead.webhooks import housekeeping, store
from roadstead.webhooks.endpoint_queue import EndpointQueue, FailedTry, NextEvent, Policy
from roadstead.webhooks.envelope import BLOB, Source
from roadstead.webhooks.receiver import Answer, Receiver, Result
from roadstead.webhooks.wanted import enabled

ENVELOPE_IN_THREAD_BYTES: Final = 64 << 10
"""Length from which a manifest's references are listed in a thread, so that clients need not wait for them."""

LEASE: Final = "notifications"

HOUSEKEEPING: Final = "events"
"""Name of the lease of whoever removes old events."""

RENEW_SECONDS: Final = 5.0
"""Time between two renewals of the lease, or tries to take it; a sixth of its length."""

POLL_SECONDS: Final = 0.2
"""Time between two looks of an idle endpoint for events: a few microseconds each time."""

FAULT_SECONDS: Final = 1.0
"""Time before a task goes on after an error of the catalogue."""

_log = structlog.get_logger("roadstead.notifications")


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of events with all it needs; ``run`` is the background work of a serving process."""

    database: Database
    clock: Clock
    settings: NotificationSettings
    metrics: NotificationMetrics
    address: str
    """Host and port of this registry, for ``source.addr``."""
    base_url: str = ""
    """URL under which clients reach this registry, if the settings name it."""
    policy: Callable[[NotificationEndpoint, int], Policy] = Policy

    @property
    def endpoints(self) -> list[NotificationEndpoint]:
        """The endpoints that events are sent to."""
        return enabled(self.settings)

    async def run(self) -> None:
        """Sends events to all endpoints while this process holds the lease, until cancelled."""
        lease = Lease(self.database, self.clock, LEASE)
        try:
            while True:
                try:
                    if await lease.take():
                        await self._work(lease)
                except RoadsteadError as error:
                    _log.error("notifications stopped for a while", reason=str(error))
                await asyncio.sleep(RENEW_SECONDS)
        finally:
            try:
                await asyncio.shield(lease.give_up())
            except RoadsteadError:
                _log.info("lease not given up", work=LEASE)

    async def _work(self, lease: Lease) -> None:
        source = await self.source()
        order = SettledOrder(self.database, store.LAST_EVENT_ID)
        work: list[Coroutine[None, None, None]] = [self._tell(endpoint, source, order) for endpoint in self.endpoints]
        async with _running(work):
            while await lease.take():
                await self._measure()
                await asyncio.sleep(RENEW_SECONDS)

    async def source(self) -> Source:
        """Returns the source that events name: this registry."""
        return Source(await housekeeping.get_instance(self.database), self.address, self.base_url)

    async def _measure(self) -> None:
        last = await self.database.fetch_one(store.LAST_EVENT_ID)
        for row in await self.database.fetch_all(store.LIST_CURSORS):
            if any(endpoint.name == row[0] for endpoint in self.endpoints):
                self.metrics.set_pending(row[0], max(0, (last[0] if last else 0) - row[1]))

    async def _tell(self, endpoint: NotificationEndpoint, source: Source, order: SettledOrder) -> None:
        receiver = Receiver(endpoint)
        policy = self.policy(endpoint, self.settings.attempts)
        queue = EndpointQueue(self.database, self.clock, policy, order)
        teller = _Teller(self, policy, receiver, source, queue)
        try:
            while True:
                try:
                    await teller.tell()
                except RoadsteadError as error:
                    _log.error("notifications stopped for a while", endpoint=endpoint.name, reason=str(error))
                except Exception:  # noqa: BLE001 - a fault of ours must not end the telling for good
                    _log.exception("notifications failed unexpectedly", endpoint=endpoint.name)
                await asyncio.sleep(FAULT_SECONDS)
        finally:
            await receiver.close()

    async def body_of(self, stored: StoredEvent) -> bytes | None:
        """Returns the manifest that an event is about, if its references are wanted and it still exists."""
        event = stored.event
        if not self.settings.include_references or event.action is EventAction.DELETE or event.media_type == BLOB:
            return None
        row = await self.database.fetch_one(registry_store.GET_MANIFEST_BODY, digest=event.digest)
        return row[0] if row is not None and isinstance(row[0], bytes) else None


class _Teller:
    """The sender of events to one endpoint."""

    def __init__(
        self, delivery: Delivery, policy: Policy, receiver: Receiver, source: Source, queue: EndpointQueue
    ) -> None:
        self._delivery = delivery
        self._policy = policy
        self._receiver = receiver
        self._source = source
        self._queue = queue
        self._is_down = False

    async def tell(self) -> None:
        """Sends events as they come, until cancelled."""
        await self._queue.load()
        try:
            while True:
                next_event = await self._queue.next()
                if next_event is None:
                    await self._queue.save()
                    await asyncio.sleep(POLL_SECONDS)
                    await self._queue.refresh()
                else:
                    await self._try(next_event)
        finally:
            await asyncio.shield(self._queue.save())

    async def _try(self, next_event: NextEvent) -> None:
        name = self._receiver.name
        if not next_event.attempts and not next_event.is_parked:
            self._delivery.metrics.count(name, "Events")
        body = await self._delivery.body_of(next_event.stored)
        if body is not None and len(body) > ENVELOPE_IN_THREAD_BYTES:
            envelope = await asyncio.to_thread(self._source.envelope, next_event.stored, body)
        else:
            envelope = self._source.envelope(next_event.stored, body)
        answer = await self._receiver.post(envelope)
        self._count(answer)
        if answer.result is Result.DELIVERED:
            await self._queue.succeeded(next_event)
            if self._is_down:
                _log.info("endpoint is told again", endpoint=name)
            self._is_down = False
            return
        failure = await self._queue.failed(next_event, answer)
        self._report(next_event, answer, failure)
        await self._wait(failure.wait_seconds)

    def _count(self, answer: Answer) -> None:
        metrics, name = self._delivery.metrics, self._receiver.name
        if answer.status:
            metrics.count_status(name, answer.status)
        kind = "Successes" if answer.result is Result.DELIVERED else "Failures" if answer.status else "Errors"
        metrics.count(name, kind)

    def _report(self, next_event: NextEvent, answer: Answer, failure: FailedTry) -> None:
        """Logs a line for each change of state, not one for each try."""
        facts = {
            "endpoint": self._receiver.name,
            "event_id": next_event.stored.id,
            "reason": answer.text,
            "attempts": failure.attempts,
        }
        if failure.is_parked:
            self._delivery.metrics.count(self._receiver.name, "Parked")
            _log.error("event parked", **facts)
        elif not self._is_down and (failure.is_held or failure.attempts >= self._policy.endpoint.threshold):
            self._is_down = True
            _log.warning("endpoint does not take events", **facts)

    async def _wait(self, seconds: float) -> None:
        """Waits until the next try is due, or somebody asks for it."""
        clock = self._delivery.clock
        until = clock.monotonic_seconds() + seconds
        while (left := until - clock.monotonic_seconds()) > 0:
            await asyncio.sleep(min(left, POLL_SECONDS))
            if left > POLL_SECONDS and await self._queue.refresh():
                return


def background_work(
    registry: Registry, settings: Settings, metrics: NotificationMetrics
) -> list[Coroutine[None, None, None]]:
    """Returns the work of a serving process that sends events and removes old ones, each until cancelled."""
    work: list[Coroutine[None, None, None]] = [_keep_house(registry, settings, metrics)]
    if not enabled(settings.notifications):
        return work
    metrics.dropped_pulls.set_function(lambda: registry.pulls.dropped)
    delivery = Delivery(
        database=registry.database,
        clock=registry.clock,
        settings=settings.notifications,
        metrics=metrics,
        address=f"{socket.gethostname()}:{settings.listen.main.port}",
        base_url=_external_url(settings),
    )
    return [*work, delivery.run(), registry.pulls.keep_flushing(registry.database)]


async def _keep_house(registry: Registry, settings: Settings, metrics: NotificationMetrics) -> None:
    """Removes old events, in one process of the fleet, and says what an endpoint has not been told of them."""

    async def tidy() -> bool:
        dropped = await housekeeping.tidy(registry.database, registry.clock, settings.notifications, settings.events)
        for name, events in dropped.items():
            metrics.count(name, "Dropped", events)
            _log.error("events dropped: nobody took them in time", endpoint=name, events=events)
        return False

    lease = Lease(registry.database, registry.clock, HOUSEKEEPING)
    await run_alone(lease, tidy, interval_seconds=housekeeping.INTERVAL_SECONDS, name="events")


def _external_url(settings: Settings) -> str:
    """Returns the registry's URL for clients, if the settings name one, without a slash at its end."""
    url = (settings.http.external_url or "").rstrip("/")
    return f"{url}{settings.http.prefix.rstrip('/')}" if url.count("/") == len("//") else url


@asynccontextmanager
async def _running(work: list[Coroutine[None, None, None]]) -> AsyncGenerator[None, None]:
    """Runs ``work`` beside what is inside, and cancels it afterwards."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
