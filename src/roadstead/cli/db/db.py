"""``roadstead db``: commands for the database of the catalogue."""

import click

from roadstead.cli.db.copy import copy
from roadstead.cli.db.migrate import migrate
from roadstead.cli.db.status import status


@click.group(
    epilog="""\b
Examples:
  roadstead db status
  roadstead db migrate --config roadstead.yaml
  roadstead db copy --to postgresql://roadstead@db.example.com/roadstead
  ROADSTEAD_DATABASE__URL=postgresql://roadstead@db.example.com/roadstead roadstead db status --json"""
)
def db() -> None:
    """Show the catalogue's database, migrate or copy it.

    The catalogue is where the settings say: in the data folder, or on a PostgreSQL server (database.url).
    """


db.add_command(copy)
db.add_command(migrate)
db.add_command(status)
