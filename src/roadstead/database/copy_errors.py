"""Errors that keep a catalogue from being copied, or a copy from being used."""

from collections.abc import Sequence
from typing import Final

from roadstead.database.errors import DatabaseError

STATE: Final = "database-copy"
"""The row of ``states`` that says how far the copy into this database is; none in a catalogue that may be used."""


class CopyRefusedError(DatabaseError):
    """A copy cannot begin or go on; nothing was changed. The message says why, and what to do."""


class CopyTextInvalidError(CopyRefusedError):
    """A text has a NUL in it, which PostgreSQL has no place for."""

    def __init__(self, table: str, column: str, key: Sequence[object]) -> None:
        where = ", ".join(map(repr, key))
        super().__init__(
            f"{column} of the row ({where}) of {table} has a NUL in it, which PostgreSQL cannot store: delete what it"
            " belongs to and collect garbage (`roadstead rm`, `roadstead gc`), then copy into an empty database"
        )
        self.table = table
        self.column = column


class CopyDiffersError(DatabaseError):
    """The copy is not equal to its source: somebody changed one of them meanwhile, or a row cannot be represented."""

    def __init__(self, tables: Sequence[str]) -> None:
        super().__init__(
            f"the copy differs from its source in {', '.join(tables)}: set the source to read-only with `roadstead"
            " maintenance read-only --wait`, make the target empty, and copy again"
        )
        self.tables = tuple(tables)


class CopyUnfinishedError(DatabaseError):
    """A catalogue is a copy that was begun and has not come to its end."""

    def __init__(self, source: str) -> None:
        super().__init__(
            f"this catalogue is a copy of {source} that has not come to its end: run the command that began it again"
            " (`roadstead db copy`, `restore-backup` or `rebuild`), which goes on where it stopped"
        )
        self.source = source
