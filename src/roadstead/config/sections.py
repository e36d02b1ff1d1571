"""The sections of the settings, a class each; the reference page is generated from these lines."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from roadstead.config.address import ListenAddress
from roadstead.config.secret import SecretText

MIB: Final = 1024 * 1024
HOUR: Final = 3600
DAY: Final = 24 * HOUR


def _meta(description: str, *, flag: str = "", secret: bool = False, **bounds: Any) -> Meta:  # noqa: ANN401 - Meta's own
    return Meta(description=description, extra={"flag": flag, "secret": secret}, **bounds)


class ListenSettings(Struct, frozen=True, kw_only=True):
    """Where the server listens."""

    main: Annotated[
        ListenAddress, _meta("Address of the registry, HOST:PORT; port 0 lets the system choose.", flag="--listen")
    ] = ListenAddress("127.0.0.1", 5000)
    operations: Annotated[
        ListenAddress, _meta("Address of health and metrics, HOST:PORT; never asks who is there.", flag="--ops-listen")
    ] = ListenAddress("127.0.0.1", 5001)
    workers: Annotated[
        int, _meta("Processes that answer on the main address; about one a core.", flag="--workers", ge=1, le=64)
    ] = 1


class DataSettings(Struct, frozen=True, kw_only=True):
    """Where the server keeps what it knows."""

    folder: Annotated[
        Path, _meta("Folder of catalogue, blobs and secrets; relative to the working directory.", flag="--data")
    ] = Path("data")


class DatabaseSettings(Struct, frozen=True, kw_only=True):
    """The catalogue."""

    url: Annotated[
        SecretText | None,
        _meta(
            "sqlite:///PATH of the catalogue; none means roadstead.db in the data folder.",
            flag="--database",
            secret=True,
        ),
    ] = None


class StorageSettings(Struct, frozen=True, kw_only=True):
    """Where blobs are."""

    url: Annotated[
        SecretText | None,
        _meta("file:///PATH of the blobs; none means the folder registry in the data folder.", flag="--storage",
              secret=True),
    ] = None  # fmt: skip
    minimum_free_bytes: Annotated[
        int, _meta("Free space below which pushes are refused, so that deleting still works.", ge=0)
    ] = 64 * MIB


class AuthenticationSettings(Struct, frozen=True, kw_only=True):
    """Who may come in."""

    mode: Annotated[
        Literal["none", "htpasswd", "accounts"],
        _meta("How callers prove who they are; an address beyond loopback needs it written out.", flag="--auth"),
    ] = "none"


class ContentSettings(Struct, frozen=True, kw_only=True):
    """What may be pushed."""

    missing_blobs: Annotated[
        Literal["refuse", "accept"],
        _meta("What to do with an image manifest that names blobs which its repository does not have."),
    ] = "refuse"


class LimitSettings(Struct, frozen=True, kw_only=True):
    """How much one client may take, and how long."""

    manifest_bytes: Annotated[int, _meta("Largest manifest, as registry:2 has it.", ge=1024, le=64 * MIB)] = 4 * MIB
    header_bytes: Annotated[int, _meta("Largest request head; more gets 431.", ge=1024, le=MIB)] = 32 * 1024
    url_bytes: Annotated[int, _meta("Longest URL; more gets 414.", ge=512, le=MIB)] = 8 * 1024
    header_timeout_seconds: Annotated[
        float, _meta("Time to send a request's head, from the connection or its first byte.", gt=0)
    ] = 10.0
    body_idle_timeout_seconds: Annotated[
        float, _meta("Time without a byte of an awaited body before the client is given up.", gt=0)
    ] = 60.0
    request_timeout_seconds: Annotated[float, _meta("Time for one whole request and its answer.", gt=0)] = 6.0 * HOUR
    write_idle_timeout_seconds: Annotated[
        float, _meta("Time in which a client reads nothing of its answer before it is given up.", gt=0)
    ] = 60.0
    keep_alive_timeout_seconds: Annotated[
        float, _meta("Time for which a connection without a request is kept; above that of most proxies.", gt=0)
    ] = 75.0
    page_maximum: Annotated[int, _meta("Most entries of a listing in one answer.", ge=1, le=100_000)] = 1000
    connections: Annotated[int, _meta("Connections at one time; more get 503.", ge=1)] = 10_000
    upload_age_seconds: Annotated[int, _meta("Age at which an unfinished upload is dropped.", ge=60)] = 7 * DAY
    drain_timeout_seconds: Annotated[
        float, _meta("Time for requests to end when the server is asked to stop.", ge=0)
    ] = 30.0


class LogSettings(Struct, frozen=True, kw_only=True):
    """What is logged and how it looks."""

    level: Annotated[Literal["debug", "info", "warning", "error"], _meta("Least severe messages that are printed.")] = (
        "info"
    )
    format: Annotated[
        Literal["auto", "human", "json"], _meta("How lines look; auto is human on a terminal and json elsewhere.")
    ] = "auto"
    access: Annotated[bool, _meta("Whether each request gets a line.")] = True


class MetricsSettings(Struct, frozen=True, kw_only=True):
    """What is measured."""

    enabled: Annotated[bool, _meta("Whether requests are counted and /metrics answers.")] = True
    loop_lag_interval_seconds: Annotated[
        float, _meta("Time between two measurements of how late the event loop is.", ge=0.1)
    ] = 1.0
