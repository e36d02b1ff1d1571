"""The table of events. Ids grow with the order in which changes were committed, and are never used again."""

from typing import Final

from sqlalchemy import BigInteger, Column, Table

from roadstead.database import KEY, TEXT, metadata

events: Final = Table(
    "events",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("action", TEXT, nullable=False),
    Column("repository", TEXT, nullable=False),
    Column("digest", TEXT, nullable=False),
    Column("media_type", TEXT, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("tag", TEXT, nullable=False),
    Column("source_repository", TEXT, nullable=False),
    Column("origin", TEXT, key="cause", nullable=False),  # JSON of Cause
    sqlite_autoincrement=True,
)
