"""History of tags, and restoration of what was deleted.

A restoration is a push without bytes: it puts links and tags where they were, in one transaction, while everything that
they name is still kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from roadstead.access import VisibleRepositories
from roadstead.clock import Clock, calendar_ms
from roadstead.database import Database, Transaction
from roadstead.events import Cause, Event, EventAction, Outbox
from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry.content import store
from roadstead.registry.content.repositories import ensure_repository, require_visible
from roadstead.registry.errors import NothingToRestoreError, RepositoryUnknownError
from roadstead.registry.locks import adding_to
from roadstead.registry.removal import store as removal_store
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import Change, find_lost_tags, point_tag, settle_manifest

NEWEST: Final = 1 << 62
"""Above every key of a row of history."""

PAGE: Final = 100
"""Manifests restored in one transaction, with their children."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A change of a tag: ``action`` is push, delete, restore or adopt; ``digest`` is what it then pointed at.

    For a deletion the digest is what it had pointed at. ``is_there`` says whether the repository has that manifest;
    ``expires_ms`` is set where it is in the trash.
    """

    id: int
    tag: str
    action: str
    digest: Digest
    at_ms: int
    actor: str
    is_there: bool
    expires_ms: int | None


@dataclass(frozen=True, slots=True)
class RemovedManifest:
    """A manifest in the trash."""

    digest: Digest
    media_type: str
    size_bytes: int
    removed_ms: int
    expires_ms: int
    actor: str


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restoration: tags with what they point at now, and manifests out of the trash."""

    tags: tuple[tuple[str, Digest], ...]
    manifests: tuple[Digest, ...]


class Undo:
    """History and restoration of one registry."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        rules: GarbageRules,
        outbox: Outbox,
        *,
        accepts_missing_blobs: bool = False,
    ) -> None:
        """``accepts_missing_blobs``: as for ``Manifests``, a manifest may name what its repository does not have."""
        self._accepts_missing_blobs = accepts_missing_blobs
        self._database = database
        self._clock = clock
        self._rules = rules
        self._outbox = outbox

    async def list_history(
        self,
        repository: RepositoryName,
        tag: Tag | None,
        *,
        visible: VisibleRepositories,
        before: int = NEWEST,
        limit: int,
    ) -> tuple[HistoryEntry, ...]:
        """Changes of a tag, or of all tags of a repository, the newest first, before the entry ``before``.

        Raises:
            RepositoryUnknownError: there is none, nor was there one that can be restored.
        """
        require_visible(repository, visible)
        repository_id = await self._find_repository(repository)
        keys = {"repository_id": repository_id, "before": before, "limit": limit}
        if tag is None:
            rows = await self._database.fetch_all(removal_store.LIST_REPOSITORY_HISTORY, **keys)
        else:
            rows = await self._database.fetch_all(removal_store.LIST_HISTORY, **keys, tag=tag)
        return tuple(
            HistoryEntry(row[0], row[1], row[2], Digest(row[3]), row[4], row[5], bool(row[6]), self._shown(row[7]))
            for row in rows
        )

    async def list_removed(
        self, repository: RepositoryName, *, visible: VisibleRepositories, after: str = "", limit: int
    ) -> tuple[RemovedManifest, ...]:
        """Manifests of a repository that can be restored, by digest.

        Raises:
            RepositoryUnknownError: as ``list_history``.
        """
        require_visible(repository, visible)
        return await self._list_removed(repository, after, limit)

    async def _list_removed(self, repository: RepositoryName, after: str, limit: int) -> tuple[RemovedManifest, ...]:
        repository_id = await self._find_repository(repository)
        rows = await self._database.fetch_all(
            removal_store.LIST_DISCARDED, repository_id=repository_id, after=after, limit=limit
        )
        return tuple(
            RemovedManifest(Digest(row[0]), row[1], row[2], row[3], calendar_ms(self._clock, row[4]), row[5])
            for row in rows
        )

    def _shown(self, expires_ms: int | None) -> int | None:
        return None if expires_ms is None else calendar_ms(self._clock, expires_ms)

    async def restore_tag(
        self, repository: RepositoryName, tag: Tag, *, to: Digest | None = None, cause: Cause
    ) -> Restored:
        """Points a tag at ``to``, or at what it pointed at before its last change.

        Raises:
            RepositoryUnknownError: there is no such repository.
            NothingToRestoreError: the tag has no earlier state, or the manifest's grace time is over.
        """

        async def work(transaction: Transaction) -> Restored:
            repository_id = await self._bring_back(transaction, repository)
            digest = to or await self._earlier(transaction, repository_id, repository, tag)
            manifest_id, manifests = await self._ensure_there(transaction, repository_id, repository, digest, cause)
            await self._point(transaction, repository_id, repository, (tag,), manifest_id, digest, cause)
            return Restored(((tag, digest),), manifests)

        return await self._database.write(work, locks=adding_to(repository), is_long=True)

    async def restore_manifest(self, repository: RepositoryName, digest: Digest, *, cause: Cause) -> Restored:
        """Takes a manifest out of the trash, with its children, and gives it the tags back that are still free.

        Raises:
            RepositoryUnknownError: there is no such repository.
            NothingToRestoreError: it is not in the trash.
        """

        async def work(transaction: Transaction) -> Restored:
            repository_id = await self._bring_back(transaction, repository)
            return await self._restore_with_tags(transaction, repository_id, repository, digest, cause)

        return await self._database.write(work, locks=adding_to(repository), is_long=True)

    async def restore_repository(self, repository: RepositoryName, *, cause: Cause) -> Restored:
        """Takes everything of a repository out of the trash, but what lacks a blob that was deleted by itself.

        In steps; whoever is interrupted runs it again.

        Raises:
            RepositoryUnknownError: there is no such repository.
            NothingToRestoreError: its trash has nothing that can be restored.
        """
        tags: list[tuple[str, Digest]] = []
        manifests: list[Digest] = []
        after = ""
        while removed := await self._list_removed(repository, after, PAGE):
            after = removed[-1].digest

            async def work(transaction: Transaction, removed: Sequence[RemovedManifest] = removed) -> list[Restored]:
                repository_id = await self._bring_back(transaction, repository)
                return [
                    await self._restore_with_tags(transaction, repository_id, repository, each.digest, cause)
                    for each in removed
                    if await self._is_restorable(transaction, repository_id, each.digest)
                ]

            for restored in await self._database.write(work, locks=adding_to(repository), is_long=True):
                tags += restored.tags
                manifests += restored.manifests
        if not manifests:
            reason = "what is in its trash lacks blobs that were deleted" if after else "nothing of it is in the trash"
            raise NothingToRestoreError(repository, reason)
        return Restored(tuple(tags), tuple(manifests))

    async def _find_repository(self, repository: RepositoryName) -> int:
        row = await self._database.fetch_one(removal_store.FIND_REPOSITORY_EVEN_REMOVED, repository=repository)
        if row is None:
            raise RepositoryUnknownError(repository)
        return int(row[0])

    async def _bring_back(self, transaction: Transaction, repository: RepositoryName) -> int:
        row = await transaction.fetch_one(removal_store.FIND_REPOSITORY_EVEN_REMOVED, repository=repository)
        if row is None:
            raise RepositoryUnknownError(repository)
        return await ensure_repository(transaction, repository, self._clock.now_ms())

    async def _earlier(
        self, transaction: Transaction, repository_id: int, repository: RepositoryName, tag: Tag
    ) -> Digest:
        """The manifest that a tag pointed at before its last change; of a deleted tag, when it was deleted."""
        current = await transaction.lock_one(removal_store.FIND_TAG_TO_CHANGE, repository_id=repository_id, tag=tag)
        rows = await transaction.fetch_all(
            removal_store.LIST_HISTORY,
            repository_id=repository_id,
            tag=tag,
            before=NEWEST,
            limit=self._rules.history_entries,
        )
        for row in rows:
            if current is None or row[3] != current[1]:
                return Digest(row[3])
        raise NothingToRestoreError(f"{repository}:{tag}", "its history has nothing else")

    async def _restore_with_tags(
        self,
        transaction: Transaction,
        repository_id: int,
        repository: RepositoryName,
        digest: Digest,
        cause: Cause,
    ) -> Restored:
        record = await transaction.fetch_one(removal_store.FIND_DISCARDED, repository_id=repository_id, digest=digest)
        if record is None:
            raise NothingToRestoreError(f"{repository}@{digest}", "it is not in the trash")
        lost = await find_lost_tags(transaction, repository_id, digest, record[2])
        manifest_id, manifests = await self._ensure_there(transaction, repository_id, repository, digest, cause)
        await self._point(transaction, repository_id, repository, lost, manifest_id, digest, cause)
        return Restored(tuple((tag, digest) for tag in lost), manifests)

    async def _ensure_there(
        self, transaction: Transaction, repository_id: int, repository: RepositoryName, digest: Digest, cause: Cause
    ) -> tuple[int, tuple[Digest, ...]]:
        """The key of a manifest that is in the repository, or is taken out of its trash now; what was taken out.

        Its children come with it, and theirs: indexes may be nested deeper than any call stack.
        """
        row = await transaction.fetch_one(store.FIND_LINKED_MANIFEST_ID, repository_id=repository_id, digest=digest)
        if row is not None:
            return int(row[0]), ()
        manifest_id = await self._take_out(transaction, repository_id, repository, digest, cause)
        restored = [digest]
        parents = [manifest_id]
        while parents:
            for (child,) in await transaction.fetch_all(
                removal_store.LIST_DISCARDED_CHILDREN, repository_id=repository_id, manifest_id=parents.pop()
            ):
                if await self._is_restorable(transaction, repository_id, Digest(child)):
                    parents.append(await self._take_out(transaction, repository_id, repository, Digest(child), cause))
                    restored.append(Digest(child))
        return manifest_id, tuple(restored)

    async def _take_out(
        self, transaction: Transaction, repository_id: int, repository: RepositoryName, digest: Digest, cause: Cause
    ) -> int:
        """Puts one manifest back from the trash and returns its key.

        Raises:
            NothingToRestoreError: it is not in the trash, or lacks blobs.
        """
        record = await transaction.fetch_one(removal_store.FIND_DISCARDED, repository_id=repository_id, digest=digest)
        if record is None:
            raise NothingToRestoreError(f"{repository}@{digest}", "its grace time is over")
        manifest_id, pushed_ms = int(record[0]), record[1]
        if not await self._has_blobs(transaction, repository_id, manifest_id):
            raise NothingToRestoreError(
                f"{repository}@{digest}", "blobs that it names were deleted from the repository"
            )
        await transaction.execute(
            store.LINK_MANIFEST, repository_id=repository_id, manifest_id=manifest_id, pushed_ms=pushed_ms
        )
        await settle_manifest(transaction, repository_id, manifest_id)
        event = Event(action=EventAction.RESTORE, repository=repository, digest=digest, cause=cause)
        await self._outbox.record(transaction, event)
        return manifest_id

    async def _is_restorable(self, transaction: Transaction, repository_id: int, digest: Digest) -> bool:
        """Still: it may have come back as a child of another, or its time may be over, or blobs of it be deleted."""
        row = await transaction.fetch_one(removal_store.FIND_DISCARDED, repository_id=repository_id, digest=digest)
        return row is not None and await self._has_blobs(transaction, repository_id, row[0])

    async def _has_blobs(self, transaction: Transaction, repository_id: int, manifest_id: int) -> bool:
        """True if the repository can read what a manifest in its trash names: a client may have deleted blobs too."""
        if self._accepts_missing_blobs:
            return True
        row = await transaction.fetch_one(
            removal_store.COUNT_UNLINKED_BLOBS, repository_id=repository_id, manifest_id=manifest_id
        )
        return row is None or row[0] == 0

    async def _point(
        self,
        transaction: Transaction,
        repository_id: int,
        repository: RepositoryName,
        tags: Sequence[str],
        manifest_id: int,
        digest: Digest,
        cause: Cause,
    ) -> None:
        change = Change.at(self._clock, cause.actor, self._rules)
        for tag in tags:
            await point_tag(transaction, repository_id, tag, manifest_id, digest, change, "restore")
            event = Event(action=EventAction.PUSH, repository=repository, digest=digest, tag=tag, cause=cause)
            await self._outbox.record(transaction, event)
