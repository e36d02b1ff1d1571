"""Errors of databases."""

import os

from roadstead.errors import RoadsteadError, is_disk_full


class DatabaseError(RoadsteadError):
    """The database could not do what it was asked to.

    Nothing of the transaction happened; or, where only the flush after it failed, it may be lost with the power.
    """


class DatabaseFullError(DatabaseError):
    """There is no space for the transaction."""

    def __init__(self) -> None:
        super().__init__("storage is full: the catalogue cannot grow")


class DatabaseBusyError(DatabaseError):
    """Somebody else kept the catalogue locked for longer than a writer waits."""

    def __init__(self, waited_seconds: float) -> None:
        super().__init__(f"the catalogue is locked by another program for more than {waited_seconds:.0f} s")
        self.waited_seconds = waited_seconds


class DatabaseDamagedError(DatabaseError):
    """The database's file is damaged; ``detail`` is what the database said."""

    def __init__(self, detail: str) -> None:
        super().__init__("the catalogue is damaged")
        self.detail = detail


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be opened, read or written; ``detail`` is what it said."""

    def __init__(self, detail: str) -> None:
        super().__init__("the catalogue is unavailable")
        self.detail = detail


class ServerUnavailableError(DatabaseUnavailableError):
    """The server of a catalogue cannot be used; ``remedy`` is what to do about it. Neither has a password."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


class SchemaUnknownError(DatabaseError):
    """The database was written by another version of roadstead, whose schema this one does not know."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(
            f"the catalogue has schema {found or 'none'}, this version knows up to {expected}: start it with the"
            " version that wrote it, or a newer one"
        )
        self.found = found
        self.expected = expected


def flush_error(error: OSError) -> DatabaseError:
    """Returns what it means that the system could not bring bytes to the disk."""
    return DatabaseFullError() if is_disk_full(error) else DatabaseUnavailableError(os.strerror(error.errno or 0))
