"""Adoption: records in the catalogue what a tree of registry:2 holds, without changing a byte of it.

Promises:

- What registry:2 would give to a client is known afterwards under the same name, digest and media type; what it would
  not give (no link, no bytes) is not. Whatever is odd is told of, left as it is, and does not stop the rest.
- May be interrupted at any moment and run again: each transaction leaves a part of the tree taken up, and nothing else.
- Run again, it makes the records equal the tree: links that are gone go here too, manifests to the trash; tags move.
  Beside a running registry:2 it sees each repository at some moment; what is pushed behind its back the next run
  finds, and a tag is never taken up without its manifest.

Times come from the files: when a link was written is when something was pushed. A tag's ``index`` becomes its history.
Cost: a few reads of small files and a few rows for each link. Memory: what the largest repository's names take.
"""

import asyncio
import collections
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from roadstead.clock import Clock
from roadstead.database import Database, NameLock, Row, Transaction
from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry import layout
from roadstead.registry.content import store
from roadstead.registry.locks import removing_from
from roadstead.registry.operation.adoption_state import AdoptionPhase, AdoptionState, save_adoption
from roadstead.registry.progress import Progress
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import Change
from roadstead.registry2.adoption import store as adoption_store
from roadstead.registry2.adoption.affected_tags import name_tags
from roadstead.registry2.adoption.content import ContentReader, FoundBlob, FoundManifest, hash_object
from roadstead.registry2.adoption.records import (
    RepositoryRecords,
    Step,
    record_blobs,
    record_manifests,
    record_removals,
    record_step,
    record_tags,
)
from roadstead.registry2.links import LinkFiles, LinkTree, TagLinks, TreeFinding, TreeFindingKind, Unclear, paths
from roadstead.registry2.release.left_alone import forget_left_alone, keeps_all_links, save_left_alone
from roadstead.storage import Entry, EntryKind, StorageError

PART_BYTES: Final = 2 << 20
"""Bytes of manifests that one thread reads before they are recorded: with all threads, a few of the longest there
are."""

BATCH: Final = 200
"""Number of links that are read and then recorded in one transaction: some milliseconds."""

THREADS: Final = 4
"""Number of threads that read links: a disk answers so many questions at once, and they need little of a processor."""

PAGE: Final = 1000

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_K = TypeVar("_K", bound=str)


class _Recording(Protocol[_T_co]):
    """One of the ``record_`` functions with what it is to record."""

    async def __call__(self, transaction: Transaction, step: Step, *, change: Change) -> _T_co: ...


@dataclass(slots=True)
class AdoptionSummary:
    """The outcome of an adoption: the numbers of things in the tree, and of the changes of this run."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    added: int = 0
    """Number of links, manifests and tags that were not known before."""
    removed: int = 0
    """Number of links, manifests and tags that are not in the tree any more."""
    uploads: int = 0
    unlinked_files: int = 0
    unlinked_bytes: int = 0
    findings: collections.Counter[TreeFindingKind] = field(default_factory=collections.Counter[TreeFindingKind])


class Adoption:
    """An adoption of one tree. The caller has checked that the tree may be taken for the truth (``adoption_state``)."""

    def __init__(
        self,
        database: Database,
        files: LinkFiles,
        clock: Clock,
        rules: GarbageRules,
        *,
        progress: Progress,
        report: Callable[[TreeFinding], None],
        storage: str = "",
    ) -> None:
        """Keeps its arguments; ``report`` is called in the event loop, and ``storage`` is the recorded URL."""
        self._database = database
        self._clock = clock
        self._rules = rules
        self._progress = progress
        self._report = report
        self._storage = storage
        self._found: list[TreeFinding] = []
        self._tree = LinkTree(files, self._found.append)
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="adoption")
        self._left_alone: set[str] = set()
        self._not_followed: list[TreeFinding] = []
        """Findings about symbolic links among the repositories' folders."""
        self.summary = AdoptionSummary()

    async def run(self) -> AdoptionSummary:
        """Makes the records equal the tree.

        Raises:
            StorageError: the tree as a whole cannot be read; nothing was removed because of that.
            DatabaseError: the catalogue cannot be written; run it again.
        """
        try:
            await self._enter(AdoptionPhase.ADOPTING)
            self._progress.begin("counting", 0, is_bytes=False)
            await self._database.write(forget_left_alone)
            names = await self._run_in_thread(lambda: list(self._tree.iter_repositories()))
            self._not_followed = [finding for finding in self._found if finding.kind is TreeFindingKind.SYMLINK]
            self._drain()
            await self._begin(names)
            for name in names:
                await self._take_up(name)
            await self._remove_others(frozenset(names))
            await self._run_in_thread(self._tree.tell_of_proxy)
            await self._look_at_bytes()
            self._drain()
            await self._enter(AdoptionPhase.ADOPTED)
            return self.summary
        finally:
            self._executor.shutdown(cancel_futures=True)

    async def _enter(self, phase: AdoptionPhase) -> None:
        state = AdoptionState(phase, self._clock.now_ms(), self._storage)
        await self._database.write(lambda transaction: save_adoption(transaction, state))

    async def _begin(self, names: Sequence[RepositoryName]) -> None:
        """Counts the links, for the progress; findings are reported when the links are read."""
        tree = LinkTree(self._tree.files, _ignore)

        def count() -> int:
            return sum(
                len(tree.layers(name).names) + len(tree.revisions(name).names) + len(tree.tags(name).names)
                for name in names
            )

        self._progress.begin("links", await self._run_in_thread(count), is_bytes=False)

    # --- one repository

    async def _take_up(self, name: RepositoryName) -> None:
        content = ContentReader(self._tree, name, self._found.append)
        records = await RepositoryRecords.read(self._database, name)
        is_complete = await self._take_up_blobs(content, records)
        is_complete &= await self._take_up_manifests(content, records)
        is_complete &= await self._take_up_tags(content, records)
        if is_complete:  # what could not be read is not gone
            self.summary.removed += await self._remove_rest(records)
        await self._link_late_blobs(content, records)
        is_understood = not keeps_all_links(name, [*self._found, *self._not_followed])
        await self._note_left_alone(records, is_understood=is_understood)
        if is_understood:  # what is not known may need what nothing else names
            await self._review_links(records)
        self.summary.repositories += bool(records.repository_id)
        self.summary.uploads += await self._run_in_thread(
            lambda: self._tree.tell_of_uploads(name, self._clock.now_ms())
        )
        self._left_alone |= content.left_alone
        found, self._found[:] = list(self._found), []
        self._hand_on(await name_tags(self._database, records, content.tags, found))

    async def _take_up_blobs(self, content: ContentReader, records: RepositoryRecords) -> bool:
        names = await self._run_in_thread(lambda: self._tree.layers(content.repository))
        digests = [Digest(name) for name in names.names]
        records.listed_blobs.update(digests)
        async for blobs in self._read(digests, content.read_blob, records.unclear):
            await self._record_blobs(records, [blob for blob in blobs if blob is not None])
        return names.is_complete

    async def _record_blobs(self, records: RepositoryRecords, found: Sequence[FoundBlob]) -> None:
        self.summary.added += await self._record(records, functools.partial(record_blobs, found=found))
        self.summary.blobs += len(found)

    async def _take_up_manifests(self, content: ContentReader, records: RepositoryRecords) -> bool:
        names = await self._run_in_thread(lambda: self._tree.revisions(content.repository))
        digests = [Digest(name) for name in names.names]
        records.listed_manifests.update(digests)
        known = frozenset(records.manifests)

        def read(digest: Digest) -> FoundManifest | None:
            return content.read_manifest(digest, known)

        async for manifests in self._read(digests, read, records.unclear):
            await self._record_manifests(records, [each for each in manifests if each is not None])
        return names.is_complete

    async def _record_manifests(self, records: RepositoryRecords, found: Sequence[FoundManifest]) -> None:
        added, doubtful = await self._record(records, functools.partial(record_manifests, found=found))
        self.summary.added += added
        self.summary.manifests += len(found)
        for holder, blob, stated_bytes in doubtful:
            await self._judge_length(records.name, holder, blob, stated_bytes)

    async def _take_up_tags(self, content: ContentReader, records: RepositoryRecords) -> bool:
        names = await self._run_in_thread(lambda: self._tree.tags(content.repository))
        tags = [Tag(name) for name in names.names]
        async for links in self._read(tags, content.read_tag, records.unclear):
            found = [each for each in links if each is not None]
            dangling = await self._record_tags(records, found)
            if dangling:
                await self._take_up_late(content, records, dangling)
        return names.is_complete

    async def _record_tags(self, records: RepositoryRecords, found: Sequence[TagLinks]) -> list[TagLinks]:
        """Returns the tags whose manifest is not known in the repository."""
        added, dangling = await self._record(records, functools.partial(record_tags, found=found))
        self.summary.added += added
        self.summary.tags += len(found) - len(dangling)
        return dangling

    async def _take_up_late(
        self, content: ContentReader, records: RepositoryRecords, dangling: Sequence[TagLinks]
    ) -> None:
        """Adopts tags whose manifests came after revisions were read: registry:2 writes a tag after its manifest."""

        def read(digest: Digest) -> FoundManifest | None:
            return content.read_manifest(digest, ())

        wanted = list(dict.fromkeys(link.current.digest for link in dangling))
        fresh = [digest for digest in wanted if digest not in records.listed_manifests]
        async for manifests in self._read(fresh, read, set()):
            await self._record_manifests(records, [each for each in manifests if each is not None])
        for link in await self._record_tags(records, dangling):
            detail = f"points at {link.current.digest}, which this repository does not have, or which was left alone"
            key = paths.current_link(content.repository, link.tag)
            self._tell(TreeFindingKind.TAG_DANGLING, f"{content.repository}:{link.tag}", detail, key)

    async def _remove_rest(self, records: RepositoryRecords) -> int:
        """Removes the records of things that the tree does not have (any more); returns their number."""
        removed = 0
        while rest := records.take_rest(BATCH):
            removed += await self._record(records, functools.partial(record_removals, rest=rest))
        return removed

    async def _link_late_blobs(self, content: ContentReader, records: RepositoryRecords) -> None:
        """Looks once more for blobs that manifests name and that the repository may not read.

        Those that must be there are told of.
        """
        if not records.repository_id:
            return
        missing: dict[Digest, list[str]] = {}
        for holder, blob, is_required in await self._list_unlinked(records.repository_id):
            holders = missing.setdefault(Digest(blob), [])
            holders += [holder] if is_required else []
        for digest in await self._run_in_thread(lambda: self._aliases(records, missing)):
            del missing[digest]
        fresh = [digest for digest in missing if digest not in records.listed_blobs]
        async for blobs in self._read(fresh, content.read_blob, set()):
            found = [blob for blob in blobs if blob is not None]
            await self._record_blobs(records, found)
            for blob in found:
                del missing[blob.digest]
        for digest, holders in missing.items():
            for holder in holders:
                detail = f"the repository does not have the blob {digest}"
                self._tell(TreeFindingKind.BLOB_UNLINKED, f"{content.repository}@{holder}", detail)

    def _aliases(self, records: RepositoryRecords, missing: Iterable[Digest]) -> list[Digest]:
        """Returns those of ``missing`` that are other names of blobs that the repository has: see ``aliases``."""
        tree = LinkTree(self._tree.files, _ignore)
        links = {digest: tree.find_alias(records.name, digest) for digest in missing if digest in records.listed_blobs}
        return [digest for digest, link in links.items() if link is not None and link.digest in records.blobs]

    async def _list_unlinked(self, repository_id: int) -> list[Row]:
        found: list[Row] = []
        after = 0
        listing = adoption_store.LIST_LINKED_MANIFESTS
        while rows := await self._database.fetch_all(listing, repository_id=repository_id, after=after, limit=PAGE):
            upto = rows[-1][0]
            found += await self._database.fetch_all(
                adoption_store.LIST_UNLINKED_BLOBS,
                repository_id=repository_id,
                after=after,
                upto=upto,
                limit=PAGE * PAGE,
            )
            after = upto
        return found

    async def _note_left_alone(self, records: RepositoryRecords, *, is_understood: bool) -> None:
        """Makes the collector keep every blob of a repository that holds something only registry:2 understands.

        And whatever writes links the links that were not.
        """
        now_ms = None if is_understood else self._clock.now_ms()
        keys = [finding.key for finding in self._found if finding.key]

        async def work(transaction: Transaction) -> None:
            await save_left_alone(transaction, records.name, keys)
            if records.repository_id:
                await transaction.execute(
                    adoption_store.NOTE_LEFT_ALONE, repository_id=records.repository_id, now_ms=now_ms
                )

        await self._write_in(records.name, work)

    async def _review_links(self, records: RepositoryRecords) -> None:
        now_ms = self._clock.grace_ms()
        if records.repository_id:
            await self._write_in(
                records.name,
                lambda t: t.execute(
                    adoption_store.REVIEW_UNNAMED_LINKS,
                    repository_id=records.repository_id,
                    now_ms=now_ms,
                    not_before=now_ms + self._rules.upload_ms,
                ),
            )

    async def _judge_length(self, repository: str, holder: str, blob: Digest, stated_bytes: int) -> None:
        """Reports a manifest that states another length than the file has: only hashing tells which is wrong."""
        actual = await self._run_in_thread(lambda: hash_object(self._tree.files, layout.blob_key(blob), blob.algorithm))
        if actual == blob:
            detail = f"it says that {blob} has {stated_bytes} bytes, which is wrong; clients may refuse it"
            self._tell(TreeFindingKind.MANIFEST_SIZES, f"{repository}@{holder}", detail)
            return
        detail = f"its bytes are damaged, {holder} says that it has {stated_bytes}; push it again"
        self._tell(TreeFindingKind.BLOB_DAMAGED, f"{repository}@{blob}", detail, paths.layer_link(repository, blob))
        now_ms = self._clock.now_ms()
        await self._write(lambda t: t.execute(store.QUARANTINE_BLOB, digest=blob, now_ms=now_ms), ())

    # --- the rest

    async def _remove_others(self, names: frozenset[str]) -> None:
        """Removes repositories that are known and have no folder (any more)."""
        after = ""
        while rows := await self._database.fetch_all(adoption_store.LIST_ALL_REPOSITORIES, after=after, limit=PAGE):
            after = rows[-1][1]
            for _, name, removed_ms in rows:
                if name not in names and removed_ms is None:
                    records = await RepositoryRecords.read(self._database, RepositoryName(name))
                    self.summary.removed += await self._remove_rest(records)

    async def _look_at_bytes(self) -> None:
        """Counts the files among the blobs that no record names."""
        self._progress.begin("blobs", 0, is_bytes=False)
        folders = await self._run_in_thread(lambda: list(self._blob_folders()))
        for folder in folders:
            for digest, size_bytes in await self._run_in_thread(functools.partial(self._blobs_in, folder)):
                if digest not in self._left_alone and not await self._is_known(digest):
                    self.summary.unlinked_files += 1
                    self.summary.unlinked_bytes += size_bytes
            self._progress.advance(1)
        if self.summary.unlinked_files:
            detail = (
                f"{self.summary.unlinked_files} files of {self.summary.unlinked_bytes} bytes that no repository has"
            )
            self._tell(TreeFindingKind.BYTES_UNLINKED, layout.BLOBS, detail)

    def _blob_folders(self) -> Iterable[str]:
        for algorithm in self._folders(layout.BLOBS):
            yield from self._folders(algorithm)

    def _folders(self, folder: str) -> Iterable[str]:
        """Yields the folders that may hold blobs; those of file servers and file systems are only reported."""
        for entry in self._entries(folder):
            if entry.kind is EntryKind.FOLDER and entry.name.isascii() and entry.name.isalnum():
                yield f"{folder}/{entry.name}"
            else:
                self._tree.tell_foreign(folder, entry)

    def _blobs_in(self, folder: str) -> list[tuple[Digest, int]]:
        found: list[tuple[Digest, int]] = []
        for each in self._folders(folder):
            for entry in self._entries(each):
                key = f"{each}/{entry.name}"
                digest = layout.blob_digest(key)
                size = self._tree.files.find(key) if digest and entry.kind is EntryKind.FILE else None
                if digest is None or size is None:
                    self._tree.tell_foreign(each, entry)
                else:
                    found.append((digest, size[0]))
        return found

    def _entries(self, folder: str) -> list[Entry]:
        try:
            return self._tree.files.entries(folder)
        except StorageError as error:
            self._found.append(TreeFinding(TreeFindingKind.UNREADABLE, folder, str(error)))
            return []

    async def _is_known(self, digest: Digest) -> bool:
        statements = (store.FIND_BLOB_RECORD, adoption_store.FIND_MANIFEST_RECORD)
        return any([await self._database.fetch_one(each, digest=digest) is not None for each in statements])

    # --- common

    def _change(self) -> Change:
        return Change.at(self._clock, "", self._rules)

    async def _record(self, records: RepositoryRecords, work: "_Recording[_T]") -> _T:
        """Runs one of the ``record_`` functions, which may add to the repository and take out of it."""

        async def recording(transaction: Transaction, step: Step) -> _T:
            return await work(transaction, step, change=self._change())

        return await record_step(self._database, records, recording, removing_from(records.name))

    async def _write_in(self, repository: str, work: Callable[[Transaction], Awaitable[_T]]) -> _T:
        """Runs a transaction that adds to a repository and takes out of it."""
        return await self._write(work, removing_from(repository))

    async def _write(self, work: Callable[[Transaction], Awaitable[_T]], locks: Iterable[NameLock]) -> _T:
        """Runs a transaction that survives this process; a loss of power may undo the last ones, as if not yet run."""
        return await self._database.write(work, locks=locks, durable=False)

    async def _run_in_thread(self, job: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, job)

    async def _read(
        self, names: Sequence[_K], read: Callable[[_K], _T | None], unclear: set[str]
    ) -> AsyncIterator[list[_T | None]]:
        """Reads ``names``, a batch at a time, the next one while the last is being recorded.

        Adds to ``unclear`` those of which the disk does not say anything.
        """
        left = collections.deque(names)
        this = self._read_ahead(left, read, unclear)
        while this is not None:
            results, unread = await this
            left.extendleft(reversed(unread))
            this = self._read_ahead(left, read, unclear)
            yield results
            self._progress.advance(len(results))

    def _read_ahead(
        self, left: collections.deque[_K], read: Callable[[_K], _T | None], unclear: set[str]
    ) -> "asyncio.Future[tuple[list[_T | None], list[_K]]] | None":
        """Begins to read a batch of the names in ``left``; returns None if that is empty."""
        batch = [left.popleft() for _ in range(min(BATCH, len(left)))]
        return asyncio.ensure_future(self._read_batch(batch, read, unclear)) if batch else None

    async def _read_batch(
        self, batch: Sequence[_K], read: Callable[[_K], _T | None], unclear: set[str]
    ) -> tuple[list[_T | None], list[_K]]:
        """Reads a batch until it becomes too long; returns the results, and the names that were not read."""

        def read_part(part: Sequence[_K]) -> tuple[list[_T | None], Sequence[_K]]:
            results: list[_T | None] = []
            held_bytes = 0
            for count, name in enumerate(part, 1):
                result = _answer(name, read, unclear)
                results.append(result)
                held_bytes += len(result.body) if isinstance(result, FoundManifest) else 0
                if held_bytes > PART_BYTES:
                    return results, part[count:]
            return results, ()

        size = max(1, len(batch) // THREADS)
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        loop = asyncio.get_running_loop()
        done = await asyncio.gather(*(loop.run_in_executor(self._executor, read_part, part) for part in parts))
        return [each for results, _ in done for each in results], [name for _, unread in done for name in unread]

    def _tell(self, kind: TreeFindingKind, subject: str, detail: str, key: str = "") -> None:
        self._found.append(TreeFinding(kind, subject, detail, key))

    def _drain(self) -> None:
        """Reports the findings of the threads."""
        found, self._found[:] = list(self._found), []
        self._hand_on(found)

    def _hand_on(self, findings: Iterable[TreeFinding]) -> None:
        for finding in findings:
            self.summary.findings[finding.kind] += 1
            self._report(finding)


def _answer(name: _K, read: Callable[[_K], _T | None], unclear: set[str]) -> _T | None:
    try:
        return read(name)
    except Unclear:
        unclear.add(name)
        return None


def _ignore(_finding: TreeFinding) -> None:
    """Ignores a finding."""
