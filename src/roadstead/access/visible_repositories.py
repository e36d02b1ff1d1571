"""A set of repositories as ranges of names, which a query can follow along an index.

The characters of a repository's name lie between ``-`` (0x2D) and ``z`` (0x7A), so a space closes the range of
one name and ``0``, which follows ``/``, that of everything below a folder. Names sort as their bytes do.
"""

import bisect
from collections.abc import Iterable
from typing import Final, NamedTuple

BEFORE_ALL: Final = ""
AFTER_ALL: Final = "{"
AFTER_NAME: Final = " "
AFTER_SLASH: Final = "0"


class NameRange(NamedTuple):
    """The names from ``low`` on that sort before ``high``."""

    low: str
    high: str


ALL_NAMES: Final = NameRange(BEFORE_ALL, AFTER_ALL)


class VisibleRepositories:
    """A set of repositories: ranges in order, which neither overlap nor touch."""

    __slots__ = ("_lows", "is_all", "ranges")

    def __init__(self, ranges: Iterable[NameRange]) -> None:
        """Ranges may come in any order and overlap."""
        self.ranges = tuple(_merged(ranges))
        self.is_all = self.ranges == (ALL_NAMES,)
        self._lows = [each.low for each in self.ranges]

    def __bool__(self) -> bool:
        """Whether there is any name in it."""
        return bool(self.ranges)

    def __contains__(self, name: object) -> bool:
        """Whether a repository of this name is in it."""
        if self.is_all:
            return True
        index = bisect.bisect_right(self._lows, str(name)) - 1
        return index >= 0 and str(name) < self.ranges[index].high

    def after(self, name: str) -> tuple[NameRange, ...]:
        """What is left of the ranges for names after ``name``, which may be any text."""
        begin = name + AFTER_NAME  # no name lies between: a space sorts before whatever a name could go on with
        first = max(bisect.bisect_right(self._lows, name) - 1, 0)
        return tuple(NameRange(max(low, begin), high) for low, high in self.ranges[first:] if high > begin)


def _merged(ranges: Iterable[NameRange]) -> Iterable[NameRange]:
    low, high = "", ""
    for each in sorted(ranges):
        if not high:
            low, high = each
        elif each.low <= high:
            high = max(high, each.high)
        else:
            yield NameRange(low, high)
            low, high = each
    if high:
        yield NameRange(low, high)
