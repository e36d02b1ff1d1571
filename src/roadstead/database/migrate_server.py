"""Brings the schema of a catalogue on PostgreSQL to this version's, with Alembic.

Any number of replicas may start at once: the first one migrates, the others wait for it and find nothing to do. The
lock by which they wait is held in a transaction of its own, so that a migration may commit as it goes on: one that was
interrupted is taken up where it stood.
"""

import asyncio
import functools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from roadstead.database.errors import SchemaUnknownError
from roadstead.database.migrate import FOLDER, HEAD
from roadstead.database.server import CONNECT_SECONDS, IS_THERE, REVISION
from roadstead.database.server_errors import explain, explained

BEFORE_SERVERS: Final = "0004"
"""The last revision that was for SQLite alone: what it and those before it made, the next one makes on a server."""

_STAY: Final = text("SET LOCAL idle_in_transaction_session_timeout = 0")
_TURN: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('roadstead-migration', 0))")


def migrate_server(url: str) -> bool:
    """Upgrades the catalogue at ``url``, making it if need be; False when it was up to date. Not for an event loop.

    Raises:
        ServerUnavailableError: the server cannot be reached, or does not let the user change the schema.
        SchemaUnknownError: a newer version of roadstead wrote it.
    """
    return asyncio.run(_migrate(url))


async def _migrate(url: str) -> bool:
    async with _connected(url) as turn:
        await turn.execute(_STAY)
        await turn.execute(_TURN)
        revision = await _revision(turn)
        if revision > HEAD:
            raise SchemaUnknownError(revision, HEAD)
        if revision == HEAD:
            return False
        async with _connected(url) as connection:
            await connection.run_sync(_upgrade, is_new=not revision)
            await connection.commit()
        return True


def _upgrade(connection: Connection, *, is_new: bool) -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    if is_new:
        command.stamp(config, BEFORE_SERVERS)
    command.upgrade(config, "head")


async def _revision(connection: AsyncConnection) -> str:
    if not (await connection.execute(text(IS_THERE))).scalar_one():
        return ""
    return str((await connection.execute(text(REVISION))).scalar() or "")


@asynccontextmanager
async def _connected(url: str) -> AsyncGenerator[AsyncConnection, None]:
    """A connection in a transaction, which is undone unless it is committed; PgBouncer may stand in between."""
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=functools.partial(_connect, url),
        poolclass=NullPool,
        connect_args={"prepared_statement_cache_size": 0},
    )
    try:
        with explained(url):
            async with engine.connect() as connection:
                yield connection
    except DBAPIError as error:
        cause = error.orig.__cause__ if error.orig is not None else None
        raise explain(cause if isinstance(cause, Exception) else error, url) from error
    finally:
        await engine.dispose()


async def _connect(url: str, **_arguments: object) -> "asyncpg.Connection[asyncpg.Record]":
    """Connects by asyncpg's own reading of the address: SQLAlchemy's would take ``sslmode`` for its own."""
    return await asyncpg.connect(url, statement_cache_size=0, timeout=CONNECT_SECONDS)
