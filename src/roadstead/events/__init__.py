"""What happened, for those who want to know: written with the change itself, read later."""

from roadstead.events.model import NOBODY, Event, EventAction, Origin
from roadstead.events.outbox import Outbox
from roadstead.events.pulls import PullLog
from roadstead.events.stored import StoredEvent

__all__ = ["NOBODY", "Event", "EventAction", "Origin", "Outbox", "PullLog", "StoredEvent"]
