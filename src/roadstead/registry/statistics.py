"""Totals of a registry."""

from dataclasses import dataclass

from roadstead.database import Database, Statement
from roadstead.registry import store
from roadstead.registry.model import Statistics


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What waits for somebody: uploads that are not closed, blobs that were found damaged."""

    uploads: int
    quarantined: int


async def measure_unfinished(database: Database) -> Unfinished:
    """Cheap enough to be asked every few seconds."""
    uploads = await database.fetch_one(store.COUNT_UPLOADS) or (0, 0)
    quarantined = await database.fetch_one(store.COUNT_QUARANTINED) or (0,)
    return Unfinished(uploads[0], quarantined[0])


async def measure(database: Database) -> Statistics:
    """Counts and sizes of all that the catalogue holds; reads every index once."""

    async def numbers(statement: Statement) -> list[int]:
        return [int(value) for value in await database.fetch_one(statement) or ()]

    (repositories,) = await numbers(store.COUNT_REPOSITORIES)
    (tags,) = await numbers(store.COUNT_TAGS)
    manifests, manifest_bytes = await numbers(store.COUNT_MANIFESTS)
    blobs, blob_bytes, quarantined = await numbers(store.COUNT_BLOBS)
    uploads, upload_bytes = await numbers(store.COUNT_UPLOADS)
    return Statistics(
        repositories=repositories,
        tags=tags,
        manifests=manifests,
        manifest_bytes=manifest_bytes,
        blobs=blobs,
        blob_bytes=blob_bytes,
        quarantined=quarantined,
        uploads=uploads,
        upload_bytes=upload_bytes,
    )
