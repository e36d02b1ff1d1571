"""Makes the catalogue's records of a repository equal to what was found in its tree: one transaction a step.

A transaction may run more than once, so its work changes no ``RepositoryRecords``: it writes what it did into a new
``Step``, which reads as the records will, and ``record_step`` takes that up when it is committed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from roadstead.database import Database, NameLock, Reader, Row, Statement, Transaction
from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry.content import store
from roadstead.registry.content.manifest_records import ensure_manifest
from roadstead.registry.content.repositories import ensure_repository
from roadstead.registry.removal import store as removal_store
from roadstead.registry.removal.transitions import (
    Change,
    discard_manifest,
    drop_tag,
    remove_repository_row,
    review_blob,
    review_untagged,
    settle_manifest,
)
from roadstead.registry2.adoption import store as adoption_store
from roadstead.registry2.adoption.content import FoundBlob, FoundManifest
from roadstead.registry2.links import Link, TagLinks

PAGE: Final = 2000
"""Number of rows that are read in one go."""

SAME_MS: Final = 2000
"""Difference in time up to which two records are of one push: some file systems keep no more than two seconds."""

ACTION: Final = "adopt"
"""The action of a row of history that came from the tree."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Rest:
    """A batch of records that the catalogue has and the tree does not."""

    tags: Sequence[str] = ()
    manifests: Sequence[tuple[str, int]] = ()
    blobs: Sequence[tuple[str, int]] = ()

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self.tags) + len(self.manifests) + len(self.blobs)


@dataclass(slots=True)
class RepositoryRecords:
    """The catalogue's records of a repository; those found in the tree are taken out of the ``rest_`` mappings."""

    name: RepositoryName
    repository_id: int = 0
    """Key of the row, 0 while there is none: it is made with the first thing that is found."""
    is_removed: bool = False
    blobs: dict[str, int] = field(default_factory=dict[str, int])
    manifests: dict[str, int] = field(default_factory=dict[str, int])
    tags: dict[str, int] = field(default_factory=dict[str, int])
    rest_blobs: dict[str, int] = field(default_factory=dict[str, int])
    rest_manifests: dict[str, int] = field(default_factory=dict[str, int])
    rest_tags: dict[str, int] = field(default_factory=dict[str, int])
    listed_blobs: set[str] = field(default_factory=set[str])
    """Digests of blobs for which the tree has a folder, with or without a link in it."""
    listed_manifests: set[str] = field(default_factory=set[str])
    unclear: set[str] = field(default_factory=set[str])
    """Names that may be in the tree, since the disk could not be read."""

    @classmethod
    async def read(cls, reader: Reader, name: RepositoryName) -> "RepositoryRecords":
        """Reads all records of a repository."""
        records = cls(name)
        row = await reader.fetch_one(removal_store.FIND_REPOSITORY_EVEN_REMOVED, repository=name)
        if row is None:
            return records
        records.repository_id, records.is_removed = row[0], row[1] is not None
        keys: dict[str, Any] = {"repository_id": row[0]}
        async for blob_id, digest, *_ in pages(reader, adoption_store.LIST_LINKED_BLOBS, 0, 0, **keys):
            records.blobs[digest] = blob_id
        async for manifest_id, digest, _ in pages(reader, adoption_store.LIST_LINKED_MANIFESTS, 0, 0, **keys):
            records.manifests[digest] = manifest_id
        async for tag, manifest_id, *_ in pages(reader, adoption_store.LIST_TAGS, "", 0, **keys):
            records.tags[tag] = manifest_id
        records.rest_blobs, records.rest_manifests = dict(records.blobs), dict(records.manifests)
        records.rest_tags = dict(records.tags)
        return records

    def take_rest(self, limit: int) -> Rest:
        """Returns some records that were not found: tags before manifests before blobs, since those refer to these."""
        for name in self.unclear:
            for rest in (self.rest_tags, self.rest_manifests, self.rest_blobs):
                rest.pop(name, None)
        if self.rest_tags:
            return Rest(tags=[self.rest_tags.popitem()[0] for _ in range(min(limit, len(self.rest_tags)))])
        if self.rest_manifests:
            size = min(limit, len(self.rest_manifests))
            return Rest(manifests=[self.rest_manifests.popitem() for _ in range(size)])
        return Rest(blobs=[self.rest_blobs.popitem() for _ in range(min(limit, len(self.rest_blobs)))])

    def take_up(self, step: "Step") -> None:
        """Makes the records what they are since ``step`` is committed."""
        self.repository_id, self.is_removed = step.repository_id, step.is_removed
        for rest, found in (
            (self.rest_blobs, step.found_blobs),
            (self.rest_manifests, step.found_manifests),
            (self.rest_tags, step.found_tags),
        ):
            for key in found:
                rest.pop(key, None)
        for known, added, removed in (
            (self.blobs, step.blobs, step.removed.blobs),
            (self.manifests, step.manifests, step.removed.manifests),
        ):
            known.update(added)
            for key, _ in removed:
                known.pop(key, None)
        self.tags.update(step.tags)
        for tag in step.removed.tags:
            self.tags.pop(tag, None)


class Step:
    """The changes of one transaction to the records of a repository, which stay as they are until its commit.

    ``blobs``, ``manifests`` and ``tags`` are those that it added or moved, with the key of each blob or manifest; the
    ``found_`` sets are names that the tree has; ``removed`` is what it took out.
    """

    def __init__(self, records: RepositoryRecords) -> None:
        """Begins with no changes."""
        self._records = records
        self.name = records.name
        self.unclear = records.unclear
        self.repository_id = records.repository_id
        self.is_removed = records.is_removed
        self.blobs: dict[str, int] = {}
        self.manifests: dict[str, int] = {}
        self.tags: dict[str, int] = {}
        self.found_blobs: set[str] = set()
        self.found_manifests: set[str] = set()
        self.found_tags: set[str] = set()
        self.removed = Rest()

    async def ensure(self, transaction: Transaction, created_ms: int) -> int:
        """Returns the key of the repository's row, which is made or brought back if need be."""
        if not self.repository_id:
            self.repository_id = await ensure_repository(transaction, self.name, created_ms)
        elif self.is_removed:
            await transaction.execute(removal_store.BRING_REPOSITORY_BACK, repository_id=self.repository_id)
        self.is_removed = False
        return self.repository_id

    def has_blob(self, digest: str) -> bool:
        """Returns True if the repository may read the blob."""
        return digest in self.blobs or digest in self._records.blobs

    def has_manifest(self, digest: str) -> bool:
        """Returns True if the repository has the manifest, whether or not the tree does."""
        return digest in self.manifests or digest in self._records.manifests

    def find_manifest(self, digest: str) -> int | None:
        """Returns the key of a manifest that repository and tree have; None if one of them does not."""
        if digest in self._records.rest_manifests and digest not in self.found_manifests:
            return None
        return self.manifests.get(digest, self._records.manifests.get(digest))

    def find_tag(self, tag: str) -> int | None:
        """Returns the key of the manifest that a tag points at, None if there is no such tag."""
        return self.tags.get(tag, self._records.tags.get(tag))

    @property
    def is_empty(self) -> bool:
        """True if no record of the repository is left, in a step that only removes."""
        records, removed = self._records, self.removed
        return (
            len(removed.blobs) == len(records.blobs)
            and len(removed.manifests) == len(records.manifests)
            and len(removed.tags) == len(records.tags)
        )


async def record_step(
    database: Database,
    records: RepositoryRecords,
    work: Callable[[Transaction, Step], Awaitable[_T]],
    locks: Iterable[NameLock],
) -> _T:
    """Runs ``work`` with a new step in a transaction, takes the step up, and returns what ``work`` returned.

    The change survives this process; a loss of power may undo the last ones, as if they had not been run yet.

    Raises:
        DatabaseError: nothing was recorded, and ``records`` is as before.
    """

    async def stepped(transaction: Transaction) -> tuple[Step, _T]:
        step = Step(records)
        return step, await work(transaction, step)

    step, result = await database.write(stepped, locks=locks, durable=False)
    records.take_up(step)
    return result


async def record_blobs(transaction: Transaction, step: Step, found: Sequence[FoundBlob], change: Change) -> int:
    """Records blobs and the repository's right to read them; returns the number of new rights."""
    added = 0
    for blob in found:
        step.found_blobs.add(blob.digest)
        repository_id = await step.ensure(transaction, blob.linked_ms)
        blob_id = await _ensure_blob(transaction, blob, change)
        if step.has_blob(blob.digest):
            continue
        added += 1
        step.blobs[blob.digest] = blob_id
        await transaction.execute(
            store.LINK_BLOB, repository_id=repository_id, blob_id=blob_id, linked_ms=blob.linked_ms
        )
    return added


async def _ensure_blob(transaction: Transaction, blob: FoundBlob, change: Change) -> int:
    row = await transaction.fetch_one(store.FIND_BLOB_RECORD, digest=blob.digest)
    if row is not None and _is_as_recorded(row, blob):
        return int(row[0])
    await transaction.execute(
        store.SAVE_BLOB,
        digest=blob.digest,
        size_bytes=blob.size_bytes,
        created_ms=blob.created_ms,
        quarantined_ms=change.now_ms if blob.is_damaged else None,
        deleting_ms=None,
    )
    row = await transaction.fetch_one(store.FIND_BLOB_RECORD, digest=blob.digest)
    return int(row[0]) if row else 0


def _is_as_recorded(row: Row, blob: FoundBlob) -> bool:
    """Returns True if a blob's record may stay: a damaged blob stays damaged until its file is another."""
    _, size_bytes, quarantined_ms, deleting_ms, _ = row
    is_newer = quarantined_ms is not None and blob.created_ms > quarantined_ms
    return bool(size_bytes == blob.size_bytes and deleting_ms is None and not is_newer)


Doubt = tuple[str, Digest, int]
"""A manifest, a blob that it names, and the length that it states, which differs from that of the blob's file."""


async def record_manifests(
    transaction: Transaction, step: Step, found: Sequence[FoundManifest], change: Change
) -> tuple[int, list[Doubt]]:
    """Records manifests in the repository; returns the number of new ones, and doubtful lengths."""
    added = 0
    doubts: list[Doubt] = []
    for each in found:
        step.found_manifests.add(each.digest)
        if each.manifest is None or step.has_manifest(each.digest):
            continue
        repository_id = await step.ensure(transaction, each.pushed_ms)
        manifest_id = await ensure_manifest(transaction, each.manifest, each.digest, each.body, each.pushed_ms)
        await transaction.execute(
            store.LINK_MANIFEST, repository_id=repository_id, manifest_id=manifest_id, pushed_ms=each.pushed_ms
        )
        await settle_manifest(transaction, repository_id, manifest_id)
        await review_untagged(transaction, repository_id, manifest_id, change)
        step.manifests[each.digest] = manifest_id
        added += 1
        for blob in each.manifest.named:
            row = await transaction.lock_one(store.FIND_LINKED_BLOB, repository_id=repository_id, digest=blob.digest)
            if row is not None and row[1] != blob.size_bytes:
                doubts.append((each.digest, blob.digest, blob.size_bytes))
    return added, doubts


async def record_tags(
    transaction: Transaction, step: Step, found: Sequence[TagLinks], change: Change
) -> tuple[int, list[TagLinks]]:
    """Points tags where the tree does, with their history; returns the number of changes, and tags that cannot be."""
    changed = 0
    dangling: list[TagLinks] = []
    for links in found:
        if links.current.digest in step.unclear:
            step.found_tags.add(links.tag)
            continue
        manifest_id = step.find_manifest(links.current.digest)
        if manifest_id is None:
            dangling.append(links)
            continue
        step.found_tags.add(links.tag)
        before = step.find_tag(links.tag)
        if before == manifest_id:
            if len(links.history) > 1:
                await _add_history(transaction, step.repository_id, links, change, is_moved=False)
            continue
        await _record_tag(transaction, step.repository_id, links, manifest_id, change)
        if before is not None:
            await review_untagged(transaction, step.repository_id, before, change)
        step.tags[links.tag] = manifest_id
        changed += 1
    return changed, dangling


async def _record_tag(
    transaction: Transaction, repository_id: int, links: TagLinks, manifest_id: int, change: Change
) -> None:
    await transaction.execute(
        removal_store.SET_TAG,
        repository_id=repository_id,
        name=links.tag,
        manifest_id=manifest_id,
        updated_ms=links.current.modified_ms,
    )
    await _add_history(transaction, repository_id, links, change, is_moved=True)


async def _add_history(
    transaction: Transaction, repository_id: int, links: TagLinks, change: Change, *, is_moved: bool
) -> None:
    """Adds unknown entries to a tag's history; a tag that did not move may have been moved away and back."""
    limit = change.rules.history_entries
    known = await transaction.fetch_all(
        adoption_store.LIST_DIGESTS_OF_TAG, repository_id=repository_id, tag=links.tag, limit=limit
    )
    unknown = list(_unknown(links, known, limit))
    if not is_moved and len(unknown) == 1:
        return
    for link in unknown:
        await transaction.execute(
            removal_store.ADD_HISTORY,
            repository_id=repository_id,
            tag=links.tag,
            action=ACTION,
            digest=link.digest,
            at_ms=link.modified_ms,
            actor=change.actor,
        )


def _unknown(links: TagLinks, known: Sequence[Row], limit: int) -> Iterator[Link]:
    """Yields the unknown entries of a tag's history, the oldest first; the current one always counts as unknown."""
    times: dict[str, list[int]] = {}
    for digest, at_ms in known:
        times.setdefault(digest, []).append(at_ms)
    newest = max((at_ms for _, at_ms in known), default=0)
    for link in links.history[-limit:]:
        is_known = any(abs(at_ms - link.modified_ms) <= SAME_MS for at_ms in times.get(link.digest, ()))
        if link is links.current or (not is_known and link.modified_ms >= newest):
            yield link


async def record_removals(transaction: Transaction, step: Step, rest: Rest, change: Change) -> int:
    """Removes records that the tree does not have; returns their number."""
    for tag in rest.tags:
        await drop_tag(transaction, step.repository_id, Tag(tag), change)
    for digest, manifest_id in rest.manifests:
        await discard_manifest(transaction, step.repository_id, manifest_id, digest, change)
    for _, blob_id in rest.blobs:
        await transaction.execute(store.UNLINK_BLOB, repository_id=step.repository_id, blob_id=blob_id)
        await review_blob(transaction, blob_id, change)
    step.removed = rest
    if step.is_empty and not step.is_removed:
        await remove_repository_row(transaction, step.repository_id, change)
        step.is_removed = True
    return len(rest)


async def pages(
    reader: Reader, listing: Statement, after: str | int, key: int, **parameters: object
) -> AsyncIterator[Row]:
    """Yields all rows of a listing, page by page; ``key`` is the column that the next page goes on from."""
    while rows := await reader.fetch_all(listing, after=after, limit=PAGE, **parameters):
        for row in rows:
            yield row
        after = rows[-1][key]
