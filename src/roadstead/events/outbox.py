"""Writes events in the transaction of the change that they tell of, so that one is never without the other.

Every change has its event, whoever wants to know, since plots, audits and replication ask for what was. Events of pulls
are written only where an endpoint is to be told each one; else pulls are counted (``registry.content.traffic``).
"""

from typing import Final

import msgspec
from sqlalchemy import insert

from roadstead.clock import Clock
from roadstead.database import Statement, Transaction, parameter
from roadstead.events.model import Cause, Event, EventAction
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
ADD_EVENT: Final = Statement(insert(events).values({name: parameter(name) for name in _COLUMNS}))


class Outbox:
    """Where events go."""

    def __init__(self, clock: Clock, *, wants_pulls: bool = False) -> None:
        self._clock = clock
        self.wants_pulls = wants_pulls
        """True if anybody is to be told of each pull; their events are not written where not."""

    async def record(self, transaction: Transaction, event: Event, *, at_ms: int | None = None) -> None:
        """Writes ``event`` with whatever else ``transaction`` changes; ``at_ms`` is when it happened if not now.

        The transaction holds ``KEPT``.
        """
        if event.action is EventAction.PULL and not self.wants_pulls:
            return
        await transaction.execute(
            ADD_EVENT,
            at_ms=self._clock.now_ms() if at_ms is None else at_ms,
            action=event.action.value,
            repository=str(event.repository),
            digest=str(event.digest),
            media_type=event.media_type,
            size_bytes=event.size_bytes,
            tag=str(event.tag),
            source_repository=str(event.source_repository),
            cause=encode_cause(event.cause),
        )


def encode_cause(cause: Cause) -> str:
    """A cause as an event's row keeps it."""
    return msgspec.json.encode(cause).decode()
