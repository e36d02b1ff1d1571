"""Parses ranges of bytes and conditional requests.

Source: RFC 9110, sections 13 (conditional requests) and 14 (range requests).
"""

import re
from dataclasses import dataclass
from typing import Final

from roadstead.errors import RoadsteadError

MAXIMUM_RANGES: Final = 100
"""Number of ranges up to which they are served; more get the whole content, as RFC 9110 section 14.2 allows."""

_SPEC: Final = re.compile(r"(\d{1,19})-(\d{0,19})|-(\d{1,19})", re.ASCII)


class RangeUnsatisfiableError(RoadsteadError):
    """None of the ranges asked for lies within the content."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"no range lies within the {size_bytes} bytes of the content")
        self.size_bytes = size_bytes


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A part of a content, both ends included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """The number of bytes in the range."""
        return self.last - self.first + 1

    def content_range(self, size_bytes: int) -> str:
        """Returns the value of ``Content-Range`` (section 14.4)."""
        return f"bytes {self.first}-{self.last}/{size_bytes}"


def parse_range(header: str, size_bytes: int) -> tuple[ByteRange, ...]:
    """Returns the ranges of a ``Range`` header; none if it is to be ignored, as with another unit or grammar.

    One that ends before it begins is rejected rather than ignored (section 14.2 allows both): whoever sends it does not
    want the whole content.

    Raises:
        RangeUnsatisfiableError: it is well formed, and none of its ranges lies within the content.
    """
    unit, separator, value = header.partition("=")
    if not separator or unit.strip().lower() != "bytes":
        return ()
    specs = [spec.strip() for spec in value.split(",")]
    specs = [spec for spec in specs if spec]
    if not specs or len(specs) > MAXIMUM_RANGES:
        return ()
    found: list[ByteRange] = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None:
            return ()
        part = _resolve(match, size_bytes)
        if part is not None:
            found.append(part)
    if not found:
        raise RangeUnsatisfiableError(size_bytes)
    if sum(part.length for part in found) > size_bytes:
        return ()  # overlapping ranges that cost more than the whole (section 14.2, last paragraph)
    return tuple(found)


def _resolve(match: re.Match[str], size_bytes: int) -> ByteRange | None:
    if match[3] is not None:
        length = min(int(match[3]), size_bytes)
        return ByteRange(size_bytes - length, size_bytes - 1) if length else None
    first = int(match[1])
    last = min(int(match[2]), size_bytes - 1) if match[2] else size_bytes - 1
    return ByteRange(first, last) if first <= last else None


def matches_etag(header: str, etag: str) -> bool:
    """Returns True if ``If-None-Match`` names this entity tag (weak comparison, section 13.1.2)."""
    if header.strip() == "*":
        return True
    return any(candidate.strip().removeprefix("W/") == etag for candidate in header.split(","))


def allows_range(if_range: str, etag: str) -> bool:
    """Returns True if ``If-Range`` (may be empty) lets ``Range`` count (strong comparison, section 13.1.5)."""
    return not if_range or if_range.strip() == etag
