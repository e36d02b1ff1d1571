"""Every key of both versions: what becomes of it, and which setting of ours has its value afterwards."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path
from typing import Any, Final

import pytest

from roadstead.config import ListenAddress, Settings, describe_settings
from roadstead.config.registry2 import KEYS, Finding, Key, Verdict
from tests.unit.config.registry2.conftest import Configurations

TLS: Final = "http: {tls: {certificate: /c.pem, key: /k.pem, "
ACME: Final = "http: {tls: {letsencrypt: {cachefile: /cache, hosts: [registry.example.com], "
ENDPOINT: Final = "notifications: {endpoints: [{name: one, url: 'http://127.0.0.1:1/', "
STORE: Final = "storage: {filesystem: {rootdirectory: /srv/registry}, "
PURGE: Final = STORE + "maintenance: {uploadpurging: {"
HTPASSWD: Final = "auth: {htpasswd: {realm: home, path: /etc/users}}"

HONOURED: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "version": ("", {}),
    "log.accesslog.disabled": ("log: {accesslog: {disabled: true}}", {"log.access": False}),
    "log.level": ("log: {level: WARN}", {"log.level": "warning"}),
    "log.formatter": ("log: {formatter: logstash}", {"log.format": "json"}),
    "loglevel": ("loglevel: debug", {"log.level": "debug"}),
    "storage.filesystem.rootdirectory": (
        "storage: {filesystem: {rootdirectory: /srv/r}}",
        {"storage.url": "file:///srv/r", "data.folder": Path("/srv/r")},
    ),
    "storage.delete.enabled": (STORE + "delete: {enabled: true}}", {"content.deletion": True}),
    "storage.maintenance.uploadpurging.enabled": (PURGE + "enabled: false}}}", {"limits.upload_purge": "off"}),
    "storage.maintenance.uploadpurging.age": (PURGE + "age: 1h30m}}}", {"limits.upload_age_seconds": 5400}),
    "storage.maintenance.uploadpurging.interval": (
        PURGE + "interval: 2m}}}",
        {"limits.upload_purge_interval_seconds": 120},
    ),
    "storage.maintenance.uploadpurging.dryrun": (PURGE + "dryrun: true}}}", {"limits.upload_purge": "dry-run"}),
    "storage.maintenance.readonly.enabled": (
        STORE + "maintenance: {readonly: {enabled: true}}}",
        {"maintenance.mode": "read-only"},
    ),
    "auth.htpasswd.realm": (HTPASSWD, {"authentication.realm": "home"}),
    "auth.htpasswd.path": (
        HTPASSWD,
        {"authentication.mode": "htpasswd", "authentication.htpasswd_file": Path("/etc/users")},
    ),
    "auth.none": ("auth: none", {"authentication.mode": "none"}),
    "http.addr": ("http: {addr: ':5005'}", {"listen.main": ListenAddress("::", 5005)}),
    "http.net": ("http: {net: tcp}", {}),
    "http.host": (
        "http: {host: 'https://registry.example.com:5000'}",
        {"http.external_url": "https://registry.example.com:5000"},
    ),
    "http.prefix": ("http: {prefix: /my/registry}", {"http.prefix": "/my/registry/"}),
    "http.relativeurls": ("http: {relativeurls: on}", {"http.relative_urls": True}),
    "http.draintimeout": ("http: {draintimeout: 1.5m}", {"limits.drain_timeout_seconds": 90.0}),
    "http.headers": (
        "http: {headers: {X-Content-Type-Options: [nosniff]}}",
        {"http.headers": {"X-Content-Type-Options": ("nosniff",)}},
    ),
    "http.tls.certificate": (TLS + "}}", {"tls.mode": "files", "tls.certificate": Path("/c.pem")}),
    "http.tls.key": (TLS + "}}", {"tls.key": Path("/k.pem")}),
    "http.tls.clientcas": (
        TLS + "clientcas: [/ca.pem]}}",
        {
            "tls.client_authorities": (Path("/ca.pem"),),
            "tls.client_certificates": "required",
            "tls.client_user": "none",
        },
    ),
    "http.tls.clientauth": (
        TLS + "clientcas: [/ca.pem], clientauth: verify-client-cert-if-given}}",
        {"tls.client_certificates": "optional"},
    ),
    "http.tls.minimumtls": (TLS + "minimumtls: tls1.3}}", {"tls.minimum_version": "1.3"}),
    "http.tls.ciphersuites": (
        TLS + "ciphersuites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]}}",
        {"tls.cipher_suites": ("ECDHE-RSA-CHACHA20-POLY1305",)},
    ),
    "http.tls.letsencrypt.email": (ACME + "email: a@example.com}}}", {"tls.acme_email": "a@example.com"}),
    "http.tls.letsencrypt.hosts": (ACME + "}}}", {"tls.hosts": ("registry.example.com",)}),
    "http.tls.letsencrypt.directoryurl": (
        ACME + "directoryurl: 'https://acme.example.com/dir'}}}",
        {"tls.acme_directory": "https://acme.example.com/dir"},
    ),
    "http.debug.addr": (
        "http: {debug: {addr: 'localhost:5009'}}",
        {"listen.operations": ListenAddress("localhost", 5009)},
    ),
    "http.debug.prometheus.enabled": ("http: {debug: {prometheus: {enabled: false}}}", {"metrics.enabled": False}),
    "notifications.events.includereferences": (
        "notifications: {events: {includereferences: true}}",
        {"notifications.include_references": True},
    ),
    "notifications.endpoints[].name": (ENDPOINT + "}]}", {"notifications.endpoints.name": "one"}),
    "notifications.endpoints[].disabled": (ENDPOINT + "disabled: true}]}", {"notifications.endpoints.disabled": True}),
    "notifications.endpoints[].url": (ENDPOINT + "}]}", {"notifications.endpoints.url": "http://127.0.0.1:1/"}),
    "notifications.endpoints[].headers": (
        ENDPOINT + "headers: {Authorization: [Bearer x]}}]}",
        {"notifications.endpoints.headers": {"Authorization": ("Bearer x",)}},
    ),
    "notifications.endpoints[].timeout": (
        ENDPOINT + "timeout: 500ms}]}",
        {"notifications.endpoints.timeout_seconds": 0.5},
    ),
    "notifications.endpoints[].threshold": (ENDPOINT + "threshold: 3}]}", {"notifications.endpoints.threshold": 3}),
    "notifications.endpoints[].backoff": (
        ENDPOINT + "backoff: 2s}]}",
        {"notifications.endpoints.backoff_seconds": 2.0},
    ),
    "notifications.endpoints[].ignoredmediatypes": (
        ENDPOINT + "ignoredmediatypes: [a/b]}]}",
        {"notifications.endpoints.ignored_media_types": ("a/b",)},
    ),
    "notifications.endpoints[].ignore.mediatypes": (
        ENDPOINT + "ignore: {mediatypes: [a/b, c/d]}, ignoredmediatypes: [a/b]}]}",
        {"notifications.endpoints.ignored_media_types": ("a/b", "c/d")},
    ),
    "notifications.endpoints[].ignore.actions": (
        ENDPOINT + "ignore: {actions: [pull, rename]}}]}",
        {"notifications.endpoints.ignored_actions": ("pull",)},
    ),
    "health.storagedriver.enabled": (
        "health: {storagedriver: {enabled: false}}",
        {"health.storage_interval_seconds": 0.0},
    ),
    "health.storagedriver.interval": (
        "health: {storagedriver: {enabled: true, interval: 30s}}",
        {"health.storage_interval_seconds": 30.0, "health.storage_threshold": 1},
    ),
    "health.storagedriver.threshold": (
        "health: {storagedriver: {enabled: true, threshold: 5}}",
        {"health.storage_threshold": 5, "health.storage_interval_seconds": 10.0},
    ),
    "health.file[].file": ("health: {file: [{file: /run/down}]}", {"health.files": (Path("/run/down"),)}),
    "health.file[].interval": ("health: {file: [{file: /a, interval: 4s}]}", {"health.interval_seconds": 4.0}),
    "health.http[].uri": ("health: {http: [{uri: 'http://127.0.0.1/'}]}", {"health.urls": ("http://127.0.0.1/",)}),
    "health.http[].interval": (
        "health: {http: [{uri: 'http://127.0.0.1/', interval: 3s}, {uri: 'http://127.0.0.2/', interval: 9s}]}",
        {"health.interval_seconds": 3.0},
    ),
    "health.http[].threshold": ("health: {http: [{uri: 'http://127.0.0.1/', threshold: 4}]}", {"health.threshold": 4}),
    "health.http[].timeout": (
        "health: {http: [{uri: 'http://127.0.0.1/', timeout: 2s}]}",
        {"health.timeout_seconds": 2.0},
    ),
    "health.tcp[].addr": ("health: {tcp: [{addr: '127.0.0.1:6379'}]}", {"health.addresses": ("127.0.0.1:6379",)}),
    "health.tcp[].interval": ("health: {tcp: [{addr: 'a:1', interval: 7s}]}", {"health.interval_seconds": 7.0}),
    "health.tcp[].threshold": ("health: {tcp: [{addr: 'a:1', threshold: 9}]}", {"health.threshold": 9}),
    "health.tcp[].timeout": ("health: {tcp: [{addr: 'a:1', timeout: 1s}]}", {"health.timeout_seconds": 1.0}),
    "catalog.maxentries": ("catalog: {maxentries: 50}", {"limits.catalog_page_maximum": 50}),
    "tags.maxtags": ("tags: {maxtags: 20}", {"limits.page_maximum": 20}),
    "validation.enabled": ("validation: {enabled: true}", {"content.foreign_urls_allow": ("^$",)}),
    "validation.disabled": ("validation: {disabled: true}", {"content.foreign_urls_allow": ()}),
    "validation.manifests.urls.allow": (
        "validation: {manifests: {urls: {allow: ['^https://layers.example.com/']}}}",
        {"content.foreign_urls_allow": ("^https://layers.example.com/",), "content.foreign_urls_deny": ()},
    ),
    "validation.manifests.urls.deny": (
        "validation: {manifests: {urls: {deny: ['^http://']}}}",
        {"content.foreign_urls_deny": ("^http://",), "content.foreign_urls_allow": ()},
    ),
}
"""Keys that do here what they did, with the settings of ours that must result."""

DIFFERENT: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "http.tls.letsencrypt.cachefile": (ACME + "}}}", {"tls.mode": "acme"}),
    "http.debug.prometheus.path": ("http: {debug: {prometheus: {path: /prometheus}}}", {}),
    "health.http[].statuscode": ("health: {http: [{uri: 'http://127.0.0.1/', statuscode: 204}]}", {}),
}
"""Keys that are honoured with a difference."""

IGNORED: Final = {
    "log.fields": "log: {fields: {service: registry}}",
    "log.hooks": "log: {hooks: [{type: mail, levels: [panic], options: {smtp: {addr: 'a:25'}}}]}",
    "log.reportcaller": "log: {reportcaller: true}",
    "storage.filesystem.maxthreads": "storage: {filesystem: {rootdirectory: /srv/registry, maxthreads: 100}}",
    "storage.redirect.disable": STORE + "redirect: {disable: true}}",
    "storage.cache.blobdescriptor": STORE + "cache: {blobdescriptor: redis}}",
    "storage.cache.layerinfo": STORE + "cache: {layerinfo: inmemory}}",
    "storage.cache.blobdescriptorsize": STORE + "cache: {blobdescriptorsize: 100}}",
    "storage.tag.concurrencylimit": STORE + "tag: {concurrencylimit: 8}}",
    "http.secret": "http: {secret: abc}",
    "http.http2.disabled": "http: {http2: {disabled: true}}",
    "http.h2c.enabled": "http: {h2c: {enabled: true}}",
    "health.file[].threshold": "health: {file: [{threshold: 2}]}",
    "health.http[].headers": "health: {http: [{uri: 'http://127.0.0.1/', headers: {A: [b]}}]}",
    "redis": "redis: {addr: 'localhost:6379', pool: {maxidle: 16}}",
    "validation.manifests.indexes.platforms": "validation: {manifests: {indexes: {platforms: none}}}",
    "validation.manifests.indexes.platformlist": "validation: {manifests: {indexes: {platformlist: [{os: linux}]}}}",
    "policy.repository.classes": "policy: {repository: {classes: [image]}}",
    "compatibility.schema1.enabled": "compatibility: {schema1: {enabled: true}}",
    "compatibility.schema1.signingkeyfile": "compatibility: {schema1: {signingkeyfile: /key}}",
    "reporting.bugsnag": "reporting: {bugsnag: {apikey: x}}",
    "reporting.newrelic": "reporting: {newrelic: {licensekey: x}}",
}
"""Keys without an effect here."""

REFUSED: Final = {
    **{f"storage.{name}": f"storage: {{{name}: {{}}}}" for name in
       ("s3", "s3aws", "gcs", "azure", "swift", "oss", "inmemory")},
    "auth.token": "auth: {token: {realm: 'https://auth.example.com/token', service: s, issuer: i}}",
    "auth.silly": "auth: {silly: {realm: r, service: s}}",
    "middleware.registry": "middleware: {registry: [{name: a, options: {b: c}}]}",
    "middleware.repository": "middleware: {repository: [{name: a}]}",
    "middleware.storage": "middleware: {storage: [{name: cloudfront, options: {baseurl: 'https://cdn.example.com/'}}]}",
    "proxy": "proxy: {remoteurl: 'https://registry.example.com'}",
}  # fmt: skip
"""Keys with which no server starts."""


def found(configurations: Configurations, text: str, path: str) -> Finding:
    """What became of the (first) key of the table's path."""
    return configurations.finding(text, path.replace("[]", "[0]"))


def setting(settings: Settings, key: str) -> Any:
    """A setting, or a field of the first endpoint."""
    if key.startswith("notifications.endpoints."):
        return getattr(settings.notifications.endpoints[0], key.rpartition(".")[2])
    return reduce(getattr, key.split("."), settings)


def test_every_key_of_the_table_has_a_case_here() -> None:
    assert {*HONOURED, *DIFFERENT, *IGNORED, *REFUSED} == {key.path for key in KEYS}
    verdicts = {key.path: key.verdict for key in KEYS}
    for expected, group in (
        (Verdict.HONOURED, HONOURED),
        (Verdict.DIFFERENT, DIFFERENT),
        (Verdict.IGNORED, IGNORED),
        (Verdict.REFUSED, REFUSED),
    ):
        assert {path for path, verdict in verdicts.items() if verdict == expected} == set(group)


@pytest.mark.parametrize("path", [*HONOURED, *DIFFERENT])
def test_a_key_that_is_honoured_has_its_value_in_our_settings(configurations: Configurations, path: str) -> None:
    text, expected = HONOURED[path] if path in HONOURED else DIFFERENT[path]
    settings = configurations.settings(text)
    assert {key: setting(settings, key) for key in expected} == expected
    finding = found(configurations, text, path)
    assert finding.verdict == (Verdict.HONOURED if path in HONOURED else Verdict.DIFFERENT)
    table = next(key for key in KEYS if key.path == path)
    targets = {re.sub(r"(endpoints)\.\w+", r"\1", key) for key in expected}
    assert targets <= {*table.targets, *(target for key in KEYS for target in key.targets)}
    if table.targets:
        assert set(table.targets) & targets


@pytest.mark.parametrize("path", IGNORED)
def test_a_key_without_effect_is_named_and_changes_nothing(configurations: Configurations, path: str) -> None:
    loaded = configurations.load(IGNORED[path])
    without = configurations.load("")
    assert loaded.settings == without.settings
    notice = next(each for each in loaded.notices if each.key == path.replace("[]", "[0]"))
    assert notice.verdict == Verdict.IGNORED
    assert notice.text.endswith(".")


@pytest.mark.parametrize("path", REFUSED)
def test_a_key_that_must_not_be_ignored_stops_the_start(configurations: Configurations, path: str) -> None:
    finding = found(configurations, REFUSED[path], path)
    assert finding.verdict == Verdict.REFUSED
    with pytest.raises(Exception, match=rf"config\.yml:\d+: {re.escape(path)}: "):
        configurations.load(REFUSED[path])


@pytest.mark.parametrize("key", [key for key in KEYS if key.below], ids=lambda key: key.path)
def test_keys_below_share_the_fate(configurations: Configurations, key: Key) -> None:
    text = "".join(
        f"{'  ' * depth}{word}:\n" for depth, word in enumerate(key.path.split("."))
    )  # fmt: skip
    depth = key.path.count(".") + 1
    entries = [name.removeprefix("[].") for name in key.below]
    mark = "- " if key.below[0].startswith("[]") else "  "
    text += "".join(f"{'  ' * depth}{mark if not n else '  '}{name}: 1\n" for n, name in enumerate(entries))
    findings = {each.key: each.verdict for each in configurations.read(text).findings}
    for name in key.below:
        assert findings[f"{key.path}.{name}".replace(".[]", "[0]")] in {key.verdict, Verdict.IGNORED}


def test_targets_are_settings_of_ours() -> None:
    known = {description.key for description in describe_settings()}
    assert {target for key in KEYS for target in key.targets} <= known
