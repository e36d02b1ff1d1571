"""``roadstead access``: who may do what, and why."""

import click

from roadstead.cli.access.explain import explain


@click.group(
    epilog="""\b
Examples:
  roadstead access explain alice push team/app
  roadstead access explain --anonymous pull public/app"""
)
def access() -> None:
    """Say who may do what, and why.

    By the rules in the settings; no server is asked and no data is touched.
    """


access.add_command(explain)
