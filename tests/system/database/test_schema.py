"""The tables in the code are those of a migrated catalogue on a server."""

from __future__ import annotations

import asyncio

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from roadstead.database import metadata
from roadstead.events import tables as event_tables
from roadstead.jobs import tables as job_tables
from roadstead.registry import tables
from roadstead.webhooks import tables as webhook_tables


def test_the_code_s_tables_are_those_of_the_server(catalogue_url: str) -> None:
    for known in (tables.blobs, event_tables.events, job_tables.leases, webhook_tables.parked_events):
        assert known.metadata is metadata

    def compare(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async def run() -> list[object]:
        engine = create_async_engine(make_url(catalogue_url).set(drivername="postgresql+asyncpg"))
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(compare)
        finally:
            await engine.dispose()

    assert asyncio.run(run()) == []
