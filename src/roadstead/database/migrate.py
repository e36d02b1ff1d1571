"""Brings a catalogue's schema to this version's, with Alembic.

Alembic is imported only when there is something to do: a start on an up-to-date catalogue costs one look-up.
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

from roadstead.database.errors import DatabaseDamagedError, DatabaseUnavailableError, SchemaUnknownError
from roadstead.database.sqlite import connect, connect_immutable, translated

HEAD: Final = "0010"
"""The newest revision under ``migrations/versions``; a test compares the two."""

FOLDER: Final = Path(__file__).parent / "migrations"
"""Where the migrations are."""


def current_revision(path: Path) -> str:
    """The catalogue's revision, empty when it has no schema yet.

    Raises:
        DatabaseDamagedError: the file is no database.
        DatabaseUnavailableError: it cannot be opened.
    """
    with translated(), contextlib.closing(connect(path)) as connection:
        return _revision(connection)


def require_known(path: Path) -> None:
    """Sees that ``migrate`` could bring up a copy of the catalogue at ``path``, which is only read.

    Raises:
        DatabaseDamagedError, DatabaseUnavailableError: as ``current_revision``.
        SchemaUnknownError: a newer version of roadstead wrote it.
    """
    with translated(), contextlib.closing(connect_immutable(path)) as connection:
        if (revision := _revision(connection)) > HEAD:
            raise SchemaUnknownError(revision, HEAD)


def migrate(path: Path) -> bool:
    """Upgrades the catalogue at ``path``, making it if need be; False when it was up to date.

    Raises:
        DatabaseDamagedError, DatabaseUnavailableError: as ``current_revision``.
        SchemaUnknownError: a newer version of roadstead wrote it.
    """
    _make_private(path)
    revision = current_revision(path)
    if revision == HEAD:
        return False
    if revision > HEAD:
        raise SchemaUnknownError(revision, HEAD)
    _upgrade(path)
    return True


def _make_private(path: Path) -> None:
    """A new catalogue is for its owner alone, whatever the umask; SQLite gives its log the same modes."""
    with contextlib.suppress(OSError):  # it is there, or SQLite will say why it cannot be made
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)


def _revision(connection: sqlite3.Connection) -> str:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    if found is None:
        return ""
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


def _upgrade(path: Path) -> None:
    from alembic import command  # noqa: PLC0415 - 0.2 s and 10 MB that most starts do not need
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415
    from sqlalchemy.exc import DatabaseError  # noqa: PLC0415

    engine = create_engine(f"sqlite:///{path.absolute()}", creator=lambda: _connect_for_migration(path))
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DatabaseError as error:
        if isinstance(error.orig, sqlite3.DatabaseError) and "malformed" in str(error.orig):
            raise DatabaseDamagedError(str(error.orig)) from error
        raise DatabaseUnavailableError(str(error.orig)) from error
    finally:
        engine.dispose()


def _connect_for_migration(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    connection.execute("PRAGMA busy_timeout = 30000")
    return connection
