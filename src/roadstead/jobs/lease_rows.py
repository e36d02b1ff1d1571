"""The rows of leases: who holds a name, for how many changes of hands it has been held, and how the holder lives.

No clocks are compared. A holder raises ``beat`` again and again; whoever wants the name watches the row, and takes it
over when holder, fence and beat have stood still for long enough by the watcher's own clock. The row changes hands in
one conditional update, as it was seen, so that of two watchers one wins, and none where the holder has moved. The pair
of holder and fence never comes again: whoever reads it in a transaction knows that nobody has had the name meanwhile.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, literal, select, update

from roadstead.database import (
    Lock,
    LockingStatement,
    Reader,
    Statement,
    Transaction,
    as_list,
    insert_or_skip,
    listed,
    parameter,
)
from roadstead.jobs.tables import leases

WATCHED: Final = 10_000
"""Names that one process watches at once; one that is forgotten is watched from the beginning."""

_name = leases.c.name == parameter("name")
_as_seen = (
    _name,
    leases.c.holder == parameter("seen_holder"),
    leases.c.fence == parameter("seen_fence"),
    leases.c.beat == parameter("seen_beat"),
)
_columns = select(leases.c.name, leases.c.holder, leases.c.fence, leases.c.beat)
_FIND: Final = Statement(_columns.where(_name))
_LIST: Final = Statement(_columns.where(leases.c.name.in_(listed("names"))))
_LIST_IN: Final = Statement(
    _columns.where(leases.c.name > parameter("after"), leases.c.name < parameter("end"))
    .order_by(leases.c.name)
    .limit(500)
)
_KEEP: Final = LockingStatement(_columns.where(_name), Lock.KEEP)
_KEEP_ALL: Final = LockingStatement(
    _columns.where(leases.c.name.in_(listed("names"))).order_by(leases.c.name), Lock.KEEP
)
_LOCK: Final = LockingStatement(_columns.where(_name), Lock.CHANGE)
_ADD: Final = Statement(insert_or_skip(leases, "name", "holder", "expires_ms", "fence", "beat"))
_TAKE_OVER: Final = Statement(
    update(leases)
    .where(*_as_seen)
    .values(
        holder=parameter("holder"),
        fence=leases.c.fence + literal(1),
        beat=leases.c.beat + literal(1),
        expires_ms=parameter("expires_ms"),
    )
)
_BEAT: Final = Statement(
    update(leases)
    .where(_name, leases.c.holder == parameter("holder"), leases.c.fence == parameter("fence"))
    .values(beat=leases.c.beat + literal(1), expires_ms=parameter("expires_ms"))
)
_FREE: Final = Statement(
    update(leases)
    .where(_name, leases.c.holder == parameter("seen_holder"), leases.c.fence == parameter("seen_fence"))
    .values(holder=literal(""), expires_ms=literal(0))
)
_REMOVE: Final = Statement(delete(leases).where(_name, leases.c.holder == parameter("holder")))
_REMOVE_AS_SEEN: Final = Statement(delete(leases).where(*_as_seen))
_REMOVE_ALL: Final = Statement(delete(leases))


@dataclass(frozen=True, slots=True)
class Held:
    """A row as it was seen; ``holder`` is empty where it was given up."""

    holder: str
    fence: int
    beat: int


async def find_held(reader: Reader, name: str) -> Held | None:
    """The row of a name."""
    row = await reader.fetch_one(_FIND, name=name)
    return None if row is None else Held(*row[1:])


async def list_held(reader: Reader, names: list[str]) -> dict[str, Held]:
    """The rows of some names."""
    return {row[0]: Held(*row[1:]) for row in await reader.fetch_all(_LIST, names=as_list(names))}


async def list_held_below(reader: Reader, prefix: str) -> dict[str, Held]:
    """The rows of all names that begin with ``prefix``, which ends in an ASCII mark."""
    found: dict[str, Held] = {}
    after, end = prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)
    while rows := await reader.fetch_all(_LIST_IN, after=after, end=end):
        found.update({row[0]: Held(*row[1:]) for row in rows})
        after = rows[-1][0]
    return found


async def keep_held(transaction: Transaction, name: str) -> Held | None:
    """The row of a name, which does not change hands until the transaction ends."""
    row = await transaction.lock_one(_KEEP, name=name)
    return None if row is None else Held(*row[1:])


async def keep_all_held(transaction: Transaction, names: list[str]) -> dict[str, Held]:
    """As ``keep_held``, for some names at once: those that have a row."""
    return {row[0]: Held(*row[1:]) for row in await transaction.lock_all(_KEEP_ALL, names=as_list(names))}


async def add_held(transaction: Transaction, names: list[str], holder: str, *, expires_ms: int = 0) -> None:
    """Makes rows for names that have none, with the fence 1; the order of names is that in which all take them."""
    rows = [{"name": name, "holder": holder, "expires_ms": expires_ms, "fence": 1, "beat": 0} for name in names]
    await transaction.execute_many(_ADD, rows)


async def take_over(transaction: Transaction, name: str, seen: Held, holder: str, *, expires_ms: int = 0) -> bool:
    """Gives a row to ``holder``, unless it is not what was ``seen``; waits for work that relies on it."""
    await transaction.lock_one(_LOCK, name=name)
    return bool(await transaction.execute(_TAKE_OVER, **_seen(name, seen), holder=holder, expires_ms=expires_ms))


async def beat(transaction: Transaction, name: str, holder: str, fence: int, *, expires_ms: int = 0) -> bool:
    """Says that the holder lives; False if it has lost the row."""
    return bool(await transaction.execute(_BEAT, name=name, holder=holder, fence=fence, expires_ms=expires_ms))


async def free(transaction: Transaction, name: str, holder: str, fence: int) -> None:
    """Gives a row up, which stays and keeps its fence."""
    await transaction.execute(_FREE, name=name, seen_holder=holder, seen_fence=fence)


async def remove(transaction: Transaction, names: list[str], holder: str) -> None:
    """Gives rows up that are no more; a holder who is somebody else's successor has a name that never comes again."""
    await transaction.execute_many(_REMOVE, [{"name": name, "holder": holder} for name in names])


async def remove_as_seen(transaction: Transaction, name: str, seen: Held) -> bool:
    """Removes the row of a dead holder, unless it has moved."""
    await transaction.lock_one(_LOCK, name=name)
    return bool(await transaction.execute(_REMOVE_AS_SEEN, **_seen(name, seen)))


async def remove_all(transaction: Transaction) -> None:
    """Removes every row: while this process alone uses the catalogue."""
    await transaction.execute(_REMOVE_ALL)


def _seen(name: str, seen: Held) -> dict[str, object]:
    return {"name": name, "seen_holder": seen.holder, "seen_fence": seen.fence, "seen_beat": seen.beat}


class Watch:
    """The rows as they looked last, and since when, by this process's own clock."""

    def __init__(self, monotonic_seconds: Callable[[], float], lapse_seconds: float) -> None:
        """``lapse_seconds`` is how long a row stands still until its holder counts as dead."""
        self._now = monotonic_seconds
        self._lapse_seconds = lapse_seconds
        self._seen: OrderedDict[str, tuple[Held, float]] = OrderedDict()

    def now(self) -> float:
        """The moment to be remembered before rows are read."""
        return self._now()

    def has_lapsed(self, name: str, held: Held, *, asked: float) -> bool:
        """Returns True if the row, which was read at ``asked`` or later, had stood still for that long by then."""
        seen, since = self._seen.get(name, (None, asked))
        if seen != held:
            self._seen[name] = (held, self._now())
            self._seen.move_to_end(name)
            if len(self._seen) > WATCHED:
                self._seen.popitem(last=False)
            return False
        return asked - since >= self._lapse_seconds

    def forget(self, name: str) -> None:
        """Nobody waits for that name any more."""
        self._seen.pop(name, None)
