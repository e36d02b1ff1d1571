"""Reads values from a YAML file, the environment and flags. Each yields key paths with value and source."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from roadstead.config.description import ENVIRONMENT_PREFIX, describe_settings
from roadstead.config.errors import SettingInvalidError, SettingsFileInvalidError, SettingUnknownError
from roadstead.config.service_variables import is_of_a_service

MAXIMUM_FILE_BYTES: Final = 1024 * 1024
"""Size of a settings file at most: one has a few kilobytes, and a larger one is another file given by mistake."""

_FILE_SUFFIX: Final = "_FILE"


@dataclass(frozen=True, slots=True)
class GivenValue:
    """A value as it was written, with its source."""

    key: str
    value: object
    source: str
    is_text: bool
    """True if the source knows only text, so that ``"5"`` may be a number."""


def read_own_file(file: Path) -> Iterator[GivenValue]:
    """Yields the values that a YAML file of sections sets.

    Raises:
        SettingsFileInvalidError: it cannot be read, is no YAML, or is no mapping of sections.
        SettingUnknownError: it has a key that does not exist.
    """
    document = _load_yaml(file)
    if "addr" in (document.get("http") or ()) or "filesystem" in (document.get("storage") or ()):
        raise SettingsFileInvalidError(
            str(file), "this is registry:2's configuration without its version", "let it begin with version: 0.1"
        )
    sections = {description.key.split(".")[0] for description in describe_settings()}
    for section, content in document.items():
        if section not in sections:
            raise SettingUnknownError(f"{file}: {section}", nearest(str(section), sections))
        if content is None:
            continue
        if not isinstance(content, dict):
            raise SettingInvalidError(f"{file}: {section}", "expected a mapping", "indent its keys below it")
        yield from _read_section(file, str(section), content)  # pyright: ignore[reportUnknownArgumentType]


def _read_section(file: Path, section: str, content: Mapping[object, object]) -> Iterator[GivenValue]:
    known = {description.key for description in describe_settings()}
    for name, value in content.items():
        key = f"{section}.{name}"
        if key not in known:
            raise SettingUnknownError(f"{file}: {key}", nearest(key, known))
        yield GivenValue(key, value, f"{file}: {key}", is_text=False)


def read_environment(environment: Mapping[str, str]) -> Iterator[GivenValue]:
    """Yields the values of ``ROADSTEAD_SECTION__KEY`` variables; an empty variable counts as not set.

    Raises:
        SettingUnknownError: a variable of that form names no setting.
        SettingInvalidError: a secret is given twice, or its file cannot be read.
    """
    names = {description.environment_name: description for description in describe_settings()}
    secret_files = {name + _FILE_SUFFIX: name for name, description in names.items() if description.is_secret}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or not text or is_of_a_service(variable, text):
            continue
        if variable in names:
            yield GivenValue(names[variable].key, text, variable, is_text=True)
        elif variable in secret_files:
            name = secret_files[variable]
            if environment.get(name):
                raise SettingInvalidError(variable, f"{name} is set as well", "unset one of the two")
            yield GivenValue(names[name].key, _read_secret(variable, text), variable, is_text=True)
        else:
            _refuse_misspelt(variable, [*names, *secret_files])


def read_overrides(overrides: Mapping[str, object]) -> Iterator[GivenValue]:
    """Yields the values that flags set, by key path; None means that the flag was not given.

    Raises:
        SettingUnknownError: a key path that does not exist.
    """
    known = {description.key: description for description in describe_settings()}
    for key, value in overrides.items():
        if key not in known:
            raise SettingUnknownError(key, nearest(key, known))
        if value is not None:
            yield GivenValue(key, value, known[key].flag or key, is_text=True)


def _refuse_misspelt(variable: str, known: Iterable[str]) -> None:
    """Refuses a variable that lacks only the second underscore; others without ``__`` belong to tests or scripts."""
    if "__" in variable:
        raise SettingUnknownError(variable, nearest(variable, known))
    for name in known:
        if name.replace("__", "_") == variable:
            raise SettingUnknownError(variable, name)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name most like ``name``, or None."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def _read_secret(variable: str, name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SettingInvalidError(
            variable, f"cannot read {name}: {reason}", "check that it exists and is readable"
        ) from error


class _UniqueKeyLoader(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice, instead of choosing one of its values silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_content(file: Path) -> bytes:
    """Reads the content of a settings file.

    Raises:
        SettingsFileInvalidError: it cannot be read, or is too large to be one.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAXIMUM_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsFileInvalidError(
            str(file), f"cannot be read: {error.strerror}", "check the path and its permissions"
        ) from error
    if len(content) > MAXIMUM_FILE_BYTES:
        raise SettingsFileInvalidError(
            str(file), f"is larger than {MAXIMUM_FILE_BYTES} bytes", "give the settings file"
        )
    return content


def _load_yaml(file: Path) -> dict[Any, Any]:
    content = read_content(file)
    try:
        document: object = yaml.load(content, Loader=_UniqueKeyLoader)  # noqa: S506 - it is a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsFileInvalidError(str(file), _yaml_problem(error), "correct the YAML") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsFileInvalidError(
            str(file), "expected a mapping of sections", "begin with a section such as listen:"
        )
    return document  # pyright: ignore[reportUnknownVariableType]


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return "it is no valid YAML"
