"""Sets repositories aside whose links cannot be written, as with a foreign file in their place, so that others go on.

A row of ``states`` names each with the reason. Notes of its changes are forgotten while it is there; when its trouble
is over the whole repository is written anew, so that nothing is missed. Bytes of a manifest that cannot be removed are
set aside in the same way, under their digest.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct, json, structs

from roadstead.clock import Clock
from roadstead.database import Database, Reader, Transaction
from roadstead.jobs import delete_state, delete_states, list_states, lock_state, save_state

FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 600.0
"""Longest time between two tries to write what was set aside; it doubles from try to try, since somebody has to act."""

_PREFIX: Final = "links-trouble:"


class Trouble(Struct, frozen=True):
    """The reason why something was set aside."""

    reason: str
    since_ms: int
    missed: int = 0
    """A count that grows when notes of changes are forgotten because of the trouble."""


async def list_troubles(reader: Reader) -> dict[str, Trouble]:
    """Returns at most a thousand subjects that are set aside: names of repositories, and digests of bytes."""
    rows = await list_states(reader, _PREFIX)
    return {name.removeprefix(_PREFIX): json.decode(value, type=Trouble) for name, value in rows.items()}


async def save_trouble(transaction: Transaction, subject: str, trouble: Trouble) -> None:
    """Sets ``subject`` aside."""
    await save_state(transaction, _PREFIX + subject, json.encode(trouble).decode())


async def count_missed(transaction: Transaction, subjects: Iterable[str]) -> None:
    """Counts that notes of these subjects, which are set aside, are forgotten in the same transaction."""
    for subject in subjects:
        value = await lock_state(transaction, _PREFIX + subject)
        if value is not None:
            trouble = json.decode(value, type=Trouble)
            await save_trouble(transaction, subject, structs.replace(trouble, missed=trouble.missed + 1))


async def end_trouble(database: Database, subject: str, trouble: Trouble) -> None:
    """Ends the trouble of ``subject``, which was written, unless notes were forgotten since ``trouble`` was read."""

    async def work(transaction: Transaction) -> None:
        value = await lock_state(transaction, _PREFIX + subject)
        if value is not None and json.decode(value, type=Trouble).missed == trouble.missed:
            await delete_state(transaction, _PREFIX + subject)

    await database.write(work)


async def forget_troubles(transaction: Transaction) -> None:
    """Forgets all troubles, since nobody follows changes any more."""
    await delete_states(transaction, _PREFIX)


class Pauses:
    """The times of the next tries, by subject; in memory, since a new process may well try at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tries: dict[str, tuple[float, float]] = {}

    def is_due(self, subject: str) -> bool:
        """Returns True if the subject's pause is over."""
        until, _ = self._tries.get(subject, (0.0, 0.0))
        return self._clock.monotonic_seconds() >= until

    def begin(self, subject: str) -> bool:
        """Begins the subject's next pause; returns True if it is the first."""
        _, before = self._tries.get(subject, (0.0, 0.0))
        pause = min(max(2 * before, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        self._tries[subject] = (self._clock.monotonic_seconds() + pause, pause)
        return not before

    def end(self, subject: str) -> None:
        """Ends the pauses of a subject that is well again."""
        self._tries.pop(subject, None)
