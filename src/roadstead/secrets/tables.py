"""Sealed secrets, a row for each generation."""

from typing import Final

from sqlalchemy import BigInteger, Column, LargeBinary, Table

from roadstead.database import TEXT, metadata

secrets: Final = Table(
    "secrets",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", TEXT, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("key_id", TEXT, nullable=False),  # of the master key that it is sealed under
    Column("created_ms", BigInteger, nullable=False),
    Column("verifies_until_ms", BigInteger, nullable=True),  # grace time; for older generations of a signing key
    sqlite_with_rowid=False,
)
