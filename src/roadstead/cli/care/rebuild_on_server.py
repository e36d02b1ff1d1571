"""Rebuilds a catalogue on PostgreSQL: in a file first, from which its rows are then copied.

What the old catalogue can still give is copied into a file, out of which the rebuild takes what it can prove, as out of
a damaged one. The new catalogue is whole in ``roadstead.rebuilt.db`` before anything on the server changes; a run that
was interrupted after that goes on from that file.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from roadstead.cli.care.rebuild import Done, fill, remove_files, require_blobs
from roadstead.cli.terminal.progress import ProgressBar
from roadstead.cli.terminal.refusal import CommandRefusedError

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.app import Installation, ServerCatalogue
    from roadstead.config import Settings

_OLD: Final = "roadstead.rebuilding-from.db"
_NEW: Final = "roadstead.rebuilding.db"
_MADE: Final = "roadstead.rebuilt.db"


def rebuild_on_server(settings: "Settings", with_file: "Callable[[Path], Settings]", *, is_forced: bool) -> Done:
    """Makes a new catalogue and puts it on the server that ``settings`` name; ``with_file`` names a file instead.

    Raises:
        CatalogueOccupiedError: there is a catalogue, and it may not be moved aside.
        CatalogueServedError, DataFolderBusyError: servers use it.
        CommandRefusedError: there is nothing to rebuild from.
        DatabaseError, StorageError: it could not be finished; run it again.
    """
    from roadstead import app  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.clock import SystemClock  # noqa: PLC0415

    installation = app.Installation(settings)
    folder = installation.folder
    require_blobs(folder)
    place = app.ServerCatalogue(installation, f"a rebuild in {folder.path}")
    standing = asyncio.run(place.find_standing())
    if standing is app.Standing.OCCUPIED and not is_forced:
        raise app.CatalogueOccupiedError(installation.catalogue)
    folder.prepare()
    folder.lock()
    try:
        folder.lock_objects()
        made = folder.path / _MADE
        if standing is app.Standing.OCCUPIED or not made.exists():
            done = asyncio.run(_make(installation, with_file, made, has_old=standing is app.Standing.OCCUPIED))
        else:
            done = Done.taken_up()
        if standing is app.Standing.OCCUPIED:
            schema = asyncio.run(place.move_aside(SystemClock()))
            done.kept = f"schema {schema} of {installation.catalogue}"
        installation.migrate()
        _put(place, made)
        remove_files(made)
        return done
    finally:
        folder.unlock()


def _put(place: "ServerCatalogue", made: Path) -> None:
    from roadstead.database.copying import CopyObserver  # noqa: PLC0415 - see cli.terminal.session

    asyncio.run(place.begin())
    with ProgressBar() as bar:
        observer = CopyObserver(begin=lambda stage, total: bar.begin(stage, total, is_bytes=False), advance=bar.advance)
        asyncio.run(place.put(made, observer))


async def _make(
    installation: "Installation", with_file: "Callable[[Path], Settings]", made: Path, *, has_old: bool
) -> Done:
    """Makes the new catalogue in the file ``made``, which is there only once it is whole, and the blobs its own."""
    from roadstead import __version__, app  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.database import migrate  # noqa: PLC0415
    from roadstead.database.snapshot import make_single  # noqa: PLC0415
    from roadstead.storage.plain_files import sync_folder  # noqa: PLC0415
    from roadstead.telemetry import Metrics  # noqa: PLC0415

    folder = installation.folder
    old, new = folder.path / _OLD, folder.path / _NEW
    for file in (old, new, made):
        remove_files(file)
    if has_old:
        await _copy_old(installation, old)
    migrate(new)
    registry = await app.build_registry(with_file(new), Metrics(__version__))
    try:
        done = await fill(registry, folder, old)
        await installation.own_storage(registry.database, takes_over=True)
    finally:
        await app.close_registry(registry)
    make_single(new)
    new.rename(made)
    sync_folder(str(folder.path))
    remove_files(old)
    return done


async def _copy_old(installation: "Installation", target: Path) -> None:
    """Copies what the old catalogue has, if its server can give it."""
    from roadstead.database import DatabaseDamagedError  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.database.copy_errors import CopyRefusedError  # noqa: PLC0415
    from roadstead.database.copy_to_file import FileObserver, copy_to_file  # noqa: PLC0415
    from roadstead.database.migrate import HEAD  # noqa: PLC0415

    if await installation.find_revision() != HEAD:
        raise CommandRefusedError(
            f"the catalogue in {installation.catalogue} is of another version: run `roadstead db migrate` first, or"
            " name an empty database"
        )
    database = await installation.open_database()
    try:
        with (
            ProgressBar() as bar,
            contextlib.suppress(DatabaseDamagedError, CopyRefusedError),
        ):  # what is there has to do
            observer = FileObserver(
                begin=lambda stage, total, is_bytes: bar.begin(stage, total, is_bytes=is_bytes), advance=bar.advance
            )
            await copy_to_file(database, target, observer)
    finally:
        await database.close()
