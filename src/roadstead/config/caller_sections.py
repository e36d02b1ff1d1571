"""The sections about people and other systems: rules of access, events, notifications."""

import re
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from roadstead.config.meta import DAY, meta
from roadstead.config.secret import SecretText

_ENDPOINT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

ActionName = Literal["pull", "push", "delete"]


class AccessRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule that allows users some actions in some repositories.

    ``users`` are names, ``*`` for everybody who has logged in, ``anonymous`` for everybody, logged in or not;
    ``repositories`` are names, ``folder/*`` for all below a folder, ``*`` for all.
    """

    users: tuple[str, ...]
    repositories: tuple[str, ...]
    actions: tuple[ActionName, ...]


class AccessSettings(Struct, frozen=True, kw_only=True):
    """Rules of access for users whose identity is known."""

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


class EventSettings(Struct, frozen=True, kw_only=True):
    """Events: what was changed, when and by whom. Every change writes one; pulls are counted."""

    keep_days: Annotated[int, meta("Days for which events are kept.", ge=0)] = 30
    keep_rows: Annotated[
        int, meta("Events kept at most; beyond that the oldest go. A million take about 0.5 GB.", ge=1)
    ] = 1_000_000


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

    def __post_init__(self) -> None:
        """Refuses an endpoint that could never be sent an event.

        Raises:
            ValueError: says what is wrong; the URL, which may hold a secret, is not repeated.
        """
        if not _ENDPOINT_NAME.fullmatch(self.name):
            raise ValueError("the name of an endpoint is 1 to 64 letters, digits, '.', '_' and '-'")
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"endpoint {self.name}: the url begins with http:// or https:// and names a host")
        if self.timeout_seconds <= 0 or self.threshold < 1 or self.backoff_seconds < 0:
            raise ValueError(
                f"endpoint {self.name}: timeout_seconds and threshold are above 0, backoff_seconds not below"
            )
        for name, values in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or not all(_is_header_value(value) for value in values):
                raise ValueError(f"endpoint {self.name}: a header's name or value has a character that none may have")


def _is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable()


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
    keep_events: Annotated[
        int,
        meta(
            "Events kept for endpoints at most; beyond that and events.keep_rows the oldest go, delivered or not.", ge=1
        ),
    ] = 1_000_000
