"""Small facts that background work keeps: how far it is, when it last ended. One text under one name."""

from typing import Final

from sqlalchemy import delete, select

from roadstead.database import Lock, NameLock, Reader, Statement, Transaction, insert_or_update, parameter
from roadstead.jobs.tables import states

FIND_STATE: Final = Statement(select(states.c.value).where(states.c.name == parameter("name")))
_LIST: Final = Statement(
    select(states.c.name, states.c.value)
    .where(states.c.name >= parameter("first"), states.c.name < parameter("end"))
    .limit(1000)
)
_SAVE: Final = Statement(insert_or_update(states, "name", "value", key=("name",)))
_DELETE: Final = Statement(delete(states).where(states.c.name == parameter("name")))
_DELETE_THOSE: Final = Statement(
    delete(states).where(states.c.name >= parameter("first"), states.c.name < parameter("end"))
)


async def find_state(reader: Reader, name: str) -> str | None:
    """The text kept under ``name``, None if there is none."""
    row = await reader.fetch_one(FIND_STATE, name=name)
    return None if row is None else str(row[0])


async def lock_state(transaction: Transaction, name: str) -> str | None:
    """The text kept under ``name``, for work that will change it: until it ends, nobody else is told."""
    await transaction.take([NameLock(Lock.CHANGE, f"states/{name}")])
    return await find_state(transaction, name)


async def list_states(reader: Reader, prefix: str) -> dict[str, str]:
    """The texts, at most a thousand, whose names begin with ``prefix``, by name; ``prefix`` ends in an ASCII mark."""
    rows = await reader.fetch_all(_LIST, first=prefix, end=_end(prefix))
    return {str(name): str(value) for name, value in rows}


async def delete_states(transaction: Transaction, prefix: str) -> None:
    """Forgets every name that begins with ``prefix``, which ends in an ASCII mark."""
    await transaction.execute(_DELETE_THOSE, first=prefix, end=_end(prefix))


async def save_state(transaction: Transaction, name: str, value: str) -> None:
    """Keeps ``value`` under ``name``."""
    await transaction.execute(_SAVE, name=name, value=value)


async def delete_state(transaction: Transaction, name: str) -> None:
    """Forgets ``name``."""
    await transaction.execute(_DELETE, name=name)


def _end(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
