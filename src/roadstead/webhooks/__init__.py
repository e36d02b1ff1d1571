"""Notifies other systems of changes: sends events of the outbox in order, again and again until they arrive."""

from roadstead.webhooks.delivery import Delivery, background_work
from roadstead.webhooks.housekeeping import register
from roadstead.webhooks.wanted import wants_pulls

__all__ = ["Delivery", "background_work", "register", "wants_pulls"]
