"""Leases and states of background work."""

from typing import Final

from sqlalchemy import BigInteger, Column, Table, Text

from roadstead.database import metadata

leases: Final = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

states: Final = Table(
    "states",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)
