"""Takes a whole repository away: tags, manifests, and its right to read blobs.

In steps, so that pushes and pulls elsewhere go on meanwhile; whoever is interrupted runs it again. What nobody needs
any more is for the collection of garbage.
"""

from dataclasses import dataclass
from typing import Final

from roadstead.database import Transaction
from roadstead.events import Cause, Event, EventAction, Outbox
from roadstead.oci import RepositoryName
from roadstead.registry.content import store
from roadstead.registry.content.repositories import get_repository_id
from roadstead.registry.locks import removing_from
from roadstead.registry.removal.transitions import Change, discard_manifest, remove_repository_row
from roadstead.registry.service import Registry

STEP: Final = 200
"""Manifests removed in one transaction: a few milliseconds in which other writers wait."""


@dataclass(frozen=True, slots=True)
class Removed:
    """Counts of what was in a repository that was removed."""

    tags: int
    manifests: int


async def remove_repository(registry: Registry, repository: RepositoryName, *, cause: Cause) -> Removed:
    """Removes all that a repository holds, and its name; until the grace time ends it can be restored.

    A push that goes on meanwhile may be refused, since the manifests it relied on are gone, or bring the repository
    back.

    Raises:
        RepositoryUnknownError: there is none of this name.
    """
    await get_repository_id(registry.database, repository)
    change = Change.at(registry.clock, cause.actor, registry.rules)
    tags = manifests = 0
    while True:
        removed, found = await registry.database.write(
            lambda transaction: _discard_some(transaction, registry.outbox, repository, change, cause),
            locks=removing_from(repository),
        )
        tags += removed
        manifests += found
        if found < STEP:
            await registry.database.write(
                lambda transaction: _finish(transaction, registry.outbox, repository, change, cause),
                locks=removing_from(repository),
            )
            return Removed(tags, manifests)


async def _discard_some(
    transaction: Transaction, outbox: Outbox, repository: RepositoryName, change: Change, cause: Cause
) -> tuple[int, int]:
    """Removes some manifests and their tags: the numbers of tags and manifests."""
    record = await transaction.fetch_one(store.FIND_REPOSITORY, repository=repository)  # again: keys are used again
    if record is None:
        return 0, 0
    rows = await transaction.fetch_all(store.LIST_LINKED_MANIFESTS, repository_id=record[0], limit=STEP)
    tags = 0
    for manifest_id, digest in rows:
        tags += await discard_manifest(transaction, record[0], manifest_id, digest, change)
        event = Event(action=EventAction.DELETE, repository=repository, digest=digest, cause=cause)
        await outbox.record(transaction, event)
    return tags, len(rows)


async def _finish(
    transaction: Transaction, outbox: Outbox, repository: RepositoryName, change: Change, cause: Cause
) -> None:
    """Takes the name away, unless a manifest was pushed just now."""
    record = await transaction.fetch_one(store.FIND_REPOSITORY, repository=repository)
    if record is None or await transaction.fetch_all(store.LIST_LINKED_MANIFESTS, repository_id=record[0], limit=1):
        return
    await remove_repository_row(transaction, record[0], change)
    event = Event(action=EventAction.REMOVE, repository=repository, digest="", cause=cause)
    await outbox.record(transaction, event)
