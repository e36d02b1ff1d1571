"""Keeps secrets and control characters out of the log, whatever event they are in."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, cast

HIDDEN: Final = "***"
DEPTH: Final = 5
"""Number of levels of an event that are kept; events are flat, and deeper values are cut."""

_SECRET_NAMES: Final = re.compile(
    r"(?:proxy-)?authorization|(?:set-)?cookie|.*(?:password|passwd|secret|token|api_?key|private_?key|credentials?)",
    re.IGNORECASE,
)
_URL_PASSWORD: Final = re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]+@")
_CREDENTIALS: Final = re.compile(r"\b(basic|bearer)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_BASIC_PLANE: Final = 0x10000
"""The first character that JSON writes as two escapes (RFC 8259, section 7)."""


def redact(value: object, depth: int = DEPTH) -> object:
    """Returns ``value`` with ``***`` for passwords in URLs, credentials, and everything under a secret's name."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _redact_nested(value, depth - 1) if depth else "…"  # pyright: ignore[reportUnknownArgumentType]
    return redact_text(_name(value))


def redact_named(name: str, value: object, depth: int = DEPTH) -> object:
    """Redacts a value that has a name, which may be a secret's."""
    if _SECRET_NAMES.fullmatch(name) and isinstance(value, str | bytes):
        return HIDDEN
    return redact(value, depth)


def redact_text(text: str) -> str:
    """Redacts a text."""
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    return _CREDENTIALS.sub(rf"\1 {HIDDEN}", text)


def escape_control(text: str, keep: str = "\n\t") -> str:
    r"""Returns ``text`` with every invisible character, except those in ``keep``, as ``\xNN``, ``\uNNNN`` or longer.

    So a client can neither drive the terminal on which a log is read, nor begin a line or turn around its direction.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in keep else _escaped(ord(letter)) for letter in text)


def escape_json(text: str) -> str:
    r"""Returns a JSON text with the same characters as ``\uNNNN``, which is the same document."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _json_escaped(ord(letter)) for letter in text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code < _BASIC_PLANE else f"\\U{code:08x}"  # noqa: PLR2004 - two digits


def _json_escaped(code: int) -> str:
    if code < _BASIC_PLANE:
        return f"\\u{code:04x}"
    code -= _BASIC_PLANE
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


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
