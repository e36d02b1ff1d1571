"""The events that endpoints want to be told of, as their settings say."""

from roadstead.config import NotificationEndpoint, NotificationSettings
from roadstead.events import TOLD, Event, EventAction


def wants(endpoint: NotificationEndpoint | None, action: str, media_type: str) -> bool:
    """Returns True if an endpoint is told of such events; of one without settings, every event that can be told."""
    if action not in TOLD:
        return False
    return endpoint is None or (
        action not in endpoint.ignored_actions and media_type not in endpoint.ignored_media_types
    )


def wants_event(endpoint: NotificationEndpoint | None, event: Event) -> bool:
    """Returns True if an endpoint is told of ``event``."""
    return wants(endpoint, event.action, event.media_type)


def enabled(settings: NotificationSettings) -> list[NotificationEndpoint]:
    """Returns the endpoints that are not disabled."""
    return [endpoint for endpoint in settings.endpoints if not endpoint.disabled]


def wants_pulls(settings: NotificationSettings) -> bool:
    """Returns True if at least one endpoint is told of pulls."""
    return any(EventAction.PULL.value not in endpoint.ignored_actions for endpoint in enabled(settings))
