"""Events: what happened, for those who want to know, written with the change itself, read later."""

from roadstead.events.model import TOLD, UNKNOWN, Cause, Event, EventAction
from roadstead.events.order import KEPT, SETTLED, SettledOrder
from roadstead.events.outbox import ADD_EVENT, Outbox, encode_cause
from roadstead.events.pulls import PullLog
from roadstead.events.stored import StoredEvent

__all__ = [
    "ADD_EVENT",
    "KEPT",
    "SETTLED",
    "TOLD",
    "UNKNOWN",
    "Cause",
    "Event",
    "EventAction",
    "Outbox",
    "PullLog",
    "SettledOrder",
    "StoredEvent",
    "encode_cause",
]
