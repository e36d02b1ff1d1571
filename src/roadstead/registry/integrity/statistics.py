"""Totals of a registry."""

from dataclasses import dataclass

from roadstead.database import Database, Statement
from roadstead.registry.content import store
from roadstead.registry.integrity import store as check_store
from roadstead.registry.model import Statistics


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Counts of what waits for somebody: uploads that are not closed, blobs that were found damaged."""

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


@dataclass(frozen=True, slots=True)
class Waiting:
    """Counts of what no manifest in use needs, by the reason why its space is not free; sizes in bytes."""

    deleted_manifests: int
    """That can still be restored."""
    deleted_blobs: int
    """That only these name."""
    deleted_blob_bytes: int
    unneeded_blobs: int
    """That nothing names: pushed for a manifest that may still come, or to be collected."""
    unneeded_blob_bytes: int


async def measure_waiting(database: Database) -> Waiting:
    """Looks at every blob: some seconds for a million."""
    row = await database.fetch_one(check_store.MEASURE_WAITING) or (0, 0, 0, 0, 0)
    return Waiting(*(int(value) for value in row))
