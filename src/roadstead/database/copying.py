"""Copies a catalogue into another database, row by row, and proves that both have the same rows.

How far a copy has come stands in the target, under ``STATE``, and is written in the transactions that add its rows: one
that was interrupted, in whatever way, goes on from there. While that row is there nobody opens the target as a
catalogue (``CopyUnfinishedError``). It goes when every table of both sides was read again, and had the same number of
rows and the same checksum.

Tables are copied in the order of their foreign keys, ``states`` last: one of its rows turns on the triggers that follow
changes of links, which have nothing to follow before. Rows about running processes are left behind: leases, and what
each server says of itself. Nobody may change the source meanwhile; whoever calls sees to that.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct, json
from sqlalchemy import Table, delete, select, text

from roadstead.database.copy_errors import STATE, CopyDiffersError, CopyRefusedError, CopyTextInvalidError
from roadstead.database.insert import insert_or_update
from roadstead.database.locks import Lock, NameLock
from roadstead.database.protocol import Database, Reader, Row, Transaction
from roadstead.database.schema import metadata
from roadstead.database.snapshot import Snapshot
from roadstead.database.sqlite import SqliteDatabase
from roadstead.database.statement import Statement, parameter
from roadstead.database.table_pages import Checksum, TablePages, TableSum

_LEFT_BEHIND: Final = "leases"
_LAST: Final = "states"
_OF_PROCESSES: Final = "serving/%"
_OF_SERVER: Final = "catalogue-server"
"""The row that says on which server the catalogue was: of the copy it would not be true."""

_TURN: Final = NameLock(Lock.CHANGE, "database-copy")


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """A table that is equal on both sides."""

    name: str
    sum: TableSum


@dataclass(frozen=True, slots=True)
class CopyObserver:
    """Is told of the stages of a copy with the rows that they will have, and of rows that are done."""

    begin: Callable[[str, int], None]
    advance: Callable[[int], None]


class _Position(Struct, frozen=True):
    """The progress of a copy: the table that is being copied and the key of its last row; those before it are whole."""

    source: str
    table: str
    after: list[Any] | None


class CatalogueCopy:
    """The copy of one catalogue into another database with the same schema."""

    def __init__(
        self,
        source: Reader,
        target: Database,
        *,
        source_name: str,
        observer: CopyObserver,
        require_still: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``source_name`` tells one source from another, so that no copy of one is gone on with from the other.

        ``require_still`` raises if somebody may have changed the source since the copy began: the last thing asked.
        Without it the source is one that nobody can change.
        """
        self._source = source
        self._target = target
        self._source_name = source_name
        self._observer = observer
        self._require_still = require_still
        self._states = metadata.tables[_LAST]
        names = self._states.c.name
        self._find = Statement(select(self._states.c.value).where(names == parameter("name")))
        self._save = Statement(insert_or_update(self._states, "name", "value", key=("name",)))
        self._delete = Statement(delete(self._states).where(names == parameter("name")))
        left_out = names.like(_OF_PROCESSES) | (names == STATE) | (names == _OF_SERVER)
        others = [table for table in metadata.sorted_tables if table.name not in {_LAST, _LEFT_BEHIND}]
        self._tables = [*map(TablePages, others), TablePages(self._states, left_out)]

    async def run(self) -> list[CopiedTable]:
        """Copies what is not copied yet, and compares.

        Raises:
            CopyRefusedError: the target has rows of something else, or the source those of a copy.
            CopyDiffersError: the two are not equal.
            DatabaseError: one of them failed; the copy can be gone on with.
        """
        if await self._source.fetch_one(self._find, name=STATE) is not None:
            raise CopyRefusedError("the source is a copy itself, which has not come to its end")
        position = await self.begin()
        before = [pages.name for pages in self._tables].index(position.table)
        copied: list[CopiedTable] = []
        for pages in self._tables[before:-1]:
            await self._copy(pages, position.after if pages.name == position.table else None)
        copied += await self._compare(self._tables[:-1])
        await self._copy(self._tables[-1], position.after if position.table == _LAST else None)
        copied += await self._compare(self._tables[-1:])
        if self._require_still is not None:
            await self._require_still()
        await self._end()
        return copied

    async def begin(self) -> "_Position":
        """Makes the target, if it is empty, one that nobody opens as a catalogue; returns how far the copy is.

        Raises:
            CopyRefusedError: as ``run``.
        """
        row = await self._target.fetch_one(self._find, name=STATE)
        if row is not None:
            position = json.decode(row[0], type=_Position)
            if position.source != self._source_name:
                raise CopyRefusedError(
                    f"the target holds a part of a copy of {position.source}: go on with that one, or make it empty"
                )
            return position
        for pages in [*self._tables, TablePages(metadata.tables[_LEFT_BEHIND])]:
            if await pages.count(self._target):
                raise CopyRefusedError(f"the target is not empty, it has rows in {pages.name}: name an empty database")
        return await self._move(None, _Position(self._source_name, self._tables[0].name, None))

    async def _copy(self, pages: TablePages, after: list[Any] | None) -> None:
        """Copies the rows of one table that follow the key ``after``."""
        self._observer.begin(f"copying {pages.name}", await pages.count(self._source))
        self._observer.advance(await pages.count(self._target))
        position = _Position(self._source_name, pages.name, after)
        found = await self._position()
        if found.table != pages.name:
            position = await self._move(found, _Position(self._source_name, pages.name, None))
        async for page in pages.iter_pages(self._source, position.after):
            _require_no_nul(pages, page)
            after_page = _Position(self._source_name, pages.name, pages.key_of(page[-1]))
            position = await self._move(position, after_page, pages, page)
            self._observer.advance(len(page))

    async def _position(self) -> _Position:
        row = await self._target.fetch_one(self._find, name=STATE)
        if row is None:
            raise CopyRefusedError("another process has brought this copy to its end")
        return json.decode(row[0], type=_Position)

    async def _move(
        self, before: _Position | None, to: _Position, pages: TablePages | None = None, rows: Sequence[Row] = ()
    ) -> _Position:
        """Adds rows and says so, in one transaction, unless another process has come between."""
        added = [dict(zip(pages.columns, row, strict=True)) for row in rows] if pages else []

        async def work(transaction: Transaction) -> None:
            row = await transaction.fetch_one(self._find, name=STATE)
            if (None if row is None else json.decode(row[0], type=_Position)) != before:
                raise CopyRefusedError("another process copies into the same target")
            if pages is not None:
                await transaction.execute_many(pages.insertion, added)
            await transaction.execute(self._save, name=STATE, value=json.encode(to).decode())

        await self._target.write(work, locks=[_TURN], durable=False, is_long=True)
        return to

    async def _compare(self, tables: Sequence[TablePages]) -> list[CopiedTable]:
        copied: list[CopiedTable] = []
        different: list[str] = []
        for pages in tables:
            self._observer.begin(f"comparing {pages.name}", 2 * await pages.count(self._source))
            ours, theirs = await self._sum(pages, self._source), await self._sum(pages, self._target)
            if ours != theirs:
                different.append(pages.name)
            copied.append(CopiedTable(pages.name, ours))
        if different:
            raise CopyDiffersError(different)
        return copied

    async def _sum(self, pages: TablePages, reader: Reader) -> TableSum:
        checksum = Checksum()
        async for page in pages.iter_pages(reader):
            checksum.add(page)
            self._observer.advance(len(page))
        return checksum.result()

    async def _end(self) -> None:
        """Lets the target go on counting where the source is, and makes it a catalogue."""
        counters = {
            table.name: await _next_key(self._source, table)
            for table in metadata.sorted_tables
            if table.autoincrement_column is not None and len(table.primary_key.columns) == 1
        }
        counting = _count_in_file if isinstance(self._target, SqliteDatabase) else _count_on_server

        async def work(transaction: Transaction) -> None:
            for name, reached in counters.items():
                if reached:
                    await counting(transaction, metadata.tables[name], reached)
            await transaction.execute(self._delete, name=STATE)

        await self._target.write(work, locks=[_TURN])


async def find_source(reader: Reader) -> str | None:
    """Returns the name of the source of which a database has a copy that is not complete; None if it has none."""
    names = metadata.tables[_LAST].c
    row = await reader.fetch_one(Statement(select(names.value).where(names.name == parameter("name"))), name=STATE)
    return None if row is None else json.decode(row[0], type=_Position).source


def _require_no_nul(pages: TablePages, rows: Sequence[Row]) -> None:
    for row in rows:
        for column, value in zip(pages.columns, row, strict=True):
            if isinstance(value, str) and "\x00" in value:
                raise CopyTextInvalidError(pages.name, column, pages.key_of(row))


_REACHED_IN_FILE: Final = Statement(text("SELECT seq FROM sqlite_sequence WHERE name = :name"))
_FORGET_REACHED: Final = Statement(text("DELETE FROM sqlite_sequence WHERE name = :name"))
_SAVE_REACHED: Final = Statement(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :reached)"))


async def _next_key(source: Reader, table: Table) -> int:
    """The greatest key that a table has given out, 0 if none: rows with greater ones may have been there."""
    row = await source.fetch_one(Statement(select(table.c.id).order_by(table.c.id.desc()).limit(1)))
    greatest = int(row[0]) if row else 0
    if isinstance(source, SqliteDatabase | Snapshot):
        counted = await source.fetch_one(_REACHED_IN_FILE, name=table.name)
        return max(greatest, int(counted[0]) if counted else 0)
    counted = await source.fetch_one(Statement(text(f"SELECT last_value, is_called FROM {table.name}_id_seq")))  # noqa: S608 - our own names
    return max(greatest, int(counted[0]) if counted and counted[1] else 0)


async def _count_in_file(transaction: Transaction, table: Table, reached: int) -> None:
    """Only tables whose keys are never given out again have a counter in a file."""
    if table.dialect_options["sqlite"]["autoincrement"]:
        await transaction.execute(_FORGET_REACHED, name=table.name)
        await transaction.execute(_SAVE_REACHED, name=table.name, reached=reached)


async def _count_on_server(transaction: Transaction, table: Table, reached: int) -> None:
    await transaction.fetch_one(Statement(text(f"SELECT setval('{table.name}_id_seq', {reached})")))
