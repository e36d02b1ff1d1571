"""``roadstead secrets``: commands for keys and credentials that servers share."""

import click

from roadstead.cli.secrets.list_secrets import list_secrets
from roadstead.cli.secrets.new_key import new_key
from roadstead.cli.secrets.renew import renew
from roadstead.cli.secrets.reset import reset
from roadstead.cli.secrets.rotate import rotate
from roadstead.cli.secrets.status import status


@click.group(
    epilog="""\b
Examples:
  roadstead secrets status                       the master key, and whether it opens everything
  roadstead secrets list                         names, kinds, generations, ages; never values
  roadstead secrets renew --signing              new signing keys; older ones verify for a day
  roadstead secrets new-key /etc/roadstead/master.key
  roadstead secrets rotate                       seals everything under the newest master key"""
)
def secrets() -> None:
    """Show keys and credentials that servers share, and renew them.

    They are in the catalogue, sealed under a master key that is not: DIR/secrets/master.key on one machine, made at the
    first need, or what secrets.master_key_file names, which several servers must.
    """


secrets.add_command(list_secrets)
secrets.add_command(status)
secrets.add_command(renew)
secrets.add_command(rotate)
secrets.add_command(new_key)
secrets.add_command(reset)
