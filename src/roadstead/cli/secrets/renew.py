"""``roadstead secrets renew``: makes new generations of signing keys."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import print_json, print_line, style

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.secrets import SecretRecord


@click.command(
    epilog="""\b
Examples:
  roadstead secrets renew tokens                what it signed before is good for a day
  roadstead secrets renew tokens --revoke       what it signed before is worth nothing now
  roadstead secrets renew --signing --revoke    all of them: when somebody may have them"""
)
@click.argument("name", required=False)
@click.option("--signing", is_flag=True, help="All signing keys.")
@click.option("--revoke", is_flag=True, help="What older generations signed is not accepted any more.")
@registry_options
def renew(
    *, name: str | None, signing: bool, revoke: bool, data: Path | None, config: Path | None, as_json: bool
) -> None:
    """Make a new generation of a signing key, which signs from now on.

    Every server knows it within a second. Older generations verify what they have signed for another day, unless
    --revoke ends them now. Credentials of other systems are renewed where they come from.
    """
    if signing == (name is not None):
        raise click.UsageError("name a signing key, or say --signing for all of them")

    async def work(opened: session.Session) -> "list[SecretRecord]":
        from roadstead.app import build_secrets  # noqa: PLC0415 - see cli.terminal.session
        from roadstead.secrets import SecretKind  # noqa: PLC0415

        registry = opened.registry
        secrets = build_secrets(registry.database, registry.clock, opened.settings)
        names = dict.fromkeys(each.name for each in await secrets.list_records() if each.kind is SecretKind.SIGNING_KEY)
        return [await secrets.renew(each, revokes=revoke) for each in (names if name is None else [name])]

    renewed = session.run(data, config, work, needs_storage=False)
    for each in renewed if as_json else ():
        print_json({"name": each.name, "generation": each.generation, "revoked": revoke})
    if not as_json:
        _print(renewed, is_revoked=revoke)


def _print(renewed: "list[SecretRecord]", *, is_revoked: bool) -> None:
    for each in renewed:
        print_line(f"{style('Renewed', colour='green', bold=True)}\t{each.name}\tgeneration {each.generation}")
    older = "not accepted any more" if is_revoked else "accepted for another day"
    print_line(
        f"Renewed {text.plural(len(renewed), 'signing key')}; what older generations signed is {older}."
        if renewed
        else "There are no signing keys yet: each is made when it is first needed."
    )
