"""An event: who did what to which content. The words are those of registry:2's notifications."""

import enum
from dataclasses import dataclass
from typing import Final


class EventAction(enum.StrEnum):
    """What was done."""

    PUSH = "push"
    PULL = "pull"
    MOUNT = "mount"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Cause:
    """Who asked for a change, and by which request; empty where nobody knows."""

    actor: str = ""
    request_id: str = ""
    client: str = ""
    """The address of the client, with its port where it is known."""
    host: str = ""
    method: str = ""
    user_agent: str = ""
    base_url: str = ""
    """How the client reaches the registry: scheme, host, and the path before ``/v2/`` if there is one."""


NOBODY: Final = Cause()
"""A change that no request asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened to a manifest or blob of a repository."""

    action: EventAction
    repository: str
    digest: str
    media_type: str = ""
    size_bytes: int = 0
    tag: str = ""
    source_repository: str = ""
    """Where a mounted blob came from."""
    cause: Cause = NOBODY
