"""The registry as one value: what the web and the command line are given."""

from dataclasses import dataclass

from roadstead.clock import Clock
from roadstead.database import Database
from roadstead.registry.blobs import Blobs, Notice
from roadstead.registry.manifests import Manifests
from roadstead.registry.referrers import Referrers
from roadstead.registry.repositories import Repositories
from roadstead.registry.tags import Tags
from roadstead.registry.uploads import Uploads
from roadstead.storage import ObjectStore


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry's services, on one catalogue and one storage."""

    database: Database
    storage: ObjectStore
    repositories: Repositories
    tags: Tags
    manifests: Manifests
    referrers: Referrers
    blobs: Blobs
    uploads: Uploads

    @classmethod
    def on(
        cls,
        database: Database,
        storage: ObjectStore,
        clock: Clock,
        *,
        on_quarantine: Notice,
        boot_id: str = "",
        minimum_free_bytes: int = 0,
        accepts_missing_blobs: bool = False,
    ) -> "Registry":
        """A registry on these back ends; see ``Blobs``, ``Uploads`` and ``Manifests`` for the parameters."""
        return cls(
            database=database,
            storage=storage,
            repositories=Repositories(database),
            tags=Tags(database),
            manifests=Manifests(database, clock, accepts_missing_blobs=accepts_missing_blobs),
            referrers=Referrers(database),
            blobs=Blobs(database, storage, clock, on_quarantine),
            uploads=Uploads(database, storage, clock, boot_id=boot_id, minimum_free_bytes=minimum_free_bytes),
        )
