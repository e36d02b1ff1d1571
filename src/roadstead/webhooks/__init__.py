"""Notifies other systems of changes: sends events of the outbox in order, again and again until they arrive."""

from roadstead.webhooks.delivery import Delivery, background_work, wanted_actions
from roadstead.webhooks.housekeeping import find_wanted, register

__all__ = ["Delivery", "background_work", "find_wanted", "register", "wanted_actions"]
