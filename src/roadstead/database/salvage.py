"""Reads what can still be read of a damaged SQLite file.

Works on a copy, so that neither SQLite nor this module changes the evidence. A page that cannot be read costs its rows
and no others: tables with integer keys are read in ranges that are halved until only the unreadable keys are left,
others from both ends towards the damage; what a table's pages have lost, an index on it may still know.
"""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from roadstead.database.protocol import Row

RANGE: Final = 256
"""Keys that are asked for at once."""

REACH: Final = 1 << 16
"""How far behind the last key that was found is looked where the end of a table cannot be read."""


class Salvage:
    """A damaged database; ``errors`` counts the reads that failed."""

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection
        self.errors = 0

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        """The rows of a table whose key is ``id``, in no particular order, some perhaps with wrong values."""
        wanted = f"SELECT {', '.join(columns)} FROM {table} WHERE id >= ? AND id < ?"  # noqa: S608 - our own names
        end = self._end(table)
        last, start = 0, 1
        while start < (end if end is not None else last + REACH):
            for row in self._range(wanted, start, start + RANGE):
                last = start
                yield row
            start += RANGE

    def index(self, table: str, column: str) -> Iterator[Row]:
        """``column`` and ``id`` of each row, as the index on ``column`` alone has them."""
        query = f"SELECT {column}, id FROM {table} ORDER BY {column}"  # noqa: S608 - our own names
        yield from self._both_ways(query, query + " DESC")

    def rows_of(self, table: str, columns: Sequence[str], owner: str, key: int, order: Sequence[str]) -> Iterator[Row]:
        """The rows of a table without integer key that belong to one owner, some perhaps twice."""
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE {owner} = ? ORDER BY "  # noqa: S608 - our own names
        backwards = ", ".join(f"{column} DESC" for column in order)
        yield from self._both_ways(query + ", ".join(order), query + backwards, key)

    def _end(self, table: str) -> int | None:
        """Behind the greatest key; None where that cannot be read."""
        found = list(self._attempt(f"SELECT max(id) FROM {table}"))  # noqa: S608 - our own names
        return int(found[0][0] or 0) + 1 if found and isinstance(found[0][0], int | None) else None

    def _range(self, query: str, start: int, end: int) -> Iterator[Row]:
        before = self.errors
        found = list(self._attempt(query, start, end))
        if self.errors == before or end - start == 1:
            yield from found
            return
        middle = (start + end) // 2
        yield from self._range(query, start, middle)
        yield from self._range(query, middle, end)

    def _both_ways(self, forwards: str, backwards: str, *parameters: Any) -> Iterator[Row]:  # noqa: ANN401 - SQLite's
        before = self.errors
        yield from self._attempt(forwards, *parameters)
        if self.errors > before:
            yield from self._attempt(backwards, *parameters)

    def _attempt(self, query: str, *parameters: Any) -> Iterator[Row]:  # noqa: ANN401 - SQLite's
        """Rows until the first that cannot be read."""
        if self._connection is None:
            return
        try:
            yield from self._connection.execute(query, parameters)
        except (sqlite3.DatabaseError, OverflowError):  # the latter from a length that damage has made
            self.errors += 1


@contextlib.contextmanager
def open_salvage(path: Path) -> Generator[Salvage, None, None]:
    """What is left of the database at ``path``, which stays as it is; nothing where there is no such file."""
    with tempfile.TemporaryDirectory(prefix="roadstead-salvage-", dir=path.parent) as folder:
        copy = Path(folder) / "copy.db"
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        if not copy.exists():
            yield Salvage(None)
            return
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            connection.text_factory = _text
            yield Salvage(connection)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
