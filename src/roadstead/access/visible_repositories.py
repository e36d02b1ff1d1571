"""The repositories that a caller may see: ranges of names, which a query can follow along an index.

Only this package makes such sets (a test looks for others): one comes out of the decision for a caller, or is
``visible_to_operator``'s, so that whoever asks the registry for anything has asked for the right to it before.

Names without a slash, the project ``library``, are no ranges: ``a`` < ``a/b`` < ``ab``. A set says by
``has_unslashed`` that they belong to it too, and queries ask for them beside the ranges.

The characters of a repository's name lie between ``-`` (0x2D) and ``z`` (0x7A), so a space closes the range of
one name and ``0``, which follows ``/``, that of everything below a folder. Names sort as their bytes do.
"""

import bisect
from collections.abc import Iterable
from typing import Final, NamedTuple

SLASH: Final = "/"
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
    """A set of repositories: ranges in order, which neither overlap nor touch, and perhaps what has no slash."""

    __slots__ = ("_lows", "has_unslashed", "is_all", "ranges")

    def __init__(self, ranges: Iterable[NameRange], *, has_unslashed: bool = False) -> None:
        """Ranges may come in any order and overlap."""
        self.ranges = tuple(_merged(ranges))
        self.is_all = self.ranges == (ALL_NAMES,)
        self.has_unslashed = has_unslashed and not self.is_all
        """True if the names without a slash belong to it, beside those in ``ranges``."""
        self._lows = [each.low for each in self.ranges]

    def __bool__(self) -> bool:
        """True if there is any name in it."""
        return bool(self.ranges) or self.has_unslashed

    def __contains__(self, name: object) -> bool:
        """Returns True if a repository of this name is in it."""
        if self.is_all:
            return True
        text = str(name)
        index = bisect.bisect_right(self._lows, text) - 1
        return (index >= 0 and text < self.ranges[index].high) or (self.has_unslashed and SLASH not in text)

    def after(self, name: str) -> tuple[NameRange, ...]:
        """Returns what is left of the ranges for names after ``name``, which may be any text."""
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


_ALL: Final = VisibleRepositories([ALL_NAMES])


def visible_to_operator() -> VisibleRepositories:
    """All repositories, for who owns the machine: commands on a registry's own folder, and its work beside requests.

    Nobody who comes over the network gets it from here, but from the decision.
    """
    return _ALL
