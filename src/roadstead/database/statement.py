"""Statements written once with SQLAlchemy Core, compiled once for each database, executed without it.

Compiling costs a hundred microseconds and executing through SQLAlchemy ten to twenty, where the statement itself takes
five; on the path of a pull that is most of the time.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import BindParameter, Dialect, Insert, Select, Table, bindparam
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import TypeEngine

from roadstead.database.locks import Lock

_SQLITE: Final = sqlite.dialect(paramstyle="qmark")
_POSTGRESQL: Final = asyncpg.dialect()  # type: ignore[no-untyped-call]


def parameter(name: str, kind: TypeEngine[Any] | None = None) -> BindParameter[Any]:
    """A value that a statement is given when it is executed.

    ``kind`` is needed where it stands alone, as a column of a select does; else its neighbour in the statement tells.
    """
    return bindparam(name, type_=kind)


class _Compiled(NamedTuple):
    """SQL, its parameters in their order, and those that the statement itself has values for."""

    sql: str
    names: tuple[str, ...]
    constants: dict[str, Any]


class Statement:
    """A statement with named parameters (``bindparam``), which are texts, integers, bytes or None."""

    __slots__ = ("_postgresql", "_sqlite", "element")

    def __init__(self, element: ClauseElement) -> None:
        """``element`` is a select, insert, update or delete of SQLAlchemy Core."""
        if isinstance(element, Insert):
            element = element.inline()  # the key of a new row is given back where it is asked for
        self.element = element
        self._sqlite: _Compiled | None = None
        self._postgresql: _Compiled | None = None

    @property
    def parameters(self) -> frozenset[str]:
        """The names of its parameters."""
        if self._sqlite is None:
            self._sqlite = self._compile(_SQLITE)
        return frozenset(self._sqlite.names) - self._sqlite.constants.keys()

    def kinds(self) -> dict[str, TypeEngine[Any]]:
        """The type of each parameter, as the statement uses it."""
        compiled = cast("SQLCompiler", self.element.compile(dialect=_POSTGRESQL))
        return {name: bind.type for name, bind in compiled.binds.items()}

    def parts_for_postgresql(self) -> tuple[str, tuple[str, ...], dict[str, Any]]:
        """SQL with ``$1``, ``$2``, …; the names that these stand for; values of those that are no parameters."""
        if self._postgresql is None:
            self._postgresql = self._compile(_POSTGRESQL)
        return self._postgresql

    def for_sqlite(self, parameters: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
        """SQL with question marks, and ``parameters`` in their order.

        Raises:
            KeyError: a parameter is missing.
        """
        if self._sqlite is None:
            self._sqlite = self._compile(_SQLITE)
        sql, names, constants = self._sqlite
        if constants:
            parameters = constants | parameters
        return sql, tuple([parameters[name] for name in names])

    def many_for_sqlite(self, rows: Sequence[Mapping[str, Any]]) -> tuple[str, Iterable[tuple[Any, ...]]]:
        """The same for many rows of parameters, at a fraction of the cost of each.

        Raises:
            KeyError: a parameter is missing; when the values are taken.
        """
        if self._sqlite is None:
            self._sqlite = self._compile(_SQLITE)
        return _many(self._sqlite, rows)

    def for_postgresql(self, parameters: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
        """SQL with ``$1``, ``$2``, …, and ``parameters`` in their order.

        Raises:
            KeyError: a parameter is missing.
        """
        if self._postgresql is None:
            self._postgresql = self._compile(_POSTGRESQL)
        sql, names, constants = self._postgresql
        if constants:
            parameters = constants | parameters
        return sql, tuple([parameters[name] for name in names])

    def many_for_postgresql(self, rows: Sequence[Mapping[str, Any]]) -> tuple[str, Iterable[tuple[Any, ...]]]:
        """The same for many rows of parameters.

        Raises:
            KeyError: a parameter is missing; when the values are taken.
        """
        if self._postgresql is None:
            self._postgresql = self._compile(_POSTGRESQL)
        return _many(self._postgresql, rows)

    def _compile(self, dialect: Dialect) -> _Compiled:
        compiled = cast("SQLCompiler", self.element.compile(dialect=dialect))
        names = tuple(compiled.positiontup or ())
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        return _Compiled(str(compiled), names, constants)


class LockingStatement:
    """A select that locks the rows that it finds until its transaction ends; see ``Transaction.lock_all``.

    It is no ``Statement``, so that nobody locks outside a transaction.
    """

    __slots__ = ("statement", "unlocked")

    def __init__(
        self, element: Select[*tuple[Any, ...]], lock: Lock, *, of: Table | None = None, skips_locked: bool = False
    ) -> None:
        """``of`` names the one table of several whose rows are meant; ``skips_locked`` leaves out what others hold."""
        self.unlocked = Statement(element)
        """The same select without its lock."""
        self.statement = Statement(
            element.with_for_update(
                read=lock is Lock.KEEP, key_share=lock is Lock.KEEP, of=of, skip_locked=skips_locked
            )
        )


def _many(compiled: _Compiled, rows: Sequence[Mapping[str, Any]]) -> tuple[str, Iterable[tuple[Any, ...]]]:
    sql, names, constants = compiled
    given: Iterable[Mapping[str, Any]] = [{**constants, **row} for row in rows] if constants else rows
    if len(names) > 1:
        return sql, map(operator.itemgetter(*names), given)
    return sql, (tuple([row[name] for name in names]) for row in given)
