"""Takes a whole repository away: tags, manifests, and its right to read blobs.

In steps, so that pushes and pulls elsewhere go on meanwhile; whoever is interrupted runs it again. What nobody needs
any more is for the collection of garbage.
"""

from dataclasses import dataclass
from typing import Final

from roadstead.database import Database, Transaction
from roadstead.oci import RepositoryName
from roadstead.registry import store
from roadstead.registry.repositories import get_repository_id

STEP: Final = 200
"""Manifests removed in one transaction: a few milliseconds in which other writers wait."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What was in the repository."""

    tags: int
    manifests: int
    blobs: int


async def remove_repository(database: Database, repository: RepositoryName) -> Removed:
    """Removes all that a repository holds, and its name.

    A push that goes on meanwhile may be refused, since the blobs it relied on are gone, or bring the repository back.

    Raises:
        RepositoryUnknownError: there is none of this name.
    """
    await get_repository_id(database, repository)
    tags = manifests = 0
    while True:
        removed, found = await database.write(lambda transaction: _unlink_some(transaction, repository))
        tags += removed
        manifests += found
        if found < STEP:
            return Removed(tags, manifests, await database.write(lambda transaction: _finish(transaction, repository)))


async def _unlink_some(transaction: Transaction, repository: RepositoryName) -> tuple[int, int]:
    """Removes some manifests and their tags: the numbers of tags and manifests."""
    record = await transaction.fetch_one(store.FIND_REPOSITORY, repository=repository)  # again: keys are used again
    if record is None:
        return 0, 0
    rows = await transaction.fetch_all(store.LIST_LINKED_MANIFEST_IDS, repository_id=record[0], limit=STEP)
    tags = 0
    for (manifest_id,) in rows:
        keys = {"repository_id": record[0], "manifest_id": manifest_id}
        tags += await transaction.execute(store.DELETE_TAGS_OF_MANIFEST, **keys)
        await transaction.execute(store.UNLINK_MANIFEST, **keys)
    return tags, len(rows)


async def _finish(transaction: Transaction, repository: RepositoryName) -> int:
    """Removes links to blobs and the name, unless a manifest was pushed just now: what that names must stay."""
    record = await transaction.fetch_one(store.FIND_REPOSITORY, repository=repository)
    if record is None or await transaction.fetch_all(store.LIST_LINKED_MANIFEST_IDS, repository_id=record[0], limit=1):
        return 0
    blobs = await transaction.execute(store.UNLINK_ALL_BLOBS, repository_id=record[0])
    await transaction.execute(store.DELETE_REPOSITORY, repository_id=record[0])
    return blobs
