"""Small facts that background work keeps: how far it is, when it last ended. One text under one name."""

from typing import Final

from sqlalchemy import delete, select

from roadstead.database import Reader, Statement, Transaction, insert_or_update, parameter
from roadstead.jobs.tables import states

_FIND: Final = Statement(select(states.c.value).where(states.c.name == parameter("name")))
_SAVE: Final = Statement(insert_or_update(states, "name", "value", key=("name",)))
_DELETE: Final = Statement(delete(states).where(states.c.name == parameter("name")))


async def find_state(reader: Reader, name: str) -> str | None:
    """The text kept under ``name``, None if there is none."""
    row = await reader.fetch_one(_FIND, name=name)
    return None if row is None else str(row[0])


async def save_state(transaction: Transaction, name: str, value: str) -> None:
    """Keeps ``value`` under ``name``."""
    await transaction.execute(_SAVE, name=name, value=value)


async def delete_state(transaction: Transaction, name: str) -> None:
    """Forgets ``name``."""
    await transaction.execute(_DELETE, name=name)
