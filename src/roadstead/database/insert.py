"""Inserts that meet a row which is there already: spelled differently by each database, so written here once."""

from collections.abc import Sequence

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.elements import ClauseElement

from roadstead.database.statement import parameter


def upsert(table: Table) -> Insert:
    """An insert that can be told what to do on a conflict.

    PostgreSQL's construct is compiled for SQLite as well, whose clause reads the same.
    """
    return insert(table)


def insert_or_skip(table: Table, *columns: str) -> ClauseElement:
    """Inserts ``columns`` from parameters of the same names; does nothing where a unique row is in the way."""
    return upsert(table).values({name: parameter(name) for name in columns}).on_conflict_do_nothing()


def insert_or_update(table: Table, *columns: str, key: Sequence[str]) -> Insert:
    """Inserts ``columns``; where a row with the same ``key`` stands, its other columns become the new values."""
    statement = upsert(table).values({name: parameter(name) for name in columns})
    changed = {name: statement.excluded[name] for name in columns if name not in key}
    return statement.on_conflict_do_update(index_elements=list(key), set_=changed)
