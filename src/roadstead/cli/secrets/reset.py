"""``roadstead secrets reset``: forgets every secret, for when the master key is lost."""

import sys
from pathlib import Path

import click

from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import print_json, print_line
from roadstead.cli.terminal.refusal import CommandRefusedError


@click.command(
    epilog="""\b
Examples:
  roadstead secrets reset
  roadstead secrets reset --yes        in a script"""
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@registry_options
def reset(*, yes: bool, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Forget every secret: only for when the master key is lost, and nothing can open them any more.

    New signing keys are made when they are needed, so whoever was logged in logs in again; credentials of other systems
    have to be entered again. The master key that is there then is used from now on. Images are not touched.
    """
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("nobody is here to be asked: add --yes to forget every secret")

    async def work(opened: session.Session) -> int:
        from roadstead.app import build_secrets  # noqa: PLC0415 - see cli.terminal.session

        registry = opened.registry
        secrets = build_secrets(registry.database, registry.clock, opened.settings)
        count = len(await secrets.list_records())
        question = f"Forget {text.plural(count, 'secret')}? Nothing brings them back"
        if not yes and not click.confirm(question, err=True):
            raise CommandRefusedError("nothing was forgotten")
        return await secrets.reset()

    forgotten = session.run(data, config, work, needs_storage=False)
    if as_json:
        print_json({"forgotten": forgotten})
    else:
        print_line(f"Forgot {text.plural(forgotten, 'secret')}; new signing keys are made when they are needed.")
