"""Statements about many values at once: a list as one parameter, spelled differently by each database."""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, Text, column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from roadstead.database.statement import parameter


class _Elements(FunctionElement[Any]):
    """The texts of a JSON array as rows; both databases call the column ``value``."""

    inherit_cache = True


@compiles(_Elements, "sqlite")
def _for_sqlite(element: _Elements, compiler: SQLCompiler, **extra: Any) -> str:  # noqa: ANN401 - the compiler's own
    return f"json_each({compiler.process(element.clauses, **extra)})"


@compiles(_Elements, "postgresql")
def _for_postgresql(element: _Elements, compiler: SQLCompiler, **extra: Any) -> str:  # noqa: ANN401 - as above
    return f"json_array_elements_text(({compiler.process(element.clauses, **extra)})::text::json)"


def listed(name: str) -> Select[tuple[Any]]:
    """The texts in the parameter ``name``, made by ``as_list``, as the right side of ``IN``."""
    values = _Elements(parameter(name)).table_valued(column("value", Text))
    return select(values.c.value)


def as_list(texts: Iterable[str]) -> str:
    """A list of texts as a parameter of a statement."""
    return json.dumps(list(texts))
