"""Reading a catalogue as it is at one moment, while others go on writing, whichever database it is in."""

import contextlib
from collections.abc import AsyncGenerator

from roadstead.database.protocol import Database, Reader
from roadstead.database.snapshot import open_moment
from roadstead.database.sqlite import SqliteDatabase


@contextlib.asynccontextmanager
async def at_one_moment(database: Database) -> AsyncGenerator[Reader, None]:
    """A reader of what is committed now, however long that takes; writers are not held up.

    Raises:
        DatabaseDamagedError, DatabaseUnavailableError: the database cannot be read.
    """
    if isinstance(database, SqliteDatabase):
        with open_moment(database.path) as moment:
            yield moment
        return
    from roadstead.database.postgresql import PostgresqlDatabase  # noqa: PLC0415 - it brings asyncpg

    if not isinstance(database, PostgresqlDatabase):
        raise TypeError("only a database of SQLite or PostgreSQL has moments")
    async with database.at_one_moment() as server_moment:
        yield server_moment
