"""``roadstead certs``: manages a private authority, its certificates, and the trust of clients in it."""

import click

from roadstead.cli.certs.create import create
from roadstead.cli.certs.show import show
from roadstead.cli.certs.trust import trust


@click.group(
    epilog="""\b
Examples:
  roadstead certs create --host registry.example.com --out certs
  roadstead certs trust certs/ca.crt --host registry.example.com:5000
  roadstead certs show registry.example.com:5000"""
)
def certs() -> None:
    """Make certificates, look at them, and have clients trust them."""


for _command in (create, trust, show):
    certs.add_command(_command)
