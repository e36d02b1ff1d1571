"""The sections of the settings, a class each; the reference page is generated from these lines."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct

from roadstead.config.address import ListenAddress
from roadstead.config.meta import DAY, HOUR, MIB, meta
from roadstead.config.secret import SecretText


class ListenSettings(Struct, frozen=True, kw_only=True):
    """Addresses on which the server listens."""

    main: Annotated[
        ListenAddress, meta("Address of the registry, HOST:PORT; port 0 lets the system choose.", flag="--listen")
    ] = ListenAddress("127.0.0.1", 5000)
    operations: Annotated[
        ListenAddress, meta("Address of health and metrics, HOST:PORT; never asks who is there.", flag="--ops-listen")
    ] = ListenAddress("127.0.0.1", 5001)
    workers: Annotated[
        int, meta("Processes that answer on the main address; about one a core.", flag="--workers", ge=1, le=64)
    ] = 1


class DataSettings(Struct, frozen=True, kw_only=True):
    """Folder in which the server keeps its data."""

    folder: Annotated[
        Path, meta("Folder of catalogue, blobs and secrets; relative to the working directory.", flag="--data")
    ] = Path("data")


class DatabaseSettings(Struct, frozen=True, kw_only=True):
    """The catalogue."""

    url: Annotated[
        SecretText | None,
        meta(
            "sqlite:///PATH of the catalogue, or postgresql://USER@HOST:PORT/NAME for replicas that share one; none"
            " means roadstead.db in the data folder.",
            flag="--database",
            secret=True,
        ),
    ] = None
    password: Annotated[
        SecretText | None,
        meta("Password for the server of the catalogue, in place of one in the URL.", secret=True),
    ] = None
    password_file: Annotated[
        Path | None, meta("File that holds that password, and nothing else; read when a process starts.")
    ] = None
    connections: Annotated[
        int,
        meta("Connections of one process to the server of the catalogue; about four a core of that.", ge=2, le=500),
    ] = 8


class StorageSettings(Struct, frozen=True, kw_only=True):
    """The store of blobs."""

    url: Annotated[
        SecretText | None,
        meta("file:///PATH of the blobs; none means the folder registry in the data folder.", flag="--storage",
              secret=True),
    ] = None  # fmt: skip
    group: Annotated[
        str,
        meta("Group that may read the blobs, by name or number, as nginx needs it; without one only their owner may."),
    ] = ""
    minimum_free_bytes: Annotated[
        int, meta("Free space below which pushes are refused, so that deleting still works.", ge=0)
    ] = 64 * MIB


class SecretSettings(Struct, frozen=True, kw_only=True):
    """The master key, under which secrets that servers share are sealed in the catalogue."""

    master_key: Annotated[
        SecretText | None,
        meta("Master keys, 64 hexadecimal digits each, the newest first; a file is to be preferred.", secret=True),
    ] = None
    master_key_file: Annotated[
        Path | None,
        meta(
            "File of master keys, one a line, the newest first, the same for all servers of a catalogue; none:"
            " secrets/master.key in the data folder, made at the first need, unless the catalogue is on a server."
        ),
    ] = None


class AuthenticationSettings(Struct, frozen=True, kw_only=True):
    """Authentication of clients."""

    mode: Annotated[
        Literal["none", "htpasswd", "accounts"],
        meta("How callers prove who they are; an address beyond loopback needs it written out.", flag="--auth"),
    ] = "none"
    htpasswd_file: Annotated[
        Path | None, meta("File of users and password hashes, as htpasswd writes it.", flag="--htpasswd")
    ] = None
    realm: Annotated[str, meta("What clients are told they log in to.", min_length=1, max_length=200)] = "roadstead"
    remember_seconds: Annotated[
        float,
        meta("Time for which a verified password is not hashed again; 0 hashes for every request.", ge=0, le=3600),
    ] = 60.0


class ContentSettings(Struct, frozen=True, kw_only=True):
    """Rules for what may be pushed."""

    missing_blobs: Annotated[
        Literal["refuse", "accept"],
        meta("What to do with an image manifest that names blobs which its repository does not have."),
    ] = "refuse"
    wrong_sizes: Annotated[
        Literal["refuse", "accept"],
        meta("What to do with an image manifest that states another size for a blob than the blob has."),
    ] = "refuse"
    deletion: Annotated[bool, meta("Whether clients may delete; the command line always may.")] = True
    foreign_urls_allow: Annotated[
        tuple[str, ...],
        meta(
            "Regular expressions of URLs that a layer may name as its source; with any, others are refused.",
            example=["^https://layers.example.com/"],
        ),
    ] = ()
    foreign_urls_deny: Annotated[
        tuple[str, ...],
        meta("Regular expressions of URLs that a layer may not name, allowed or not.", example=["^http://"]),
    ] = ()


class LimitSettings(Struct, frozen=True, kw_only=True):
    """Limits on how much one client may take, and how long."""

    manifest_bytes: Annotated[int, meta("Largest manifest, as registry:2 has it.", ge=1024, le=64 * MIB)] = 4 * MIB
    header_bytes: Annotated[int, meta("Largest request head; more gets 431.", ge=1024, le=MIB)] = 32 * 1024
    url_bytes: Annotated[int, meta("Longest URL; more gets 414.", ge=512, le=MIB)] = 8 * 1024
    header_timeout_seconds: Annotated[
        float, meta("Time to send a request's head, from the connection or its first byte.", gt=0)
    ] = 10.0
    body_idle_timeout_seconds: Annotated[
        float, meta("Time without a byte of an awaited body before the client is given up.", gt=0)
    ] = 60.0
    body_minimum_bytes_per_second: Annotated[
        int, meta("Least rate of an awaited body, over the time above; slower clients get 408. 0 means none.", ge=0)
    ] = 512
    body_memory_bytes: Annotated[
        int,
        meta("Manifests and listings that a process holds in memory for slow clients; beyond that, 503.", ge=4 * MIB),
    ] = 64 * MIB
    request_timeout_seconds: Annotated[float, meta("Time for one whole request and its answer.", gt=0)] = 6.0 * HOUR
    write_idle_timeout_seconds: Annotated[
        float, meta("Time in which a client reads nothing of its answer before it is given up.", gt=0)
    ] = 60.0
    keep_alive_timeout_seconds: Annotated[
        float, meta("Time for which a connection without a request is kept; above that of most proxies.", gt=0)
    ] = 75.0
    blob_bytes: Annotated[int, meta("Largest blob; 0 means no limit.", ge=0)] = 0
    page_maximum: Annotated[int, meta("Most entries of a listing in one answer.", ge=1, le=100_000)] = 1000
    catalog_page_maximum: Annotated[
        int, meta("Most repositories in one answer of the catalogue's listing.", ge=1, le=100_000)
    ] = 1000
    requests_per_second: Annotated[
        float, meta("Requests that one client may make in a second, on average; more get 429. 0 means no limit.", ge=0)
    ] = 0.0
    request_burst: Annotated[int, meta("Requests that one client may make at once before that counts.", ge=1)] = 200
    connections: Annotated[int, meta("Connections at one time; more get 503.", ge=1)] = 10_000
    upload_age_seconds: Annotated[int, meta("Age at which an unfinished upload is dropped.", ge=60)] = 7 * DAY
    upload_purge: Annotated[
        Literal["on", "dry-run", "off"], meta("Whether uploads past that age are dropped, or only logged.")
    ] = "on"
    upload_purge_interval_seconds: Annotated[int, meta("Time between two looks for uploads to drop.", ge=1)] = 600
    drain_timeout_seconds: Annotated[
        float, meta("Time for requests to end when the server is asked to stop.", ge=0)
    ] = 30.0


class LogSettings(Struct, frozen=True, kw_only=True):
    """Content and format of the log."""

    level: Annotated[Literal["debug", "info", "warning", "error"], meta("Least severe messages that are printed.")] = (
        "info"
    )
    format: Annotated[
        Literal["auto", "human", "json"], meta("How lines look; auto is human on a terminal and json elsewhere.")
    ] = "auto"
    access: Annotated[bool, meta("Whether each request gets a line.")] = True


class MetricsSettings(Struct, frozen=True, kw_only=True):
    """Metrics and their detail."""

    enabled: Annotated[bool, meta("Whether requests are counted and /metrics answers.")] = True
    loop_lag_interval_seconds: Annotated[
        float, meta("Time between two measurements of how late the event loop is.", ge=0.1)
    ] = 1.0
