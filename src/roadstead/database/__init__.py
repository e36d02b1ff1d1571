"""Databases: statements prepared once, reads that cost microseconds, and writes that share a flush."""

from roadstead.database.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseError,
    DatabaseFullError,
    DatabaseUnavailableError,
    SchemaUnknownError,
    ServerUnavailableError,
)
from roadstead.database.insert import insert_or_skip, insert_or_update, upsert
from roadstead.database.listed import as_list, listed
from roadstead.database.locks import Lock, NameLock
from roadstead.database.migrate import migrate, require_known
from roadstead.database.protocol import Database, Reader, Row, Transaction
from roadstead.database.schema import metadata
from roadstead.database.script import End, Script, ScriptEndedError, Step
from roadstead.database.sqlite import SqliteDatabase
from roadstead.database.statement import LockingStatement, Statement, parameter
from roadstead.database.types import KEY, TEXT

__all__ = [
    "KEY",
    "TEXT",
    "Database",
    "DatabaseBusyError",
    "DatabaseDamagedError",
    "DatabaseError",
    "DatabaseFullError",
    "DatabaseUnavailableError",
    "End",
    "Lock",
    "LockingStatement",
    "NameLock",
    "Reader",
    "Row",
    "SchemaUnknownError",
    "Script",
    "ScriptEndedError",
    "ServerUnavailableError",
    "SqliteDatabase",
    "Statement",
    "Step",
    "Transaction",
    "as_list",
    "insert_or_skip",
    "insert_or_update",
    "listed",
    "metadata",
    "migrate",
    "parameter",
    "require_known",
    "upsert",
]
