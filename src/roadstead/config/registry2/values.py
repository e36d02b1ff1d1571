"""Values as the Go parser of registry:2 (yaml.v2, and ``time.ParseDuration``) takes them.

What Go takes differently than Python: ``y`` and ``on`` are true; quoted they are text, which no switch takes; ``0x10``,
``010`` (eight) and ``1_000`` are numbers; a bare number that should be a duration is nanoseconds.
"""

import re
from typing import Final

from roadstead.config.registry2.nodes import Mapping, Node, Scalar, Sequence

NANOSECONDS: Final = 1e-9


class GoValueError(ValueError):
    """A value is none that Go's parser takes at its place."""


_TRUE: Final = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE: Final = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_UNIT_SECONDS: Final = {
    "ns": NANOSECONDS,
    "us": 1e-6,
    "µs": 1e-6,  # the micro sign
    "μs": 1e-6,  # the Greek letter, which Go takes as well
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PIECE: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_INTEGER: Final = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]*|[1-9][0-9]*)")
_LONGEST_DURATION: Final = 2.0**63 * NANOSECONDS
_OCTAL: Final = 8


def text(node: Node) -> str:
    """Returns a text; a number or a flag counts as it was written."""
    if not isinstance(node, Scalar):
        raise GoValueError("expected text")
    return "" if node.is_null else node.text


def truth(node: Node) -> bool:
    """Returns True or False; a value in quotes is neither."""
    if isinstance(node, Scalar) and node.is_plain:
        if node.text in _TRUE:
            return True
        if node.text in _FALSE or node.is_null:
            return False
    quotes = " without quotes" if isinstance(node, Scalar) and node.text in _TRUE | _FALSE else ""
    raise GoValueError(f"expected true or false{quotes}")


def is_truth(node: Node) -> bool:
    """Returns True if Go takes the value for true or false; it passes over values of other types."""
    return isinstance(node, Scalar) and node.is_plain and node.text in _TRUE | _FALSE


def number(node: Node) -> int:
    """Returns a whole number."""
    if isinstance(node, Scalar) and node.is_null:
        return 0
    if not isinstance(node, Scalar) or not node.is_plain:
        raise GoValueError("expected a number without quotes")
    return _parse_integer(node.text)


def _parse_integer(written: str) -> int:
    plain = written.replace("_", "")
    if not _INTEGER.fullmatch(plain):
        raise GoValueError("expected a whole number")
    digits = plain.lstrip("+-")
    is_octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    value = int(digits, _OCTAL if is_octal else 0)
    return -value if plain.startswith("-") else value


def is_bare_number(node: Node) -> bool:
    """Returns True if a duration is written without its unit: registry:2 counts nanoseconds then."""
    return isinstance(node, Scalar) and bool(_INTEGER.fullmatch(node.text)) and node.text not in {"0", "+0", "-0"}


def duration_seconds(node: Node) -> float:
    """Returns a duration in seconds."""
    if not isinstance(node, Scalar):
        raise GoValueError('expected a duration such as "1h30m"')
    if node.is_null:
        return 0.0
    if node.is_plain and _INTEGER.fullmatch(node.text.replace("_", "")):
        return _parse_integer(node.text) * NANOSECONDS
    return parse_duration(node.text)


def parse_duration(written: str) -> float:
    """Parses a duration as Go's ``time.ParseDuration`` does, into seconds: ``1h30m``, ``-1.5s``, ``0``."""
    sign, rest = (-1.0, written[1:]) if written.startswith("-") else (1.0, written.removeprefix("+"))
    if rest == "0":
        return 0.0
    pieces = list(_PIECE.finditer(rest))
    if not pieces or "".join(piece.group(0) for piece in pieces) != rest:
        raise GoValueError('expected a duration such as "1h30m", of the units ns, us, ms, s, m, h')
    seconds = sum(float(piece.group(1)) * _UNIT_SECONDS[piece.group(2)] for piece in pieces)
    if seconds >= _LONGEST_DURATION:
        raise GoValueError("the duration is longer than 292 years")
    return sign * seconds


def texts(node: Node) -> tuple[str, ...]:
    """Returns a list of texts."""
    if isinstance(node, Scalar) and node.is_null:
        return ()
    if not isinstance(node, Sequence):
        raise GoValueError("expected a list, such as [one, two]")
    return tuple(text(item) for item in node.items)


def headers(node: Node) -> dict[str, tuple[str, ...]]:
    """Returns header names, each with its list of values; names that only differ in their case are one."""
    if not isinstance(node, Mapping):
        raise GoValueError("expected a mapping of header names to lists of values")
    found: dict[str, tuple[str, ...]] = {}
    spelling: dict[str, str] = {}
    for name, value in node.entries.items():
        if not isinstance(value, Sequence):
            raise GoValueError(f"{name}: expected a list of values, such as [nosniff]")
        kept = spelling.setdefault(name.lower(), name)
        found[kept] = (*found.get(kept, ()), *texts(value))
    return found


NO_HEADERS: Final[dict[str, tuple[str, ...]]] = {}
"""The value of ``headers`` for an empty node."""

NO_TEXTS: Final[tuple[str, ...]] = ()
"""The value of ``texts`` for an empty node."""
