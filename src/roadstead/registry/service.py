"""The registry as one value: what the web and the command line are given."""

from dataclasses import dataclass

from roadstead.clock import Clock
from roadstead.database import Database
from roadstead.events import Outbox, PullLog
from roadstead.registry.content.blobs import Blobs, Notice
from roadstead.registry.content.exclusive import Exclusive
from roadstead.registry.content.foreign_urls import UrlRules
from roadstead.registry.content.keeping import Keeping
from roadstead.registry.content.manifests import Manifests
from roadstead.registry.content.places import Places
from roadstead.registry.content.referrers import Referrers
from roadstead.registry.content.repositories import Repositories
from roadstead.registry.content.tags import Tags
from roadstead.registry.content.traffic import Traffic
from roadstead.registry.content.undo import Undo
from roadstead.registry.content.uploads import Uploads
from roadstead.registry.operation.confirmation import Confirmation
from roadstead.registry.operation.maintenance import Maintenance
from roadstead.registry.removal.rules import GarbageRules
from roadstead.storage import ObjectStore


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry's services, on one catalogue and one storage."""

    database: Database
    storage: ObjectStore
    places: Places
    exclusive: Exclusive
    clock: Clock
    rules: GarbageRules
    outbox: Outbox
    pulls: PullLog
    traffic: Traffic
    maintenance: Maintenance
    confirmation: Confirmation
    repositories: Repositories
    tags: Tags
    manifests: Manifests
    referrers: Referrers
    blobs: Blobs
    uploads: Uploads
    undo: Undo

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
        accepts_wrong_sizes: bool = False,
        rules: GarbageRules | None = None,
        outbox: Outbox | None = None,
        maintenance: Maintenance | None = None,
        maximum_blob_bytes: int = 0,
        foreign_urls: UrlRules | None = None,
        exclusive: Exclusive | None = None,
        is_shared: bool = False,
    ) -> "Registry":
        """A registry on these back ends; see ``Keeping``, ``Uploads`` and ``Manifests`` for the parameters."""
        rules, outbox, traffic = rules or GarbageRules(), outbox or Outbox(clock), Traffic(clock)
        keeping = Keeping.of(
            database, storage, clock, rules, traffic, boot_id=boot_id, exclusive=exclusive, is_shared=is_shared
        )
        recording = (clock, rules, outbox, traffic)
        return cls(
            database=database,
            storage=storage,
            places=keeping.places,
            exclusive=keeping.exclusive,
            clock=clock,
            rules=rules,
            outbox=outbox,
            pulls=PullLog(outbox, clock),
            traffic=traffic,
            maintenance=maintenance or Maintenance(database, clock),
            confirmation=Confirmation(database, storage, clock, is_shared=keeping.exclusive.is_shared),
            undo=Undo(database, clock, rules, outbox, accepts_missing_blobs=accepts_missing_blobs),
            repositories=Repositories(database),
            tags=Tags(database, clock, rules, outbox),
            manifests=Manifests(
                database,
                *recording,
                accepts_missing_blobs=accepts_missing_blobs,
                accepts_wrong_sizes=accepts_wrong_sizes,
                foreign_urls=foreign_urls,
            ),
            referrers=Referrers(database),
            blobs=Blobs(database, keeping.places, keeping.exclusive, clock, rules, outbox, on_quarantine),
            uploads=Uploads(
                database,
                storage,
                clock,
                keeping,
                minimum_free_bytes=minimum_free_bytes,
                maximum_blob_bytes=maximum_blob_bytes,
            ),
        )
