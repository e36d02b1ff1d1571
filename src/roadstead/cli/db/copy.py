"""``roadstead db copy``: moves a catalogue to another database."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import note, print_json, print_line, style
from roadstead.cli.terminal.progress import ProgressBar
from roadstead.cli.terminal.refusal import CommandRefusedError

if TYPE_CHECKING:  # see cli.terminal.session
    from collections.abc import Awaitable, Callable

    from roadstead.app import Installation
    from roadstead.database import Database, Reader
    from roadstead.database.copying import CopiedTable


@click.command(
    epilog="""\b
Examples:
  roadstead maintenance read-only --wait
  roadstead db copy --to postgresql://roadstead@db.example.com/roadstead
  roadstead db copy --from postgresql://db.example.com/roadstead --to sqlite:////var/lib/roadstead/new.db"""
)
@click.option("--from", "from_url", metavar="URL", help="Catalogue to copy.  [default: the one in the settings]")
@click.option("--to", "to_url", metavar="URL", required=True, help="Empty database, or one with a part of this copy.")
@registry_options
def copy(*, from_url: str | None, to_url: str, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Copy the catalogue into another database, from SQLite to PostgreSQL or back.

    Servers may go on with pulls: set them to read-only first, or stop them. Every table is copied, then read again on
    both sides, and its rows and checksums are compared. A copy that was interrupted goes on where it stopped when the
    same command runs again. A password may stand in a URL; a server whose URL has none gets the one in the settings
    (database.password_file). The bytes of blobs are not touched. Afterwards name the new database in the settings
    (database.url), start the servers, and end the maintenance, which was copied too.
    """
    from roadstead.app import Installation  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.config import with_other_database  # noqa: PLC0415

    session.silence_log()
    settings = session.load(data, config)
    source = Installation(with_other_database(settings, from_url, "--from") if from_url else settings)
    target = Installation(with_other_database(settings, to_url, "--to"))
    if source.catalogue == target.catalogue:
        raise click.UsageError("--from and --to name the same database")
    asyncio.run(source.require_current())
    _prepare(target)
    tables = asyncio.run(_copy(source, target))
    if as_json:
        for each in tables:
            print_json({"table": each.name, "rows": each.sum.rows, "checksum": each.sum.checksum})
        return
    rows = sum(each.sum.rows for each in tables)
    done = style("Copied", colour="green", bold=True)
    print_line(f"{done} {text.plural(rows, 'row')} in {text.plural(len(tables), 'table')}; both sides have the same.")
    note("Name the new database in the settings, start the servers, then run `roadstead maintenance off`.")


def _prepare(target: "Installation") -> None:
    """Makes the schema of a target that has none.

    Raises:
        CatalogueOutdatedError: it has another version's.
    """
    if asyncio.run(target.find_revision()) in {None, ""}:
        target.migrate()
    asyncio.run(target.require_current())


async def _copy(source: "Installation", target: "Installation") -> "list[CopiedTable]":
    from roadstead.database.moment import at_one_moment  # noqa: PLC0415 - see cli.terminal.session

    ours = await source.open_database()
    theirs = await target.open_database()
    try:
        await _require_still(ours)
        async with at_one_moment(ours) as moment:  # servers go on noting what they do beside requests
            return await _copy_from(moment, theirs, source.catalogue, lambda: _require_still(ours))
    finally:
        await ours.close()
        await theirs.close()


async def _copy_from(
    moment: "Reader", theirs: "Database", source_name: str, require_still: "Callable[[], Awaitable[None]]"
) -> "list[CopiedTable]":
    from roadstead.database.copying import CatalogueCopy, CopyObserver  # noqa: PLC0415 - see cli.terminal.session

    with ProgressBar() as bar:
        observer = CopyObserver(begin=lambda stage, total: bar.begin(stage, total, is_bytes=False), advance=bar.advance)
        return await CatalogueCopy(
            moment, theirs, source_name=source_name, observer=observer, require_still=require_still
        ).run()


async def _require_still(database: "Database") -> None:
    """Sees that no server changes the source.

    Raises:
        CommandRefusedError: one may.
    """
    from roadstead.clock import SystemClock  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry.operation.maintenance import Maintenance, MaintenanceMode  # noqa: PLC0415

    maintenance = Maintenance(database, SystemClock())
    state, serving = await maintenance.find(), await maintenance.list_serving()
    if any(each.mode is MaintenanceMode.OFF or each.generation < state.generation for each in serving):
        raise CommandRefusedError(
            "servers may change the source meanwhile: run `roadstead maintenance read-only --wait` first, or stop them"
        )
