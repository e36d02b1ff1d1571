"""The queue of one endpoint: the events after its cursor, and before them those that are to be sent again.

====================  ============================================================================================
an event is           when
====================  ============================================================================================
the next one          all before it were delivered, parked or ignored: order is that of the changes
delivered             the endpoint answered 2xx or 3xx; the cursor moves, at most ``SAVE_EVENTS`` later on disk
parked                ``attempts`` tries failed, or ``threshold`` ones that said that the event itself is unwanted
the suspect           it was parked because the endpoint was not available, and nothing was delivered since
====================  ============================================================================================

Whether the suspect or the endpoint is at fault, the next event shows. Before it is tried, the suspect is tried once
more; if that fails the next event is tried once, and if it fails too, the endpoint is down: the line is held, both are
tried again after the longest back-off, and nothing else is parked. So an endpoint that was away for a night is told
everything in order when it comes back, and an event that it cannot digest stops nobody.

The cursor is moved only over events that are settled, so that none that commits late is behind it; and only from
where this object saw it last. When the command line, or another process that took the
lease, has moved it, that counts, and this object begins there.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from roadstead.clock import Clock
from roadstead.config import NotificationEndpoint
from roadstead.database import Database, Transaction
from roadstead.events import Event, SettledOrder, StoredEvent
from roadstead.webhooks import store
from roadstead.webhooks.receiver import Answer, Result
from roadstead.webhooks.wanted import wants_event

READ_EVENTS: Final = 200
"""Number of events read at once."""

SAVE_EVENTS: Final = 64
"""Number of deliveries between two writes of the cursor: the ones that a crash repeats, at most."""

SAVE_SECONDS: Final = 0.5

MOST_BACKOFF_SECONDS: Final = 60.0
MOST_BACKOFFS: Final = 32
"""Factor up to which ``backoff_seconds`` grows: two tries a minute cost nothing, and an endpoint hears soon when it is
back."""

MOST_WAIT_SECONDS: Final = 600.0
"""Longest wait that an endpoint may ask for."""

QUICK_SECONDS: Final = 0.05
"""Wait after a failed try before the threshold is reached, when the next one follows almost at once."""


@dataclass(frozen=True, slots=True)
class NextEvent:
    """The next event to be sent to the endpoint."""

    stored: StoredEvent
    attempts: int
    """Number of tries that failed."""
    is_parked: bool
    """True if the event has a row among the parked ones: it is the suspect, or to be sent again."""


@dataclass(frozen=True, slots=True)
class FailedTry:
    """The result of a failed try."""

    attempts: int
    wait_seconds: float
    is_parked: bool = False
    """True if the event was parked, so that the next one follows."""
    is_held: bool = False
    """True if the endpoint is considered down."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules for one endpoint: the events it wants, and the times of tries."""

    endpoint: NotificationEndpoint
    attempts: int
    jitter: Callable[[], float] = random.random
    """Returns a number from 0 to 1, which spreads the tries of many registries."""

    def accepts(self, event: Event) -> bool:
        """Returns True if the endpoint wants to be notified of ``event``."""
        return wants_event(self.endpoint, event)

    def wait_seconds(self, attempts: int, asked_seconds: float = 0.0) -> float:
        """Returns the wait after ``attempts`` failed tries: as registry:2 up to the threshold, then ever longer."""
        beyond = attempts - self.endpoint.threshold
        if beyond < 0:
            seconds = min(QUICK_SECONDS * 2.0**attempts, self.endpoint.backoff_seconds)
        else:
            seconds = min(self.endpoint.backoff_seconds * 2.0 ** min(beyond, 32), self.longest_seconds)
        return float(max(seconds * (0.5 + self.jitter() / 2), min(asked_seconds, MOST_WAIT_SECONDS)))

    @property
    def longest_seconds(self) -> float:
        """The longest wait between two tries."""
        backoff = self.endpoint.backoff_seconds
        return max(min(MOST_BACKOFFS * backoff, MOST_BACKOFF_SECONDS), backoff)

    def is_exhausted(self, attempts: int, result: Result) -> bool:
        """Returns True if an event is parked after this number of failed tries."""
        most = min(self.attempts, self.endpoint.threshold) if result is Result.REFUSED else self.attempts
        return attempts >= max(most, 1)


class EndpointQueue:
    """The queue of events for one endpoint; call ``load`` first."""

    def __init__(self, database: Database, clock: Clock, policy: Policy, order: SettledOrder | None = None) -> None:
        """``order`` may be shared by queues, so that writers are kept waiting once for all of them."""
        self._database = database
        self._order = order or SettledOrder(database, store.LAST_EVENT_ID)
        self._clock = clock
        self._policy = policy
        self._name = policy.endpoint.name
        self._saved_id = 0
        self._position = 0
        self._attempts = 0
        self._error = ""
        self._suspect_id = 0
        self._is_suspect_tried = False
        self._waiting: deque[StoredEvent] = deque()
        self._unsaved = 0
        self._saved_at = 0.0

    async def load(self) -> None:
        """Reads the place in the catalogue; an endpoint that is new there begins with the events from now on."""
        row = await self._database.fetch_one(store.FIND_CURSOR, endpoint=self._name)
        if row is None:
            await add_cursors(self._database, self._clock, [self._name])
            row = await self._database.fetch_one(store.FIND_CURSOR, endpoint=self._name)
        if row is not None:
            self._saved_id = self._position = row[1]
            self._attempts, self._error, self._suspect_id = row[2], row[4], row[6]
        self._is_suspect_tried = False
        self._waiting.clear()
        self._unsaved = 0
        self._saved_at = self._clock.monotonic_seconds()

    async def refresh(self) -> bool:
        """Reads if somebody else has moved the cursor, or wants a try at once; returns True for the latter."""
        row = await self._database.fetch_one(store.FIND_CURSOR, endpoint=self._name)
        is_changed = row is None or row[1] != self._saved_id or row[3] == 0
        if is_changed:
            await self.load()
        return is_changed

    async def next(self) -> NextEvent | None:
        """Returns the next event, or None."""
        next_event = await self._find_due() or await self._find_pending()
        if next_event is None:
            self._is_suspect_tried = False  # there may be no other event for a long time
        if (
            next_event is None
            or not self._suspect_id
            or self._is_suspect_tried
            or next_event.stored.id == self._suspect_id
        ):
            return next_event
        suspect = await self._find_parked(self._suspect_id)
        if suspect is None:  # told again or discarded meanwhile
            self._suspect_id = 0
            return next_event
        return suspect

    async def _find_due(self) -> NextEvent | None:
        row = await self._database.fetch_one(store.FIND_DUE, endpoint=self._name)
        if row is None:
            return None
        next_event = await self._find_parked(row[0])
        if next_event is None:  # the event itself is gone
            await self._unpark(row[0])
        return next_event

    async def _find_parked(self, event_id: int) -> NextEvent | None:
        parked = await self._database.fetch_one(store.FIND_PARKED, endpoint=self._name, event_id=event_id)
        row = await self._database.fetch_one(store.GET_EVENT, event_id=event_id)
        return (
            NextEvent(StoredEvent.of(row), parked[0], is_parked=True)
            if row is not None and parked is not None
            else None
        )

    async def _find_pending(self) -> NextEvent | None:
        while True:
            while self._waiting:
                stored = self._waiting[0]
                if self._policy.accepts(stored.event):
                    return NextEvent(stored, self._attempts, is_parked=False)
                self._pass(stored.id)
                await self._save_when_due()
            upto = await self._order.find()
            rows = await self._database.fetch_all(
                store.LIST_SETTLED_EVENTS, after=self._position, upto=upto, limit=READ_EVENTS
            )
            if not rows:
                return None
            self._waiting.extend(StoredEvent.of(row) for row in rows)

    def _pass(self, event_id: int) -> None:
        """Moves the cursor behind an event."""
        if self._waiting and self._waiting[0].id == event_id:
            self._waiting.popleft()
        self._position = max(self._position, event_id)
        self._attempts = 0
        self._unsaved += 1

    async def succeeded(self, next_event: NextEvent) -> None:
        """Records that ``next_event`` was delivered."""
        if next_event.is_parked:
            await self._unpark(next_event.stored.id)
        else:
            self._pass(next_event.stored.id)
        if self._error or self._suspect_id:
            self._error = ""
            self._suspect_id = 0
            await self._move(next_ms=1)
        self._is_suspect_tried = False
        await self._save_when_due()

    async def failed(self, next_event: NextEvent, answer: Answer) -> FailedTry:
        """Records that ``next_event`` was not delivered, and returns what follows from it."""
        if answer.result is Result.REFUSED and self._suspect_id != next_event.stored.id:
            self._suspect_id = 0  # an endpoint that refuses is not down
        if self._suspect_id == next_event.stored.id:
            return await self._failed_suspect(next_event, answer)
        if self._suspect_id:
            self._is_suspect_tried = False
            wait_seconds = self._policy.wait_seconds(1 << 10, answer.wait_seconds)
            await self._keep(self._attempts, wait_seconds, answer)
            return FailedTry(next_event.attempts + 1, wait_seconds, is_held=True)
        attempts = next_event.attempts + 1
        wait_seconds = self._policy.wait_seconds(attempts, answer.wait_seconds)
        if not self._policy.is_exhausted(attempts, answer.result):
            if next_event.is_parked:
                await self._park(next_event, attempts, answer, is_due=True)
            await self._keep(self._attempts if next_event.is_parked else attempts, wait_seconds, answer)
            return FailedTry(attempts, wait_seconds)
        await self._park(next_event, attempts, answer, is_due=False)
        if answer.result is Result.UNAVAILABLE:
            self._suspect_id = next_event.stored.id
            self._is_suspect_tried = True
        if not next_event.is_parked:
            self._pass(next_event.stored.id)
        await self._keep(self._attempts, 0.0, answer)
        return FailedTry(attempts, 0.0, is_parked=True)

    async def _failed_suspect(self, next_event: NextEvent, answer: Answer) -> FailedTry:
        """Records a failed try of the suspect, which stays in its place; the event after it is tried next."""
        self._is_suspect_tried = True
        if answer.result is Result.REFUSED:
            self._suspect_id = 0
        await self._park(next_event, next_event.attempts + 1, answer, is_due=False)
        return FailedTry(next_event.attempts + 1, 0.0)

    async def _park(self, next_event: NextEvent, attempts: int, answer: Answer, *, is_due: bool) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.execute(
                store.PARK,
                endpoint=self._name,
                event_id=next_event.stored.id,
                attempts=attempts,
                error=answer.text,
                parked_ms=self._clock.now_ms(),
                is_due=int(is_due),
            )

        await self._database.write(work, durable=False)

    async def _unpark(self, event_id: int) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.execute(store.UNPARK, endpoint=self._name, event_id=event_id)

        await self._database.write(work, durable=False)

    async def _keep(self, attempts: int, wait_seconds: float, answer: Answer) -> None:
        self._attempts = attempts
        self._error = answer.text
        await self._move(self._clock.now_ms() + max(1, round(wait_seconds * 1000)))

    async def _save_when_due(self) -> None:
        if self._unsaved >= SAVE_EVENTS or (
            self._unsaved and self._clock.monotonic_seconds() - self._saved_at >= SAVE_SECONDS
        ):
            await self.save()

    async def save(self) -> None:
        """Writes the cursor if it has moved since the last write."""
        if self._unsaved:
            await self._move(next_ms=1)

    async def _move(self, next_ms: int) -> None:
        position = self._position

        async def work(transaction: Transaction) -> int:
            return await transaction.execute(
                store.MOVE_CURSOR,
                endpoint=self._name,
                known_id=self._saved_id,
                new_id=position,
                attempts=self._attempts,
                next_ms=next_ms,
                error=self._error,
                updated_ms=self._clock.grace_ms(),
                suspect_id=self._suspect_id,
            )

        self._unsaved = 0
        self._saved_at = self._clock.monotonic_seconds()
        if await self._database.write(work, durable=False):
            self._saved_id = position
        else:
            await self.load()


async def add_cursors(database: Database, clock: Clock, names: list[str]) -> None:
    """Gives endpoints that the catalogue does not know a cursor at the newest event; others stay.

    Raises:
        DatabaseBusyError: writers stood in the way for too long.
    """
    there = {row[0] for row in await database.fetch_all(store.LIST_CURSORS)}
    if there.issuperset(names):
        return
    last_id = await SettledOrder(database, store.LAST_EVENT_ID).wait()

    async def work(transaction: Transaction) -> None:
        known = await transaction.fetch_one(store.LAST_CURSOR)
        for name in names:
            await transaction.execute(
                store.ADD_CURSOR,
                endpoint=name,
                event_id=max(last_id, known[0] if known else 0),
                attempts=0,
                next_ms=1,
                error="",
                updated_ms=clock.grace_ms(),
                suspect_id=0,
            )

    await database.write(work)
