"""Leases and states of background work."""

from typing import Final

from sqlalchemy import BigInteger, Column, Table

from roadstead.database import TEXT, metadata

leases: Final = Table(
    "leases",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("holder", TEXT, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),  # what versions before 0008 go by
    Column("fence", BigInteger, nullable=False, server_default="0"),  # grows with each change of hands
    Column("beat", BigInteger, nullable=False, server_default="0"),  # raised by the holder while it lives
    sqlite_with_rowid=False,
)

states: Final = Table(
    "states",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("value", TEXT, nullable=False),
    sqlite_with_rowid=False,
)
