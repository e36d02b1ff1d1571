"""The size of a table, for whoever looks at a catalogue."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table, with its rows and the bytes that it takes with its indexes; None where that cannot be told."""

    name: str
    rows: int
    bytes: int | None
