"""Manifests: pushed, pulled, deleted.

Promises: a manifest is accepted only if all that it needs is readable in its repository, checked in the transaction
that adds it; all that it names, needed or not, is kept in its repository as long as it is; its bytes come back exactly
as they were pushed.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from roadstead.access import VisibleRepositories
from roadstead.clock import Clock
from roadstead.database import Database, DatabaseDamagedError, ScriptEndedError, Transaction, as_list
from roadstead.database.script import run_steps
from roadstead.events import Cause, Event, EventAction, Outbox, encode_cause
from roadstead.oci import Descriptor, Digest, Manifest, RepositoryName, Tag, parse_manifest
from roadstead.oci.errors import ManifestInvalidError
from roadstead.registry.content import store
from roadstead.registry.content.foreign_urls import UrlRules
from roadstead.registry.content.manifest_caches import BodyCache, FoundCache
from roadstead.registry.content.manifest_records import RECORD_MANIFEST, RECORD_TAG, manifest_values, requirement
from roadstead.registry.content.repositories import get_repository_id, project_of, require_visible
from roadstead.registry.content.traffic import Traffic
from roadstead.registry.errors import (
    ManifestBlobUnknownError,
    ManifestDigestMismatchError,
    ManifestUnknownError,
)
from roadstead.registry.locks import adding_to, removing_from
from roadstead.registry.model import PushedManifest, StoredManifest
from roadstead.registry.removal import store as removal_store
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import Change, discard_manifest

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
        """The manifest that a tag or digest stands for in a repository.

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

        missing, wrong_sizes = await self._record(
            repository, manifest, actual, body, tags, cause, is_known=is_known, is_long=is_long
        )
        self._traffic.pushed(repository, len(body), is_manifest=True)
        subject = manifest.subject.digest if manifest.subject else None
        return PushedManifest(actual, tuple(tags), subject, missing, wrong_sizes)

    async def _record(
        self,
        repository: RepositoryName,
        manifest: Manifest,
        digest: Digest,
        body: bytes,
        tags: Sequence[Tag],
        cause: Cause,
        *,
        is_known: bool,
        is_long: bool,
    ) -> tuple[int, int]:
        """Records the manifest; how many of its blobs are missing, and how many have other sizes."""
        change = Change.at(self._clock, cause.actor, self._rules)
        values = {
            **change.values(),
            **manifest_values(manifest, digest, body),
            **requirement(manifest.required_blobs),
            "action": EventAction.PUSH.value,
            "repository": repository,
            "project": project_of(repository),
            "tag": tags[0] if tags else None,
            "event_tag": tags[0] if tags else "",
            "cause": encode_cause(cause),
        }
        locks = adding_to(repository)
        if len(tags) <= 1:
            try:
                row = await self._database.run(RECORD_MANIFEST, values, locks=locks, is_long=is_long)
            except ScriptEndedError:  # said below what is missing, and whether that matters
                pass
            else:
                return row[2] or 0, 0
        unchecked = {**values, "sized": None}

        async def work(transaction: Transaction) -> tuple[int, int]:
            missing, wrong_sizes = await _compare_blobs(transaction, repository, manifest.required_blobs)
            if wrong_sizes and not (self._accepts_wrong_sizes or is_known):
                raise ManifestInvalidError(wrong_sizes[0])
            if missing and not self._accepts_missing_blobs:
                raise ManifestBlobUnknownError(missing)
            repository_id, manifest_id, absent = await run_steps(RECORD_MANIFEST, transaction, unchecked)
            for tag in tags[1:]:
                more = {**values, "repository_id": repository_id, "manifest_id": manifest_id, "tag": tag}
                await run_steps(RECORD_TAG, transaction, {**more, "event_tag": tag})
            return len(missing) + (absent or 0), len(wrong_sizes)

        return await self._database.write(work, locks=locks, is_long=is_long)

    def _read(self, body: bytes, content_type: str, algorithm: str) -> tuple[Manifest, Digest]:
        manifest = parse_manifest(body, content_type)
        self._foreign_urls.require_allowed(manifest)
        return manifest, Digest.of(body, algorithm)

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
    transaction: Transaction, repository: RepositoryName, blobs: Sequence[Descriptor]
) -> tuple[list[Digest], list[str]]:
    """The digests that the repository does not have, each once, and what is wrong with the sizes of the others."""
    found = await transaction.fetch_one(removal_store.FIND_REPOSITORY_EVEN_REMOVED, repository=repository)
    repository_id = found[0] if found else 0
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
