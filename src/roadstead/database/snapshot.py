"""A copy of a whole SQLite file as it is at one moment, while others go on writing.

By the online backup interface, on a connection that holds a read transaction, so that the copy is of that one
moment however long it takes (https://sqlite.org/backup.html); writers are not held up, only their log grows meanwhile.
The copy is a single file: no log belongs to it.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Final, cast

from roadstead.database.errors import DatabaseDamagedError, flush_error
from roadstead.database.protocol import Row
from roadstead.database.sqlite import connect, connect_immutable, translated
from roadstead.database.statement import Statement

STEP_PAGES: Final = 1024
"""Pages copied between two looks at whether to go on: four megabytes."""


class Snapshot:
    """Reads what does not change; a ``roadstead.database.Reader``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Made by ``open_snapshot`` and ``open_moment``."""
        self._connection = connection

    async def fetch_one(self, statement: Statement, **parameters: object) -> Row | None:
        """The first row."""
        with translated():
            return cast("Row | None", self._connection.execute(*statement.for_sqlite(parameters)).fetchone())

    async def fetch_all(self, statement: Statement, **parameters: object) -> list[Row]:
        """All rows."""
        with translated():
            return self._connection.execute(*statement.for_sqlite(parameters)).fetchall()


@contextlib.contextmanager
def open_snapshot(path: Path) -> Generator[Snapshot, None, None]:
    """The copy at ``path``, which nobody changes meanwhile; no file is made beside it.

    Raises:
        DatabaseDamagedError, DatabaseUnavailableError: it cannot be read.
    """
    with translated(), contextlib.closing(connect_immutable(path)) as connection:
        yield Snapshot(connection)


@contextlib.contextmanager
def open_moment(path: Path) -> Generator[Snapshot, None, None]:
    """The catalogue at ``path`` as it is now, however long it is read and whatever others write meanwhile.

    Raises:
        DatabaseDamagedError, DatabaseUnavailableError: it cannot be read.
    """
    with translated(), contextlib.closing(connect(path)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on it sees nothing newer
        yield Snapshot(connection)


def change_copy(path: Path, statements: Sequence[Statement]) -> None:
    """Runs statements without parameters on the copy at ``path``, which nobody else has opened; flushed to the disk.

    What they delete is overwritten, so that no free page has it.

    Raises:
        DatabaseFullError: there is no space for it.
        DatabaseDamagedError, DatabaseUnavailableError: it cannot be changed.
    """
    with translated(), contextlib.closing(sqlite3.connect(path, isolation_level=None)) as copy:
        copy.execute("PRAGMA secure_delete = ON")
        copy.execute("BEGIN IMMEDIATE")
        for statement in statements:
            copy.execute(*statement.for_sqlite({}))
        copy.execute("COMMIT")
    _flush(path)


async def copy_file(path: Path, target: Path, advance: Callable[[int, int], None]) -> None:
    """Writes a copy to the new file ``target``, flushed to the disk; tells ``advance`` bytes done and in all.

    The copy's pages and rows are looked through before this returns: damage is found now, not when the copy is needed.

    Raises:
        DatabaseDamagedError: the database is damaged; there may be a part of a copy.
        DatabaseFullError: there is no space for the copy.
        DatabaseUnavailableError: something could not be read or written.
    """
    stop = _Stop()
    copying = asyncio.ensure_future(asyncio.to_thread(_copy, path, target, advance, stop))
    try:
        await asyncio.shield(copying)
    finally:
        stop.is_asked = True  # whoever was interrupted may remove the target at once
        await asyncio.wait([copying])


class _Stop:
    is_asked = False


class _StoppedError(Exception):
    """The caller was interrupted."""


def _copy(path: Path, target: Path, advance: Callable[[int, int], None], stop: _Stop) -> None:
    def watch(_status: int, remaining: int, total: int) -> None:
        if stop.is_asked:
            raise _StoppedError
        advance((total - remaining) * page_bytes, total * page_bytes)

    with translated(), contextlib.closing(connect(path)) as source, contextlib.closing(sqlite3.connect(target)) as copy:
        page_bytes = int(source.execute("PRAGMA page_size").fetchone()[0])
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the moment that is copied
        source.backup(copy, pages=STEP_PAGES, progress=watch)
        source.execute("COMMIT")
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.set_progress_handler(lambda: int(stop.is_asked), 100_000)
        _require_whole(copy)
    _flush(target)


def make_single(path: Path) -> None:
    """Makes a file that was written as a database one that needs no log beside it, looks it through and flushes it.

    Raises:
        DatabaseDamagedError, DatabaseFullError, DatabaseUnavailableError: as ``copy_file``.
    """
    with translated(), contextlib.closing(sqlite3.connect(path)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")
        _require_whole(copy)
    _flush(path)


def _require_whole(copy: sqlite3.Connection) -> None:
    found = [str(row[0]) for row in copy.execute("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise DatabaseDamagedError(found[0].splitlines()[-1])


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise flush_error(error) from error
    finally:
        os.close(descriptor)
