"""Looks at a catalogue's PostgreSQL server over one connection, without a pool and without Alembic."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg

from roadstead.database.errors import DatabaseUnavailableError
from roadstead.database.server_errors import explained
from roadstead.database.table_size import TableSize

if TYPE_CHECKING:
    from asyncpg import Connection, Record

CONNECT_SECONDS: Final = 10
"""The time that a server may take to answer at first."""

IS_THERE: Final = "SELECT to_regclass('alembic_version') IS NOT NULL"
REVISION: Final = "SELECT version_num FROM alembic_version"
_TABLES: Final = """
    SELECT relname, greatest(reltuples::bigint, pg_stat_get_live_tuples(oid)), pg_total_relation_size(oid)
    FROM pg_class
    WHERE relkind = 'r'
      AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('alembic_version'))
    ORDER BY relname
"""


@dataclass(frozen=True, slots=True)
class ServerState:
    """A server and the catalogue on it; ``is_pooled`` if PgBouncer, or another pool, stands in between."""

    version: str
    is_pooled: bool
    revision: str
    bytes: int
    tables: tuple[TableSize, ...]


async def find_server_revision(url: str) -> str:
    """Returns the catalogue's revision, empty when it has no schema yet.

    Raises:
        ServerUnavailableError: the server cannot be reached, or refuses the user.
    """
    async with _connected(url) as connection:
        return await _revision(connection)


async def look_at_server(url: str) -> ServerState:
    """Returns what there is to say about a server.

    Raises:
        ServerUnavailableError: the server cannot be reached, or refuses the user.
    """
    async with _connected(url) as connection:
        version, own, size = await _row(
            connection,
            "SELECT current_setting('server_version'), pg_backend_pid(), pg_database_size(current_database())",
        )
        revision = await _revision(connection)
        rows = await connection.fetch(_TABLES) if revision else []
        return ServerState(
            version=str(version),
            is_pooled=own != connection.get_server_pid(),
            revision=revision,
            bytes=int(size),
            tables=tuple(TableSize(str(row[0]), int(row[1]), int(row[2])) for row in rows),
        )


async def _revision(connection: "Connection[Record]") -> str:
    if not await connection.fetchval(IS_THERE):
        return ""
    return str(await connection.fetchval(REVISION) or "")


async def _row(connection: "Connection[Record]", sql: str) -> "Record":
    row = await connection.fetchrow(sql)
    if row is None:
        raise DatabaseUnavailableError("the server gave no answer")
    return row


@asynccontextmanager
async def _connected(url: str) -> "AsyncGenerator[Connection[Record], None]":
    with explained(url):
        connection = await asyncpg.connect(url, statement_cache_size=0, timeout=CONNECT_SECONDS)
        try:
            yield connection
        finally:
            await connection.close()
