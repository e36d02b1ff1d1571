"""``roadstead scrub``: shows how much of all blobs has been read again, or reads them all now."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.care.scrub_text import describe_scrub, scrub_record
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import print_fields, print_json, print_line, style
from roadstead.cli.terminal.progress import ProgressBar

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry.integrity.scrub import Damage, ScrubState


@click.command(
    epilog="""\b
Examples:
  roadstead scrub                                    how far it is, and what the last pass found
  roadstead scrub --now                              reads everything now, as fast as it goes
  roadstead scrub --now --bytes-per-second 50000000

\b
Exit code 0 when nothing is damaged, 4 when something is."""
)
@click.option("--now", is_flag=True, help="Read everything now instead of waiting for the server's next pass.")
@click.option(
    "--bytes-per-second", metavar="N", type=click.IntRange(1024), help="With --now: read no faster than this."
)
@registry_options
@click.pass_context
def scrub(
    context: click.Context,
    *,
    now: bool,
    bytes_per_second: int | None,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Read everything again, and put aside what rotted.

    A server does this slowly all the time (`scrub` in the settings). Blobs whose bytes are no longer those that their
    digest stands for go into quarantine: clients are told to push them again instead of being given wrong bytes, and a
    server that has `scrub.upstream` fetches them from there. `roadstead check --deep` reads the same and changes
    nothing.
    """
    if bytes_per_second is not None and not now:
        raise click.UsageError("--bytes-per-second goes with --now")
    if now:
        state = session.run(data, config, lambda opened: _scrub(opened, bytes_per_second or 0, as_json=as_json))
        damage = state.completed_damage
        if as_json:
            print_json({"scrub": scrub_record(state)})
        else:
            read = f"{text.plural(state.completed_blobs, 'blob')} ({text.size(state.completed_bytes)}) read"
            print_line(f"Found damage in {text.plural(damage, 'place')}: {read}" if damage else f"No damage: {read}")
    else:
        state, blob_bytes = session.run(data, config, _find, needs_storage=False)
        damage = state.damage if state.is_running else state.completed_damage
        if as_json:
            print_json({"scrub": scrub_record(state)})
        else:
            print_fields([("Scrub", describe_scrub(state, blob_bytes))])
    context.exit(ExitCode.DAMAGED if damage else ExitCode.DONE)


async def _find(opened: session.Session) -> "tuple[ScrubState, int]":
    from roadstead.registry.integrity.scrub import find_scrub  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry.integrity.statistics import measure  # noqa: PLC0415

    database = opened.registry.database
    return await find_scrub(database), (await measure(database)).blob_bytes


async def _scrub(opened: session.Session, bytes_per_second: int, *, as_json: bool) -> "ScrubState":
    from roadstead.registry.integrity.scrub import Scrubber, ScrubObserver  # noqa: PLC0415
    from roadstead.registry.integrity.statistics import measure  # noqa: PLC0415
    from roadstead.registry.pace import Pace  # noqa: PLC0415 - see cli.terminal.session

    registry = opened.registry
    await registry.confirmation.require()
    totals = await measure(registry.database)
    with ProgressBar() as bar:
        bar.begin("scrub", totals.blob_bytes + totals.manifest_bytes, is_bytes=True)

        def tell(damage: "Damage", digest: str, reason: str) -> None:
            with bar.aside():
                if as_json:
                    print_json({"severity": "damage", "kind": str(damage), "subject": digest, "detail": reason})
                else:
                    print_line(f"{style('damage', colour='red', bold=True)}\t{damage}\t{digest}\t{reason}")

        observer = ScrubObserver(read=bar.advance, found=tell)
        scrubber = Scrubber(registry, Pace(bytes_per_second, registry.clock), observer)
        try:
            return await scrubber.run_pass()
        finally:
            scrubber.close()
