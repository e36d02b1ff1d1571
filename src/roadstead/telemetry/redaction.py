"""Keeps secrets and control characters out of the log, whoever put them into an event."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, cast

HIDDEN: Final = "***"
DEPTH: Final = 5
"""Events are flat; what is nested deeper than this is cut."""

_SECRET_NAMES: Final = re.compile(
    r"(?:proxy-)?authorization|(?:set-)?cookie|.*(?:password|passwd|secret|token|api_?key|private_?key|credentials?)",
    re.IGNORECASE,
)
_URL_PASSWORD: Final = re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]+@")
_CREDENTIALS: Final = re.compile(r"\b(basic|bearer)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def redact(value: object, depth: int = DEPTH) -> object:
    """``value`` with passwords in URLs, credentials, and everything under a secret's name replaced by ``***``."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _redact_nested(value, depth - 1) if depth else "…"  # pyright: ignore[reportUnknownArgumentType]
    return redact_text(_name(value))


def redact_named(name: str, value: object, depth: int = DEPTH) -> object:
    """The same for a value that has a name."""
    if _SECRET_NAMES.fullmatch(name) and isinstance(value, str | bytes):
        return HIDDEN
    return redact(value, depth)


def redact_text(text: str) -> str:
    """The same for a text."""
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    return _CREDENTIALS.sub(rf"\1 {HIDDEN}", text)


def escape_control(text: str) -> str:
    r"""``text`` with control characters as ``\xNN``, so that a client cannot drive the terminal; newlines stay."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def _name(name: object) -> str:
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)


def _redact_nested(value: Mapping[object, object] | Iterable[object], depth: int) -> object:
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        return {_name(name): redact_named(_name(name), entry, depth) for name, entry in entries.items()}
    items = list(value)
    if len(items) == 2 and isinstance(items[0], str | bytes):  # noqa: PLR2004 - a header: name and value
        return [_name(items[0]), redact_named(_name(items[0]), items[1], depth)]
    return [redact(item, depth) for item in items]
