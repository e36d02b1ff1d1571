"""Statements about many values at once: a list as one parameter, spelled differently by each database."""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, Text, column, func, select

from roadstead.database.statement import parameter


def listed(name: str) -> Select[tuple[Any]]:
    """The texts in the parameter ``name``, made by ``as_list``, as the right side of ``IN``."""
    values = func.json_each(parameter(name)).table_valued(column("value", Text))
    return select(values.c.value)


def as_list(texts: Iterable[str]) -> str:
    """A list of texts as a parameter of a statement."""
    return json.dumps(list(texts))
