"""Damage of the database itself, found by the means that the database brings.

For SQLite: ``PRAGMA quick_check`` (every page of tables), with ``deep`` also ``integrity_check`` (every index entry
against its row) and ``foreign_key_check``. Source: https://sqlite.org/pragma.html.
"""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from roadstead.database.protocol import Database
from roadstead.database.sqlite import SqliteDatabase, connect

MOST: Final = 100
"""Sentences of each kind that are asked for; after so many nobody repairs row by row."""


async def find_damage(database: Database, *, deep: bool) -> list[str]:
    """What is wrong, a sentence each, empty if nothing is; reads the whole database, in a thread."""
    if not isinstance(database, SqliteDatabase):
        return []
    opened: list[sqlite3.Connection] = []
    try:
        return await asyncio.to_thread(_find_damage, database.path, opened, deep=deep)
    finally:
        for connection in opened:
            connection.interrupt()  # or a command that was told to stop would wait for the thread


def _find_damage(path: Path, opened: list[sqlite3.Connection], *, deep: bool) -> list[str]:
    with contextlib.closing(connect(path)) as connection:
        opened.append(connection)
        try:
            return _check(connection, "integrity_check" if deep else "quick_check") + (
                _check_references(connection) if deep else []
            )
        finally:
            opened.clear()


def _check(connection: sqlite3.Connection, pragma: str) -> list[str]:
    try:
        rows = connection.execute(f"PRAGMA {pragma}({MOST})").fetchall()
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [line for (text,) in rows for line in str(text).splitlines() if line != "ok" and not line.startswith("***")]


def _check_references(connection: sqlite3.Connection) -> list[str]:
    try:
        rows = connection.execute("PRAGMA foreign_key_check").fetchmany(MOST)
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [f"a row of {table} refers to a row of {parent} that is not there" for table, _, parent, _ in rows]
