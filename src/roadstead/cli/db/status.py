"""``roadstead db status``: shows where the catalogue is, its schema, and what it takes."""

import asyncio
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import Column, Table, is_terminal, print_fields, print_json, print_line

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.app import Installation
    from roadstead.database.table_size import TableSize


@click.command(
    epilog="""\b
Examples:
  roadstead db status
  roadstead db status --json | jq -r .schema
  roadstead db status > /dev/null || roadstead db migrate
\b
Exit code 0 when the schema is this version's, 1 when it is not, 3 when the catalogue
cannot be reached."""
)
@registry_options
@click.pass_context
def status(context: click.Context, *, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Show where the catalogue is, its schema, and the space it takes.

    Nothing is changed. Numbers of rows on PostgreSQL are the server's estimates. With PgBouncer, or another pool of
    connections, in between statements are prepared for each transaction anew, which costs time.
    """
    from roadstead.app import Installation  # noqa: PLC0415 - see cli.terminal.session

    session.silence_log()
    found = _look(Installation(session.load(data, config)))
    if as_json:
        print_json({**dataclasses.asdict(found), "up_to_date": found.is_current})
    else:
        _print(found)
    context.exit(ExitCode.DONE if found.is_current else ExitCode.REFUSED)


@dataclass(frozen=True, slots=True)
class _Status:
    """A catalogue's database; ``pooled`` is None where there is no server."""

    catalogue: str
    kind: str
    version: str
    pooled: bool | None
    schema: str
    expected_schema: str
    bytes: int
    tables: "tuple[TableSize, ...]"

    @property
    def is_current(self) -> bool:
        """True if the schema is this version's."""
        return self.schema == self.expected_schema


def _look(installation: "Installation") -> _Status:
    from roadstead.database.file_state import look_at_file  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.database.migrate import HEAD  # noqa: PLC0415

    if installation.is_shared:
        server = asyncio.run(installation.look_at_server())
        return _Status(
            catalogue=installation.catalogue,
            kind="postgresql",
            version=server.version,
            pooled=server.is_pooled,
            schema=server.revision,
            expected_schema=HEAD,
            bytes=server.bytes,
            tables=server.tables,
        )
    if not installation.folder.catalogue.exists():
        raise installation.absent()
    file = look_at_file(installation.folder.catalogue)
    return _Status(
        catalogue=installation.catalogue,
        kind="sqlite",
        version=file.version,
        pooled=None,
        schema=file.revision,
        expected_schema=HEAD,
        bytes=file.bytes,
        tables=file.tables,
    )


def _print(found: _Status) -> None:
    names = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
    remedy = "" if found.is_current else f", this version needs {found.expected_schema}: run `roadstead db migrate`"
    pooled = {None: "", True: "through a pool of connections (PgBouncer)", False: "direct"}[found.pooled]
    print_fields(
        [
            ("Catalogue", found.catalogue),
            ("Database", f"{names[found.kind]} {found.version}"),
            ("Connection", pooled),
            ("Schema", f"{found.schema or 'none'}{remedy}"),
            ("Size", text.size(found.bytes)),
        ]
    )
    if not is_terminal():
        for table in found.tables:
            print_line("\t".join(column.exact(table) for column in _columns()))
    elif found.tables:
        Table(_columns()).print(found.tables)


def _columns() -> "list[Column[TableSize]]":
    return [
        Column("TABLE", lambda each: each.name),
        Column("ROWS", lambda each: str(each.rows), lambda each: text.number(each.rows), is_number=True),
        Column(
            "SIZE",
            lambda each: "" if each.bytes is None else str(each.bytes),
            lambda each: "" if each.bytes is None else text.size(each.bytes),
            is_number=True,
        ),
    ]
