"""Types of columns that mean the same in both databases."""

from typing import Final

from sqlalchemy import BigInteger, Integer, Text

KEY: Final = BigInteger().with_variant(Integer(), "sqlite")
"""Keys of rows: 64 bits. SQLite's have them too, but only a column that is called INTEGER may be its row's own."""

TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Texts that compare by their bytes, as SQLite's do: a listing's order, and ranges of names that decide about access,
must not depend on where a database server stands."""
