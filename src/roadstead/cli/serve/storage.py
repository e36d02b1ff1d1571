"""Checks that a server uses the blobs its owner means, if two sources name two places."""

import asyncio
from pathlib import Path

from roadstead import app
from roadstead.cli.terminal.refusal import CommandRefusedError
from roadstead.config import LoadedSettings, Settings
from roadstead.registry.operation.adoption_state import find_adoption

_SAID_LATER = ("--", "ROADSTEAD_")
"""Beginnings of a setting's source that show that it was not in the file."""


def require_said_storage(loaded: LoadedSettings, config: Path | None) -> None:
    """Raises unless a catalogue named beside registry:2's file is known to be meant to own that file's blobs.

    ``rootdirectory`` names blobs and catalogue; whoever adds another data folder may want another registry, for a
    trial, and would have it delete the blobs of the first. A catalogue that has owned them before needs no word.

    Raises:
        CommandRefusedError: nobody has said which blobs are meant.
    """
    settings = loaded.settings
    if loaded.registry2 is None or settings.storage.url is None:
        return
    if loaded.sources.get("storage.url", "").startswith(_SAID_LATER):
        return
    objects = settings.storage_folder.absolute()
    if objects.is_relative_to(settings.data.folder.absolute()) or _is_known(settings):
        return
    raise CommandRefusedError(
        f"{config} names the blobs in {objects} (rootdirectory), and the data folder is {settings.data.folder}: add"
        f" --storage {objects.as_uri()} if this catalogue is to own those blobs, or --storage"
        f" {(settings.data.folder.absolute() / 'registry').as_uri()} if it is to have its own"
    )


def _is_known(settings: Settings) -> bool:
    """Returns True if the catalogue was made for these blobs."""
    installation = app.Installation(settings)

    async def ask() -> bool:
        if await installation.find_revision() is None:
            return False
        database = await installation.open_database()
        try:
            return (await find_adoption(database)).storage == installation.folder.objects.as_uri()
        finally:
            await database.close()

    return asyncio.run(ask())
