"""Writes events in the transaction of the change that they tell of, so that one is never without the other."""

from collections.abc import Collection
from typing import Final

import msgspec
from sqlalchemy import insert

from roadstead.clock import Clock
from roadstead.database import Statement, Transaction, parameter
from roadstead.events.model import Event, EventAction
from roadstead.events.tables import events

_COLUMNS: Final = (
    "at_ms",
    "action",
    "repository",
    "digest",
    "media_type",
    "size_bytes",
    "tag",
    "source_repository",
    "cause",
)
_ADD_EVENT: Final = Statement(insert(events).values({name: parameter(name) for name in _COLUMNS}))


class Outbox:
    """Where events go. ``wanted`` are the actions that somebody waits for; others are not written."""

    def __init__(self, clock: Clock, wanted: Collection[EventAction] = ()) -> None:
        self._clock = clock
        self._wanted = frozenset(wanted)

    def wants(self, action: EventAction) -> bool:
        """Whether such events are written at all."""
        return action in self._wanted

    def want(self, actions: Collection[EventAction]) -> None:
        """Writes such events from now on, beside those that were wanted before."""
        self._wanted |= frozenset(actions)

    async def record(self, transaction: Transaction, event: Event, *, at_ms: int | None = None) -> None:
        """Writes ``event`` with whatever else ``transaction`` changes; ``at_ms`` is when it happened if not now."""
        if event.action not in self._wanted:
            return
        await transaction.execute(
            _ADD_EVENT,
            at_ms=self._clock.now_ms() if at_ms is None else at_ms,
            action=event.action.value,
            repository=str(event.repository),
            digest=str(event.digest),
            media_type=event.media_type,
            size_bytes=event.size_bytes,
            tag=str(event.tag),
            source_repository=str(event.source_repository),
            cause=msgspec.json.encode(event.cause).decode(),
        )
