"""Tells other systems what happened: events of the outbox, delivered in order, again and again until they arrive."""
