"""Puts a catalogue that was made in a file into the database on a server that the settings name.

A restoration and a rebuild make their catalogue in a file in any case, and know it to be whole there. Then its rows are
copied (``roadstead.database.copying``). From ``begin`` on the database says that it is not complete, so that no replica
starts on it; what was interrupted, in whatever way, goes on where it stopped. A catalogue that is in the place is moved
aside as a whole, never emptied.
"""

import datetime as dt
import enum
from pathlib import Path

from sqlalchemy import literal, select

from roadstead.app.installation import Installation, open_catalogue_file
from roadstead.clock import Clock
from roadstead.database import Database, Statement, metadata
from roadstead.database.copy_errors import CopyRefusedError
from roadstead.database.copying import CatalogueCopy, CopyObserver, find_source
from roadstead.database.migrate import HEAD
from roadstead.errors import RoadsteadError
from roadstead.registry.operation.maintenance import Maintenance


class CatalogueOccupiedError(RoadsteadError):
    """The database into which a catalogue is to be put has one already."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"there is a catalogue in {place} already: name an empty database, or give --force, which moves its tables"
            " aside"
        )
        self.place = place


class CatalogueServedError(RoadsteadError):
    """The catalogue that is to be replaced is served."""

    def __init__(self, place: str, servers: int) -> None:
        super().__init__(f"{servers} server processes use the catalogue in {place}: stop all of them first")
        self.place = place


class Standing(enum.Enum):
    """The state of the place that a catalogue is to be copied to."""

    FREE = enum.auto()
    BEGUN = enum.auto()
    """A part of the same catalogue."""
    OCCUPIED = enum.auto()
    """Another catalogue, or a part of one."""


class ServerCatalogue:
    """The place on a server; ``source`` tells what comes from one file from what comes from another."""

    def __init__(self, installation: Installation, source: str) -> None:
        """Keeps its arguments; nothing is opened."""
        self._installation = installation
        self._source = source

    async def find_standing(self) -> Standing:
        """Looks at the place; changes nothing.

        Raises:
            DatabaseUnavailableError: it cannot be reached.
        """
        revision = await self._installation.find_revision()
        if not revision:
            return Standing.FREE
        if revision != HEAD:
            return Standing.OCCUPIED
        database = await self._installation.open_database()
        try:
            source = await find_source(database)
            if source is not None:
                return Standing.BEGUN if source == self._source else Standing.OCCUPIED
            return Standing.OCCUPIED if await _has_rows(database) else Standing.FREE
        finally:
            await database.close()

    async def move_aside(self, clock: Clock) -> str:
        """Moves the catalogue that is in the place to a schema of its own, and returns the schema's name.

        Raises:
            CatalogueServedError: servers use it.
            ServerUnavailableError: the server does not let it be moved; nothing was changed.
        """
        from roadstead.database.server_aside import move_tables_aside  # noqa: PLC0415 - it brings asyncpg

        if await self._installation.find_revision() == HEAD:
            await self._require_unserved(clock)
        stamp = dt.datetime.fromtimestamp(clock.now_ms() // 1000, dt.UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        schema = f"replaced-{stamp}"
        await move_tables_aside(self._installation.server, schema, list(metadata.tables))
        return schema

    async def begin(self) -> None:
        """Says in the place, which has this version's schema, that what is there is not complete.

        Raises:
            CatalogueOccupiedError: it is not empty, and what it has is nothing of this.
        """
        database = await self._installation.open_database()
        try:
            silent = CopyObserver(begin=lambda _stage, _total: None, advance=lambda _rows: None)
            await self._copy(database, database, silent).begin()
        except CopyRefusedError as error:
            raise CatalogueOccupiedError(self._installation.catalogue) from error
        finally:
            await database.close()

    async def put(self, file: Path, observer: CopyObserver) -> None:
        """Copies what is not copied yet, compares all of it, and makes the place a catalogue.

        Raises:
            DatabaseError: a database failed; it goes on when called again.
        """
        source = open_catalogue_file(file)
        try:
            target = await self._installation.open_database()
            try:
                await self._copy(source, target, observer).run()
            finally:
                await target.close()
        finally:
            await source.close()

    def _copy(self, source: Database, target: Database, observer: CopyObserver) -> CatalogueCopy:
        return CatalogueCopy(source, target, source_name=self._source, observer=observer)

    async def _require_unserved(self, clock: Clock) -> None:
        database = await self._installation.open_database()
        try:
            serving = await Maintenance(database, clock).list_serving()
        finally:
            await database.close()
        if serving:
            raise CatalogueServedError(self._installation.catalogue, len(serving))


async def _has_rows(database: Database) -> bool:
    for table in metadata.sorted_tables:
        if await database.fetch_one(Statement(select(literal(1)).select_from(table).limit(literal(1)))) is not None:
            return True
    return False
