"""Settings that do not fit together, and those that are none although their type is right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from roadstead.config import SettingInvalidError, SettingsInvalidError, load, load_settings, require_files

RULE = {"users": ["a"], "repositories": ["b"], "actions": ["pull"]}
TLS = {"tls.certificate": "/c", "tls.key": "/k"}


def given(values: dict[str, Any]) -> dict[str, str]:
    """As variables, whose values are text."""
    return {f"ROADSTEAD_{key.replace('.', '__').upper()}": str(value) for key, value in values.items()}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"authentication.mode": "accounts"}, "not available in this version"),
        ({"authentication.mode": "htpasswd"}, "there is no password file"),
        ({"authentication.mode": "none", "authentication.htpasswd_file": "/u"}, "nobody would be asked"),
        ({"authentication.realm": "a\nb"}, "line break"),
        ({"tls.mode": "files"}, "needs tls.certificate"),
        ({"tls.certificate": "/c"}, "needs tls.key"),
        ({"tls.key": "/k"}, "needs tls.certificate"),
        ({**TLS, "tls.mode": "off"}, "no effect with tls.mode off"),
        ({**TLS, "tls.mode": "self-signed"}, "no effect with tls.mode self-signed"),
        ({"tls.mode": "acme"}, "needs tls.hosts"),
        ({"tls.mode": "acme", "tls.hosts": ["a"], "tls.acme_directory": "acme"}, "no http or https URL"),
        ({"tls.mode": "acme", "tls.hosts": ["a"], "tls.acme_challenge_listen": "80"}, "HOST:PORT"),
        ({"tls.client_certificates": "required"}, "only with TLS"),
        ({**TLS, "tls.client_certificates": "required"}, "needs tls.client_authorities"),
        ({"content.foreign_urls_allow": ["("]}, "no regular expression"),
        ({"content.foreign_urls_deny": ["[a"]}, "no regular expression"),
        ({"access.rules": [{**RULE, "users": []}]}, "rule 1 has no users"),
        ({"access.rules": [RULE, {**RULE, "users": ["a:b"]}]}, "rule 2: 'a:b' is no user's name"),
        ({"access.rules": [{**RULE, "repositories": ["UPPER"]}]}, "'UPPER' is no repository"),
        ({"access.rules": [{**RULE, "repositories": ["a*"]}]}, "'a*' is no repository"),
        ({"access.rules": [{**RULE, "repositories": ["/*"]}]}, "'/*' is no repository"),
        ({"access.rules": [{**RULE, "actions": ["admin"]}]}, "Invalid enum value"),
        ({"access.rules": [{**RULE, "user": ["a"]}]}, "unknown field"),
        (
            {"notifications.endpoints": [{"name": "a", "url": "http://a/"}, {"name": "a", "url": "http://b/"}]},
            "two endpoints have the same name",
        ),
        ({"health.urls": ["localhost"]}, "no URL"),
        ({"health.urls": ["http://a:99999/"]}, "no URL"),
        ({"health.addresses": ["localhost"]}, "HOST:PORT"),
        ({"scrub.upstream": "registry.example.com"}, "no http or https URL"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_source_and_a_remedy(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsInvalidError) as caught:
        load_settings(None, given(values))
    assert message in str(caught.value)
    assert caught.value.source in {*given(values), *values}
    assert caught.value.remedy


@pytest.mark.parametrize(
    "values",
    [
        {**TLS},
        {**TLS, "tls.client_certificates": "required", "tls.client_authorities": ["/a"]},
        {"tls.mode": "self-signed"},
        {"tls.mode": "acme", "tls.hosts": ["registry.example.com"]},
        {"access.rules": [{**RULE, "repositories": ["*", "team/*", "team/app"], "users": ["*", "anonymous"]}]},
        {"authentication.htpasswd_file": "/u"},
    ],
)
def test_what_fits_is_taken(values: dict[str, Any]) -> None:
    load_settings(None, given(values))


def test_a_file_of_users_or_a_certificate_implies_its_mode() -> None:
    assert load_settings(None, {}, {"authentication.htpasswd_file": "users"}).authentication.mode == "htpasswd"
    assert load_settings(None, {}, {"tls.certificate": "c", "tls.key": "k"}).tls.mode == "files"


def test_an_address_beyond_this_machine_may_ask_for_certificates_instead_of_passwords() -> None:
    values = {**TLS, "tls.client_certificates": "required", "tls.client_authorities": ["/a"]}
    settings = load_settings(None, given({**values, "listen.main": ":5000"}))
    assert settings.authentication.mode == "none"
    with pytest.raises(SettingsInvalidError, match="--auth none"):
        load_settings(None, given({**values, "tls.client_certificates": "optional", "listen.main": ":5000"}))


def test_files_are_looked_at_before_a_server_starts(tmp_path: Path) -> None:
    users = tmp_path / "users"
    loaded = load(None, {}, {"authentication.htpasswd_file": str(users)})
    with pytest.raises(SettingInvalidError, match=r"--htpasswd: .*users does not exist"):
        require_files(loaded.settings, loaded.sources)
    users.mkdir()
    with pytest.raises(SettingInvalidError, match="is a folder"):
        require_files(loaded.settings, loaded.sources)
    users.rmdir()
    os.mkfifo(users)
    with pytest.raises(SettingInvalidError, match="no regular file"):
        require_files(loaded.settings, loaded.sources)
    users.unlink()
    users.touch()
    require_files(loaded.settings, loaded.sources)


def test_tls_needs_its_files(tmp_path: Path) -> None:
    (tmp_path / "c").touch()
    loaded = load(None, {}, {"tls.certificate": str(tmp_path / "c"), "tls.key": str(tmp_path / "k")})
    with pytest.raises(SettingInvalidError, match="k does not exist"):
        require_files(loaded.settings, loaded.sources)
