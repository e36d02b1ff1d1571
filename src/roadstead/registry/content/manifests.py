"""Manifests: pushed, pulled, deleted.

Promises: a manifest is accepted only if all that it needs is readable in its repository, checked in the transaction
that adds it; all that it names, needed or not, is kept in its repository as long as it is; its bytes come back exactly
as they were pushed.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Final

from roadstead.access import VisibleRepositories
from roadstead.clock import Clock
from roadstead.database import Database, DatabaseDamagedError, Transaction, as_list
from roadstead.events import Cause, Event, EventAction, Outbox
from roadstead.oci import Descriptor, Digest, Manifest, RepositoryName, Tag, parse_manifest
from roadstead.oci.errors import ManifestInvalidError
from roadstead.registry.content import store
from roadstead.registry.content.foreign_urls import UrlRules
from roadstead.registry.content.manifest_caches import BodyCache, FoundCache
from roadstead.registry.content.repositories import ensure_repository, get_repository_id, require_visible
from roadstead.registry.content.traffic import Traffic
from roadstead.registry.errors import (
    ManifestBlobUnknownError,
    ManifestDigestMismatchError,
    ManifestUnknownError,
)
from roadstead.registry.locks import adding_to, removing_from
from roadstead.registry.model import PushedManifest, StoredManifest
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import Change, discard_manifest, point_tag, review_untagged, settle_manifest

PARSE_IN_THREAD_BYTES: Final = 64 << 10
"""Larger documents are parsed and recorded in a thread, one at a time, so that other requests need not wait."""


class Manifests:
    """The manifests of a registry's repositories."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        rules: GarbageRules,
        outbox: Outbox,
        traffic: Traffic,
        *,
        accepts_missing_blobs: bool = False,
        accepts_wrong_sizes: bool = False,
        foreign_urls: UrlRules | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._outbox = outbox
        self._traffic = traffic
        self._accepts_missing_blobs = accepts_missing_blobs
        self._accepts_wrong_sizes = accepts_wrong_sizes
        self._foreign_urls = foreign_urls or UrlRules()
        self._bodies = BodyCache()
        self._long_pushes = asyncio.Semaphore(1)
        self._found = FoundCache()

    async def get(
        self, repository: RepositoryName, reference: Tag | Digest, *, visible: VisibleRepositories
    ) -> StoredManifest:
        """What a tag or digest stands for in a repository.

        Source: distribution specification, section "Pulling manifests".

        Raises:
            RepositoryUnknownError, ManifestUnknownError: there is none.
        """
        require_visible(repository, visible)
        version = self._database.version()
        stored = self._found.find((repository, reference), version)
        if stored is None:
            stored = await self._find(repository, reference)
            self._found.add((repository, reference), version, stored)
        return stored

    async def _find(self, repository: RepositoryName, reference: Tag | Digest) -> StoredManifest:
        if isinstance(reference, Tag):
            row = await self._database.fetch_one(store.FIND_MANIFEST_BY_TAG, repository=repository, tag=reference)
        else:
            row = await self._database.fetch_one(store.FIND_MANIFEST_BY_DIGEST, repository=repository, digest=reference)
        if row is None:
            await get_repository_id(self._database, repository)
            raise ManifestUnknownError(repository, reference)
        return StoredManifest(Digest(row[0]), row[1], row[2])

    async def get_body(self, digest: Digest) -> bytes:
        """The bytes of a manifest that ``get`` has given: the caller's right to it was decided there.

        Raises:
            ManifestUnknownError: it was deleted meanwhile.
            DatabaseDamagedError: what the catalogue holds is not what was pushed.
        """
        body = self._bodies.find(digest)
        if body is None:
            row = await self._database.fetch_one(store.GET_MANIFEST_BODY, digest=digest)
            if row is None:
                raise ManifestUnknownError("", digest)
            body = row[0]  # damage may have changed its type too
            if not isinstance(body, bytes) or await _digest_of(body, digest.algorithm) != digest:
                raise DatabaseDamagedError(f"the bytes of manifest {digest} are not those that were pushed")
            self._bodies.add(digest, body)
        return body

    async def push(
        self,
        repository: RepositoryName,
        body: bytes,
        content_type: str,
        *,
        digest: Digest | None,
        tags: Sequence[Tag],
        cause: Cause,
        is_known: bool = False,
    ) -> PushedManifest:
        """Adds a manifest to a repository, and points ``tags`` at it.

        ``digest`` is what the client says it is, if it does. ``is_known`` is for one that was taken up before: its
        type and the sizes that it states were accepted then. Source: distribution specification, section "Pushing
        Manifests".

        Raises:
            ManifestInvalidError: the document cannot be accepted.
            ManifestDigestMismatchError: it does not have that digest.
            ManifestBlobUnknownError: it names blobs that the repository does not have.
        """
        if len(body) <= PARSE_IN_THREAD_BYTES:
            return await self._push(repository, body, content_type, digest, tags, cause, is_known=is_known)
        async with self._long_pushes:
            return await self._push(
                repository, body, content_type, digest, tags, cause, is_known=is_known, is_long=True
            )

    async def _push(
        self,
        repository: RepositoryName,
        body: bytes,
        content_type: str,
        digest: Digest | None,
        tags: Sequence[Tag],
        cause: Cause,
        *,
        is_known: bool,
        is_long: bool = False,
    ) -> PushedManifest:
        algorithm = digest.algorithm if digest else "sha256"
        if is_long:
            manifest, actual = await asyncio.to_thread(self._read, body, content_type, algorithm)
        else:
            manifest, actual = self._read(body, content_type, algorithm)
        if manifest.is_withdrawn and not is_known:
            raise ManifestInvalidError("artifact manifests were withdrawn; push an image manifest", "/mediaType")
        if digest is not None and digest != actual:
            raise ManifestDigestMismatchError(digest, actual)

        async def work(transaction: Transaction) -> tuple[int, int]:
            change = Change.at(self._clock, cause.actor, self._rules)
            now_ms = change.now_ms
            repository_id = await ensure_repository(transaction, repository, self._clock)
            missing, wrong_sizes = await _compare_blobs(transaction, repository_id, manifest.required_blobs)
            if wrong_sizes and not (self._accepts_wrong_sizes or is_known):
                raise ManifestInvalidError(wrong_sizes[0])
            if missing and not self._accepts_missing_blobs:
                raise ManifestBlobUnknownError(missing)
            manifest_id = await ensure_manifest(transaction, manifest, actual, body, now_ms)
            await transaction.execute(
                store.LINK_MANIFEST, repository_id=repository_id, manifest_id=manifest_id, pushed_ms=now_ms
            )
            await settle_manifest(transaction, repository_id, manifest_id)
            for tag in tags:
                await point_tag(transaction, repository_id, tag, manifest_id, actual, change, "push")
            if not tags:
                await review_untagged(transaction, repository_id, manifest_id, change)
            await self._tell_of_push(transaction, repository, manifest, actual, len(body), tags, cause)
            absent = await _count_absent_children(transaction, repository_id, manifest_id) if manifest.children else 0
            return len(missing) + absent, len(wrong_sizes)

        missing, wrong_sizes = await self._database.write(work, locks=adding_to(repository), is_long=is_long)
        self._traffic.pushed(repository, len(body), is_manifest=True)
        subject = manifest.subject.digest if manifest.subject else None
        return PushedManifest(actual, tuple(tags), subject, missing, wrong_sizes)

    def _read(self, body: bytes, content_type: str, algorithm: str) -> tuple[Manifest, Digest]:
        manifest = parse_manifest(body, content_type)
        self._foreign_urls.require_allowed(manifest)
        return manifest, Digest.of(body, algorithm)

    async def _tell_of_push(
        self,
        transaction: Transaction,
        repository: RepositoryName,
        manifest: Manifest,
        digest: Digest,
        size_bytes: int,
        tags: Sequence[Tag],
        cause: Cause,
    ) -> None:
        for tag in tags or ("",):
            event = Event(
                action=EventAction.PUSH,
                repository=repository,
                digest=digest,
                media_type=manifest.media_type,
                size_bytes=size_bytes,
                tag=tag,
                cause=cause,
            )
            await self._outbox.record(transaction, event)

    async def delete(self, repository: RepositoryName, digest: Digest, *, cause: Cause) -> None:
        """Removes a manifest from a repository, and the tags that point at it.

        Until its grace time ends it can be restored, and what it names is kept.

        Source: distribution specification, section "Deleting Manifests".

        Raises:
            RepositoryUnknownError, ManifestUnknownError: there is none.
        """

        async def work(transaction: Transaction) -> None:
            repository_id = await get_repository_id(transaction, repository)
            row = await transaction.fetch_one(store.FIND_LINKED_MANIFEST_ID, repository_id=repository_id, digest=digest)
            if row is None:
                raise ManifestUnknownError(repository, digest)
            change = Change.at(self._clock, cause.actor, self._rules)
            await discard_manifest(transaction, repository_id, row[0], digest, change)
            event = Event(action=EventAction.DELETE, repository=repository, digest=digest, cause=cause)
            await self._outbox.record(transaction, event)

        await self._database.write(work, locks=removing_from(repository), is_long=True)


async def _digest_of(body: bytes, algorithm: str) -> Digest:
    if len(body) > PARSE_IN_THREAD_BYTES:
        return await asyncio.to_thread(Digest.of, body, algorithm)
    return Digest.of(body, algorithm)


async def _compare_blobs(
    transaction: Transaction, repository_id: int, blobs: Sequence[Descriptor]
) -> tuple[list[Digest], list[str]]:
    """The digests that the repository does not have, each once, and what is wrong with the sizes of the others."""
    digests = as_list(blob.digest for blob in blobs)
    rows = await transaction.fetch_all(store.FIND_LINKED_BLOBS, repository_id=repository_id, digests=digests)
    sizes: dict[str, int] = dict(rows)  # pyright: ignore[reportArgumentType] - rows of two
    missing = list(dict.fromkeys(blob.digest for blob in blobs if blob.digest not in sizes))
    wrong_sizes = [
        f"the descriptor of {blob.digest} says {blob.size_bytes} bytes, but the blob has {sizes[blob.digest]}"
        for blob in blobs
        if sizes.get(blob.digest, blob.size_bytes) != blob.size_bytes
    ]
    return missing, wrong_sizes


async def _count_absent_children(transaction: Transaction, repository_id: int, manifest_id: int) -> int:
    row = await transaction.fetch_one(store.COUNT_ABSENT_CHILDREN, repository_id=repository_id, manifest_id=manifest_id)
    return int(row[0]) if row else 0


async def ensure_manifest(
    transaction: Transaction, manifest: Manifest, digest: Digest, body: bytes, now_ms: int
) -> int:
    """The key of the manifest's row, made with what it names if need be."""
    found = await _find_manifest(transaction, manifest, digest, body)
    if found is not None:
        return found
    row = await transaction.fetch_one(
        store.ADD_MANIFEST,
        digest=digest,
        media_type=manifest.media_type,
        artifact_type=manifest.artifact_type,
        subject_digest=manifest.subject.digest if manifest.subject else None,
        size_bytes=len(body),
        created_ms=now_ms,
        body=body,
    )
    if row is None:  # it was added at this moment by somebody else, and what it names with it
        return await ensure_manifest(transaction, manifest, digest, body, now_ms)
    manifest_id = int(row[0])
    await _record_names(transaction, manifest_id, manifest)
    if manifest.subject:
        annotations = json.dumps(dict(manifest.annotations), ensure_ascii=False, separators=(",", ":"))
        await transaction.execute(
            store.ADD_MANIFEST_ANNOTATIONS,
            manifest_id=manifest_id,
            size_bytes=len(annotations.encode()),
            annotations=annotations,
        )
    return manifest_id


async def _find_manifest(transaction: Transaction, manifest: Manifest, digest: Digest, body: bytes) -> int | None:
    """The key of a manifest's row, which stays; a damaged body is replaced by ``body``."""
    row = await transaction.lock_one(store.FIND_MANIFEST_ID_TO_KEEP, digest=digest)
    if row is None:
        return None
    if await transaction.execute(store.HEAL_MANIFEST, manifest_id=row[0], body=body):
        await _record_names(transaction, row[0], manifest)  # a migration could not read them from damaged bytes
    return int(row[0])


async def _record_names(transaction: Transaction, manifest_id: int, manifest: Manifest) -> None:
    """Records what is kept with a manifest; of a digest that is named twice, that it must be there counts."""
    required = {blob.digest for blob in manifest.required_blobs}
    await transaction.execute_many(
        store.ADD_MANIFEST_BLOB,
        [
            {"manifest_id": manifest_id, "blob_digest": digest, "is_required": int(digest in required)}
            for digest in dict.fromkeys(each.digest for each in manifest.named)
        ],
    )
    await transaction.execute_many(
        store.ADD_MANIFEST_CHILD,
        [{"manifest_id": manifest_id, "child_digest": child.digest} for child in manifest.children],
    )
