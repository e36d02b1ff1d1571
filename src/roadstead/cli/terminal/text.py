"""Formats values for people and for scripts.

What comes out of a manifest was written by whoever pushed it: ``printable`` keeps it from steering the terminal.
"""

import datetime as dt
from typing import Final

from roadstead.oci import media_type as media_types

SHORT_DIGITS: Final = 12
"""Number of hexadecimal digits in a shortened digest, as docker shows them."""

_IMAGE_CONFIGS: Final = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)
"""Media types of images' configs; a manifest without an artifact type has its config's, so these mean an image."""

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_KILO: Final = 1000
_TEN: Final = 10


def printable(text: str) -> str:
    """Returns ``text`` with everything that is no visible character written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )


def size(size_bytes: int) -> str:
    """Formats bytes with a decimal unit, as docker does: ``7.62 MB``."""
    amount, unit = float(size_bytes), 0
    while amount >= _KILO - 0.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / _KILO, unit + 1
    digits = 0 if unit == 0 else (2 if amount < _TEN else 1)
    return f"{amount:.{digits}f} {_UNITS[unit]}"


def number(value: int) -> str:
    """Formats a count with separators between thousands."""
    return f"{value:,}"


def plural(count: int, noun: str) -> str:
    """Formats a count and its noun: ``1 tag``, ``2 tags``, ``2 repositories``."""
    if count == 1:
        return f"1 {noun}"
    is_changing = noun.endswith("y") and noun[-2] not in "aeiou"
    return f"{number(count)} {noun[:-1] + 'ie' if is_changing else noun}s"


def utc(time_ms: int) -> str:
    """Formats a time in RFC 3339, to the second, in UTC."""
    return dt.datetime.fromtimestamp(time_ms // 1000, dt.UTC).isoformat().replace("+00:00", "Z")


def local_time(time_ms: int) -> str:
    """Formats a time for a person, to the minute, in the time zone of the terminal."""
    return dt.datetime.fromtimestamp(time_ms // 1000).astimezone().strftime("%Y-%m-%d %H:%M")


def short_digest(digest: str) -> str:
    """Shortens a digest so that it can still be told from its neighbours."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}:{encoded[:SHORT_DIGITS]}"


def kind(media_type: str, artifact_type: str) -> str:
    """Returns ``index``, ``image``, or the artifact type of something that is neither."""
    if media_type in media_types.INDEXES:
        return "index"
    if not artifact_type or artifact_type in _IMAGE_CONFIGS:
        return "image"
    return artifact_type
