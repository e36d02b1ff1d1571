"""Statements about many values at once: a list as one parameter, spelled differently by each database."""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, Text, cast, column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from roadstead.database.statement import parameter
from roadstead.database.types import TEXT


class _Elements(FunctionElement[Any]):
    """The texts of a JSON array as rows; both databases call the column ``value``."""

    inherit_cache = True


@compiles(_Elements, "sqlite")
def _for_sqlite(element: _Elements, compiler: SQLCompiler, **extra: Any) -> str:  # noqa: ANN401 - the compiler's own
    return f"json_each({compiler.process(element.clauses, **extra)})"


@compiles(_Elements, "postgresql")
def _for_postgresql(element: _Elements, compiler: SQLCompiler, **extra: Any) -> str:  # noqa: ANN401 - as above
    return f"json_array_elements_text(({compiler.process(element.clauses, **extra)})::text::json)"


def listed(name: str, kind: TypeEngine[Any] = TEXT) -> Select[tuple[Any]]:
    """The texts in the parameter ``name``, made by ``as_list``, as the right side of ``IN``; as ``kind``, if given."""
    values = _Elements(parameter(name, TEXT)).table_valued(column("value", Text))
    return select(values.c.value if kind is TEXT else cast(values.c.value, kind))


def as_list(texts: Iterable[str]) -> str:
    """A list of texts as a parameter of a statement."""
    return json.dumps(list(texts))
