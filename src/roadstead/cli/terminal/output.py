"""Prints rows and fields, for a person at a terminal, for a pipe, or as JSON.

==================  =================================================================================================
where it goes       what is printed
==================  =================================================================================================
a terminal          aligned columns with a heading; sizes and times for people; what does not fit is left out, the
                    least important column first, never a part of a value that somebody may want to copy
a pipe or a file    one row a line, columns separated by tabs, no heading; whole digests, bytes, UTC
anywhere, --json    one JSON object a line
==================  =================================================================================================

Rows are printed as they come, a block at a time: a million need no more memory than a hundred.
"""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import click

_T = TypeVar("_T")

BLOCK: Final = 500
"""Number of rows that are aligned together, and written at once."""

GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class Column(Generic[_T]):
    """A column of a table: ``exact`` gives the value for scripts, ``human`` that for people (by default the same)."""

    title: str
    exact: Callable[[_T], str]
    human: Callable[[_T], str] | None = None
    is_number: bool = False
    importance: int = 0
    """Columns of the lowest importance are left out first; of importance 0, never."""

    def for_people(self, row: _T) -> str:
        """Returns the value that people read."""
        return self.human(row) if self.human else self.exact(row)


def is_terminal() -> bool:
    """Returns True if a person reads what is printed."""
    return sys.stdout.isatty()


def is_coloured(stream_is_terminal: bool) -> bool:  # noqa: FBT001 - the only argument
    """Returns True if colour and weight are to be used (https://no-color.org)."""
    return stream_is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def style(text: str, *, bold: bool = False, dim: bool = False, colour: str | None = None) -> str:
    """Returns ``text`` with weight or colour if stdout takes them."""
    return click.style(text, fg=colour, bold=bold or None, dim=dim or None) if is_coloured(is_terminal()) else text


def width() -> int:
    """Returns the number of the terminal's columns."""
    return shutil.get_terminal_size().columns


def print_line(text: str = "") -> None:
    """Prints a line on stdout, unflushed."""
    sys.stdout.write(f"{text}\n")


def print_json(document: Mapping[str, object]) -> None:
    """Prints an object as JSON on a line of its own."""
    line = json.dumps(document, ensure_ascii=False)
    if not line.isprintable():  # what clients chose must not drive a terminal
        line = json.dumps(document).replace("\x7f", "\\u007f")
    print_line(line)


def print_wrapped(text: str, *, indent: str) -> None:
    """Prints a sentence below something, broken only between words: digests stay whole, so that they can be copied."""
    print_line(
        textwrap.fill(
            text,
            max(width(), 40),
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def note(text: str) -> None:
    """Prints a note to a person beside the output: on stderr, and only if that is a terminal."""
    if sys.stderr.isatty():
        click.echo(text, err=True)


async def print_rows(
    rows: AsyncIterator[_T],
    columns: Sequence[Column[_T]],
    as_record: Callable[[_T], Mapping[str, object]],
    *,
    as_json: bool,
) -> int:
    """Prints rows as they come, as the table above says, and returns their number."""
    count = 0
    table = Table(columns)
    async for block in _blocks(rows):
        count += len(block)
        if as_json:
            for row in block:
                print_json(as_record(row))
        elif is_terminal():
            table.print(block)
        else:
            for row in block:
                print_line("\t".join(column.exact(row) for column in columns))
        sys.stdout.flush()
    return count


async def _blocks(rows: AsyncIterator[_T]) -> AsyncIterator[list[_T]]:
    block: list[_T] = []
    async for row in rows:
        block.append(row)
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block


class Table(Generic[_T]):
    """A table with aligned columns, whose widths only grow from block to block."""

    def __init__(self, columns: Sequence[Column[_T]], *, indent: str = "") -> None:
        self._columns = list(columns)
        self._widths: list[int] = []
        self._indent = indent

    def print(self, rows: Sequence[_T]) -> None:
        """Prints rows, with a heading before the first ones."""
        is_first = not self._widths
        cells = [[column.for_people(row) for column in self._columns] for row in rows]
        if is_first:
            cells = self._fit(cells)
        elif len(self._columns) != len(self._widths):
            raise AssertionError("columns are chosen once")
        self._widths = _widths(self._columns, cells, self._widths)
        if is_first:
            print_line(style(self._line([column.title for column in self._columns]), bold=True))
        for row in cells:
            print_line(self._line(row))

    def _fit(self, cells: list[list[str]]) -> list[list[str]]:
        """Leaves out columns until the rest fits the terminal."""
        if not is_terminal():
            return cells
        while sum(_widths(self._columns, cells, [])) + len(GAP) * (len(self._columns) - 1) > width() - len(
            self._indent
        ):
            leaving = min((c for c in self._columns if c.importance), key=lambda c: c.importance, default=None)
            if leaving is None:
                break
            place = self._columns.index(leaving)
            del self._columns[place]
            cells = [row[:place] + row[place + 1 :] for row in cells]
        return cells

    def _line(self, cells: Sequence[str]) -> str:
        aligned = (
            cell.rjust(size) if column.is_number else cell.ljust(size)
            for column, cell, size in zip(self._columns, cells, self._widths, strict=True)
        )
        return (self._indent + GAP.join(aligned)).rstrip()


def _widths(columns: Sequence[Column[_T]], cells: Sequence[Sequence[str]], before: Sequence[int]) -> list[int]:
    least = before or [len(column.title) for column in columns]
    return (
        [max(size, *(len(row[place]) for row in cells)) for place, size in enumerate(least)] if cells else list(least)
    )


def print_fields(fields: Iterable[tuple[str, str]], *, indent: str = "") -> None:
    """Prints names and values below each other; the further lines of a value are aligned with its first."""
    shown = [(name, value) for name, value in fields if value]
    size = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        first, *more = value.split("\n")
        print_line(f"{indent}{style(name.ljust(size), dim=True)}{GAP}{first}")
        for line in more:
            print_line(f"{indent}{' ' * size}{GAP}{line}")
