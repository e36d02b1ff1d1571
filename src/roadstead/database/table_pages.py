"""Reads any table of the catalogue page by page in the order of its key, writes pages, and sums them up.

A checksum is taken over rows as they are read, each value with its kind and length, so that it is the same for equal
rows in whatever database, and for others not.
"""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import LargeBinary, Select, Table, bindparam, func, insert, select, tuple_
from sqlalchemy.sql.elements import ColumnElement

from roadstead.database.protocol import Reader, Row
from roadstead.database.statement import Statement, parameter

PAGE_ROWS: Final = 2_000
PAGE_OF_BYTES_ROWS: Final = 32
"""Of a table with bytes in it: a manifest may have megabytes."""


@dataclass(frozen=True, slots=True)
class TableSum:
    """The number of a table's rows, and a checksum over them."""

    rows: int
    checksum: str


class TablePages:
    """One table; rows for which ``leaves_out`` holds count as if they were not there."""

    def __init__(self, table: Table, leaves_out: ColumnElement[bool] | None = None) -> None:
        self.table = table
        self.name = str(table.name)
        self.columns = [column.name for column in table.columns]
        self._keys = list(table.primary_key.columns)
        self._key_places = [self.columns.index(column.name) for column in self._keys]
        has_bytes = any(isinstance(column.type, LargeBinary) for column in table.columns)
        self._limit = PAGE_OF_BYTES_ROWS if has_bytes else PAGE_ROWS
        self._first = Statement(self._page(leaves_out))
        after = tuple_(*(parameter(f"after_{number}", column.type) for number, column in enumerate(self._keys)))
        self._next = Statement(self._page(leaves_out).where(tuple_(*self._keys) > after))
        self._insert = Statement(insert(table).values({column.key: bindparam(column.name) for column in table.columns}))
        counted = select(func.count()).select_from(table)
        self._count = Statement(counted if leaves_out is None else counted.where(~leaves_out))

    def _page(self, leaves_out: ColumnElement[bool] | None) -> Select[Any]:
        page = select(*self.table.columns).order_by(*self._keys).limit(parameter("limit"))
        return page if leaves_out is None else page.where(~leaves_out)

    @property
    def insertion(self) -> Statement:
        """Adds a row whose values are parameters named after the columns."""
        return self._insert

    def key_of(self, row: Row) -> list[Any]:
        """The values of a row's key, which JSON can hold: integers and texts."""
        return [row[place] for place in self._key_places]

    async def read_page(self, reader: Reader, after: Sequence[Any] | None) -> list[Row]:
        """The rows that follow the key ``after``, or the first ones; none at the end."""
        if after is None:
            return await reader.fetch_all(self._first, limit=self._limit)
        keys = {f"after_{number}": value for number, value in enumerate(after)}
        return await reader.fetch_all(self._next, limit=self._limit, **keys)

    async def iter_pages(self, reader: Reader, after: Sequence[Any] | None = None) -> AsyncGenerator[list[Row], None]:
        """All pages behind the key ``after``."""
        while page := await self.read_page(reader, after):
            yield page
            after = self.key_of(page[-1])

    async def count(self, reader: Reader) -> int:
        """The number of rows."""
        row = await reader.fetch_one(self._count)
        return int(row[0]) if row else 0


class Checksum:
    """A checksum that rows are added to, one after the other."""

    def __init__(self) -> None:
        self._rows = 0
        self._sum = hashlib.blake2b(digest_size=16)

    def add(self, rows: Sequence[Row]) -> None:
        """Adds rows in the order of their key."""
        for row in rows:
            self._rows += 1
            self._sum.update(b"".join(map(_canonical, row)))

    def result(self) -> TableSum:
        """Returns what was added so far."""
        return TableSum(self._rows, self._sum.hexdigest())


def _canonical(value: object) -> bytes:
    match value:
        case None:
            return b"n"
        case int():
            return b"i%d;" % value
        case str():
            return _lengthy(b"t", value.encode("utf-8", "surrogatepass"))
        case bytes():
            return _lengthy(b"b", value)
        case _:
            return _lengthy(b"?", repr(value).encode())


def _lengthy(kind: bytes, value: bytes) -> bytes:
    return b"%b%d:%b" % (kind, len(value), value)
