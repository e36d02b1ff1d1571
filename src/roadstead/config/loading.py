"""From the sources to settings: merged, converted, checked together."""

import os
import typing
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import yaml

from roadstead.config.address import ListenAddress
from roadstead.config.description import describe_settings
from roadstead.config.errors import AuthenticationModeUnavailableError, ListenAddressUnsafeError, SettingInvalidError
from roadstead.config.http_rules import http_faults
from roadstead.config.reading import GivenValue, read_environment, read_file, read_overrides
from roadstead.config.secret import SecretText
from roadstead.config.settings import Settings


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """The settings of a YAML file, then ``ROADSTEAD_SECTION__KEY`` variables, then flags; the later wins.

    Args:
        file: a YAML file of sections; None for none.
        environment: variables; None for the process's own.
        overrides: values by key path (``"listen.main"``); those that are None were not given.

    Raises:
        SettingsInvalidError: one of the sources is wrong, or they do not fit together; the message names the source
            and the remedy.
    """
    given: dict[str, GivenValue] = {}
    variables = os.environ if environment is None else environment
    for value in chain(_read_file(file), read_environment(variables), read_overrides(overrides or {})):
        given[value.key] = value
    settings = _build(given)
    _check(settings, given)
    return settings


def _read_file(file: Path | None) -> Iterator[GivenValue]:
    return iter(()) if file is None else read_file(file)


def _build(given: Mapping[str, GivenValue]) -> Settings:
    sections: dict[str, dict[str, Any]] = {}
    for description in describe_settings():
        if description.key in given:
            section, name = description.key.split(".")
            sections.setdefault(section, {})[name] = _convert(given[description.key], description.value_type)
    types = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    return Settings(**{section: types[section](**values) for section, values in sections.items()})


def _convert(given: GivenValue, value_type: Any) -> object:  # noqa: ANN401 - msgspec takes any type
    kind = typing.get_args(value_type)[0]
    try:
        if kind is ListenAddress:
            return _decode(kind, given.value)  # msgspec would take a dataclass apart by its fields
        value = _parse_text(given) if given.is_text and _is_nested(kind) else given.value
        return msgspec.convert(value, value_type, strict=not given.is_text, dec_hook=_decode)
    except ValueError as error:
        raise SettingInvalidError(given.source, str(error), "see the reference of settings") from None


def _is_nested(kind: object) -> bool:
    """Whether values are lists or mappings, which a variable or flag spells as YAML (or JSON)."""
    return typing.get_origin(kind) in {tuple, dict}


def _parse_text(given: GivenValue) -> object:
    try:
        return yaml.safe_load(str(given.value))
    except yaml.YAMLError:
        raise ValueError("expected a list or mapping as YAML or JSON") from None


def _decode(kind: type, value: object) -> object:
    if isinstance(value, kind):
        return value
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError(f"expected text, got {type(value).__name__ if value != '' else 'nothing'}")
    if kind is ListenAddress:
        return ListenAddress.parse(str(value))
    if kind is Path:
        return Path(value).expanduser()
    if kind is SecretText:
        return SecretText(value)
    raise NotImplementedError(kind)  # how msgspec wants to hear that a hook does not know a type


def _check(settings: Settings, given: Mapping[str, GivenValue]) -> None:
    mode = settings.authentication.mode
    if mode == "accounts":
        raise AuthenticationModeUnavailableError(given["authentication.mode"].source, mode)
    if mode == "htpasswd" and settings.authentication.htpasswd_file is None:
        raise SettingInvalidError(
            given["authentication.mode"].source,
            "there is no password file",
            "name one with --htpasswd FILE (authentication.htpasswd_file), made by `roadstead htpasswd FILE USER`",
        )
    address = settings.listen.main
    if not address.is_loopback and "authentication.mode" not in given:
        raise ListenAddressUnsafeError(given["listen.main"].source, str(address))
    for fault in http_faults(settings.http):
        raise SettingInvalidError(given[fault.key].source, fault.problem, fault.remedy)
    names = [endpoint.name for endpoint in settings.notifications.endpoints]
    if len(set(names)) < len(names):
        source = given["notifications.endpoints"].source
        raise SettingInvalidError(source, "two endpoints have the same name", "give each a name of its own")
    _check_url(settings.database.url, given.get("database.url"), "sqlite:///")
    _check_url(settings.storage.url, given.get("storage.url"), "file:///")


def _check_url(url: str | None, value: GivenValue | None, prefix: str) -> None:
    """What a URL asks for must not be ignored: a store that this version does not have is refused."""
    if url is not None and value is not None and not url.startswith(prefix):
        raise SettingInvalidError(
            value.source,
            f"{value.key} has a scheme that this version does not have",
            f"write {prefix}ABSOLUTE/PATH, or leave it out",
        )
