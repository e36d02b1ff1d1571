"""Inspects a settings file key by key, for ``roadstead config check``."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from roadstead.config.checks import require_files
from roadstead.config.description import SettingDescription, describe_settings
from roadstead.config.errors import Registry2KeysRefusedError, SettingInvalidError, SettingsInvalidError
from roadstead.config.loading import convert_value, load
from roadstead.config.reading import GivenValue, nearest, read_content, read_own_file
from roadstead.config.registry2 import STOPPING, Finding, Node, Verdict, is_registry2, parse, read_tree
from roadstead.config.registry2 import Mapping as MappingNode


@dataclass(frozen=True, slots=True)
class FileInspection:
    """The result of inspecting a settings file: a finding for each key."""

    is_registry2: bool
    """True if the file is one of registry:2 or registry:3; otherwise it is ours."""
    findings: tuple[Finding, ...]
    """A finding for each key, in the order of the file."""
    problem: str = ""
    """The reason why a server would not start with the file, apart from single keys; empty if there is none."""

    @property
    def is_fit(self) -> bool:
        """True if a server would start with the file."""
        return not self.problem and not any(finding.verdict in STOPPING for finding in self.findings)


def inspect_file(file: Path, environment: Mapping[str, str] | None = None) -> FileInspection:
    """Inspects each key of a file; for a file of registry:2, its variables too.

    Raises:
        SettingsFileInvalidError: it cannot be read, or is no YAML mapping.
    """
    variables = os.environ if environment is None else environment
    tree = parse(read_content(file), str(file))
    is_theirs = is_registry2(tree)
    if is_theirs and isinstance(tree, MappingNode):
        findings = read_tree(tree, str(file), variables).findings
    else:
        findings = tuple(_iter_own(file, tree))
    problem = ""
    if not any(finding.verdict in STOPPING for finding in findings):
        problem = _problem(file, variables)
    return FileInspection(is_theirs, findings, problem)


def _problem(file: Path, variables: Mapping[str, str]) -> str:
    try:
        loaded = load(file, variables)
        require_files(loaded.settings, loaded.sources)
    except Registry2KeysRefusedError as error:
        return "; ".join(error.problems)
    except SettingsInvalidError as error:
        return str(error)
    return ""


def _iter_own(file: Path, tree: Node | None) -> Iterator[Finding]:
    if not isinstance(tree, MappingNode):
        for _ in read_own_file(file):  # says what is wrong, if anything is
            pass
        return
    known = {description.key: description for description in describe_settings()}
    values = _values_of(file)
    for section, content in tree.entries.items():
        source = tree.key_sources[section]
        if not any(key.startswith(f"{section}.") for key in known):
            yield _unknown(section, source, {key.partition(".")[0]: None for key in known})
        elif isinstance(content, MappingNode):
            for name in content.entries:
                key = f"{section}.{name}"
                place = content.key_sources[name]
                if key not in known:
                    yield _unknown(key, place, known)
                else:
                    yield _own(known[key], values.get(key), place)


def _values_of(file: Path) -> dict[str, GivenValue]:
    """Returns the values by key, as far as they could be read before the first fault."""
    values: dict[str, GivenValue] = {}
    try:
        for value in read_own_file(file):
            values[value.key] = value
    except SettingsInvalidError:
        pass
    return values


def _unknown(key: str, source: str, known: Mapping[str, object]) -> Finding:
    near = nearest(key, known)
    hint = f"did you mean {near}?" if near else "remove it"
    return Finding(key, source, Verdict.INVALID, f"unknown setting; {hint}")


def _own(description: SettingDescription, value: GivenValue | None, source: str) -> Finding:
    if value is not None:
        try:
            convert_value(value, description.value_type)
        except SettingInvalidError as error:
            return Finding(description.key, source, Verdict.INVALID, error.reason)
    return Finding(description.key, source, Verdict.HONOURED, description.description, (description.key,))
