"""Puts the tables of a catalogue on a server aside, so that another catalogue can be made in their place.

They get a schema of their own, with their indexes, sequences and triggers, in one transaction. Nothing is lost: whoever
wants them back moves them again, or drops the schema.
"""

from typing import Final

import asyncpg

from roadstead.database.server import CONNECT_SECONDS
from roadstead.database.server_errors import explained

_OURS: Final = """
    SELECT format('ALTER TABLE %s SET SCHEMA {schema}', c.oid::regclass)
    FROM pg_class c
    WHERE c.relkind = 'r' AND c.relnamespace = {home} AND c.relname = ANY($1::text[])
    UNION ALL
    SELECT DISTINCT format('ALTER FUNCTION %s SET SCHEMA {schema}', p.oid::regprocedure)
    FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid
    JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE NOT t.tgisinternal AND c.relnamespace = {home} AND c.relname = ANY($1::text[]) AND p.pronamespace = {home}
"""
_HOME: Final = "(SELECT relnamespace FROM pg_class WHERE oid = to_regclass('alembic_version'))"

_LOCK: Final = "SET LOCAL lock_timeout = 10000"
"""Milliseconds of waiting for whoever still reads: nobody serves the catalogue any more."""


async def move_tables_aside(url: str, schema: str, tables: list[str]) -> None:
    """Moves a catalogue's tables, of which ``tables`` are all that it may have, to the new schema ``schema``.

    Raises:
        ServerUnavailableError: the server cannot be reached, or does not let the user do it; nothing has moved.
    """
    quoted = '"' + schema.replace('"', '""') + '"'
    with explained(url):
        connection = await asyncpg.connect(url, statement_cache_size=0, timeout=CONNECT_SECONDS)
        try:
            async with connection.transaction():
                await connection.execute(_LOCK)
                await connection.execute(f"CREATE SCHEMA {quoted}")
                query = _OURS.format(schema=quoted.replace("%", "%%"), home=_HOME)
                for row in await connection.fetch(query, [*tables, "alembic_version"]):
                    await connection.execute(row[0])
        finally:
            await connection.close()
