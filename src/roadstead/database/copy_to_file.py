"""A copy of a catalogue as it is at one moment, in the file of an SQLite catalogue, while others go on writing.

A catalogue in a file is copied page by page (``roadstead.database.snapshot``). One on a server is read in a single
transaction that sees one moment, and written into a new file row by row; then both are read again and their rows and
checksums are compared (``roadstead.database.copying``), still at that moment. So the copy has the same form in both
cases, and needs no program or version of the server to be read.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from roadstead.database.copying import CatalogueCopy, CopyObserver
from roadstead.database.migrate import migrate
from roadstead.database.moment import at_one_moment
from roadstead.database.protocol import Database, Reader
from roadstead.database.snapshot import copy_file, make_single
from roadstead.database.sqlite import SqliteDatabase


@dataclass(frozen=True, slots=True)
class FileObserver:
    """Is told of the stages of a copy, with their bytes or rows in all, and of those that are done."""

    begin: Callable[[str, int, bool], None]
    """Called with the stage, its total, and True if that counts bytes."""
    advance: Callable[[int], None]


async def copy_to_file(database: Database, target: Path, observer: FileObserver) -> None:
    """Writes a copy to the new file ``target``, flushed to the disk.

    The copy is looked through before this returns: damage is found now, not when the copy is needed.

    Raises:
        DatabaseDamagedError: the database is damaged; there may be a part of a copy.
        DatabaseFullError: there is no space for the copy.
        DatabaseUnavailableError: something could not be read or written.
    """
    if isinstance(database, SqliteDatabase):
        await copy_file(database.path, target, _in_bytes(observer))
        return
    async with at_one_moment(database) as moment:
        await _copy_rows(moment, target, observer)
    await asyncio.to_thread(make_single, target)


async def _copy_rows(moment: Reader, target: Path, observer: FileObserver) -> None:
    await asyncio.to_thread(migrate, target)
    file = SqliteDatabase.open(target)
    try:
        told = CopyObserver(begin=lambda stage, total: observer.begin(stage, total, False), advance=observer.advance)  # noqa: FBT003 - as declared
        await CatalogueCopy(moment, file, source_name="one moment of a server", observer=told).run()
    finally:
        await file.close()


def _in_bytes(observer: FileObserver) -> Callable[[int, int], None]:
    """Returns what tells ``observer`` of bytes that are done, of all that there are."""
    done = 0

    def advance(copied: int, total: int) -> None:
        nonlocal done
        if not done:
            observer.begin("catalogue", total, True)  # noqa: FBT003 - as declared
        observer.advance(copied - done)
        done = copied

    return advance
