"""The source of truth about tags, manifests and links: the tree on disk, or the catalogue.

::

    none ──adopt──> adopting ──> adopted ──serve──> in charge ──release──> released
                       ^            │                                          │
                       └────────────┴──────────────── adopt ───────────────────┘

Until a server starts to serve, the tree is: an adoption may be run again and again, and takes over what registry:2 did
meanwhile, removals too. From then on the catalogue is, until ``release`` has written all it knows to the tree; a link
that is left on disk brings nothing back that was deleted. A catalogue that was never adopted and holds something is in
charge.
"""

import enum
from dataclasses import dataclass
from typing import Final

from msgspec import MsgspecError, Struct, json
from sqlalchemy import literal, select

from roadstead.database import Reader, Statement, Transaction
from roadstead.jobs import find_state, save_state
from roadstead.registry.tables import repositories

STATE: Final = "adoption"
"""Where the catalogue keeps it."""

LINKS_STATE: Final = "links"
"""Where it keeps how far the links on disk follow it. While it is there triggers note what changes; without it all
links are written when following begins."""

_FIND_ANYTHING: Final = Statement(select(repositories.c.id).limit(literal(1)))


class AdoptionPhase(enum.StrEnum):
    """See the module's docstring."""

    NONE = "none"
    ADOPTING = "adopting"
    ADOPTED = "adopted"
    IN_CHARGE = "in-charge"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class AdoptionState:
    """The phase, since when, and the storage that was adopted or released, as a URL (empty: not known)."""

    phase: AdoptionPhase
    since_ms: int = 0
    storage: str = ""


class _StateRow(Struct, frozen=True):
    phase: AdoptionPhase
    since_ms: int
    storage: str


async def find_adoption(reader: Reader) -> AdoptionState:
    """The state; a row that cannot be read (a later version's) counts as in charge, so that nothing is taken over."""
    value = await find_state(reader, STATE)
    if value is None:
        is_empty = await reader.fetch_one(_FIND_ANYTHING) is None
        return AdoptionState(AdoptionPhase.NONE if is_empty else AdoptionPhase.IN_CHARGE)
    try:
        row = json.decode(value, type=_StateRow)
    except MsgspecError:
        return AdoptionState(AdoptionPhase.IN_CHARGE)
    return AdoptionState(row.phase, row.since_ms, row.storage)


async def save_adoption(transaction: Transaction, state: AdoptionState) -> None:
    """Records the state."""
    row = _StateRow(state.phase, state.since_ms, state.storage)
    await save_state(transaction, STATE, json.encode(row).decode())
