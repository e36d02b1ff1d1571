"""Statements written once with SQLAlchemy Core, compiled once for each dialect, executed without it.

Compiling costs a hundred microseconds and executing through SQLAlchemy ten to twenty, where the statement itself takes
five; on the path of a pull that is most of the time.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from sqlalchemy import BindParameter, bindparam
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

_SQLITE: Final = sqlite.dialect(paramstyle="qmark")


def parameter(name: str) -> BindParameter[Any]:
    """A value that a statement is given when it is executed."""
    return bindparam(name)


class Statement:
    """A statement with named parameters (``bindparam``), which are texts, integers, bytes or None."""

    __slots__ = ("_element", "_sqlite")

    def __init__(self, element: ClauseElement) -> None:
        """``element`` is a select, insert, update or delete of SQLAlchemy Core."""
        self._element = element
        self._sqlite: tuple[str, tuple[str, ...], dict[str, Any]] | None = None

    def for_sqlite(self, parameters: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
        """SQL with question marks, and ``parameters`` in their order.

        Raises:
            KeyError: a parameter is missing.
        """
        if self._sqlite is None:
            self._sqlite = self._compile_for_sqlite()
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
            self._sqlite = self._compile_for_sqlite()
        sql, names, constants = self._sqlite
        given: Iterable[Mapping[str, Any]] = [{**constants, **row} for row in rows] if constants else rows
        if len(names) > 1:
            return sql, map(operator.itemgetter(*names), given)
        return sql, (tuple([row[name] for name in names]) for row in given)

    def _compile_for_sqlite(self) -> tuple[str, tuple[str, ...], dict[str, Any]]:
        compiled = cast("SQLCompiler", self._element.compile(dialect=_SQLITE))
        names = tuple(compiled.positiontup or ())
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        return str(compiled), names, constants
