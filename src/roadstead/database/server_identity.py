"""Tells one PostgreSQL server, and one history of it, from another.

A cluster of databases has an identifier, made with it, and its log has a timeline, which gets another number whenever a
standby takes over or a cluster is recovered to a point in time
(https://www.postgresql.org/docs/15/continuous-archiving.html, section 26.3.6). An SQLite file has neither.
"""

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from roadstead.database.protocol import Reader
from roadstead.database.statement import Statement
from roadstead.database.types import TEXT


class ServerIdentity(FunctionElement[str]):
    """Cluster and timeline, as ``7713916636837270814/00000002``; empty for a file, and for a standby."""

    inherit_cache = True
    type = TEXT


class _IsIdentifiable(FunctionElement[int]):
    """1 if the user may ask for the above; 0 for a file."""

    inherit_cache = True


@compiles(ServerIdentity, "sqlite")
@compiles(_IsIdentifiable, "sqlite")
def _for_sqlite(element: FunctionElement[Any], _compiler: SQLCompiler, **_extra: Any) -> str:  # noqa: ANN401 - the compiler's own
    return "''" if isinstance(element, ServerIdentity) else "0"


@compiles(ServerIdentity, "postgresql")
def _identity(_element: ServerIdentity, _compiler: SQLCompiler, **_extra: Any) -> str:  # noqa: ANN401 - as above
    return (
        "CASE WHEN pg_is_in_recovery() THEN ''"
        " ELSE (SELECT system_identifier::text FROM pg_control_system())"
        " || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
    )


@compiles(_IsIdentifiable, "postgresql")
def _is_identifiable(_element: _IsIdentifiable, _compiler: SQLCompiler, **_extra: Any) -> str:  # noqa: ANN401 - as above
    functions = ("pg_control_system()", "pg_current_wal_lsn()", "pg_walfile_name(pg_lsn)")
    may = " AND ".join(f"has_function_privilege(to_regprocedure('{each}'), 'EXECUTE')" for each in functions)
    return f"CASE WHEN {may} THEN 1 ELSE 0 END"


_IS_IDENTIFIABLE: Final = Statement(select(_IsIdentifiable()))


async def is_identifiable(reader: Reader) -> bool:
    """Returns True if there is a server, and ``ServerIdentity`` may be asked of it; asking otherwise fails."""
    row = await reader.fetch_one(_IS_IDENTIFIABLE)
    return row is not None and bool(row[0])
