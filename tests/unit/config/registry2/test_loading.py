"""Whole files: registry:2's own examples, Debian's, combinations, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from roadstead.config import (
    ListenAddress,
    Registry2KeysRefusedError,
    Settings,
    SettingsFileInvalidError,
    SettingsInvalidError,
    load,
    require_files,
)
from roadstead.config.registry2 import Verdict
from tests.unit.config.registry2.conftest import Configurations

WILD = Path(__file__).parent / "wild"


def test_the_defaults_of_registry2_count_where_they_differ_from_ours(configurations: Configurations) -> None:
    settings = configurations.settings("")
    changed = Settings()
    assert settings.content.deletion is False
    assert settings.content.foreign_urls_allow == ("^$",)
    assert settings.limits.upload_purge_interval_seconds == 86400
    assert settings.limits.upload_age_seconds == 604800
    assert settings.limits.page_maximum == 100_000
    assert settings.limits.catalog_page_maximum == 1000
    assert settings.listen.operations == ListenAddress("127.0.0.1", 0)
    assert settings.storage_folder == settings.data.folder == Path("/srv/registry")
    assert (settings.limits.blob_bytes, settings.limits.manifest_bytes) == (0, 4 * 1024 * 1024)
    assert (settings.tls, settings.garbage, settings.health) == (changed.tls, changed.garbage, changed.health)


def test_without_a_driver_of_its_own_the_folder_is_registry2s(configurations: Configurations) -> None:
    assert configurations.settings("storage: filesystem").storage_folder == Path("/var/lib/registry")
    assert configurations.settings("storage: {filesystem: }").storage_folder == Path("/var/lib/registry")


@pytest.mark.parametrize("folder", ["/srv/a b", "/srv/50%25", "/srv/镜像", "relative"])
def test_a_folder_may_be_called_anything(configurations: Configurations, folder: str) -> None:
    settings = configurations.settings(f"storage: {{filesystem: {{rootdirectory: '{folder}'}}}}")
    assert settings.storage_folder == Path(folder).absolute()


def test_a_file_without_auth_is_as_open_as_before_and_that_is_said(configurations: Configurations) -> None:
    loaded = configurations.load("http: {addr: ':5000'}")
    assert str(loaded.settings.listen.main) == "[::]:5000"
    (notice,) = (each for each in loaded.notices if each.key == "http.addr")
    assert "open to everybody who reaches it" in notice.text
    assert notice.source.endswith("config.yml:3")
    assert not configurations.load("http: {addr: 'localhost:5000'}").notices
    assert not configurations.load("http: {addr: ':5000'}\nauth: none").notices
    assert not configurations.load("http: {addr: ':5000'}", authentication__mode="none").notices


def test_what_is_refused_is_settled_by_our_own_setting(configurations: Configurations) -> None:
    text = "auth: {token: {realm: r, service: s, issuer: i, rootcertbundle: /b}}"
    with pytest.raises(Registry2KeysRefusedError, match=r"config\.yml:3: auth\.token: "):
        configurations.load(text)
    loaded = configurations.load(text, authentication__mode="none")
    assert [notice.key for notice in loaded.notices] == ["auth.token"]
    loaded = configurations.load("http: {net: unix, addr: /run/registry.sock}", listen__main="127.0.0.1:5002")
    assert str(loaded.settings.listen.main) == "127.0.0.1:5002"


def test_everything_in_the_way_is_named_at_once(configurations: Configurations) -> None:
    text = "auth: {silly: {realm: r, service: s}}\nproxy: {remoteurl: 'http://x'}\nlog: {level: loud}"
    with pytest.raises(Registry2KeysRefusedError) as caught:
        configurations.load(text)
    assert [problem.split(": ")[1] for problem in caught.value.problems] == ["auth.silly", "proxy", "log.level"]


@pytest.mark.parametrize(
    ("text", "key", "verdict", "said"),
    [
        ("http: {net: unix}", "http.net", Verdict.REFUSED, "socket file"),
        ("http: {net: udp}", "http.net", Verdict.INVALID, "tcp"),
        ("http: {addr: ':http'}", "http.addr", Verdict.HONOURED, ""),
        ("http: {addr: ':nonsense'}", "http.addr", Verdict.INVALID, "nonsense is no port"),
        ("http: {addr: 5000}", "http.addr", Verdict.INVALID, "HOST:PORT"),
        ("http: {addr: [a]}", "http.addr", Verdict.INVALID, "expected text"),
        ("http: {net: unix, addr: /run/registry.sock}", "http.addr", Verdict.HONOURED, ""),
        ("http: {host: 'registry.example.com:5000'}", "http.host", Verdict.IGNORED, "without a scheme"),
        ("http: {host: registry.example.com}", "http.host", Verdict.IGNORED, "without a scheme"),
        ("http: {host: 'ftp://registry.example.com'}", "http.host", Verdict.INVALID, "expected a URL"),
        ("http: {host: a.example.com, relativeurls: false}", "http.relativeurls", Verdict.DIFFERENT, "Whole URLs"),
        ("http: {relativeurls: 'true'}", "http.relativeurls", Verdict.INVALID, "without quotes"),
        ("http: {prefix: /a, host: 'https://a.example.com'}", "http.prefix", Verdict.DIFFERENT, "in Location headers"),
        ("http: {addr: ''}", "http.addr", Verdict.HONOURED, ""),
        ("http: {host: 'https://a.example.com/x'}", "http.host", Verdict.DIFFERENT, "http.prefix"),
        ("http: {relativeurls: false}", "http.relativeurls", Verdict.DIFFERENT, "http.trusted_proxies"),
        ("http: {relativeurls: false, host: 'https://a.example.com'}", "http.relativeurls", Verdict.HONOURED, ""),
        ("http: {prefix: registry}", "http.prefix", Verdict.INVALID, "begins with /"),
        ("http: {draintimeout: 60}", "http.draintimeout", Verdict.DIFFERENT, "write 60s"),
        ("http: {headers: {X-A: b}}", "http.headers", Verdict.INVALID, "X-A: expected a list"),
        ("http: {debug: {prometheus: {path: /metrics}}}", "http.debug.prometheus.path", Verdict.HONOURED, ""),
        ("http: {tls: {certificate: /c}}", "http.tls.certificate", Verdict.REFUSED, "no http.tls.key"),
        ("http: {tls: {key: /c}}", "http.tls.key", Verdict.REFUSED, "no http.tls.certificate"),
        ("http: {tls: {clientcas: [/c]}}", "http.tls.clientcas", Verdict.REFUSED, "There is no certificate"),
        ("http: {tls: {clientauth: verify-client-cert-if-given}}", "http.tls.clientauth", Verdict.REFUSED, "clientcas"),
        ("http: {tls: {clientauth: maybe}}", "http.tls.clientauth", Verdict.REFUSED, "clientcas"),
        ("http: {tls: {certificate: /c, key: /k, clientcas: [/a], clientauth: maybe}}", "http.tls.clientauth",
         Verdict.INVALID, "expected one of"),
        ("http: {tls: {certificate: /c, key: /k, clientcas: [/a], clientauth: require-any-client-cert}}",
         "http.tls.clientauth", Verdict.REFUSED, "proves nothing"),
        ("http: {tls: {certificate: /c, key: /k, clientcas: [/a], clientauth: request-client-cert}}",
         "http.tls.clientauth", Verdict.DIFFERENT, "not asked for"),
        ("http: {tls: {certificate: /c, key: /k, minimumtls: tls1.0}}", "http.tls.minimumtls", Verdict.DIFFERENT,
         "TLS 1.2 is the least"),
        ("http: {tls: {certificate: /c, key: /k, minimumtls: ssl3}}", "http.tls.minimumtls", Verdict.INVALID, "tls1.2"),
        ("http: {tls: {certificate: /c, key: /k, ciphersuites: [TLS_RSA_WITH_RC4_128_SHA]}}", "http.tls.ciphersuites",
         Verdict.DIFFERENT, "Broken"),
        ("http: {tls: {certificate: /c, key: /k, ciphersuites: [NONE]}}", "http.tls.ciphersuites", Verdict.INVALID,
         "no such cipher suite: NONE"),
        ("http: {tls: {letsencrypt: {cachefile: /c}}}", "http.tls.letsencrypt.cachefile", Verdict.REFUSED, "hosts"),
        ("http: {tls: {certificate: /c, key: /k, letsencrypt: {cachefile: /c, hosts: [a]}}}",
         "http.tls.letsencrypt.cachefile", Verdict.INVALID, "choose one"),
        ("auth: {htpasswd: {realm: r}}", "auth.htpasswd", Verdict.INVALID, "expected path"),
        ("auth: {htpasswd: }", "auth.htpasswd", Verdict.INVALID, "expected path"),
        ("auth: {htpasswd: {path: /p}, token: {realm: r}}", "auth", Verdict.INVALID, "exactly one way"),
        ("auth: [htpasswd]", "auth", Verdict.INVALID, "expected"),
        ("auth: basic", "auth.basic", Verdict.REFUSED, "no such way to authenticate"),
        ("auth: {ldap: {url: x}}", "auth.ldap", Verdict.REFUSED, "no such way to authenticate"),
        ("storage: {s4: {}}", "storage.s4", Verdict.REFUSED, "no such storage driver"),
        ("storage: {delete: {enabled: true}}", "storage", Verdict.INVALID, "no driver is given"),
        ("storage: {filesystem: {}, inmemory: {}}", "storage", Verdict.INVALID, "exactly one driver"),
        ("storage: {filesystem: {}, delete: {enabled: 'true'}}", "storage.delete.enabled", Verdict.IGNORED,
         "Only true without quotes"),
        ("storage: {filesystem: {}, maintenance: {uploadpurging: {enabled: 'false'}}}",
         "storage.maintenance.uploadpurging.enabled", Verdict.IGNORED, "Only false without quotes"),
        ("storage: {filesystem: {}, maintenance: {readonly: }}", "storage.maintenance.readonly", Verdict.INVALID,
         "below it"),
        ("storage: {filesystem: {}, maintenance: {readonly: {enabled: }}}", "storage.maintenance.readonly.enabled",
         Verdict.INVALID, "true or false"),
        ("storage: {filesystem: {}, maintenance: {readonly: true}}", "storage.maintenance.readonly", Verdict.INVALID,
         "below it"),
        ("storage: {filesystem: {}, maintenance: {readonly: {enabled: maybe}}}",
         "storage.maintenance.readonly.enabled", Verdict.INVALID, "true or false"),
        ("storage: {filesystem: {}, maintenance: {uploadpurging: {age: 168}}}",
         "storage.maintenance.uploadpurging.age", Verdict.INVALID, "with its unit"),
        ("storage: {filesystem: {}, maintenance: {uploadpurging: {age: 1s}}}",
         "storage.maintenance.uploadpurging.age", Verdict.DIFFERENT, "is 60 here"),
        ("log: {level: loud}", "log.level", Verdict.INVALID, "expected one of error, warn, info, debug"),
        ("log: {formatter: xml}", "log.formatter", Verdict.INVALID, "expected one of text, json, logstash"),
        ("log: {level: info}\nloglevel: debug", "loglevel", Verdict.IGNORED, "log.level is set too"),
        ("log: 5", "log", Verdict.INVALID, "below it"),
        ("http: [a]", "http", Verdict.INVALID, "below it"),
        ("http: {adr: ':5000'}", "http.adr", Verdict.UNKNOWN, "did you mean addr?"),
        ("Storage: {}", "Storage", Verdict.UNKNOWN, "did you mean storage?"),
        ("tags: {maxtags: -1}", "tags.maxtags", Verdict.INVALID, "not negative"),
        ("catalog: {maxentries: 9999999}", "catalog.maxentries", Verdict.DIFFERENT, "100000"),
        ("validation: {manifests: {urls: {allow: ['(']}}}", "validation.manifests.urls.allow", Verdict.INVALID,
         "regular expression"),
        ("validation: {disabled: true, manifests: {urls: {allow: [a]}}}", "validation.manifests.urls.allow",
         Verdict.IGNORED, "turns it off"),
        ("middleware: {storage: [{name: redirect, disabled: true, options: {baseurl: x}}]}", "middleware.storage",
         Verdict.IGNORED, "disabled"),
        ("middleware: {other: [{name: x}]}", "middleware.other", Verdict.REFUSED, "Not available"),
        ("proxy: {username: x}", "proxy", Verdict.IGNORED, "no effect"),
        ("notifications: {endpoints: {name: x}}", "notifications.endpoints", Verdict.INVALID, "expected"),
        ("notifications: {endpoints: [{name: my listener, url: 'http://a/'}]}", "notifications.endpoints[0].name",
         Verdict.DIFFERENT, "called my-listener"),
        ("notifications: {endpoints: [{name: a, url: 'http://a/', timeout: 5}]}", "notifications.endpoints[0].timeout",
         Verdict.DIFFERENT, "nanoseconds"),
        ("health: {storagedriver: {interval: 10s}}", "health.storagedriver.interval", Verdict.IGNORED, "enabled: true"),
        ("health: {http: [{uri: 'http://a/', statuscode: 401}]}", "health.http[0].uri", Verdict.IGNORED, "Left out"),
        ("health: {file: /x}", "health.file", Verdict.INVALID, "expected"),
        ("health: {tcp: [{addr: 'a:1', interval: 5s}, {addr: 'b:1', interval: 30s}]}", "health.tcp[1].interval",
         Verdict.DIFFERENT, "5 counts"),
        ("health: {tcp: [{addr: 'a:1'}], http: [{uri: 'http://a/', threshold: 3}]}", "health.http[0].threshold",
         Verdict.DIFFERENT, "1 counts"),
        ("notifications: {endpoints: [{name: a, url: 'http://a/'}, {name: a, url: 'http://b/'}]}",
         "notifications.endpoints[1].name", Verdict.DIFFERENT, "called a-1"),
    ],
)  # fmt: skip
def test_what_the_value_of_a_key_makes_of_it(
    configurations: Configurations, text: str, key: str, verdict: Verdict, said: str
) -> None:
    finding = configurations.finding(text, key)
    assert finding.verdict == verdict, finding
    assert said in finding.text
    assert finding.source.startswith("config.yml")


def test_what_registry2_passes_over_counts_as_if_it_were_not_there(configurations: Configurations) -> None:
    quoted = "storage: {filesystem: {}, delete: {enabled: 'true'}, maintenance: {uploadpurging: {enabled: 'false'}}}"
    settings = configurations.settings(f"{quoted}\nhttp: {{host: registry.example.com, addr: '', net: ''}}")
    assert (settings.content.deletion, settings.limits.upload_purge) == (False, "on")
    assert settings.http.external_url is None
    assert str(settings.listen.main) == "127.0.0.1:5000"
    assert configurations.settings("log: {formatter: ''}").log.format == Settings().log.format


def test_a_check_that_says_nothing_counts_as_with_registry2(configurations: Configurations) -> None:
    health = configurations.settings("health: {tcp: [{addr: 'a:1'}]}").health
    assert (health.interval_seconds, health.threshold) == (10.0, 1)
    health = configurations.settings(
        "health: {file: [{file: /a, threshold: 1}], tcp: [{addr: 'a:1', threshold: 3}]}"
    ).health
    assert health.threshold == 3


def test_an_endpoint_that_is_disabled_needs_no_url(configurations: Configurations) -> None:
    text = "notifications: {endpoints: [{name: a, disabled: true}, {name: a b, url: 'http://a/'}, {name: a-b,"
    settings = configurations.settings(f"{text} url: 'http://b/'}}]}}")
    assert [endpoint.name for endpoint in settings.notifications.endpoints] == ["a-b", "a-b-2"]


def test_nothing_that_must_not_be_ignored_starts_a_server(configurations: Configurations) -> None:
    for text in ("auth: [htpasswd]", "auth: {htpasswd: }", "auth: ''", "auth: basic", "http: {tls: {key: /k}}",
                 "storage: {filesystem: {}, maintenance: {readonly: }}", "http: {relativeurls: 'false'}"):  # fmt: skip
        with pytest.raises(SettingsInvalidError):
            configurations.load(text)


# ── Files in the wild ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", sorted(WILD.glob("*.yml")), ids=lambda file: file.name)
def test_every_key_of_a_file_in_the_wild_is_known(file: Path) -> None:
    if file.name.startswith("cache"):
        with pytest.raises(Registry2KeysRefusedError) as caught:
            load(file, {})
        assert [problem.split(": ")[1] for problem in caught.value.problems] == ["proxy"]
        return
    loaded = load(file, {})
    assert Verdict.UNKNOWN not in {notice.verdict for notice in loaded.notices}
    assert loaded.settings.storage_folder.is_absolute()


def test_the_file_of_debian(tmp_path: Path) -> None:
    loaded = load(WILD / "debian-2.8.2.yml", {})
    settings = loaded.settings
    assert settings.storage_folder == Path("/var/lib/docker-registry")
    assert settings.content.deletion
    assert settings.authentication.mode == "htpasswd"
    assert settings.http.headers == {"X-Content-Type-Options": ("nosniff",)}
    assert (settings.health.storage_interval_seconds, settings.health.storage_threshold) == (10.0, 3)
    users = tmp_path / "registry"
    users.mkdir()
    text = (WILD / "debian-2.8.2.yml").read_text().replace("/etc/docker/registry", str(users))
    file = tmp_path / "config.yml"
    file.write_text(text)
    again = load(file, {})
    with pytest.raises(SettingsInvalidError, match="is a folder"):
        require_files(again.settings, again.sources)


# ── Files that are none ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 0.2\nstorage: filesystem", "version 0.2 of registry's configuration is not known"),
        ("version: [0.1]\nstorage: filesystem", "version a mapping or list"),
        ("version: 0.1\nhttp: {addr: a\n", "line 3: "),
        ("version: 0.1\nhttp:\n  addr: a\n  addr: b\n", "line 4: the key 'addr' is there twice"),
        ("version: 0.1\nhttp:\n\taddr: b\n", "line 3: "),
        ("version: 0.1\n? [a]\n: b\n", "line 2: a key must be text"),
        ("version: 0.1\na: &a [*a]\n", "an alias contains itself"),
        ("version: 0.1\n---\nversion: 0.1\n", "line 2: "),
        ("version: 0.1\nhttp: {<<: 5}\n", "<< takes a mapping"),
        ("version: 0.1\n" + "[" * 5000, ""),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.yml"
    file.write_text(text)
    with pytest.raises(SettingsFileInvalidError) as caught:
        load(file, {})
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_bomb_of_aliases_does_not_go_off(tmp_path: Path) -> None:
    lines = ["version: 0.1", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    file = tmp_path / "config.yml"
    file.write_text("\n".join(lines))
    with pytest.raises(SettingsFileInvalidError, match="more than 20000 values"):
        load(file, {})


def test_anchors_and_merges_are_yaml_that_registry2_takes(configurations: Configurations) -> None:
    text = (
        "common: &common {timeout: 2s, threshold: 4}\n"
        "notifications: {endpoints: [{<<: *common, name: a, url: 'http://a/', threshold: 5}]}"
    )
    (endpoint,) = configurations.settings(text).notifications.endpoints
    assert (endpoint.timeout_seconds, endpoint.threshold) == (2.0, 5)
