"""``roadstead db migrate``: brings the schema of the catalogue to this version's."""

from pathlib import Path

import click

from roadstead.cli.terminal import session
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import print_json, print_line, style


@click.command(
    epilog="""\b
Examples:
  roadstead db migrate
  roadstead db migrate --config roadstead.yaml --json"""
)
@registry_options
def migrate(*, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Bring the schema of the catalogue to this version's.

    Each start of a server does the same; this is for those who want it done before. On PostgreSQL any number may run at
    once, beside servers of this version and the one before, and an empty database becomes a catalogue. A catalogue in a
    file must not be in use.
    """
    from roadstead.app import Installation  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.database.migrate import HEAD  # noqa: PLC0415

    session.silence_log()
    installation = Installation(session.load(data, config))
    try:
        if not installation.is_shared:
            if not installation.folder.catalogue.exists():
                raise installation.absent()
            installation.lock()
        has_changed = installation.migrate()
    finally:
        installation.folder.unlock()
    if as_json:
        print_json({"catalogue": installation.catalogue, "schema": HEAD, "migrated": has_changed})
    else:
        done = style("Migrated" if has_changed else "Up to date", colour="green", bold=True)
        print_line(f"{done}: schema {HEAD}, catalogue in {installation.catalogue}")
