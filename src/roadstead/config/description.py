"""Describes all settings as data, for the loader, ``config show`` and the reference page."""

import functools
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec

from roadstead.config.settings import Settings

ENVIRONMENT_PREFIX: Final = "ROADSTEAD_"
_BOUNDS: Final = (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))


@dataclass(frozen=True, slots=True)
class SettingDescription:
    """One setting: its key path, how it is written in each source, and what it means."""

    key: str
    """Name of section and setting with a dot between, as the file nests them."""
    section_description: str
    type_name: str
    bounds: str
    """The bounds in words, such as ``at least 1, at most 10``; empty without any."""
    default: str
    environment_name: str
    flag: str
    """The command line's flag; empty when it has none."""
    description: str
    is_secret: bool
    """True if the value is also read from the file that ``<environment_name>_FILE`` names."""
    value_type: Any
    """The type that ``msgspec.convert`` gets."""
    example: object
    """A value as a file's YAML would give it, for lists and mappings; None where the default says enough."""


@functools.cache
def describe_settings() -> tuple[SettingDescription, ...]:
    """Returns every setting, in the order of the sections."""
    return tuple(_iter_descriptions())


def _iter_descriptions() -> Iterator[SettingDescription]:
    for section in msgspec.structs.fields(Settings):
        summary = (section.type.__doc__ or "").strip()
        hints = typing.get_type_hints(section.type, include_extras=True)
        for field in msgspec.structs.fields(section.type):
            yield _describe(section.name, summary, field, hints[field.name])


def _describe(section: str, summary: str, field: msgspec.structs.FieldInfo, value_type: object) -> SettingDescription:
    inner, meta = _unwrap(value_type)
    extra: dict[str, Any] = meta.extra or {}
    return SettingDescription(
        key=f"{section}.{field.name}",
        section_description=summary,
        type_name=_type_name(inner),
        bounds=", ".join(
            f"{words} {getattr(meta, name)}" for name, words in _BOUNDS if getattr(meta, name) is not None
        ),
        default=_default_text(field.default),
        environment_name=f"{ENVIRONMENT_PREFIX}{section}__{field.name}".upper(),
        flag=extra.get("flag", ""),
        description=meta.description or "",
        is_secret=extra.get("secret", False),
        value_type=value_type,
        example=extra.get("example"),
    )


def _unwrap(value_type: object) -> tuple[object, msgspec.Meta]:
    if typing.get_origin(value_type) is not Annotated:
        raise TypeError("every setting is Annotated with its description")
    inner, meta, *_ = typing.get_args(value_type)
    return inner, meta


def _type_name(inner: object) -> str:
    arguments = typing.get_args(inner)
    if typing.get_origin(inner) is Literal:
        return " | ".join(str(choice) for choice in arguments)
    if typing.get_origin(inner) is tuple:
        return f"list of {_type_name(arguments[0])}"
    if typing.get_origin(inner) is dict:
        return "mapping"
    if isinstance(inner, types.UnionType):
        return " | ".join(_type_name(argument) for argument in arguments)
    names = {
        "int": "integer",
        "float": "number",
        "bool": "true | false",
        "NoneType": "none",
        "ListenAddress": "HOST:PORT",
        "str": "text",
        "AccessRule": "rules",
        "NotificationEndpoint": "endpoints",
    }
    name = getattr(inner, "__name__", str(inner))
    return names.get(name, "path" if name == "Path" else "text" if name == "SecretText" else name)


def _default_text(default: object) -> str:
    match default:
        case None | () | msgspec.NODEFAULT:  # msgspec has a factory where the default is a mapping: an empty one
            return "none"
        case "":
            return "empty"
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case _:
            return str(default)
