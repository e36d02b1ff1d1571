"""The sections about the care of stored content: maintenance, garbage, integrity."""

from typing import Annotated, Literal

from msgspec import Struct

from roadstead.config.meta import DAY, HOUR, MIB, meta
from roadstead.config.secret import SecretText


class MaintenanceSettings(Struct, frozen=True, kw_only=True):
    """Modes for the time of works."""

    mode: Annotated[
        Literal["off", "read-only", "closed"],
        meta("read-only refuses every change, closed every request; roadstead maintenance sets it while serving."),
    ] = "off"
    message: Annotated[str, meta("What refused clients are told.", max_length=500)] = (
        "the registry is under maintenance"
    )


class GarbageSettings(Struct, frozen=True, kw_only=True):
    """Garbage collection: what deletions free, and when."""

    collect: Annotated[bool, meta("Whether the server collects garbage while it serves.")] = True
    grace_seconds: Annotated[
        int, meta("Time for which what was deleted can be restored.", flag="", ge=0, le=3650 * DAY)
    ] = 7 * DAY
    upload_grace_seconds: Annotated[
        int, meta("Time that a pushed or mounted blob may wait for a manifest that names it.", ge=60, le=365 * DAY)
    ] = 1 * DAY
    untagged: Annotated[
        Literal["keep", "collect"],
        meta("Whether manifests that no tag reaches are deleted, once they are older than the grace time."),
    ] = "keep"
    interval_seconds: Annotated[float, meta("Time between two looks for garbage whose time has come.", ge=0.1)] = 30.0
    history_entries: Annotated[int, meta("Entries of history that are kept of each tag.", ge=1, le=100_000)] = 1000


class ScrubSettings(Struct, frozen=True, kw_only=True):
    """The slow reading of all blobs in the background."""

    enabled: Annotated[
        bool, meta("Whether blobs are read and compared with their digests while the server serves.")
    ] = True
    bytes_per_second: Annotated[int, meta("Most bytes read in a second.", ge=1024)] = 8 * MIB
    interval_seconds: Annotated[int, meta("Least time between two readings of one blob.", ge=60)] = 30 * DAY
    delay_seconds: Annotated[
        float, meta("Time after a start before reading begins or goes on, so that a start is not slowed.", ge=0, le=DAY)
    ] = 300.0
    upstream: Annotated[
        SecretText | None,
        meta(
            "URL of a registry, with user and password if it wants them, from which what is damaged is fetched again.",
            secret=True,
        ),
    ] = None


class LinkSettings(Struct, frozen=True, kw_only=True):
    """The tree of links that registry:2 reads."""

    mode: Annotated[
        Literal["follow", "on-release"],
        meta("Whether tags and manifests are also written as files behind each change, or only by roadstead release."),
    ] = "follow"
    interval_seconds: Annotated[float, meta("Time between two looks for changes to follow.", ge=0.1, le=HOUR)] = 5.0
