"""Release: turns the catalogue's tags, manifests and links into the tree that registry:2 and registry:3 read.

Promises: may be interrupted at any moment and run again; when it has recorded that the registry is released, all is
written and survives a loss of power. Until then the catalogue stays in charge. What stands in the trash or in
quarantine is not linked. The caller keeps clients from changing anything meanwhile.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from roadstead.clock import Clock
from roadstead.database import Database, Statement
from roadstead.database.errors import DatabaseDamagedError
from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry.content import store
from roadstead.registry.operation.adoption_state import AdoptionPhase, AdoptionState, save_adoption
from roadstead.registry.progress import Progress
from roadstead.registry2.adoption import store as adoption_store
from roadstead.registry2.adoption.content import ContentReader
from roadstead.registry2.adoption.records import pages
from roadstead.registry2.links import LinkFiles, LinkTree, TreeFinding, TreeFindingKind, Unclear, paths
from roadstead.registry2.links.writer import LinkWriter, RepositoryContent, TagRecord, Written
from roadstead.registry2.release.left_alone import find_left_alone
from roadstead.storage import StorageError, StorageFullError

HISTORY: Final = 1000
"""Number of entries of a tag's history that are written at most."""

_T = TypeVar("_T")


class Release:
    """A release of the whole registry."""

    def __init__(self, database: Database, files: LinkFiles, clock: Clock, *, progress: Progress, storage: str) -> None:
        """Keeps its arguments; ``storage`` is the URL that is recorded with the state."""
        self._database = database
        self._files = files
        self._clock = clock
        self._progress = progress
        self._storage = storage
        self._writer = LinkWriter(files, is_durable=False)

    async def run(self) -> Written:
        """Writes everything that is not written yet.

        Raises:
            StorageError, DatabaseError: it could not be finished; the catalogue stays in charge. Of repositories whose
                links could not be written it is the first one's; the others are written.
        """
        failures: list[StorageError] = []
        tree = LinkTree(self._files, lambda _finding: None)
        on_disk = await _in_thread(lambda: list(tree.iter_repositories()))
        known = {name: (key, removed) async for key, name, removed in self._rows(adoption_store.LIST_ALL_REPOSITORIES)}
        names = sorted({*on_disk, *map(RepositoryName, known)})
        self._progress.begin("repositories", len(names), is_bytes=False)
        for name in names:
            key, removed_ms = known.get(name, (0, None))
            content = RepositoryContent(name, left_alone=await find_left_alone(self._database, name))
            if key and removed_ms is None:
                content = await read_content(self._database, name, key)
            try:
                await write_repository(self._database, self._writer, self._files, content)
            except StorageFullError:
                raise
            except StorageError as error:
                failures.append(error)
            self._progress.advance(1)
        if failures:
            raise failures[0]
        await _in_thread(self._writer.flush)
        state = AdoptionState(AdoptionPhase.RELEASED, self._clock.now_ms(), self._storage)
        await self._database.write(lambda transaction: save_adoption(transaction, state))
        return self._writer.done

    async def _rows(self, listing: Statement) -> AsyncIterator[tuple[int, str, int | None]]:
        async for key, name, removed_ms in pages(self._database, listing, "", 1):
            yield key, name, removed_ms


async def write_repository(
    database: Database, writer: LinkWriter, files: LinkFiles, content: RepositoryContent
) -> None:
    """Makes the links of one repository equal to its content.

    Raises:
        StorageError, DatabaseError: not all are written.
    """
    for text, pushed_ms in content.manifests.items():
        await write_body(database, writer, Digest(text), pushed_ms)
    await _in_thread(lambda: write_links(writer, content))
    await _in_thread(lambda: writer.remove_others(content, _leaving_alone(files, content)))


async def read_content(database: Database, name: RepositoryName, key: int) -> RepositoryContent:
    """Reads the catalogue's content of a repository."""
    content = RepositoryContent(name, left_alone=await find_left_alone(database, name))
    content.blobs = {
        digest: linked_ms
        async for _, digest, linked_ms, quarantined_ms, deleting_ms, _ in pages(
            database, adoption_store.LIST_LINKED_BLOBS, 0, 0, repository_id=key
        )
        if quarantined_ms is None and deleting_ms is None
    }
    content.manifests = {
        digest: pushed_ms
        async for _, digest, pushed_ms in pages(database, adoption_store.LIST_LINKED_MANIFESTS, 0, 0, repository_id=key)
    }
    tags: dict[str, TagRecord] = {}
    async for tag, _, digest, updated_ms in pages(database, adoption_store.LIST_TAGS, "", 0, repository_id=key):
        tags[tag] = TagRecord(Digest(digest), updated_ms, await _read_history(database, key, tag, content))
    content.tags = tags
    return content


async def _read_history(
    database: Database, key: int, tag: str, content: RepositoryContent
) -> tuple[tuple[Digest, int], ...]:
    """Returns the earlier manifests of a tag that the repository still has, each once, with the last time."""
    rows = await database.fetch_all(adoption_store.LIST_DIGESTS_OF_TAG, repository_id=key, tag=tag, limit=HISTORY)
    latest: dict[str, int] = {digest: at_ms for digest, at_ms in rows}  # noqa: C416 - rows are tuples of anything
    return tuple((Digest(digest), at_ms) for digest, at_ms in latest.items() if digest in content.manifests)


async def write_body(database: Database, writer: LinkWriter, digest: Digest, pushed_ms: int) -> None:
    """Puts a manifest's bytes where registry:2 looks for them; does nothing if the catalogue has none.

    Raises:
        DatabaseDamagedError: what the catalogue holds is not what was pushed.
    """
    row = await database.fetch_one(adoption_store.GET_MANIFEST_SIZE, digest=digest)
    if row is None or await _in_thread(functools.partial(writer.has_body, digest, row[0])):
        return
    found = await database.fetch_one(store.GET_MANIFEST_BODY, digest=digest)
    body = found[0] if found else b""
    if Digest.of(body, digest.algorithm) != digest:
        raise DatabaseDamagedError(f"the bytes of manifest {digest} are not those that were pushed")
    await _in_thread(functools.partial(writer.write_body, digest, body, pushed_ms))


def write_links(writer: LinkWriter, content: RepositoryContent) -> None:
    """Writes the links to blobs, then manifests, then tags."""
    for digest, linked_ms in content.blobs.items():
        writer.add_blob(content.name, Digest(digest), linked_ms)
    for digest, pushed_ms in content.manifests.items():
        writer.add_manifest(content.name, Digest(digest), pushed_ms)
    for tag, record in content.tags.items():
        writer.set_tag(content.name, Tag(tag), record, content.left_alone)


def _leaving_alone(files: LinkFiles, content: RepositoryContent) -> Callable[[Digest], bool]:
    """Returns a function that tells if adoption would leave a manifest alone, so that it was not deleted here."""

    def is_left_alone(digest: Digest) -> bool:
        if digest in content.manifests:
            return False
        if paths.revision_link(content.name, digest) in content.left_alone:
            return True
        told: list[TreeFinding] = []
        with contextlib.suppress(Unclear, StorageError):
            ContentReader(LinkTree(files, told.append), content.name, told.append).read_manifest(digest, ())
            return any(_says_left_alone(finding) for finding in told)
        return True

    return is_left_alone


def _says_left_alone(finding: TreeFinding) -> bool:
    """Returns True if a finding leaves a manifest alone by itself; of missing bytes only the adoption knows."""
    if finding.kind is TreeFindingKind.MANIFEST_MISSING:
        return False
    return bool(finding.key) or finding.kind is TreeFindingKind.DIGEST_ALIAS


async def _in_thread(job: Callable[[], _T]) -> _T:
    return await asyncio.to_thread(job)
