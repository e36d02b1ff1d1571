"""``REGISTRY_`` variables: Go's rules of names, lists and maps, and what becomes of those that lead nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from roadstead.config import (
    ListenAddress,
    Registry2KeysRefusedError,
    Registry2VariableUnusedError,
    SettingsInvalidError,
    load,
)
from roadstead.config.registry2 import Verdict, key_of_variable
from tests.unit.config.registry2.conftest import Configurations


def test_a_variable_beats_the_file_and_says_where_it_stands(configurations: Configurations) -> None:
    loaded = configurations.load("http: {addr: ':5000'}", {"REGISTRY_HTTP_ADDR": "127.0.0.1:6000"})
    assert loaded.settings.listen.main == ListenAddress("127.0.0.1", 6000)
    assert loaded.sources["listen.main"] == "REGISTRY_HTTP_ADDR: http.addr"


def test_our_variables_and_flags_beat_both(configurations: Configurations) -> None:
    environment = {"REGISTRY_HTTP_ADDR": "127.0.0.1:6000", "ROADSTEAD_LISTEN__MAIN": "127.0.0.1:7000"}
    assert configurations.load("", environment).settings.listen.main.port == 7000
    assert configurations.load("", environment, listen__main="127.0.0.1:8000").settings.listen.main.port == 8000


def test_what_everybody_runs_in_a_container(configurations: Configurations) -> None:
    settings = configurations.load(
        "storage: filesystem",
        {
            "REGISTRY_AUTH": "htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM": "Registry Realm",
            "REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd",
            "REGISTRY_HTTP_ADDR": "0.0.0.0:443",
            "REGISTRY_HTTP_TLS_CERTIFICATE": "/certs/domain.crt",
            "REGISTRY_HTTP_TLS_KEY": "/certs/domain.key",
            "REGISTRY_STORAGE_DELETE_ENABLED": "true",
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/data",
        },
    ).settings
    assert settings.authentication.mode == "htpasswd"
    assert settings.authentication.htpasswd_file == Path("/auth/htpasswd")
    assert settings.authentication.realm == "Registry Realm"
    assert (settings.tls.mode, settings.tls.key) == ("files", Path("/certs/domain.key"))
    assert settings.content.deletion
    assert settings.storage_folder == Path("/data")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"REGISTRY_HTTP_TLS_CLIENTCAS_0": "/a.pem"}, ("/a.pem",)),
        ({"REGISTRY_HTTP_TLS_CLIENTCAS_0": "/a.pem", "REGISTRY_HTTP_TLS_CLIENTCAS_1": "/b.pem"}, ("/a.pem", "/b.pem")),
        ({"REGISTRY_HTTP_TLS_CLIENTCAS": "[/a.pem]", "REGISTRY_HTTP_TLS_CLIENTCAS_0": "/b.pem"}, ("/b.pem",)),
    ],
)
def test_entries_of_lists(
    configurations: Configurations, environment: Mapping[str, str], expected: tuple[str, ...]
) -> None:
    settings = configurations.settings("http: {tls: {certificate: /c, key: /k}}", environment)
    assert settings.tls.client_authorities == tuple(map(Path, expected))


def test_an_entry_beyond_the_end_of_a_list_is_a_mistake(configurations: Configurations) -> None:
    with pytest.raises(SettingsInvalidError, match=r"REGISTRY_HTTP_TLS_CLIENTCAS_1: 1 names no entry"):
        configurations.load("", {"REGISTRY_HTTP_TLS_CLIENTCAS_1": "/a.pem"})


def test_fields_of_entries_by_the_names_of_go(configurations: Configurations) -> None:
    settings = configurations.settings(
        "notifications: {endpoints: [{name: a, url: 'http://127.0.0.1/'}]}",
        {
            "REGISTRY_NOTIFICATIONS_ENDPOINTS_0_TIMEOUT": "3s",
            "REGISTRY_NOTIFICATIONS_ENDPOINTS_1_NAME": "b",
            "REGISTRY_NOTIFICATIONS_ENDPOINTS_1_URL": "http://127.0.0.2/",
            "REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES": "true",
            "REGISTRY_HEALTH_FILECHECKERS_0_FILE": "/run/down",
        },
    )
    assert [(each.name, each.timeout_seconds) for each in settings.notifications.endpoints] == [("a", 3), ("b", 1)]
    assert settings.notifications.include_references
    assert settings.health.files == (Path("/run/down"),)


def test_a_name_that_go_does_not_have_is_named_and_changes_nothing(configurations: Configurations) -> None:
    environment = {"REGISTRY_NOTIFICATIONS_EVENTS_INCLUDEREFERENCES": "true", "REGISTRY_HTPP_ADDR": "x"}
    loaded = configurations.load("", environment)
    assert loaded.settings == configurations.settings("")
    assert {notice.key for notice in loaded.notices if notice.verdict == Verdict.UNKNOWN} == set(environment)


def test_maps_take_new_keys_and_whole_values_take_yaml(configurations: Configurations) -> None:
    settings = configurations.settings(
        "http: {headers: {X-A: [one]}}",
        {"REGISTRY_HTTP_HEADERS_X-B": "[two]", "REGISTRY_LOG": "{level: debug}"},
    )
    assert settings.http.headers == {"X-A": ("one",), "x-b": ("two",)}
    assert settings.log.level == "debug"


def test_two_drivers_are_one_too_many_even_by_a_variable(configurations: Configurations) -> None:
    with pytest.raises(Registry2KeysRefusedError, match="exactly one driver must be given, here are filesystem, s3"):
        configurations.load("", {"REGISTRY_STORAGE_S3_BUCKET": "b"})


def test_an_empty_variable_empties_its_key(configurations: Configurations) -> None:
    text = "auth: {htpasswd: {realm: r, path: /p}}"
    assert configurations.load(text, {"REGISTRY_LOG_LEVEL": ""}).settings.log.level == "info"
    assert configurations.load(text, {"REGISTRY_AUTH": ""}).settings.authentication.mode == "none"


def test_a_variable_that_is_no_yaml_is_named(configurations: Configurations) -> None:
    with pytest.raises(SettingsInvalidError, match=r"REGISTRY_HTTP_HEADERS: line 1"):
        configurations.load("", {"REGISTRY_HTTP_HEADERS": "{a"})


def variables_of_a_service(name: str) -> dict[str, str]:
    """What Kubernetes sets in each container of a namespace that has the service."""
    return {
        f"{name}_PORT": "tcp://10.0.0.1:5000",
        f"{name}_PORT_5000_TCP": "tcp://10.0.0.1:5000",
        f"{name}_PORT_5000_TCP_ADDR": "10.0.0.1",
        f"{name}_PORT_5000_TCP_PORT": "5000",
        f"{name}_PORT_5000_TCP_PROTO": "tcp",
        f"{name}_PORT_53_UDP": "udp://10.0.0.1:53",
        f"{name}_PORT_53_UDP_PROTO": "udp",
        f"{name}_SERVICE_HOST": "10.0.0.1",
        f"{name}_SERVICE_PORT": "5000",
        f"{name}_SERVICE_PORT_HTTP": "5000",
    }


@pytest.mark.parametrize(
    "service",
    ["REGISTRY", "REGISTRY_AUTH", "REGISTRY_HTTP", "REGISTRY_STORAGE_S3", "REGISTRY_AUTH_TOKEN", "REGISTRY_REDIS_TLS"],
)
def test_what_a_cluster_sets_for_its_services_is_not_ours(configurations: Configurations, service: str) -> None:
    """Kubernetes names them after the service, whatever that is called: `registry-auth` is no key of ours."""
    environment = variables_of_a_service(service)
    assert configurations.load("", environment).notices == configurations.load("").notices
    assert load(None, environment).notices == ()


@pytest.mark.parametrize("value", ["5000", "x", "{a: b}"])
def test_a_key_called_port_is_still_a_key(configurations: Configurations, value: str) -> None:
    """Only what has the value of a service's variable is one."""
    (notice,) = (
        notice
        for notice in configurations.load("", {"REGISTRY_HTTP_DEBUG_PORT": value}).notices
        if notice.key == "REGISTRY_HTTP_DEBUG_PORT"
    )
    assert notice.verdict is Verdict.UNKNOWN


# ── Without a file of registry:2's ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "variable",
    [
        "REGISTRY_AUTH",
        "REGISTRY_AUTH_HTPASSWD_PATH",
        "REGISTRY_AUTH_TOKEN_REALM",
        "REGISTRY_HTTP_TLS_CERTIFICATE",
        "REGISTRY_HTTP_TLS_CLIENTCAS_0",
        "REGISTRY_STORAGE",
        "REGISTRY_STORAGE_S3_BUCKET",
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY",
        "REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED",
    ],
)
def test_a_variable_that_somebody_relies_on_stops_the_start(variable: str) -> None:
    with pytest.raises(Registry2VariableUnusedError, match=variable) as caught:
        load(None, {variable: "x"})
    assert "ROADSTEAD_" in caught.value.remedy


def test_it_does_not_where_our_own_setting_takes_its_place() -> None:
    environment = {"REGISTRY_AUTH": "htpasswd", "ROADSTEAD_AUTHENTICATION__MODE": "none"}
    (notice,) = load(None, environment).notices
    assert (notice.key, notice.verdict) == ("REGISTRY_AUTH", Verdict.IGNORED)


def test_other_variables_of_registry2_are_named() -> None:
    (notice,) = load(None, {"REGISTRY_HTTP_ADDR": ":5000"}).notices
    assert "set ROADSTEAD_LISTEN__MAIN instead" in notice.text
    (notice,) = load(None, {"REGISTRY_HTTP_SECRET": "x"}).notices
    assert "unset it" in notice.text


@pytest.mark.parametrize("variable", ["REGISTRY_URL", "REGISTRY_USER", "REGISTRY_HTTP_PORT_X", "REGISTRY_", "REGISTRY"])
def test_variables_that_are_surely_not_registry2s_are_nobodys_business(variable: str) -> None:
    assert key_of_variable(variable) is None
    assert load(None, {variable: "x"}).notices == ()
