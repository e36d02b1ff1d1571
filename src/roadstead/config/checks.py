"""Checks that the settings fit together, once all of them are known.

Promises: what a setting says is done or refused, never left out silently; nothing becomes open that nobody opened;
every pattern, network, URL and name is one.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import structs

from roadstead.config.address import ListenAddress
from roadstead.config.errors import (
    AuthenticationModeUnavailableError,
    ListenAddressUnsafeError,
    SettingInvalidError,
    SettingsInvalidError,
)
from roadstead.config.http_rules import http_faults
from roadstead.config.probe_rules import content_faults, health_faults
from roadstead.config.secret import SecretText
from roadstead.config.server_url import find_fault, has_password, is_server_url, with_password
from roadstead.config.settings import Settings
from roadstead.oci.errors import NameInvalidError
from roadstead.oci.reference import RepositoryName

ANYBODY: Final = "anonymous"
"""The name in a rule of access for clients that have not logged in."""

PROJECT: Final = "project:"
"""The prefix of a project's name in a rule of access."""

Sources = Mapping[str, str]
"""The source of each setting that was given, by its key."""


def check_together(settings: Settings, sources: Sources) -> None:
    """Raises unless the settings fit together.

    Raises:
        SettingsInvalidError: they do not fit; the message names the source and the remedy.
    """
    for check in _CHECKS:
        check(settings, sources)


def require_files(settings: Settings, sources: Sources) -> None:
    """Raises unless the files that a server needs are there and can be read.

    Raises:
        SettingInvalidError: a file is missing or cannot be read.
    """
    needed: list[tuple[str, Path | None]] = []
    if settings.authentication.mode == "htpasswd":
        needed.append(("authentication.htpasswd_file", settings.authentication.htpasswd_file))
    if settings.tls.mode == "files":
        needed += [("tls.certificate", settings.tls.certificate), ("tls.key", settings.tls.key)]
    if settings.tls.client_certificates != "off":
        needed += [("tls.client_authorities", file) for file in settings.tls.client_authorities]
    needed.append(("secrets.master_key_file", settings.secrets.master_key_file))
    for key, file in needed:
        if file is not None:
            _require_file(file, sources.get(key, key))


def database_server(settings: Settings) -> str:
    """Returns the URL of the catalogue's server with its password, which stands in it, beside it or in a file.

    Raises:
        SettingInvalidError: the file cannot be read.
    """
    section, key = settings.database, "database.password_file"
    password: str | None = section.password
    if section.password_file is not None:
        _require_file(section.password_file, key)
        try:
            password = section.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise SettingInvalidError(key, f"{section.password_file}: {reason}", "correct it") from None
    url = section.url or ""
    return SecretText(with_password(url, password) if password else url)


def with_other_database(settings: Settings, url: str, source: str) -> Settings:
    """Returns the settings with another catalogue; ``source`` is where its URL was given, for messages.

    The password that stands beside the URL in ``settings`` goes with a server whose URL has none.

    Raises:
        SettingsInvalidError: the URL is wrong.
    """
    section, sources = settings.database, {"database.url": source}
    is_for_it = is_server_url(url) and not has_password(url)
    changed = structs.replace(
        section,
        url=SecretText(url),
        password=section.password if is_for_it else None,
        password_file=section.password_file if is_for_it else None,
    )
    settings = structs.replace(settings, database=changed)
    _check_stores(settings, sources)
    _check_database(settings, sources)
    return settings


def _require_file(file: Path, source: str) -> None:
    if file.is_dir():
        raise SettingInvalidError(source, f"{file} is a folder", "give the file in it")
    if not file.exists():
        raise SettingInvalidError(source, f"{file} does not exist", "correct the path, or make the file")
    if not file.is_file():
        raise SettingInvalidError(source, f"{file} is no regular file", "give one that can be read again and again")
    if not os.access(file, os.R_OK):
        raise SettingInvalidError(source, f"{file} cannot be read", f"let user {os.geteuid()} read it")


def _refuse(sources: Sources, key: str, reason: str, remedy: str) -> SettingsInvalidError:
    return SettingInvalidError(sources.get(key, key), reason, remedy)


def _check_authentication(settings: Settings, sources: Sources) -> None:
    section = settings.authentication
    if section.mode == "accounts":
        raise AuthenticationModeUnavailableError(sources["authentication.mode"], section.mode)
    if section.mode == "htpasswd" and section.htpasswd_file is None:
        raise _refuse(
            sources,
            "authentication.mode",
            "there is no password file",
            "name one with --htpasswd FILE (authentication.htpasswd_file), made by `roadstead htpasswd FILE USER`",
        )
    if section.mode == "none" and section.htpasswd_file is not None:
        raise _refuse(
            sources,
            "authentication.htpasswd_file",
            "there is a file of users, but authentication.mode is none, so nobody would be asked",
            "remove one of the two",
        )
    _require_text(section.realm, sources, "authentication.realm")


def _check_openness(settings: Settings, sources: Sources) -> None:
    """Raises if the registry would be open; requiring certificates of clients is as good as a password."""
    if settings.authentication.mode != "none" or settings.tls.client_certificates == "required":
        return
    address = settings.listen.main
    if not address.is_loopback and "authentication.mode" not in sources:
        raise ListenAddressUnsafeError(sources["listen.main"], str(address))


def _check_stores(settings: Settings, sources: Sources) -> None:
    """Raises if a URL asks for a store that this version does not have: it must not be ignored."""
    database, storage = settings.database.url, settings.storage.url
    if database is not None and not settings.has_database_server and not database.startswith("sqlite:///"):
        raise _refuse(
            sources,
            "database.url",
            "database.url has a scheme that this version does not have",
            "write sqlite:///ABSOLUTE/PATH or postgresql://USER@HOST:PORT/NAME, or leave it out",
        )
    if storage is not None and not storage.startswith("file:///"):
        raise _refuse(
            sources,
            "storage.url",
            "storage.url has a scheme that this version does not have",
            "write file:///ABSOLUTE/PATH, or leave it out",
        )


def _check_database(settings: Settings, sources: Sources) -> None:
    section = settings.database
    passwords = [
        key
        for key, value in (("database.password", section.password), ("database.password_file", section.password_file))
        if value is not None
    ]
    if section.url is None or not settings.has_database_server:
        useless = [*passwords, *(key for key in ("database.connections",) if key in sources)]
        if useless:
            raise _refuse(
                sources,
                useless[0],
                "it has no effect with a catalogue in a file",
                "name the server of the catalogue as database.url, postgresql://USER@HOST:PORT/NAME, or remove it",
            )
        return
    if fault := find_fault(section.url):
        raise _refuse(sources, "database.url", *fault)
    given = [*(("database.url",) if has_password(section.url) else ()), *passwords]
    if len(given) > 1:
        raise _refuse(sources, given[1], f"{given[0]} has a password as well", "remove one of the two")


def _check_secrets(settings: Settings, sources: Sources) -> None:
    section = settings.secrets
    if section.master_key is not None and section.master_key_file is not None:
        raise _refuse(
            sources, "secrets.master_key", "there is secrets.master_key_file as well", "remove one of the two"
        )


def _check_http(settings: Settings, sources: Sources) -> None:
    for fault in http_faults(settings.http):
        raise _refuse(sources, fault.key, fault.problem, fault.remedy)


def _check_probes(settings: Settings, sources: Sources) -> None:
    for fault in (*health_faults(settings.health), *content_faults(settings.content)):
        raise _refuse(sources, fault.key, fault.problem, fault.remedy)


def _check_tls(settings: Settings, sources: Sources) -> None:
    tls = settings.tls
    files = {"tls.certificate": tls.certificate, "tls.key": tls.key}
    given = [key for key, file in files.items() if file is not None]
    if tls.mode == "files" and len(given) < len(files):
        missing = next(key for key, file in files.items() if file is None)
        source = given[0] if given else "tls.mode"
        raise _refuse(sources, source, f"tls.mode files needs {missing}", "give tls.certificate and tls.key")
    if tls.mode != "files" and given:
        raise _refuse(
            sources, given[0], f"it has no effect with tls.mode {tls.mode}", "write tls.mode: files, or remove it"
        )
    if tls.mode == "acme":
        if not tls.hosts:
            raise _refuse(sources, "tls.mode", "tls.mode acme needs tls.hosts", "name the hosts of the certificate")
        _require_url(tls.acme_directory, sources, "tls.acme_directory")
        _require_address(tls.acme_challenge_listen, sources, "tls.acme_challenge_listen")
    if tls.client_certificates != "off":
        if tls.mode == "off":
            raise _refuse(sources, "tls.client_certificates", "clients show certificates only with TLS", "set tls.mode")
        if not tls.client_authorities:
            raise _refuse(
                sources,
                "tls.client_certificates",
                f"{tls.client_certificates} needs tls.client_authorities",
                "name the files of the authorities",
            )


def _check_access(settings: Settings, sources: Sources) -> None:
    for number, rule in enumerate(settings.access.rules, 1):
        for name, values in (("users", rule.users), ("repositories", rule.repositories), ("actions", rule.actions)):
            if not values:
                raise _refuse(sources, "access.rules", f"rule {number} has no {name}", "add some, or remove the rule")
        for user in rule.users:
            if not user or not user.isprintable() or ":" in user:
                raise _refuse(sources, "access.rules", f"rule {number}: {user!r} is no user's name", "correct it")
        for pattern in rule.repositories:
            if not is_repository_pattern(pattern):
                raise _refuse(
                    sources,
                    "access.rules",
                    f"rule {number}: {pattern!r} is no repository, nor a pattern of some",
                    "write a name, folder/* for all below a folder, project:NAME, or * for all",
                )


def is_repository_pattern(text: str) -> bool:
    """Returns True for a repository's name, ``folder/*``, ``project:name`` or ``*``; ``access`` says what they mean."""
    if text == "*":
        return True
    if text.startswith(PROJECT) and "/" in text:
        return False
    try:
        RepositoryName.parse(text.removeprefix(PROJECT).removesuffix("/*"))
    except NameInvalidError:
        return False
    return True


def _check_notifications(settings: Settings, sources: Sources) -> None:
    names = [endpoint.name for endpoint in settings.notifications.endpoints]
    if len(set(names)) < len(names):
        raise _refuse(
            sources, "notifications.endpoints", "two endpoints have the same name", "give each a name of its own"
        )


def _check_scrub(settings: Settings, sources: Sources) -> None:
    if settings.scrub.upstream:
        _require_url(settings.scrub.upstream, sources, "scrub.upstream")


def _require_url(text: str, sources: Sources, key: str) -> None:
    try:
        url = urlsplit(text)
        is_valid = url.scheme in {"http", "https"} and bool(url.hostname) and text.isprintable() and " " not in text
        _ = url.port  # raises what a port that is none deserves
    except ValueError:
        is_valid = False
    if not is_valid:
        raise _refuse(sources, key, "it is no http or https URL", "write such as https://registry.example.com")


def _require_address(text: str, sources: Sources, key: str) -> None:
    try:
        ListenAddress.parse(text)
    except ValueError as error:
        raise _refuse(sources, key, f"{text!r}: {error}", "correct it") from None


def _require_text(text: str, sources: Sources, key: str) -> None:
    if not text.isprintable():
        raise _refuse(sources, key, "it has a line break or another character of control", "remove it")


_CHECKS: Final[tuple[Callable[[Settings, Sources], None], ...]] = (
    _check_authentication,
    _check_openness,
    _check_stores,
    _check_database,
    _check_secrets,
    _check_http,
    _check_probes,
    _check_tls,
    _check_access,
    _check_notifications,
    _check_scrub,
)
