"""Writes settings as text: our own file from registry:2's, and values that may be shown to anybody."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec
import yaml

from roadstead.config.address import ListenAddress
from roadstead.config.caller_sections import NotificationEndpoint
from roadstead.config.description import SettingDescription
from roadstead.config.registry2 import WORTH_SAYING, Assignment, Registry2Configuration
from roadstead.config.secret import SecretText
from roadstead.config.server_url import find_fault, is_server_url, shown_url
from roadstead.config.settings import Settings

HIDDEN: Final = "…"
_WIDTH: Final = 100
_PATHS: Final = ("file:///", "sqlite:///")
"""Beginnings of URLs that name only a place and hold no secret."""
_LINE: Final = re.compile(r":(\d+)$")


def value_of(settings: Settings, key: str) -> Any:  # noqa: ANN401 - a setting's value
    """Returns the value of a setting, by its key."""
    section, name = key.split(".")
    return getattr(getattr(settings, section), name)


def plain_value(value: object) -> Any:  # noqa: ANN401 - what YAML and JSON can write
    """Returns a setting's value as a file has it, secrets included."""
    return _spell(value, is_hidden=False)


def shown_value(description: SettingDescription, value: object) -> str:
    """Returns a setting's value in one line for anybody to see, without secrets, also those that URLs may hold."""
    if description.is_secret and isinstance(value, str):
        if is_server_url(value) and find_fault(value) is None:
            return shown_url(value)
        return str(value) if value.startswith(_PATHS) else HIDDEN
    shown = _spell(value, is_hidden=True)
    return shown if isinstance(shown, str) and shown else json.dumps(shown, ensure_ascii=False)


def _spell(value: object, *, is_hidden: bool) -> Any:  # noqa: ANN401 - as plain_value
    match value:
        case ListenAddress() | Path():
            return str(value)
        case str():
            return _hide(value) if is_hidden else str(value)
        case tuple() | list():
            return [_spell(item, is_hidden=is_hidden) for item in cast("Iterable[object]", value)]
        case dict():
            entries = cast("dict[str, object]", value).items()
            return {str(name): _spell(item, is_hidden=is_hidden) for name, item in entries}
        case msgspec.Struct():
            fields = {name: _spell(getattr(value, name), is_hidden=is_hidden) for name in value.__struct_fields__}
            if is_hidden and isinstance(value, NotificationEndpoint):
                fields["url"] = _without_path(value.url)
            return fields
        case _:
            return value


def _hide(text: str) -> str:
    if isinstance(text, SecretText):
        return HIDDEN
    return _without_path(text) if "://" in text and "@" in text else text


def _without_path(url: str) -> str:
    """Removes path and query of a URL: for many a web hook they are its password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}/{HIDDEN}"


def write_converted(configuration: Registry2Configuration, settings: Settings, name: str) -> str:
    """Writes our own file for registry:2's called ``name``, with the source above each setting.

    Loading it gives ``settings``, of which it has all that the file or registry:2's defaults say.
    """
    lines = [f"# Made by `roadstead config convert` from {_printable(name)}, which is registry:2's.", ""]
    sections: dict[str, list[Assignment]] = {}
    for assignment in configuration.assignments:
        sections.setdefault(assignment.target.partition(".")[0], []).append(assignment)
    for section in (section for section in Settings.__struct_fields__ if section in sections):
        lines.append(f"{section}:")
        for assignment in sections[section]:
            lines += [f"  # {_printable(comment)}" for comment in _origin(configuration, assignment)]
            lines += _setting(assignment.target.partition(".")[2], value_of(settings, assignment.target))
        lines.append("")
    return "\n".join([*lines, *_remarks(configuration)]).rstrip("\n") + "\n"


def _setting(name: str, value: object) -> list[str]:
    text = yaml.safe_dump(
        {name: plain_value(value)}, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=False
    )
    return [f"  {line}" for line in text.rstrip("\n").split("\n")]


def _origin(configuration: Registry2Configuration, assignment: Assignment) -> list[str]:
    if not assignment.keys:
        return [f"registry:2's default: {assignment.reason}"]
    return [_explained(configuration, key) for key in assignment.keys]


def _explained(configuration: Registry2Configuration, key: str) -> str:
    """Returns a key with its line and its effect here."""
    finding = next((each for each in configuration.findings if each.key == key), None)
    meaning = f": {finding.text}" if finding is not None else ""
    return f"{key}{_place(configuration, key)}{meaning}"


def _place(configuration: Registry2Configuration, key: str) -> str:
    source = next(
        (
            finding.source
            for finding in configuration.findings
            if finding.key == key or finding.key.startswith(f"{key}[")
        ),
        "",
    )
    line = _LINE.search(source)
    return f", line {line.group(1)}" if line else f", from {source}" if source else ""


def _remarks(configuration: Registry2Configuration) -> list[str]:
    remarks = [finding for finding in configuration.findings if finding.verdict in WORTH_SAYING]
    if not remarks:
        return []
    lines = ["# Not carried over, or not quite:"]
    lines += [
        _printable(f"# - {finding.key}{_place(configuration, finding.key)}: {finding.text}") for finding in remarks
    ]
    return lines


def _printable(text: str) -> str:
    """Replaces line ends and other characters that cannot be printed: a comment ends with its line."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else HIDDEN for letter in text)
