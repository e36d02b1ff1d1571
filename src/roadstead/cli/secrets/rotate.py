"""``roadstead secrets rotate``: seals every secret under the newest master key."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import note, print_json, print_line, style

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.secrets.rotation import Rotated


@click.command(
    epilog="""\b
Examples:
  roadstead secrets rotate                                     on one machine: makes the new key too
  roadstead secrets new-key /etc/roadstead/master.key          else first this, and bring the file to
  roadstead secrets rotate --config /etc/roadstead/roadstead.yaml   each server; then this on one of them"""
)
@registry_options
def rotate(*, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Seal every secret under the newest master key, while servers go on.

    In DIR/secrets/master.key the new key is made by this command. In a file that secrets.master_key_file names it has
    to be there, above the older ones, on every server first: they read the file again by themselves. A rotation that
    was interrupted goes on when this runs again. The older key opens nothing in the catalogue afterwards; keep it as
    long as a backup taken --with-secrets may be restored.
    """

    async def work(opened: session.Session) -> "tuple[Rotated, str]":
        from roadstead.app import key_source  # noqa: PLC0415 - see cli.terminal.session
        from roadstead.secrets.rotation import rotate as run_rotation  # noqa: PLC0415

        registry, source = opened.registry, key_source(opened.settings)
        return await run_rotation(registry.database, registry.clock, source), source.name

    done, source = session.run(data, config, work, needs_storage=False)
    has_changed = done.before != done.key_id or done.resealed > 0
    if as_json:
        print_json(
            {
                "before": done.before or None,
                "master_key": done.key_id,
                "resealed": done.resealed,
                "changed": has_changed,
            }
        )
        return
    if not has_changed:
        remedy = "make a newer one with `roadstead secrets new-key`, and bring the file to each server"
        print_line(f"Nothing to do: {done.key_id} is the newest master key in {source}; {remedy}.")
        return
    rotated = style("Rotated", colour="green", bold=True)
    print_line(f"{rotated}: {text.plural(done.resealed, 'secret')} sealed anew, master key {done.key_id} from now on.")
    if done.before:
        note(f"Keep a copy of {source}; its older keys are needed only for backups from before.")
