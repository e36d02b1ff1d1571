"""Loads the settings: reads the sources, merges and converts their values, and checks them together."""

import os
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from roadstead.config.address import ListenAddress
from roadstead.config.checks import check_together
from roadstead.config.container import (
    container_defaults,
    find_settings_file,
    read_variables_alone,
    runs_in_container,
)
from roadstead.config.description import describe_settings
from roadstead.config.errors import Registry2KeysRefusedError, Registry2VariableUnusedError, SettingInvalidError
from roadstead.config.reading import GivenValue, read_content, read_environment, read_overrides, read_own_file
from roadstead.config.registry2 import (
    OPEN,
    WORTH_SAYING,
    Finding,
    Registry2Configuration,
    Verdict,
    is_registry2,
    key_of_variable,
    parse,
    read_tree,
    registry_variables,
)
from roadstead.config.registry2 import (
    Mapping as MappingNode,
)
from roadstead.config.secret import SecretText
from roadstead.config.settings import Settings

_IMPLIED: Final = (
    ("authentication.mode", "htpasswd", ("authentication.htpasswd_file",)),
    ("tls.mode", "files", ("tls.certificate", "tls.key")),
)
"""Settings that imply a mode of another setting, so that nobody has to write both."""


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The loaded settings, with the source of each and what the administrator should know."""

    settings: Settings
    sources: Mapping[str, str]
    """The source of each setting that does not have its default, by its key."""
    notices: tuple[Finding, ...] = ()
    """Keys and variables that have no effect or a different one, to be reported when the server starts."""
    registry2: Registry2Configuration | None = None
    """The result of reading registry:2's file, if the file is one."""


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Loads the settings as ``load`` does, and returns them alone."""
    return load(file, environment, overrides).settings


def load(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> LoadedSettings:
    """Loads the settings of a file, then ``ROADSTEAD_SECTION__KEY`` variables, then flags; the later wins.

    A file that begins with ``version: 0.1`` is registry:2's: ``REGISTRY_…`` variables are laid over it first. In a
    container there are defaults below all of these (see ``roadstead.config.container``).

    Args:
        file: a YAML file of sections, or registry:2's; None for none.
        environment: variables; None for the process's own.
        overrides: values by key path (``"listen.main"``); those that are None were not given.

    Raises:
        SettingsInvalidError: one of the sources is wrong, or they do not fit together; the message names the source
            and the remedy.
    """
    variables = os.environ if environment is None else environment
    later = list(chain(read_environment(variables), read_overrides(overrides or {})))
    given: dict[str, GivenValue] = {}
    if is_contained := runs_in_container(variables):
        given = {value.key: value for value in container_defaults()}
        file = file or find_settings_file()
    configuration = None if file is None else _read_registry2(file, variables)
    if is_contained and file is None:
        configuration = read_variables_alone(variables)
    if configuration is not None:
        notices = _notices_of(configuration, str(file or "registry:2's variables"), {value.key for value in later})
        given |= _assigned(configuration, given, is_leave=file is not None)
    else:
        if file is not None:
            given |= {value.key: value for value in read_own_file(file)}
        notices = _unused_variables(variables, {*given, *(value.key for value in later)})
    given.update({value.key: value for value in later})
    _imply(given)
    settings = _build(given)
    sources = {key: value.source for key, value in given.items()}
    check_together(settings, sources)
    return LoadedSettings(settings, sources, (*notices, *_openness(settings, sources)), configuration)


def _read_registry2(file: Path, variables: Mapping[str, str]) -> Registry2Configuration | None:
    tree = parse(read_content(file), str(file))
    if not is_registry2(tree) or not isinstance(tree, MappingNode):
        return None
    return read_tree(tree, str(file), variables)


def _notices_of(configuration: Registry2Configuration, name: str, later: set[str]) -> tuple[Finding, ...]:
    """Returns what to report of a configuration; a refused key is settled if our own setting is given in its place.

    Raises:
        Registry2KeysRefusedError: something is not settled.
    """
    settled = {
        finding.key
        for finding in configuration.stopping
        if finding.verdict == Verdict.REFUSED and finding.targets and later.issuperset(finding.targets)
    }
    stopping = [finding for finding in _outermost(configuration.stopping) if finding.key not in settled]
    if stopping:
        raise Registry2KeysRefusedError(name, tuple(str(finding) for finding in stopping))
    return tuple(
        finding
        for finding in _outermost(configuration.findings)
        if finding.verdict in WORTH_SAYING or finding.key in settled
    )


def _outermost(findings: Iterable[Finding]) -> list[Finding]:
    """Returns the findings without those below another one with the same verdict."""
    kept: list[Finding] = []
    for finding in findings:
        if not any(
            finding.key.startswith((f"{each.key}.", f"{each.key}[")) and finding.verdict == each.verdict
            for each in kept
        ):
            kept.append(finding)
    return kept


def _assigned(
    configuration: Registry2Configuration, before: Mapping[str, GivenValue], *, is_leave: bool
) -> dict[str, GivenValue]:
    """Returns the settings of a configuration; registry:2's defaults come after what is given ``before``.

    ``is_leave``: a file without auth was written by somebody who means everybody.
    """
    return {
        each.target: GivenValue(each.target, each.value, each.source, is_text=False)
        for each in configuration.assignments
        if (each.keys or each.target not in before) and (is_leave or not each.source.endswith(OPEN))
    }


def _unused_variables(variables: Mapping[str, str], given: set[str]) -> tuple[Finding, ...]:
    """Returns what to report of registry:2's variables where its file is not in use.

    Raises:
        Registry2VariableUnusedError: somebody relies on one, and no setting of ours takes its place.
    """
    names = {description.key: description.environment_name for description in describe_settings()}
    findings: list[Finding] = []
    for name, value in registry_variables(variables):
        key = key_of_variable(name) if value else None
        if key is None:
            continue
        instead = " and ".join(names[target] for target in key.targets) or "nothing"
        remedy = f"set {instead} instead, or give registry:2's file with --config, or unset it"
        if key.is_protective and not given.intersection(key.targets):
            raise Registry2VariableUnusedError(name, remedy)
        text = f"registry:2's variables count only together with its file: {remedy}"
        findings.append(Finding(name, name, Verdict.IGNORED, text))
    return tuple(findings)


def _openness(settings: Settings, sources: Mapping[str, str]) -> tuple[Finding, ...]:
    """Reports an open registry, which registry:2 has with a file without auth, and which therefore stops no start."""
    source = sources.get("authentication.mode", "")
    address = settings.listen.main
    if not source.endswith(OPEN) or address.is_loopback or settings.tls.client_certificates == "required":
        return ()
    text = (
        f"{address} is open to everybody who reaches it, as it was with registry:2, since the file has no auth: add"
        " auth.htpasswd, or say --auth none if it is meant"
    )
    return (Finding("http.addr", sources["listen.main"].removesuffix(": http.addr"), Verdict.HONOURED, text),)


def _imply(given: dict[str, GivenValue]) -> None:
    for mode, value, keys in _IMPLIED:
        by = next((given[key] for key in keys if key in given), None)
        if by is not None and mode not in given:
            given[mode] = GivenValue(mode, value, by.source, is_text=True)


def _build(given: Mapping[str, GivenValue]) -> Settings:
    sections: dict[str, dict[str, Any]] = {}
    for description in describe_settings():
        if description.key in given:
            section, name = description.key.split(".")
            sections.setdefault(section, {})[name] = convert_value(given[description.key], description.value_type)
    types = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    return Settings(**{section: types[section](**values) for section, values in sections.items()})


def convert_value(given: GivenValue, value_type: Any) -> object:  # noqa: ANN401 - msgspec takes any type
    """Converts a value to the type of its setting.

    Raises:
        SettingInvalidError: it has another type, or lies outside the bounds.
    """
    kind = typing.get_args(value_type)[0]
    try:
        if kind is ListenAddress:
            return _decode(kind, given.value)  # msgspec would take a dataclass apart by its fields
        value = _parse_text(given) if given.is_text and _is_nested(kind) else given.value
        return msgspec.convert(value, value_type, strict=not given.is_text, dec_hook=_decode)
    except ValueError as error:
        raise SettingInvalidError(given.source, str(error), "see the reference of settings") from None


def _is_nested(kind: object) -> bool:
    """Returns True if values are lists or mappings, which a variable or flag spells as YAML (or JSON)."""
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
