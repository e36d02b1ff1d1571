"""The table of events. Ids grow with the order in which changes were committed, and are never used again."""

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from roadstead.database import metadata

events: Final = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("action", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("tag", Text, nullable=False),
    Column("source_repository", Text, nullable=False),
    Column("origin", Text, key="cause", nullable=False),  # JSON of Cause
    sqlite_autoincrement=True,
)
