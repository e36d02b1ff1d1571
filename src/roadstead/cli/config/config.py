"""``roadstead config``: commands that check settings before a server uses them."""

import click

from roadstead.cli.config.check import check
from roadstead.cli.config.convert import convert
from roadstead.cli.config.show import show


@click.group(
    epilog="""\b
Examples:
  roadstead config check /etc/docker/registry/config.yml
  roadstead config convert config.yml -o roadstead.yaml
  roadstead config show --config roadstead.yaml"""
)
def config() -> None:
    """Check settings, convert registry:2's, or show those in effect.

    Nothing is served and no data is touched.
    """


config.add_command(check)
config.add_command(convert)
config.add_command(show)
