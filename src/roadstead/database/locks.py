"""Locks on names: what a transaction keeps as it is, or changes alone, said before its first statement."""

import enum
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


class Lock(enum.Enum):
    """The strength of a lock."""

    KEEP = enum.auto()
    """A lock under which things stay as they are: any number may hold it, and who wants to change it waits."""
    CHANGE = enum.auto()
    """Nobody else holds any lock on it."""


@dataclass(frozen=True, slots=True)
class NameLock:
    """A lock on a name, of which the database knows nothing: the code that uses it gives it its meaning."""

    lock: Lock
    name: str

    @property
    def key(self) -> int:
        """The number, of 64 bits with a sign, that stands for the name; two names that share one only wait more."""
        return int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=8).digest(), signed=True)


def in_order(locks: Iterable[NameLock]) -> list[tuple[int, Lock]]:
    """The keys of ``locks``, each once, with the stronger lock, in the order in which everybody takes them."""
    strongest: dict[int, Lock] = {}
    for each in locks:
        if strongest.get(each.key) is not Lock.CHANGE:
            strongest[each.key] = each.lock
    return sorted(strongest.items(), key=lambda item: item[0])
