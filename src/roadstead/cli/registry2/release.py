"""``roadstead release``: gives a folder back to registry:2."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.registry2.adoption import adopt_command, recorded_storage
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import print_fields, print_json, print_line, style
from roadstead.cli.terminal.progress import ProgressBar
from roadstead.cli.terminal.refusal import CommandRefusedError

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.config import Settings
    from roadstead.registry import Registry
    from roadstead.registry2.links.writer import Written
    from roadstead.storage import DataFolder


@click.command(
    epilog="""\b
Examples:
  roadstead release /var/lib/registry       where the catalogue is in the same folder
  roadstead release --data /srv/rs          where it is elsewhere, or in a folder of roadstead's own
  roadstead maintenance read-only           first, to go on serving pulls until registry:2 has taken over"""
)
@click.argument(
    "folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False, exists=True), required=False
)
@registry_options
def release(*, folder: Path | None, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Give a folder back to registry:2 or registry:3.

    Writes what the catalogue knows as the links that those read, and removes links to what was deleted. May be
    interrupted and run again. Afterwards registry:2 may be started on the folder, and roadstead refuses to change
    anything until `roadstead adopt` has read the links again.

    The server must be stopped, or in maintenance (read-only or closed). Deletions can no longer be undone on the other
    side; uploads that are not finished have to be begun again.
    """
    from roadstead.config import load_settings  # noqa: PLC0415 - see cli.terminal.session

    if folder is not None and data is not None and folder.absolute() != data.absolute():
        raise click.UsageError("name the folder of the catalogue, as DIR or with --data")
    session.silence_log()
    settings = load_settings(config, overrides={"data.folder": data or folder})
    written, root, back = asyncio.run(_release(settings, config))
    if as_json:
        counts = (written.written, written.removed) if written else (0, 0)
        print_json({"written": counts[0], "removed": counts[1], "folder": root, "was_released": written is None})
        return
    files = "nothing was changed; registry:2 may be in charge already"
    if written:
        files = f"{text.plural(written.written, 'file')} written, {text.number(written.removed)} removed"
    print_line(f"{style('Released' if written else 'Released before', colour='green', bold=True)}: {files}")
    print_fields([("rootdirectory", root), ("Back again", back)], indent="  ")


async def _release(settings: "Settings", config: Path | None) -> "tuple[Written | None, str, str]":
    """Releases; returns what was written (None if released before), registry:2's root, and the command that reverts."""
    from roadstead import app  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry.operation.storage_owner import find_owner, give_up  # noqa: PLC0415
    from roadstead.registry2.release.release import Release  # noqa: PLC0415
    from roadstead.storage import DataFolderBusyError  # noqa: PLC0415

    settings = await app.with_known_storage(settings)
    installation = app.Installation(settings)
    folder = installation.folder
    root, back = str(folder.objects), adopt_command(settings, folder, config)
    async with app.open_registry(settings) as registry:
        if await _is_released(registry, folder):
            return None, root, back
        await registry.confirmation.require()
        try:
            if not installation.is_shared:  # else each replica has a data folder of its own
                folder.lock()
            folder.lock_objects(makes=False)
        except DataFolderBusyError:
            await _require_maintenance(registry)
        try:
            with ProgressBar() as bar:
                release = Release(
                    registry.database,
                    app.build_link_files(folder, await find_owner(registry.database)),
                    registry.clock,
                    progress=bar,
                    storage=recorded_storage(folder),
                )
                written = await release.run()
                await give_up(registry.database, folder.objects)
                return written, root, back
        finally:
            folder.unlock()


async def _is_released(registry: "Registry", folder: "DataFolder") -> bool:
    """Returns True if the folder was released already; raises if it was never adopted."""
    from roadstead.registry.operation.adoption_state import AdoptionPhase, find_adoption  # noqa: PLC0415 - see cli.terminal.session

    phase = (await find_adoption(registry.database)).phase
    if phase not in {AdoptionPhase.IN_CHARGE, AdoptionPhase.RELEASED}:
        raise CommandRefusedError(
            f"roadstead never served {folder.objects}: its links are as registry:2 left them, and there is nothing to"
            " release"
        )
    return phase is AdoptionPhase.RELEASED


async def _require_maintenance(registry: "Registry") -> None:
    """Raises if a running server may change the content: it may go on with pulls only, while links are written."""
    from roadstead.registry.operation.maintenance import MaintenanceMode, find_maintenance  # noqa: PLC0415 - see cli.terminal.session

    found = await find_maintenance(registry.database)
    if found is None or found.mode is MaintenanceMode.OFF:
        raise CommandRefusedError(
            "a server is running on this folder: stop it, or let it serve pulls only with"
            " `roadstead maintenance read-only`, then run this again"
        )
    await registry.maintenance.wait_until_obeyed(found.generation)
