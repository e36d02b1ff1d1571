"""A whole registry in this process, on a folder, for tests of services and of the content plane.

Catalogue and file system are the real ones. ``restart`` closes both and opens them again on the same folder, with the
recovery that a server runs at its start.
"""

import functools
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from sqlalchemy import select

from roadstead.access import Policy
from roadstead.clock import SystemClock
from roadstead.config import LimitSettings
from roadstead.database import Database, SqliteDatabase, Statement, migrate
from roadstead.database.postgresql import PostgresqlDatabase
from roadstead.oci import Digest
from roadstead.registry import Registry
from roadstead.registry.content.exclusive import Exclusive
from roadstead.registry.content.exclusive_rows import LAPSE_SECONDS, RowExclusive
from roadstead.registry.content.foreign_urls import UrlRules
from roadstead.registry.layout import BLOBS, OBJECTS, blob_digest
from roadstead.registry.operation.recovery import Recovered, recover
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.tables import blobs, upload_parts
from roadstead.storage import FilesystemStore, FolderStore, ObjectStore
from roadstead.storage.filesystem import LOCKS
from roadstead.testing.asgi import AsgiClient
from roadstead.testing.clock import SettableClock
from roadstead.testing.guarded_database import GuardedDatabase
from roadstead.testing.images import BlobContent, ManifestContent
from roadstead.web.authentication import Authentication
from roadstead.web.distribution import Distribution


class Instance:
    """A registry with its client.

    ``quarantined`` gathers the notices of damaged blobs; another ``boot_id`` before a restart is a machine
    started anew.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limits: LimitSettings | None = None,
        accepts_missing_blobs: bool = False,
        accepts_wrong_sizes: bool = False,
        minimum_free_bytes: int = 0,
        foreign_urls: UrlRules | None = None,
        database_url: str = "",
        rules: GarbageRules | None = None,
    ) -> None:
        """Nothing is opened yet: see ``open``. ``database_url`` names a server in place of a file, with its schema."""
        self.database_url = database_url
        self.folder = folder
        self.clock = SettableClock()
        self.boot_id = "first-boot"
        """True if other machines may have the catalogue too; takes effect with the next ``open``."""
        self.quarantined: list[tuple[Digest, str]] = []
        self._limits = limits or LimitSettings()
        self._accepts_missing_blobs = accepts_missing_blobs
        self._accepts_wrong_sizes = accepts_wrong_sizes
        self._minimum_free_bytes = minimum_free_bytes
        self._foreign_urls = foreign_urls
        self._rules = rules
        self.wrap_database: Callable[[Database], Database] = GuardedDatabase
        """The wrapper that the registry's database gets, from the next ``open`` on."""
        self.lapse_seconds = LAPSE_SECONDS
        """After which a replica that gives no sign of life loses what it holds."""
        self.bucket: ObjectStore | None = None
        """Keeps the bytes in place of a folder, from the next ``open`` on."""
        self.registry: Registry
        self.client: AsgiClient

    @property
    def catalogue(self) -> Path:
        """The file of the catalogue, which it has where it is not on a server."""
        assert not self.database_url, "this catalogue is on a server: ask registry.database"
        return self.folder / "roadstead.db"

    @property
    def objects(self) -> Path:
        """The root of the object store."""
        return self.folder / "registry"

    async def open(self, storage: ObjectStore | None = None) -> Recovered:
        """Opens the registry, making its catalogue if need be; ``storage`` takes the file system's place."""
        database = self.wrap_database(await self._open_database())
        files = storage or self.bucket or FilesystemStore(self.objects)
        self.registry = self._registry_on(database, files, self._exclusive(database, files), self.boot_id)
        self.client = self.client_of(Authentication(Policy()))
        if self.database_url:
            return Recovered(0, 0, 0)  # others may be serving
        return await recover(self.registry.database, self.registry.storage)

    def another_process(self, *, database: Database | None = None, boot_id: str | None = None) -> Registry:
        """The same registry as a process has it that knows nothing yet, on ``database`` if it is given."""
        boot_id = self.boot_id if boot_id is None else boot_id
        registry = self.registry
        return self._registry_on(database or registry.database, registry.storage, registry.exclusive, boot_id)

    def _registry_on(
        self, database: Database, files: ObjectStore, exclusive: Exclusive | None, boot_id: str
    ) -> Registry:
        return Registry.on(
            database,
            files,
            self.clock,
            on_quarantine=lambda digest, reason: self.quarantined.append((digest, reason)),
            boot_id=boot_id,
            minimum_free_bytes=self._minimum_free_bytes,
            accepts_missing_blobs=self._accepts_missing_blobs,
            accepts_wrong_sizes=self._accepts_wrong_sizes,
            maximum_blob_bytes=self._limits.blob_bytes,
            foreign_urls=self._foreign_urls,
            rules=self._rules,
            exclusive=exclusive,
            is_shared=bool(self.database_url),
        )

    def _exclusive(self, database: Database, files: ObjectStore) -> Exclusive | None:
        """That of a replica, whose holds lapse by real time; None where a file is the catalogue."""
        if not self.database_url or not isinstance(files, FolderStore):
            return None
        return RowExclusive(database, files, SystemClock(), lapse_seconds=self.lapse_seconds)

    async def _open_database(self) -> Database:
        if self.database_url:
            return await PostgresqlDatabase.open(self.database_url, connections=4)
        if not self.catalogue.exists():
            self.catalogue.write_bytes(_empty_catalogue())
        return SqliteDatabase.open(self.catalogue)

    def client_of(self, authentication: Authentication) -> AsgiClient:
        """A client of the same registry behind another gate; ``client`` may do everything."""
        return AsgiClient(Distribution(self.registry, self._limits, authentication))

    async def close(self) -> None:
        """Closes what ``open`` opened."""
        await self.registry.database.close()
        await self.registry.storage.close()

    async def restart(self) -> Recovered:
        """Closes and opens again; returns the result of the recovery."""
        await self.close()
        return await self.open()

    async def push_blob(self, repository: str, content: bytes, algorithm: str = "sha256") -> str:
        """Pushes a blob in one request and returns its digest."""
        blob = BlobContent(content, algorithm=algorithm)
        answer = await self.client.request(
            "POST", f"/v2/{repository}/blobs/uploads/?digest={blob.digest}", body=content
        )
        assert answer.status == 201, answer
        return blob.digest

    async def push(self, repository: str, manifest: ManifestContent, *tags: str) -> str:
        """Pushes a manifest by digest with all that it names, points ``tags`` at it, returns its digest."""
        for blob in manifest.blobs:
            await self.push_blob(repository, blob.content, blob.algorithm)
        for child in manifest.children:
            await self.push(repository, child)
        return await self.push_manifest(repository, manifest, tags)

    async def push_manifest(self, repository: str, manifest: ManifestContent, tags: Iterable[str] = ()) -> str:
        """Pushes a manifest by digest without what it names, points ``tags`` at it, returns its digest."""
        query = "&".join(f"tag={tag}" for tag in tags)
        answer = await self.client.request(
            "PUT",
            f"/v2/{repository}/manifests/{manifest.digest}?{query}",
            headers={"content-type": manifest.media_type},
            body=manifest.content,
        )
        assert answer.status == 201, answer
        return manifest.digest

    async def lose_bytes(self, digest: str) -> None:
        """Removes the bytes of a blob behind the registry's back."""
        for key in await self._keys_of(digest):
            assert await self.registry.storage.find(key) is not None, key
            await self.registry.storage.delete(key)

    async def stored_blobs(self) -> set[str]:
        """The digests of the blobs whose bytes are there; no other bytes may be, but those of open uploads."""
        storage = self.registry.storage
        if self.bucket is None:
            found = {blob_digest(each.key) async for each in storage.iter_objects(BLOBS)}
            assert None not in found
            return {str(digest) for digest in found}
        keys = {each.key async for each in storage.iter_objects(OBJECTS)}
        parts = {key for (key,) in await self.registry.database.fetch_all(_PART_KEYS)}
        stored: set[str] = set()
        for (digest,) in await self.registry.database.fetch_all(_BLOB_DIGESTS):
            named = set(await self._keys_of(digest))
            stored |= {digest} if named <= keys else set()
            keys -= named
        assert keys <= parts, "no row names these objects"
        return stored

    async def _keys_of(self, digest: str) -> list[str]:
        places = self.registry.places
        return await places.keys(Digest(digest), await places.find_place(Digest(digest)))

    def files(self) -> dict[str, int]:
        """Every file of the object store but its locks, as key and size."""
        return {
            str(path.relative_to(self.objects)): path.stat().st_size
            for path in self.objects.rglob("*")
            if path.is_file() and path.parent.name != LOCKS
        }


_PART_KEYS: Final = Statement(select(upload_parts.c.object_key))
_BLOB_DIGESTS: Final = Statement(select(blobs.c.digest))


@functools.cache
def _empty_catalogue() -> bytes:
    """The bytes of a catalogue with this version's schema and nothing in it: migrating takes longer than copying."""
    with tempfile.TemporaryDirectory(prefix="roadstead-catalogue-") as folder:
        path = Path(folder) / "roadstead.db"
        migrate(path)
        return path.read_bytes()
