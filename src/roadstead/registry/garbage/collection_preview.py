"""A preview of a collection: what it would take, and why. Reads only; memory does not grow with the registry."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from roadstead.oci import Digest
from roadstead.registry.garbage import store as collection_store
from roadstead.registry.garbage.wished_age import WishedAge
from roadstead.registry.service import Registry

PAGE: Final = 500
"""Rows asked of the catalogue at once."""

NAMED: Final = 3
"""Repositories that are named as having had a blob."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something that would go: ``kind`` is manifest or blob, ``where`` its repository, where one is known."""

    kind: str
    digest: Digest
    size_bytes: int
    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Preview:
    """A look at what is due now; ``older_than_ms`` as for ``Collector.make_due``."""

    registry: Registry
    older_than_ms: int | None = None
    untagged: bool = False

    async def iter_garbage(self) -> AsyncIterator[Garbage]:
        """All that would go: manifests that no tag reaches, then manifests in the trash, then blobs."""
        if self.untagged:
            async for found in self._iter_untagged():
                yield found
        async for found in self._iter_expired():
            yield found
        async for found in self._iter_blobs():
            yield found

    @property
    def _times(self) -> dict[str, int]:
        return WishedAge.of(self.registry, self.older_than_ms).parameters

    async def _iter_untagged(self) -> AsyncIterator[Garbage]:
        """Only those that nothing reaches now: what only they reach would follow."""
        wait_ms = self.registry.rules.undo_ms if self.older_than_ms is None else self.older_than_ms
        after_repository, after = 0, 0
        while rows := await self.registry.database.fetch_all(
            collection_store.LIST_UNREACHED,
            after_repository=after_repository,
            after=after,
            before_ms=min(self.registry.clock.now_ms(), self.registry.clock.grace_ms()) - wait_ms,
            limit=PAGE,
        ):
            for repository, digest, size_bytes, repository_id, manifest_id in rows:
                after_repository, after = repository_id, manifest_id
                reason = "no tag reaches it; it goes to the trash first"
                yield Garbage("manifest", Digest(digest), size_bytes, repository, reason)

    async def _iter_expired(self) -> AsyncIterator[Garbage]:
        after_repository, after = 0, 0
        while rows := await self.registry.database.fetch_all(
            collection_store.LIST_OVER,
            after_repository=after_repository,
            after=after,
            **self._times,
            limit=PAGE,
        ):
            for repository, digest, size_bytes, _, repository_id, manifest_id in rows:
                after_repository, after = repository_id, manifest_id
                yield Garbage(
                    "manifest", Digest(digest), size_bytes, repository, "it was deleted, and its time is over"
                )

    async def _iter_blobs(self) -> AsyncIterator[Garbage]:
        after = 0
        while rows := await self.registry.database.fetch_all(
            collection_store.LIST_FREE_BLOBS,
            after=after,
            **self._times,
            limit=PAGE,
        ):
            for blob_id, digest, size_bytes in rows:
                where = await self._where(blob_id)
                reason = "no manifest names it" if where else "no repository has it"
                yield Garbage("blob", Digest(digest), size_bytes, where, reason)
            after = rows[-1][0]

    async def _where(self, blob_id: int) -> str:
        rows = await self.registry.database.fetch_all(
            collection_store.LIST_REPOSITORIES_OF_BLOB, blob_id=blob_id, limit=NAMED + 1
        )
        names = [str(row[0]) for row in rows]
        return ", ".join(names[:NAMED]) + (" and others" if len(names) > NAMED else "")
