"""Every key of the configuration of registry:2 (distribution 2.8) and registry:3 (3.1), and its effect here.

One table: the loader, ``roadstead config check`` and the reference page read it. Source of the keys:
``configuration/configuration.go`` of both versions, and the parameters that the storage drivers, access controllers and
middleware take. ``[]`` marks the entries of a list.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from roadstead.config.registry2.finding import Verdict

BOTH: Final = "2, 3"
ONLY_2: Final = "2"
ONLY_3: Final = "3"


class Kind(enum.Enum):
    """The kind of value that a key takes."""

    TEXT = "text"
    TRUTH = "true | false"
    NUMBER = "integer"
    DURATION = "duration"
    TEXTS = "list of text"
    HEADERS = "headers"
    ANY = "anything"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of registry:2: its place, its kind of value, and its effect here."""

    path: str
    kind: Kind
    verdict: Verdict
    """The usual verdict on the key; its value may change it."""
    text: str
    """A sentence about the effect of the key here, or about what to use instead."""
    targets: tuple[str, ...] = ()
    """Our settings that it sets; of a key that is refused, those that settle the matter when given elsewhere."""
    versions: str = BOTH
    below: tuple[str, ...] = ()
    """Keys below this one that have the same verdict."""
    is_protective: bool = False
    """True if somebody who sets the key relies on it: unless our own setting is given in its place, a variable that
    sets it stops the start even where no file of registry:2 is in use."""
    variable: str = ""
    """The key's last word in a variable's name, if Go's field is not called like the key."""


H, D, X, R = Verdict.HONOURED, Verdict.DIFFERENT, Verdict.IGNORED, Verdict.REFUSED
T, B, N, S, L = Kind.TEXT, Kind.TRUTH, Kind.NUMBER, Kind.DURATION, Kind.TEXTS

_NO_OBJECT_STORAGE: Final = (
    "Not available in this version: storage.filesystem is. Copy the registry with `skopeo sync`, or mount the bucket."
)
_NO_TOKENS: Final = (
    "Not available in this version: use auth.htpasswd with access.rules, or leave the token server's registry running."
)
_NO_CACHE: Final = "Not needed: the catalogue is a database on the registry's own disk, with its own cache."
_MAIL: Final = "Not sent: let what collects the logs or the metrics raise the alarm."
_NO_REPORTS: Final = "Errors are in the log and in the metrics; nothing is sent to other companies."
_NO_PROXY: Final = "A cache of another registry is not available in this version: leave the mirror as it is."
_NO_MIDDLEWARE: Final = (
    "Not available, since it may change who reads what: disable it; for blobs sent by nginx see http.accel_location."
)
_TOKEN: Final = (
    "realm", "service", "issuer", "rootcertbundle", "autoredirect", "autoredirectpath", "jwks", "signingalgorithms",
)  # fmt: skip
_S3: Final = (
    "accesskey", "secretkey", "region", "regionendpoint", "redirectendpoint", "forcepathstyle", "bucket", "encrypt",
    "keyid", "secure", "skipverify", "v4auth", "chunksize", "multipartcopychunksize", "multipartcopymaxconcurrency",
    "multipartcopythresholdsize", "rootdirectory", "storageclass", "objectacl", "useragent", "sessiontoken",
    "usedualstack", "usefipsendpoint", "accelerate", "loglevel",
)  # fmt: skip
_GCS: Final = ("bucket", "keyfile", "credentials", "rootdirectory", "chunksize", "maxconcurrency", "useragent")
_AZURE: Final = (
    "accountname", "accountkey", "container", "connectionstring", "realm", "rootdirectory", "serviceurl",
    "credentials", "max_retries", "retry_delay", "skipverify", "copy_status_poll_max_retry",
    "copy_status_poll_delay",
)  # fmt: skip
_SWIFT: Final = (
    "username", "password", "authurl", "tenant", "tenantid", "domain", "domainid", "tenantdomain", "tenantdomainid",
    "trustid", "region", "authversion", "container", "prefix", "rootdirectory", "endpointtype", "insecureskipverify",
    "chunksize", "secretkey", "accesskey", "tempurlcontainerkey", "tempurlmethods",
)  # fmt: skip
_OSS: Final = (
    "accesskeyid", "accesskeysecret", "region", "endpoint", "internal", "bucket", "encrypt", "encryptionkeyid",
    "secure", "chunksize", "rootdirectory",
)  # fmt: skip
_REDIS: Final = (
    "addr", "addrs", "username", "password", "db", "dialtimeout", "readtimeout", "writetimeout", "pool", "tls",
    "clientname", "protocol", "sentinelusername", "sentinelpassword", "maxretries", "minretrybackoff",
    "maxretrybackoff", "contexttimeoutenabled", "poolfifo", "poolsize", "pooltimeout", "minidleconns", "maxidleconns",
    "maxactiveconns", "connmaxidletime", "connmaxlifetime", "maxredirects", "readonly", "routebylatency",
    "routerandomly", "mastername", "disableidentity", "identitysuffix", "unstableresp3",
)  # fmt: skip

_LOG: Final = (
    Key("log.accesslog.disabled", B, H, "Whether requests get no line of their own.", ("log.access",)),
    Key("log.level", T, H, "Least severe messages that are printed.", ("log.level",)),
    Key("log.formatter", T, H, "text is human, json is json; logstash becomes json.", ("log.format",)),
    Key("log.fields", Kind.ANY, X, "Not added to the lines: let what collects them name their source."),
    Key("log.hooks", Kind.ANY, X, _MAIL),
    Key("log.reportcaller", B, X, "Lines name the part of the server that writes them anyway.", versions=ONLY_3),
    Key("loglevel", T, H, "The old name of log.level, which counts where both are set.", ("log.level",)),
)
_STORAGE: Final = (
    Key("storage.filesystem.rootdirectory", T, H,
        "The folder of the blobs, in the same layout; the catalogue is in it too, unless --data says otherwise.",
        ("storage.url", "data.folder"), is_protective=True),
    Key("storage.filesystem.maxthreads", N, X, "Threads are limited by themselves."),
    Key("storage.s3", Kind.ANY, R, _NO_OBJECT_STORAGE, ("storage.url",), below=_S3, is_protective=True),
    Key("storage.s3aws", Kind.ANY, R, _NO_OBJECT_STORAGE, ("storage.url",), below=_S3, is_protective=True),
    Key("storage.gcs", Kind.ANY, R, _NO_OBJECT_STORAGE, ("storage.url",), below=_GCS, is_protective=True),
    Key("storage.azure", Kind.ANY, R, _NO_OBJECT_STORAGE, ("storage.url",), below=_AZURE, is_protective=True),
    Key("storage.swift", Kind.ANY, R, _NO_OBJECT_STORAGE, ("storage.url",), versions=ONLY_2,
        below=_SWIFT, is_protective=True),
    Key("storage.oss", Kind.ANY, R, _NO_OBJECT_STORAGE, ("storage.url",), versions=ONLY_2,
        below=_OSS, is_protective=True),
    Key("storage.inmemory", Kind.ANY, R, "Use storage.filesystem with a folder on a RAM disk.", ("storage.url",),
        is_protective=True),
    Key("storage.delete.enabled", B, H, "Whether clients may delete; not set, they may not.", ("content.deletion",)),
    Key("storage.redirect.disable", B, X, "Blobs of a file system are never fetched elsewhere."),
    Key("storage.cache.blobdescriptor", T, X, _NO_CACHE),
    Key("storage.cache.layerinfo", T, X, _NO_CACHE),
    Key("storage.cache.blobdescriptorsize", N, X, _NO_CACHE),
    Key("storage.tag.concurrencylimit", N, X, "Tags are looked up in the catalogue at once.", versions=ONLY_3),
    Key("storage.maintenance.uploadpurging.enabled", B, H, "Whether old unfinished uploads are dropped; not set,"
        " they are.", ("limits.upload_purge",)),
    Key("storage.maintenance.uploadpurging.age", S, H, "Age at which an unfinished upload is dropped, 168h unless set;"
        " at least a minute.", ("limits.upload_age_seconds",)),
    Key("storage.maintenance.uploadpurging.interval", S, H, "Time between two looks, 24h unless set.",
        ("limits.upload_purge_interval_seconds",)),
    Key("storage.maintenance.uploadpurging.dryrun", B, H, "Whether old uploads are only logged.",
        ("limits.upload_purge",)),
    Key("storage.maintenance.readonly.enabled", B, H, "Whether changes are refused.", ("maintenance.mode",),
        is_protective=True),
)  # fmt: skip
_AUTH: Final = (
    Key("auth.htpasswd.realm", T, H, "What clients are told they log in to.", ("authentication.realm",)),
    Key("auth.htpasswd.path", T, H, "The file of users; besides bcrypt its other usual hashes count too.",
        ("authentication.mode", "authentication.htpasswd_file"), is_protective=True),
    Key("auth.none", Kind.ANY, H, "Nobody is asked who they are.", ("authentication.mode",)),
    Key("auth.token", Kind.ANY, R, _NO_TOKENS, ("authentication.mode",), below=_TOKEN, is_protective=True),
    Key("auth.silly", Kind.ANY, R, "It lets everybody in: use auth.htpasswd, or none.", ("authentication.mode",),
        below=("realm", "service"), is_protective=True),
)  # fmt: skip
_ENTRY: Final = ("[].name", "[].disabled", "[].options")
_MIDDLEWARE: Final = tuple(
    Key(f"middleware.{place}", Kind.ANY, R, _NO_MIDDLEWARE, below=_ENTRY)
    for place in ("registry", "repository", "storage")
)
_HTTP: Final = (
    Key("http.addr", T, H, "Address of the registry; without a host, every one, IPv4 and IPv6.", ("listen.main",)),
    Key("http.net", T, H, "tcp is what there is; with unix the server does not start: listen on 127.0.0.1."),
    Key("http.host", T, H, "Scheme and host of the URLs that clients are given.", ("http.external_url",)),
    Key("http.prefix", T, H, "Path below which everything is served.", ("http.prefix",)),
    Key("http.secret", T, X, "Not needed: where an upload stands is in the catalogue. Keep it for going back."),
    Key("http.relativeurls", B, H, "Whether Location headers are paths alone; not set, they are. With false or"
        " http.host they are whole URLs; behind a proxy, false needs http.trusted_proxies of ours.",
        ("http.relative_urls",)),
    Key("http.draintimeout", S, H, "Time for requests to end at the stop; not set, 30s instead of none.",
        ("limits.drain_timeout_seconds",)),
    Key("http.headers", Kind.HEADERS, H, "Headers that every answer has.", ("http.headers",)),
    Key("http.tls.certificate", T, H, "Certificate with its chain; read again when it changes.",
        ("tls.mode", "tls.certificate"), is_protective=True),
    Key("http.tls.key", T, H, "Key of the certificate; one without the other stops the start.", ("tls.key",),
        is_protective=True),
    Key("http.tls.clientcas", L, H, "Authorities whose certificates clients must show; nobody gets a name by them.",
        ("tls.client_authorities", "tls.client_certificates", "tls.client_user"), is_protective=True),
    Key("http.tls.clientauth", T, H, "Whether they must; require-any-client-cert is refused: it proves nothing.",
        ("tls.client_certificates",), versions=ONLY_3, is_protective=True),
    Key("http.tls.minimumtls", T, H, "tls1.2 or tls1.3; the older ones become tls1.2.", ("tls.minimum_version",)),
    Key("http.tls.ciphersuites", L, H, "Cipher suites of TLS 1.2; broken ones are left out.", ("tls.cipher_suites",)),
    Key("http.tls.letsencrypt.cachefile", T, D, "Turns ACME on; certificates are kept in the data folder instead, and"
        " challenges come over HTTP on port 80.", ("tls.mode",), is_protective=True),
    Key("http.tls.letsencrypt.email", T, H, "Address that the ACME server may write to.", ("tls.acme_email",)),
    Key("http.tls.letsencrypt.hosts", L, H, "Names that certificates are made for; needed here.", ("tls.hosts",)),
    Key("http.tls.letsencrypt.directoryurl", T, H, "Directory of the ACME server.", ("tls.acme_directory",),
        versions=ONLY_3),
    Key("http.debug.addr", T, H, "Address of health and metrics; not set, a free port of this machine.",
        ("listen.operations",)),
    Key("http.debug.prometheus.enabled", B, H, "Whether there are metrics; not set, there are.", ("metrics.enabled",)),
    Key("http.debug.prometheus.path", T, D, "Always /metrics."),
    Key("http.http2.disabled", B, X, "Clients are answered in HTTP/1.1; a proxy in front can offer HTTP/2."),
    Key("http.h2c.enabled", B, X, "Clients are answered in HTTP/1.1: let the proxy in front speak it too.",
        versions=ONLY_3),
)  # fmt: skip
_EVENTS: Final = (
    Key("notifications.events.includereferences", B, H, "Whether events list what a manifest names.",
        ("notifications.include_references",)),
    *(
        Key(f"notifications.endpoints[].{name}", kind, H, text, ("notifications.endpoints",))
        for name, kind, text in (
            ("name", T, "Name of the endpoint."),
            ("disabled", B, "Whether it is left out."),
            ("url", T, "URL that events are sent to."),
            ("headers", Kind.HEADERS, "Headers of these requests."),
            ("timeout", S, "Time for one request; 1s unless set."),
            ("threshold", N, "Failures in a row before a pause; 10 unless set."),
            ("backoff", S, "The pause, which grows here while failures go on; 1s unless set."),
            ("ignoredmediatypes", L, "Media types whose events are not sent."),
            ("ignore.mediatypes", L, "Media types whose events are not sent."),
            ("ignore.actions", L, "Actions whose events are not sent."),
        )
    ),
)  # fmt: skip
_HEALTH_ONE: Final = "Here all checks of files, URLs and addresses share it: the strictest counts."
_HEALTH: Final = (
    Key("health.storagedriver.enabled", B, H, "Whether the storage is looked at; not set, it is.",
        ("health.storage_interval_seconds",)),
    Key("health.storagedriver.interval", S, H, "Time between two looks; 10s unless set.",
        ("health.storage_interval_seconds",)),
    Key("health.storagedriver.threshold", N, H, "Failures in a row that count; 1 unless set.",
        ("health.storage_threshold",)),
    Key("health.file[].file", T, H, "File whose presence takes the registry out of service.", ("health.files",)),
    Key("health.http[].uri", T, H, "URL that must answer.", ("health.urls",)),
    Key("health.http[].statuscode", N, D, "Any status below 400 is well; a URL that should answer with another is"
        " left out."),
    Key("health.http[].headers", Kind.HEADERS, X, "Not sent: a URL that needs them is left out; check it elsewhere."),
    Key("health.tcp[].addr", T, H, "Address that must accept a connection.", ("health.addresses",)),
    Key("health.file[].threshold", N, X, "A file counts at once, with registry:2 too."),
    *(
        Key(f"health.{check}[].{name}", kind, H, _HEALTH_ONE, (target,))
        for name, kind, target, checks in (
            ("interval", S, "health.interval_seconds", ("file", "http", "tcp")),
            ("threshold", N, "health.threshold", ("http", "tcp")),
            ("timeout", S, "health.timeout_seconds", ("http", "tcp")),
        )
        for check in checks
    ),
)  # fmt: skip
_REST: Final = (
    Key("version", T, H, "By 0.1 the file is recognised."),
    Key("catalog.maxentries", N, H, "Most repositories in one answer; 1000 unless set.",
        ("limits.catalog_page_maximum",)),
    Key("tags.maxtags", N, H, "Most tags in one answer; not set, all of up to 100000, as registry:2 does.",
        ("limits.page_maximum",), versions=ONLY_3),
    Key("redis", Kind.ANY, X, _NO_CACHE, below=_REDIS),
    Key("proxy", Kind.ANY, R, _NO_PROXY, below=("remoteurl", "username", "password", "ttl", "exec",
        "cachewritetimeout")),
    Key("validation.enabled", B, H, "The old opposite of validation.disabled.",
        ("content.foreign_urls_allow", "content.foreign_urls_deny")),
    Key("validation.disabled", B, H, "Whether layers may name any URL as their source.",
        ("content.foreign_urls_allow", "content.foreign_urls_deny")),
    Key("validation.manifests.urls.allow", L, H, "Regular expressions of URLs that layers may name as their source;"
        " neither allow nor deny set, none.", ("content.foreign_urls_allow",)),
    Key("validation.manifests.urls.deny", L, H, "Regular expressions of URLs that layers may not name.",
        ("content.foreign_urls_deny",)),
    Key("validation.manifests.indexes.platforms", T, X, "An index may always name images that are pushed after it.",
        versions=ONLY_3),
    Key("validation.manifests.indexes.platformlist", Kind.ANY, X, "See platforms.", versions=ONLY_3),
    Key("policy.repository.classes", L, X, "Every kind of content is accepted: limit who may push with access.rules."),
    Key("compatibility.schema1.enabled", B, X, "Manifests of schema 1 are neither served nor accepted: pull and push"
        " such images with a newer client first.", versions=ONLY_2),
    Key("compatibility.schema1.signingkeyfile", T, X, "Nothing is signed without schema 1.", versions=ONLY_2,
        variable="TRUSTKEY"),
    Key("reporting.bugsnag", Kind.ANY, X, _NO_REPORTS, versions=ONLY_2, below=("apikey", "releasestage", "endpoint")),
    Key("reporting.newrelic", Kind.ANY, X, _NO_REPORTS, versions=ONLY_2, below=("licensekey", "name", "verbose")),
)  # fmt: skip

KEYS: Final[tuple[Key, ...]] = (*_REST[:1], *_LOG, *_STORAGE, *_AUTH, *_HTTP, *_EVENTS, *_HEALTH, *_REST[1:],
                                *_MIDDLEWARE)  # fmt: skip
"""Every key there is."""

_FIELDS: Final = {
    "notifications.events": "EVENTCONFIG",
    "health.file": "FILECHECKERS",
    "health.http": "HTTPCHECKERS",
    "health.tcp": "TCPCHECKERS",
}
"""Words of variables' names where Go's field is called otherwise than the key."""

_FREE: Final = frozenset({"storage", "auth", "middleware"})
"""Sections in which Go has a map, whose keys a variable may invent."""


@dataclass(slots=True)
class Place:
    """A place in the tree of keys, with the key and the keys below it."""

    path: str
    key: Key | None = None
    children: dict[str, "Place"] = field(default_factory=dict)
    entry: "Place | None" = None
    """The place of each entry, if the key is a list."""
    variable: str = ""

    @property
    def is_free(self) -> bool:
        """True if unknown names below the place have a meaning: a driver, a parameter, a header."""
        root = self.path.split(".", 1)[0]
        return root in _FREE or (self.key is not None and self.key.kind in {Kind.ANY, Kind.HEADERS})

    def child(self, name: str) -> "Place | None":
        """Returns the place below this one with this name, or None."""
        return self.children.get(name)


def _tree(keys: Iterable[Key]) -> Place:
    root = Place("")
    for key in keys:
        place = root
        for word in key.path.split("."):
            place = _step(place, word)
        place.key = key
        if key.variable:
            place.variable = key.variable
        for name in key.below:
            inner = place
            for word in name.split("."):
                inner = _step(inner, word)
            inner.key = replace(
                key, path=f"{key.path}.{name}", kind=Kind.ANY, text=f"It belongs to {key.path}.", below=(), variable=""
            )
    return root


def _step(place: Place, word: str) -> Place:
    name, is_list = word.removesuffix("[]"), word.endswith("[]")
    if name:
        path = f"{place.path}.{name}".lstrip(".")
        place = place.children.setdefault(name, Place(path, variable=_FIELDS.get(path, name.upper())))
    if is_list:
        if place.entry is None:
            place.entry = Place(f"{place.path}[]")
        place = place.entry
    return place


TREE: Final = _tree(KEYS)
"""The table as a tree."""

BY_PATH: Final[Mapping[str, Key]] = {key.path: key for key in KEYS}
"""The table by path."""
