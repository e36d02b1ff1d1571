"""The installation: a database, an object store and locks, opened from what the settings name.

The catalogue is a file (``sqlite:///…``), which one server uses at a time, or a database on a PostgreSQL server
(``postgresql://…``), which any number of replicas share. The data folder is each server's own in both cases, and locked
by it: with a catalogue on a server it holds keys and passwords only.

**Who may be at the bytes.** They belong to one catalogue, and their mark says to which (see
``roadstead.registry.operation.storage_owner``). A server locks them, then makes them its catalogue's
(``lock_storage``, ``own_storage``). Where the catalogue is a file it has them for itself. Replicas share the lock once
the bytes are known to be their catalogue's and the catalogue is in charge of them; the one that brings that about, by a
first start, an adoption or a claim, has them for itself meanwhile, and the others wait a moment for it. A command
beside servers asks whose the bytes are, and whether a server of another installation is at them (``require_storage``).

**No start of a replica assumes that it is alone** (``recovers``): what others may be in the middle of is left to them.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from roadstead.config import Settings, database_server, shown_url
from roadstead.database import Database, SqliteDatabase, migrate
from roadstead.database.migrate import HEAD, current_revision
from roadstead.errors import RoadsteadError
from roadstead.registry.layout import BLOBS
from roadstead.registry.operation.adoption_state import AdoptionPhase, find_adoption
from roadstead.registry.operation.storage_owner import claim, is_owned, require_owned
from roadstead.registry2.links import LINK_TREE
from roadstead.storage import DataFolder, DataFolderBusyError
from roadstead.storage.data_folder import folder_error

if TYPE_CHECKING:  # it brings asyncpg, which a catalogue in a file does not need
    from roadstead.database.server import ServerState

_PARTS: Final = BLOBS.split("/")
_FOLDERS: Final = tuple("/".join(_PARTS[: number + 1]) for number in range(len(_PARTS)))
"""The folder of blobs, and those that lead to it from the root."""

_TURNS: Final = 20
"""Tries of a replica, of half a second each, to lock the bytes while another one makes them their catalogue's."""


class CatalogueAbsentError(RoadsteadError):
    """A command was pointed at a place in which there is no catalogue."""

    def __init__(self, place: str, remedy: str) -> None:
        super().__init__(f"there is no registry in {place}: {remedy}")
        self.place = place


class CatalogueOutdatedError(RoadsteadError):
    """A command met a catalogue of an older version."""

    def __init__(self, place: str, found: str) -> None:
        super().__init__(
            f"the catalogue in {place} has schema {found or 'none'}, not {HEAD}: run `roadstead db migrate`, or start"
            " the server once"
        )
        self.place = place


class Installation:
    """The places that the settings name, and the locks on them that this process holds."""

    def __init__(self, settings: Settings) -> None:
        """Opens nothing."""
        self.settings = settings
        self.folder = data_folder(settings)

    @property
    def is_shared(self) -> bool:
        """True if other servers may work on the same catalogue at any time."""
        return self.settings.has_database_server

    @property
    def recovers(self) -> bool:
        """True if a start may tidy up after a crash at once, because no other server can be here."""
        return not self.is_shared

    @property
    def catalogue(self) -> str:
        """The place of the catalogue, without a password: for messages, and for the mark of the bytes."""
        return shown_url(self.settings.database.url or "") if self.is_shared else str(self.folder.catalogue)

    @property
    def server(self) -> str:
        """The address of the catalogue's server, with the password: for connecting alone."""
        return database_server(self.settings)

    # ── The database ──────────────────────────────────────────────────────────────────────────────────────────

    async def find_revision(self) -> str | None:
        """Returns the schema of the catalogue, empty if it has none yet; None if there is no catalogue.

        Raises:
            DatabaseDamagedError, DatabaseUnavailableError: it cannot be opened.
        """
        if self.is_shared:
            from roadstead.database.server import find_server_revision  # noqa: PLC0415 - see above

            return await find_server_revision(self.server) or None
        return current_revision(self.folder.catalogue) if self.folder.catalogue.exists() else None

    async def require_current(self) -> None:
        """Sees that there is a catalogue with this version's schema.

        Raises:
            CatalogueAbsentError: there is none.
            CatalogueOutdatedError: it was not yet migrated to this version.
            DatabaseDamagedError, DatabaseUnavailableError: it cannot be opened.
        """
        revision = await self.find_revision()
        if revision is None:
            raise self.absent()
        if revision != HEAD:
            raise CatalogueOutdatedError(self.catalogue if self.is_shared else str(self.folder.path), revision)

    def absent(self) -> CatalogueAbsentError:
        """Returns the error of a command that finds no catalogue."""
        if self.is_shared:
            remedy = "correct database.url, or make one with `roadstead db migrate` or `roadstead serve`"
            return CatalogueAbsentError(self.catalogue, remedy)
        remedy = "name its folder with --data, or start one with `roadstead serve`"
        return CatalogueAbsentError(str(self.folder.path), remedy)

    def migrate(self) -> bool:
        """Brings the schema to this version's, making the catalogue if need be; False when it was. Not in a loop.

        Raises:
            DatabaseError: it cannot.
        """
        if not self.is_shared:
            return migrate(self.folder.catalogue)
        if asyncio.run(self.find_revision()) == HEAD:  # so that a start on an up-to-date catalogue needs no Alembic
            return False
        from roadstead.database.migrate_server import migrate_server  # noqa: PLC0415 - 0.3 s that most starts save

        return migrate_server(self.server)

    async def open_database(self) -> Database:
        """Opens the catalogue, which must have its schema.

        Raises:
            DatabaseDamagedError, DatabaseUnavailableError: it cannot be opened.
        """
        if not self.is_shared:
            return open_catalogue_file(self.folder.catalogue)
        from roadstead.database.postgresql import PostgresqlDatabase  # noqa: PLC0415 - see above

        return await PostgresqlDatabase.open(self.server, connections=self.settings.database.connections)

    async def look_at_server(self) -> "ServerState":
        """Returns what there is to say about the server of a catalogue that has one.

        Raises:
            ServerUnavailableError: it cannot be reached, or refuses the user.
        """
        from roadstead.database.server import look_at_server  # noqa: PLC0415 - see above

        return await look_at_server(self.server)

    # ── The locks, and whose the bytes are ────────────────────────────────────────────────────────────────────

    def lock(self) -> None:
        """Makes the data folder ready and keeps every other server out of it.

        Raises:
            DataFolderError: it cannot be used, or another server uses it.
        """
        self.folder.prepare()
        self.folder.lock()
        self.folder.require_restored()

    async def require_storage(self, database: Database) -> None:
        """Sees that a command may work on the bytes with this catalogue.

        Raises:
            StorageForeignError, StorageMissingError, StorageUnavailableError: the bytes are another's, or not there.
            DataFolderBusyError: a server of another installation works on them.
        """
        await require_owned(database, self.folder.objects)
        self.folder.require_no_other_server()

    async def lock_storage(self, database: Database, *, takes_over: bool = False) -> None:
        """Makes the place of the bytes ready and locks it, for good or until ``own_storage`` shares it.

        Nothing is made where the bytes are gone.

        Raises:
            StorageForeignError, StorageMissingError, StorageUnavailableError: as ``require_storage``; not those that
                ``takes_over`` is about.
            DataFolderError: the folder cannot be used, or another server works on it.
        """
        if not takes_over:
            await require_owned(database, self.folder.objects)
        self.folder.prepare_objects(_FOLDERS)
        if not self.is_shared:
            self.folder.lock_objects()
            return
        for turn in range(_TURNS):
            try:
                if await self._lock_beside_others(database):
                    return
            except DataFolderBusyError:
                if turn + 1 == _TURNS:
                    raise

    async def own_storage(self, database: Database, *, takes_over: bool = False) -> None:
        """Makes the bytes those of this catalogue, unless they are; they are locked, and shared from now on.

        Raises:
            StorageForeignError, StorageMissingError, StorageUnavailableError, DataFolderError: as ``lock_storage``.
        """
        try:
            await claim(database, self.folder.objects, self.catalogue, takes_over=takes_over)
            self.folder.prepare_objects(_FOLDERS)
        except OSError as error:
            raise folder_error(self.folder.objects, error) from error
        if self.is_shared:
            self.folder.unlock_objects()
            await self.lock_storage(database)

    async def _lock_beside_others(self, database: Database) -> bool:
        """Takes the lock that fits; False if it no longer did by the time it was taken."""
        is_ours = await self._is_in_charge(database)
        self.folder.lock_objects(is_shared=is_ours)
        if not is_ours or await self._is_in_charge(database):
            return True
        self.folder.unlock_objects()
        return False

    async def _is_in_charge(self, database: Database) -> bool:
        """Returns True if nothing is left to do before the bytes are served with this catalogue."""
        phase = (await find_adoption(database)).phase
        return phase is AdoptionPhase.IN_CHARGE and await is_owned(database, self.folder.objects)


def open_catalogue_file(path: Path) -> SqliteDatabase:
    """Opens a catalogue in a file that is not the installation's, or not yet.

    Raises:
        DatabaseDamagedError, DatabaseUnavailableError: it cannot be opened.
    """
    return SqliteDatabase.open(path)


def data_folder(settings: Settings) -> DataFolder:
    """The data folder that the settings name; one that is registry:2's own folder has its blobs where that has them."""
    objects = settings.storage_folder
    if settings.storage.url is None and not (objects / "docker").exists():
        data = settings.data.folder
        objects = data if (data / LINK_TREE).is_dir() else objects
    return DataFolder(
        settings.data.folder, catalogue=settings.database_file, objects=objects, group=settings.storage.group
    )
