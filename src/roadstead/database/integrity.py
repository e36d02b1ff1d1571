"""Damage of the database itself, found by the means that the database brings.

For SQLite: ``PRAGMA quick_check`` of each table (its pages and rows), with ``deep`` ``integrity_check`` (also every
entry of every index against its row) and ``foreign_key_check``. Table by table, since the messages name pages, and
people know tables. Source: https://sqlite.org/pragma.html.
"""

import asyncio
import contextlib
import functools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from roadstead.database.protocol import Database
from roadstead.database.sqlite import SqliteDatabase, connect, translated


async def find_damage(database: Database, *, deep: bool) -> list[str]:
    """Returns what is wrong, a sentence a table, empty if nothing is; reads the whole database, in a thread.

    Raises:
        DatabaseUnavailableError: it cannot be opened.
    """
    if not isinstance(database, SqliteDatabase):
        return []
    opened: list[sqlite3.Connection] = []
    try:
        return await asyncio.to_thread(_find_damage, database.path, opened, deep=deep)
    finally:
        for connection in opened:
            connection.interrupt()  # or a command that was told to stop would wait for the thread


def _find_damage(path: Path, opened: list[sqlite3.Connection], *, deep: bool) -> list[str]:
    with translated(), contextlib.closing(connect(path)) as connection:
        opened.append(connection)
        try:
            return _check_tables(connection, "integrity_check" if deep else "quick_check") + (
                _messages(functools.partial(_dangling, connection), "references") if deep else []
            )
        finally:
            opened.clear()


def _check_tables(connection: sqlite3.Connection, pragma: str) -> list[str]:
    try:
        names = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    except sqlite3.DatabaseError as error:
        return [f"its schema cannot be read: {error}"]
    return [
        message
        for name in ("sqlite_schema", *names)
        for message in _messages(functools.partial(_check, connection, pragma, name), f"table {name}")
    ]


def _messages(check: Callable[[], Iterator[str]], subject: str) -> list[str]:
    """Returns what a check says, as one sentence."""
    found: list[str] = []
    try:
        found.extend(check())
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_INTERRUPT:
            raise
        found.append(str(error))
    if not found:
        return []
    more = f", and {len(found) - 1} more like it" if len(found) > 1 else ""
    return [f"{subject}: {found[0]}{more}"]


def _check(connection: sqlite3.Connection, pragma: str, table: str) -> Iterator[str]:
    for (text,) in connection.execute(f"PRAGMA {pragma}('{table}')"):
        yield from (line for line in str(text).splitlines() if line != "ok" and not line.startswith("***"))


def _dangling(connection: sqlite3.Connection) -> Iterator[str]:
    for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"a row of {table} refers to a row of {parent} that is not there"
