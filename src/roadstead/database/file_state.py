"""Looks at a catalogue's file, beside a running server and without changing it."""

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from roadstead.database.migrate import current_revision
from roadstead.database.sqlite import connect, translated
from roadstead.database.table_size import TableSize


@dataclass(frozen=True, slots=True)
class FileState:
    """A catalogue in a file; ``bytes`` are those of the file and of its log."""

    version: str
    revision: str
    bytes: int
    tables: tuple[TableSize, ...]


def look_at_file(path: Path) -> FileState:
    """Returns what there is to say about a catalogue's file; counts its rows.

    Raises:
        DatabaseDamagedError: the file is no database.
        DatabaseUnavailableError: it cannot be opened.
    """
    revision = current_revision(path)
    with translated(), contextlib.closing(connect(path)) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
        tables = tuple(TableSize(str(name), _count(connection, name), None) for (name,) in names.fetchall())
    files = (path, path.with_name(f"{path.name}-wal"))
    size = sum(file.stat().st_size for file in files if file.exists())
    return FileState(sqlite3.sqlite_version, revision, size, tables)


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])  # noqa: S608 - a name of the schema
