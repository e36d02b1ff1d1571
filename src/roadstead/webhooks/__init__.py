"""Tells other systems what happened: events of the outbox, delivered in order, again and again until they arrive."""

from roadstead.webhooks.delivery import Delivery, wanted_actions
from roadstead.webhooks.housekeeping import find_wanted, register

__all__ = ["Delivery", "find_wanted", "register", "wanted_actions"]
