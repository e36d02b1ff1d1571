"""Rebuilds a catalogue from the link tree, the blobs, and whatever the old catalogue's file can still give.

Promises: nothing that exists is changed; only what can be proved is taken: a manifest whose bytes have its digest, a
blob whose file is there with the length that was recorded, a tag that points at such a manifest. Where tree and old
file disagree about a tag, the later time wins. A tag that was deleted in the last seconds may come back; none that
either of the two knows is lost.

Not brought back: uploads that were not finished, events that were not delivered yet.
"""

import collections
import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

from roadstead.clock import Clock
from roadstead.database import Database, Transaction
from roadstead.database.salvage import Salvage
from roadstead.oci import Digest, Manifest, RepositoryName, Tag, parse_manifest
from roadstead.oci.errors import ManifestInvalidError, NameInvalidError, TagInvalidError
from roadstead.registry import layout
from roadstead.registry.content.manifest_records import ensure_manifest
from roadstead.registry.locks import adding_to
from roadstead.registry.progress import Progress
from roadstead.registry.removal import store as removal_store
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import Change
from roadstead.registry2.adoption import store as adoption_store
from roadstead.registry2.adoption.content import MANIFEST_BYTES, FoundBlob, FoundManifest
from roadstead.registry2.adoption.records import (
    SAME_MS,
    RepositoryRecords,
    pages,
    record_blobs,
    record_manifests,
    record_step,
    record_tags,
)
from roadstead.registry2.links import Link, LinkFiles, TagLinks
from roadstead.registry2.links.paths import parse_digest

_T = TypeVar("_T")

BATCH_BYTES: Final = 16 << 20
"""Bytes of manifests that are recorded together, if they are long."""

BATCH: Final = 200
"""Number of rows that are recorded in one transaction."""

_HISTORY: Final = ("tag", "action", "digest", "at_ms", "actor")
_ACTIONS: Final = frozenset({"push", "delete", "restore", "adopt"})


@dataclass(slots=True)
class Salvaged:
    """The counts of records that only the old catalogue's file still had."""

    blobs: int = 0
    manifests: int = 0
    tags: int = 0
    history: int = 0
    trash: int = 0
    unreadable: int = 0
    """Number of reads that failed."""


@dataclass(slots=True)
class _Old:
    """The keys of rows in the old catalogue's file."""

    repositories: dict[int, RepositoryName] = field(default_factory=dict[int, RepositoryName])
    blobs: dict[int, Digest] = field(default_factory=dict[int, Digest])
    blob_sizes: dict[int, int] = field(default_factory=dict[int, int])
    manifests: dict[int, Digest] = field(default_factory=dict[int, Digest])


class Rebuild:
    """The rebuilding of a new catalogue, which an adoption of the tree has filled, with what ``salvage`` can give."""

    def __init__(
        self,
        database: Database,
        files: LinkFiles,
        clock: Clock,
        rules: GarbageRules,
        salvage: Salvage,
        *,
        progress: Progress,
    ) -> None:
        self._database = database
        self._files = files
        self._clock = clock
        self._rules = rules
        self._salvage = salvage
        self._progress = progress
        self._old = _Old()
        self._history: dict[int, list[tuple[str, str, str, int, str]]] = collections.defaultdict(list)
        self.salvaged = Salvaged()

    async def run(self) -> Salvaged:
        """Adds all that can be read and proved.

        Raises:
            DatabaseError: the new catalogue cannot be written.
        """
        self._read_keys()
        self._progress.begin("old catalogue", len(self._old.repositories), is_bytes=False)
        for key, name in self._old.repositories.items():
            await self._take(key, name)
            self._progress.advance(1)
        self.salvaged.unreadable = self._salvage.errors
        return self.salvaged

    def _read_keys(self) -> None:
        old = self._old
        names = {key: _name(text) for key, text in _keyed(self._salvage, "repositories", "name")}
        old.repositories = {key: name for key, name in names.items() if name is not None}
        old.blobs = _digests(self._salvage, "blobs")
        old.manifests = _digests(self._salvage, "manifests")
        sizes = self._salvage.rows("blobs", ("id", "size_bytes"))
        old.blob_sizes = {row[0]: row[1] for row in sizes if _has_types(row, (int, int))}
        for row in self._salvage.rows("tag_history", ("repository_id", *_HISTORY)):
            if _has_types(row, (int, str, str, str, int, str)) and row[2] in _ACTIONS and parse_digest(row[3]):
                _, tag, action, digest, at_ms, actor = row
                self._history[row[0]].append((tag, action, digest, at_ms, actor))

    # --- one repository

    async def _take(self, key: int, name: RepositoryName) -> None:
        records = await RepositoryRecords.read(self._database, name)
        change = Change.at(self._clock, "", self._rules)
        for blobs in _batches(self._blobs(key, records)):
            work = functools.partial(record_blobs, found=blobs, change=change)
            self.salvaged.blobs += await record_step(self._database, records, work, adding_to(name))
        for manifests in _batches(self._manifests(key, records)):
            record = functools.partial(record_manifests, found=manifests, change=change)
            self.salvaged.manifests += (await record_step(self._database, records, record, adding_to(name)))[0]
        await self._take_tags(key, records, change)
        if records.repository_id:
            await self._take_history(key, records.repository_id)
            await self._take_trash(key, records)

    def _blobs(self, key: int, records: RepositoryRecords) -> Iterator[FoundBlob]:
        for blob_id, linked_ms in self._links("repository_blobs", "blob_id", "linked_ms", key):
            digest = self._old.blobs.get(blob_id)
            if digest is None or digest in records.blobs:
                continue
            found = self._files.find(layout.blob_key(digest))
            if found is not None and self._old.blob_sizes.get(blob_id, found[0]) == found[0]:
                yield FoundBlob(digest, found[0], found[1], linked_ms, is_damaged=False)

    def _manifests(self, key: int, records: RepositoryRecords) -> Iterator[FoundManifest]:
        for manifest_id, pushed_ms in self._links("repository_manifests", "manifest_id", "pushed_ms", key):
            digest = self._old.manifests.get(manifest_id)
            if digest is not None and digest not in records.manifests:
                body, manifest = self._content(manifest_id, digest)
                if manifest is not None:
                    yield FoundManifest(digest, pushed_ms, manifest, body)

    def _content(self, manifest_id: int, digest: Digest) -> tuple[bytes, Manifest | None]:
        """Returns a manifest's bytes, from the old file or from beside the blobs, if they have its digest."""
        rows = self._salvage.rows_of("manifests", ("body", "media_type"), "id", manifest_id, ("id",))
        beside = self._files.read(layout.blob_key(digest), MANIFEST_BYTES + 1)
        candidates = [*rows, (beside.content if beside else b"", "")]
        for body, media_type in candidates:
            if isinstance(body, bytes) and Digest.of(body, digest.algorithm) == digest:
                return _parsed(body, media_type)
        return b"", None

    def _links(self, table: str, item: str, at: str, key: int) -> Iterator[tuple[int, int]]:
        seen: set[int] = set()
        for row in self._salvage.rows_of(table, (item, at), "repository_id", key, (item,)):
            if _has_types(row, (int, int)) and row[0] not in seen:
                seen.add(row[0])
                yield row[0], row[1]

    async def _take_tags(self, key: int, records: RepositoryRecords, change: Change) -> None:
        if not records.repository_id:
            return
        listing, mine = adoption_store.LIST_TAGS, records.repository_id
        known = {row[0]: row[3] async for row in pages(self._database, listing, "", 0, repository_id=mine)}
        records.rest_manifests.clear()  # nothing here says that a manifest is gone
        for links in _batches(self._tags(key, known)):
            record = functools.partial(record_tags, found=links, change=change)
            self.salvaged.tags += (await record_step(self._database, records, record, adding_to(records.name)))[0]

    def _tags(self, key: int, known: dict[str, int]) -> Iterator[TagLinks]:
        columns = ("name", "manifest_id", "updated_ms")
        for row in self._salvage.rows_of("tags", columns, "repository_id", key, ("name",)):
            if not _has_types(row, (str, int, int)):
                continue
            tag, digest = _tag(row[0]), self._old.manifests.get(row[1])
            if tag is not None and digest is not None and row[2] > known.get(tag, -1):
                link = Link(digest, row[2])
                yield TagLinks(tag, link, (link,))

    async def _take_history(self, key: int, repository_id: int) -> None:
        """Adds the old entries of history, with who did what, and those of the tree between them."""
        entries = self._history.pop(key, [])
        tags = {entry[0] for entry in entries}

        async def work(transaction: Transaction) -> int:
            merged = list(entries)
            for tag in tags:
                for digest, at_ms in await transaction.fetch_all(
                    adoption_store.LIST_DIGESTS_OF_TAG, repository_id=repository_id, tag=tag, limit=BATCH * BATCH
                ):
                    if not any(e[0] == tag and e[2] == digest and abs(e[3] - at_ms) <= SAME_MS for e in entries):
                        merged.append((tag, "adopt", digest, at_ms, ""))
                await transaction.execute(adoption_store.FORGET_HISTORY, repository_id=repository_id, tag=tag)
            rows = [
                dict(zip(_HISTORY, entry, strict=True)) | {"repository_id": repository_id}
                for entry in sorted(merged, key=lambda entry: entry[3])
            ]
            await transaction.execute_many(removal_store.ADD_HISTORY, rows)
            return len(entries)

        if entries:
            self.salvaged.history += await self._database.write(work, durable=False)

    async def _take_trash(self, key: int, records: RepositoryRecords) -> None:
        """Adds deleted manifests and tags that could still be restored."""
        columns = ("manifest_id", "pushed_ms", "removed_ms", "expires_ms", "actor")
        for row in self._salvage.rows_of("removed_manifests", columns, "repository_id", key, ("manifest_id",)):
            digest = self._old.manifests.get(row[0]) if _has_types(row, (int, int, int, int, str)) else None
            if digest is None or digest in records.manifests:
                continue
            body, manifest = self._content(row[0], digest)
            if manifest is None:
                continue
            values: dict[str, object] = {"repository_id": records.repository_id}
            values |= zip(columns[1:], row[1:], strict=True)
            # grace time begins anew with the catalogue, so that of the old one says nothing
            values["expires_ms"] = self._clock.grace_ms() + self._rules.undo_ms

            async def work(
                transaction: Transaction,
                manifest: Manifest = manifest,
                digest: Digest = digest,
                body: bytes = body,
                values: dict[str, object] = values,
            ) -> None:
                manifest_id = await ensure_manifest(transaction, manifest, digest, body, self._clock.now_ms())
                await transaction.execute(adoption_store.ADD_TO_TRASH, manifest_id=manifest_id, **values)

            await self._database.write(work, durable=False)
            self.salvaged.trash += 1


def _parsed(body: bytes, media_type: object) -> tuple[bytes, Manifest | None]:
    """Parses a manifest, whose type may be recorded beside it alone; that record may be damaged, the bytes are not."""
    for stated in (media_type, ""):
        if isinstance(stated, str):
            with contextlib.suppress(ManifestInvalidError):
                return body, parse_manifest(body, stated)
    return b"", None


def _keyed(salvage: Salvage, table: str, column: str) -> Iterator[tuple[int, str]]:
    """Yields keys and texts of a table, from its own pages and from the index on the text."""
    for row in salvage.rows(table, ("id", column)):
        if _has_types(row, (int, str)):
            yield row[0], row[1]
    for row in salvage.index(table, column):
        if _has_types(row, (str, int)):
            yield row[1], row[0]


def _digests(salvage: Salvage, table: str) -> dict[int, Digest]:
    found = {key: parse_digest(text) for key, text in _keyed(salvage, table, "digest")}
    return {key: digest for key, digest in found.items() if digest is not None}


def _has_types(row: tuple[object, ...], types: tuple[type, ...]) -> bool:
    return all(isinstance(value, kind) for value, kind in zip(row, types, strict=True))


def _name(text: str) -> RepositoryName | None:
    try:
        return RepositoryName.parse(text)
    except NameInvalidError:
        return None


def _tag(text: str) -> Tag | None:
    try:
        return Tag.parse(text)
    except TagInvalidError:
        return None


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    batch: list[_T] = []
    held_bytes = 0
    for item in items:
        batch.append(item)
        held_bytes += len(item.body) if isinstance(item, FoundManifest) else 0
        if len(batch) == BATCH or held_bytes > BATCH_BYTES:
            yield batch
            batch, held_bytes = [], 0
    if batch:
        yield batch
