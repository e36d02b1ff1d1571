"""Reads what can still be read of a damaged SQLite file.

Works on a copy, so that neither SQLite nor this module changes the evidence. A page that cannot be read costs its rows
and few others: tables with integer keys are read on behind the damage, others from both ends towards it; what a table's
pages have lost, an index on it may still know.
"""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from roadstead.database.protocol import Row

BATCH: Final = 256
"""Rows that are asked for at once."""

FARTHEST: Final = 1 << 40
"""Keys that are skipped at most: no table has as many."""


_HEADER_BYTES: Final = 100


class Salvage:
    """A damaged database; ``errors`` counts the reads that failed."""

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection
        self.errors = 0

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        """The rows of a table whose key is ``id``, in order of it, some perhaps with wrong values."""
        names = ", ".join(columns)
        query = f"SELECT id, {names} FROM {table} WHERE id >= ? ORDER BY id LIMIT {BATCH}"  # noqa: S608 - our own names
        start: int | None = 0
        while start is not None:
            before, count = self.errors, 0
            for key, *values in self._attempt(query, start):
                start, count = max(start, key + 1), count + 1
                yield tuple(values)
            if self.errors > before:
                start = self._next_readable(table, start)
            elif count < BATCH:
                return

    def _next_readable(self, table: str, start: int) -> int | None:
        """The least key from ``start`` on from which the table can be read again; None if there is none."""
        probe = f"SELECT id FROM {table} WHERE id >= ? ORDER BY id LIMIT 1"  # noqa: S608 - our own names

        def is_readable(key: int) -> bool:
            before = self.errors
            list(self._attempt(probe, key))
            return self.errors == before

        step = 1
        while not is_readable(start + step):
            step *= 2
            if step > FARTHEST:
                return None
        low, high = start + step // 2, start + step
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if is_readable(middle) else (middle + 1, high)
        return high

    def index(self, table: str, column: str) -> Iterator[Row]:
        """``column`` and ``id`` of each row, as the index on ``column`` alone has them."""
        query = f"SELECT {column}, id FROM {table} ORDER BY {column}"  # noqa: S608 - our own names
        yield from self._both_ways(query, query + " DESC")

    def rows_of(self, table: str, columns: Sequence[str], owner: str, key: int, order: Sequence[str]) -> Iterator[Row]:
        """The rows of a table without integer key that belong to one owner, some perhaps twice."""
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE {owner} = ? ORDER BY "  # noqa: S608 - our own names
        backwards = ", ".join(f"{column} DESC" for column in order)
        yield from self._both_ways(query + ", ".join(order), query + backwards, key)

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


def is_cut(path: Path) -> bool:
    """Returns True if a file is no SQLite database, or shorter than its first page says; found without opening it.

    SQLite would make a new database of what is left of a very short one. Source: https://sqlite.org/fileformat.html,
    section 1.3.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(b"SQLite format 3\0"):
        return True
    page_bytes = int.from_bytes(header[16:18], "big")
    page_bytes = 1 << 16 if page_bytes == 1 else page_bytes
    return path.stat().st_size < page_bytes * int.from_bytes(header[28:32], "big")


@contextlib.contextmanager
def open_salvage(path: Path) -> Generator[Salvage, None, None]:
    """Opens what is left of the database at ``path``, which stays as it is; nothing where there is no such file."""
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
