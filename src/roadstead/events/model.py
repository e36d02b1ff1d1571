"""An event: who did what to which content. Most words are those of registry:2's notifications."""

import enum
from dataclasses import dataclass
from typing import Final, Self


class EventAction(enum.StrEnum):
    """The kinds of event. The first four are registry:2's words, and the only ones that other systems are told."""

    PUSH = "push"
    PULL = "pull"
    MOUNT = "mount"
    DELETE = "delete"
    RESTORE = "restore"
    """A manifest was taken out of the trash."""
    REMOVE = "remove"
    """A repository was removed, after all that it held; there is no digest."""
    QUARANTINE = "quarantine"
    """A blob was found damaged and is not served any more; there is no repository, since many may share it."""


TOLD: Final = frozenset({EventAction.PUSH, EventAction.PULL, EventAction.MOUNT, EventAction.DELETE})
"""The actions that other systems are told of: they know registry:2's vocabulary and no other."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of a change: who asked for it, and by which request or command; empty where nobody knows.

    The user of a request has no colon in its name, since no login allows one: whoever owns the machine, and the
    registry's own work, have a name with one, so that nobody is taken for them.
    """

    actor: str = ""
    request_id: str = ""
    client: str = ""
    """The address of the client, with its port where it is known."""
    host: str = ""
    method: str = ""
    user_agent: str = ""
    base_url: str = ""
    """The client's address of the registry: scheme, host, and the path before ``/v2/`` if there is one."""

    command: str = ""
    """The command that was typed or ran by itself, such as ``rm``, where it was no request."""

    @classmethod
    def of_command(cls, command: str, user: str) -> Self:
        """Somebody on the machine: ``user`` is their name there, which need not be one of the registry's."""
        return cls(actor=f"local:{user}", command=command)

    @classmethod
    def of_work(cls, work: str) -> Self:
        """The registry's own work beside requests, such as ``refetch``."""
        return cls(actor=f"roadstead:{work}", command=work)


UNKNOWN: Final = Cause()
"""The cause of an event whose own cannot be read any more; no change has this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A change of, or a request for, a manifest or blob of a repository."""

    action: EventAction
    repository: str
    digest: str
    media_type: str = ""
    size_bytes: int = 0
    tag: str = ""
    source_repository: str = ""
    """Where a mounted blob came from."""
    cause: Cause
