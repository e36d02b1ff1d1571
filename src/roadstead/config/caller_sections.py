"""The sections about people and other systems: rules of access, notifications."""

from typing import Annotated, Literal

from msgspec import Struct

from roadstead.config.meta import DAY, meta
from roadstead.config.secret import SecretText

ActionName = Literal["pull", "push", "delete"]


class AccessRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may do what where.

    ``users`` are names, ``*`` for everybody who has logged in, ``anonymous`` for who has not; ``repositories`` are
    names, ``folder/*`` for all below a folder, ``*`` for all.
    """

    users: tuple[str, ...]
    repositories: tuple[str, ...]
    actions: tuple[ActionName, ...]


class AccessSettings(Struct, frozen=True, kw_only=True):
    """What users may do, once they are known."""

    rules: Annotated[
        tuple[AccessRule, ...],
        meta(
            "Rules of users, repositories and actions; what no rule allows is denied. None: users may do everything.",
            example=[
                {"users": ["alice"], "repositories": ["*"], "actions": ["pull", "push", "delete"]},
                {"users": ["ci"], "repositories": ["team/*", "base"], "actions": ["pull", "push"]},
                {"users": ["*", "anonymous"], "repositories": ["public/*"], "actions": ["pull"]},
            ],
        ),
    ] = ()


class NotificationEndpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A system that is told of changes, with registry:2's keys; times are in seconds."""

    name: str
    url: str
    disabled: bool = False
    headers: dict[str, tuple[SecretText, ...]] = {}
    timeout_seconds: float = 5.0
    threshold: int = 5
    backoff_seconds: float = 1.0
    ignored_media_types: tuple[str, ...] = ()
    ignored_actions: tuple[Literal["push", "pull", "mount", "delete"], ...] = ()


class NotificationSettings(Struct, frozen=True, kw_only=True):
    """Events, told to other systems."""

    endpoints: Annotated[
        tuple[NotificationEndpoint, ...],
        meta(
            "Systems that are told, each with name, url, headers, timeout_seconds, threshold, backoff_seconds.",
            example=[
                {
                    "name": "builds",
                    "url": "https://builds.example.com/registry",
                    "headers": {"Authorization": ["Bearer 4f1c"]},
                    "timeout_seconds": 5,
                    "threshold": 5,
                    "backoff_seconds": 1,
                    "ignored_media_types": ["application/octet-stream"],
                    "ignored_actions": ["pull"],
                }
            ],
        ),
    ] = ()
    include_references: Annotated[bool, meta("Whether a manifest's event lists what the manifest names.")] = False
    attempts: Annotated[int, meta("Tries after which an event is parked and the next one's turn comes.", ge=1)] = 20
    keep_seconds: Annotated[int, meta("Time for which delivered and parked events are kept for replay.", ge=0)] = (
        7 * DAY
    )
