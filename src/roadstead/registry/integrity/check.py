"""Looks for damage in what a registry has stored, and names it.

Promises: reads only; whatever is damaged is named and the rest is still looked at; memory does not grow with the
registry. Safe beside a running server: what differs from its record is looked at again, and reported only if record and
bytes still disagree, so that a blob deleted or pushed meanwhile is no finding.

What is compared, in this order:

1. the catalogue with itself (``roadstead.database.integrity``), tags with the manifests that they point at, what was
   deleted and what waits for the collector with what it refers to (``check_records``);
2. each manifest's body with its digest and with the rules for manifests, and the blobs that it names with those that
   its repositories have;
3. each blob's bytes with the length that its record has, and, ``deep``, with its digest;
4. bytes with records: what no record names does no harm, but takes space.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from roadstead.clock import Clock, SystemClock
from roadstead.database import DatabaseDamagedError, DatabaseUnavailableError, Statement
from roadstead.database.integrity import find_damage
from roadstead.oci import Digest, parse_manifest
from roadstead.oci.errors import DigestInvalidError, ManifestInvalidError
from roadstead.registry.content import store
from roadstead.registry.integrity import store as check_store
from roadstead.registry.integrity.check_records import find_dangling_records
from roadstead.registry.integrity.findings import Finding, FindingKind, Severity
from roadstead.registry.integrity.statistics import measure
from roadstead.registry.integrity.unrecorded import iter_unrecorded_blobs, iter_unrecorded_uploads
from roadstead.registry.model import Blob
from roadstead.registry.operation.confirmation import find_unconfirmed
from roadstead.registry.progress import Progress
from roadstead.registry.service import Registry
from roadstead.storage import ObjectUnknownError, StorageAbsentError, StorageError, StoredObject

PAGE: Final = 500
"""Digests asked of the catalogue at once."""

HASHED_AT_ONCE: Final = 4
"""Blobs hashed at the same time: as many as small machines have processors; each holds two pieces in memory."""

FOUND_AT_ONCE: Final = 16
"""Blobs looked up in storage at the same time."""

PIECE_BYTES: Final = 1 << 20
"""Bytes read and hashed at once."""

NAMED_HOLDERS: Final = 3
"""Manifests that are named as needing a damaged blob."""

PARSE_IN_THREAD_BYTES: Final = 64 << 10
"""Larger manifests are looked at in a thread, so that progress is shown meanwhile."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Checker:
    """A check of one registry.

    ``accepts_missing_blobs`` says that manifests were taken although they named blobs that were not there.
    """

    registry: Registry
    progress: Progress
    deep: bool = False
    accepts_missing_blobs: bool = False
    clock: Clock = field(default_factory=SystemClock)

    async def run(self) -> AsyncGenerator[Finding, None]:
        """All findings, as they are found."""
        stages: list[tuple[str, Callable[[], AsyncIterator[Finding]]]] = [
            ("the catalogue", self._check_catalogue),
            ("tags", self._check_tags),
            ("records", self._check_records),
            ("manifests", self._check_manifests),
            ("blobs", self._check_blobs),
            ("what no record names", self._check_stored),
            ("what waits", self._check_confirmation),
        ]
        for name, stage in stages:
            try:
                async for finding in stage():
                    yield finding
            except (DatabaseDamagedError, DatabaseUnavailableError) as error:
                yield _catalogue(f"could not go on with {name}: {error.detail}")
            except StorageError as error:
                yield Finding(FindingKind.STORAGE_UNREADABLE, error.key, f"could not go on with {name}: {error}")

    # --- the catalogue

    async def _check_catalogue(self) -> AsyncIterator[Finding]:
        self.progress.begin("catalogue", 0, is_bytes=False)
        for detail in await find_damage(self.registry.database, deep=self.deep):
            yield _catalogue(detail)

    async def _check_tags(self) -> AsyncIterator[Finding]:
        self.progress.begin("tags", 0, is_bytes=False)
        after_id, after = -1, ""
        while rows := await self.registry.database.fetch_all(
            store.LIST_DANGLING_TAGS, after_id=after_id, after=after, limit=PAGE
        ):
            for after_id, after, repository in rows:  # noqa: B007 - the last row is where the next page begins
                subject = f"{repository or 'a repository without a record'}:{after}"
                yield Finding(FindingKind.TAG_DANGLING, subject, "the manifest that the tag points at is gone")

    async def _check_records(self) -> AsyncIterator[Finding]:
        self.progress.begin("records", 0, is_bytes=False)
        async for finding in find_dangling_records(self.registry.database):
            yield finding

    # --- manifests

    async def _check_manifests(self) -> AsyncIterator[Finding]:
        self.progress.begin("manifests", await self._total("manifests"), is_bytes=False)
        async for text in self._digests(store.LIST_MANIFEST_DIGESTS):
            for finding in await self._check_manifest(text):
                yield finding
            self.progress.advance(1)

    async def _check_manifest(self, text: str) -> list[Finding]:
        digest = _parse(text)
        if digest is None:
            return [_catalogue(f"a manifest is recorded under {text!r}, which is no digest")]
        try:
            row = await self.registry.database.fetch_one(check_store.GET_MANIFEST, digest=digest)
            found = await _compare(digest, row[0], str(row[1])) if row else None  # None: deleted meanwhile
        except (DatabaseDamagedError, DatabaseUnavailableError) as error:
            found = FindingKind.MANIFEST_UNREADABLE, f"the catalogue cannot give it back ({error.detail})"
        findings = await self._find_missing_blobs(digest)
        if found is not None:
            kind, detail = found
            findings.insert(0, Finding(kind, digest, f"{detail}; {await self._where(digest)}"))
        return findings

    async def _where(self, digest: Digest) -> str:
        """Which repositories have a manifest."""
        rows = await self.registry.database.fetch_all(
            store.LIST_REPOSITORIES_OF_MANIFEST, digest=digest, limit=NAMED_HOLDERS + 1
        )
        if rows:
            return f"it is in {_some([str(row[0]) for row in rows])}"
        rows = await self.registry.database.fetch_all(
            check_store.LIST_REPOSITORIES_OF_TRASH, digest=digest, limit=NAMED_HOLDERS + 1
        )
        if rows:
            return f"it was deleted from {_some([str(row[0]) for row in rows])}, and cannot be restored like this"
        return "no repository has it, so nobody misses it"

    async def _find_missing_blobs(self, digest: Digest) -> list[Finding]:
        """Blobs that a manifest's repositories lack; what was deleted may lack some that were deleted by request."""
        severity = Severity.NOTE if self.accepts_missing_blobs else Severity.DAMAGE
        kind, database = FindingKind.MANIFEST_BLOB_MISSING, self.registry.database
        unrestorable = "deleted; cannot be restored without the blob"
        missing = await database.fetch_all(store.LIST_MISSING_BLOBS, digest=digest, limit=PAGE)
        lost = await database.fetch_all(check_store.LIST_MISSING_BLOBS_OF_TRASH, digest=digest, limit=PAGE)
        return [
            Finding(kind, f"{repository}@{digest}", f"the repository does not have the blob {blob}", severity)
            for repository, blob in missing
        ] + [
            Finding(kind, f"{repository}@{digest}", f"{unrestorable} {blob}", Severity.NOTE)
            for repository, blob in lost
        ]

    # --- blobs

    async def _check_blobs(self) -> AsyncIterator[Finding]:
        total = await self._total("blob_bytes" if self.deep else "blobs")
        self.progress.begin("blobs", total, is_bytes=self.deep)
        width = HASHED_AT_ONCE if self.deep else FOUND_AT_ONCE
        async for findings in _spread(self._digests(store.LIST_BLOB_DIGESTS), self._check_blob, width):
            for finding in findings:
                yield finding
            if not self.deep:
                self.progress.advance(1)

    async def _check_blob(self, text: str) -> list[Finding]:
        digest = _parse(text)
        if digest is None:
            return [_catalogue(f"a blob is recorded under {text!r}, which is no digest")]
        try:
            found = await self._look_at(digest, self.progress.advance)
            if found is not None:  # again, from the record on: it may have been deleted or pushed meanwhile
                found = await self._look_at(digest, _ignore)
            if found is None:
                return []
            holders = await self._holders(digest)
        except (DatabaseDamagedError, DatabaseUnavailableError) as error:
            return [_catalogue(f"the record of blob {digest} cannot be read: {error.detail}")]
        kind, detail, seen = found
        return [Finding(kind, digest, detail + holders, seen=seen)]

    async def _look_at(self, digest: Digest, advance: Callable[[int], None]) -> "_BlobFound | None":
        """The fault of a blob at this moment, if any."""
        row = await self.registry.database.fetch_one(store.FIND_BLOB_RECORD, digest=digest)
        if row is None:
            return None
        _, size_bytes, quarantined_ms, deleting_ms, object_key = row
        if deleting_ms is not None:
            return None  # nobody has it any more, and its bytes may be gone already
        if quarantined_ms is not None:
            return FindingKind.BLOB_QUARANTINED, "its bytes were damaged and have been put aside", None
        try:
            return await self._compare_bytes(Blob(digest, size_bytes, object_key), advance)
        except ObjectUnknownError:
            return FindingKind.BLOB_MISSING, "its bytes are missing", None
        except StorageAbsentError:
            raise  # nothing is known about any blob
        except StorageError as error:
            return FindingKind.BLOB_UNREADABLE, str(error), None

    async def _compare_bytes(self, blob: Blob, advance: Callable[[int], None]) -> "_BlobFound | None":
        found = await self.registry.places.find(blob.digest, blob.object_key)
        if found is None:
            raise ObjectUnknownError(blob.digest)
        if found.size_bytes != blob.size_bytes:
            return FindingKind.BLOB_LENGTH, f"it has {found.size_bytes} bytes instead of {blob.size_bytes}", found
        if self.deep and await self._hash(blob, advance) != blob.digest:
            return FindingKind.BLOB_DIGEST, "its bytes are not those that its digest stands for", found
        return None

    async def _hash(self, blob: Blob, advance: Callable[[int], None]) -> str:
        """The digest of a blob's bytes, of the same algorithm."""
        running = hashlib.new(blob.digest.algorithm)
        reader = await self.registry.places.open(blob)
        try:
            offset = 0
            while offset < reader.size_bytes:
                piece = await reader.read_once(offset, min(PIECE_BYTES, reader.size_bytes - offset))
                if not piece:
                    break
                await asyncio.to_thread(running.update, piece)
                offset += len(piece)
                advance(len(piece))
        finally:
            reader.close()
        return f"{blob.digest.algorithm}:{running.hexdigest()}"

    async def _holders(self, digest: Digest) -> str:
        """Which manifests need a blob."""
        rows = await self.registry.database.fetch_all(store.LIST_HOLDERS, digest=digest, limit=NAMED_HOLDERS + 1)
        return f"; needed by {_some([f'{row[0]}@{row[1]}' for row in rows])}" if rows else ""

    # --- bytes

    async def _check_stored(self) -> AsyncIterator[Finding]:
        self.progress.begin("storage", await self._total("blobs"), is_bytes=False)
        async for found in iter_unrecorded_blobs(self.registry):
            self.progress.advance(1)
            if found is None:
                continue
            if found.digest is None:
                yield _unrecorded(found.key, "it stands among the blobs, but under no blob's name")
            else:
                yield _unrecorded(found.key, f"no record names these {found.size_bytes} bytes")
        async for upload in iter_unrecorded_uploads(self.registry, self.clock):
            yield _unrecorded(upload.key, f"these {upload.size_bytes} bytes belong to no upload any more")

    async def _check_confirmation(self) -> AsyncIterator[Finding]:
        found = await find_unconfirmed(self.registry.database)
        if found is not None:
            detail = f"nothing is removed from storage until it is confirmed, since {found.reason}"
            yield Finding(FindingKind.STORAGE_UNCONFIRMED, "storage", detail, Severity.NOTE)

    # --- common

    async def _digests(self, listing: Statement) -> AsyncIterator[str]:
        after = ""
        while rows := await self.registry.database.fetch_all(listing, after=after, limit=PAGE):
            for (text,) in rows:
                yield str(text)
            after = rows[-1][0]
            await asyncio.sleep(0)  # or a cancellation would wait for the end of the listing

    async def _total(self, name: str) -> int:
        """A total of the registry, 0 where the catalogue cannot tell."""
        try:
            return int(getattr(await measure(self.registry.database), name))
        except (DatabaseDamagedError, DatabaseUnavailableError):
            return 0


_Found = tuple[FindingKind, str]
_BlobFound = tuple[FindingKind, str, StoredObject | None]


def _catalogue(detail: str) -> Finding:
    return Finding(FindingKind.CATALOGUE_DAMAGED, "catalogue", detail)


def _unrecorded(key: str, detail: str) -> Finding:
    return Finding(FindingKind.BYTES_UNRECORDED, key, detail, Severity.NOTE)


def _parse(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except DigestInvalidError:
        return None


async def _compare(digest: Digest, body: object, media_type: str) -> _Found | None:
    """The fault of a manifest's body, if any; damage may have made anything of it."""
    if not isinstance(body, bytes):
        return FindingKind.MANIFEST_DIGEST, "its record holds no bytes"
    if len(body) > PARSE_IN_THREAD_BYTES:
        return await asyncio.to_thread(_compare_now, digest, body, media_type)
    return _compare_now(digest, body, media_type)


def _compare_now(digest: Digest, body: bytes, media_type: str) -> _Found | None:
    if Digest.of(body, digest.algorithm) != digest:
        return FindingKind.MANIFEST_DIGEST, "its bytes are not those that its digest stands for"
    try:
        parse_manifest(body, media_type)
    except ManifestInvalidError as error:
        return FindingKind.MANIFEST_INVALID, str(error)
    return None


def _some(names: list[str]) -> str:
    """Up to ``NAMED_HOLDERS`` names, and whether there are more."""
    return ", ".join(names[:NAMED_HOLDERS]) + (" and others" if len(names) > NAMED_HOLDERS else "")


def _ignore(_amount: int) -> None:
    """Tells nobody."""


async def _spread(
    items: AsyncIterator[str], work: Callable[[str], Awaitable[_T]], width: int
) -> AsyncGenerator[_T, None]:
    """The results of ``work`` on each item, ``width`` at a time, as they come."""
    running: set[asyncio.Future[_T]] = set()
    try:
        async for item in items:
            running.add(asyncio.ensure_future(work(item)))
            if len(running) >= width:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    yield each.result()
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                yield each.result()
    finally:
        for each in running:
            each.cancel()
