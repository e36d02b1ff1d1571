"""Objects in the storage that no record of the catalogue names.

Bytes can come before their record and outlive it: in a crash, and where the catalogue was restored to an earlier state.
They do no harm but take space. A push of the same bytes gives them a record again.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from roadstead.clock import Clock
from roadstead.database import Reader, Transaction
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.content import store
from roadstead.registry.removal.transitions import Change, record_for_removal
from roadstead.registry.service import Registry

YOUNG_MS: Final = 60_000
"""An upload written to so lately may just be ending: its record goes before its bytes."""

_RECORDS: Final = (
    store.FIND_BLOB_RECORD,
    store.FIND_COMMITTING_UPLOAD,
    store.FIND_MANIFEST_ID,  # registry:2 keeps a manifest's bytes among the blobs; here they are in its record
)


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """An object without a record: its key and size, and the digest whose blob it is, if it is one."""

    key: str
    size_bytes: int
    digest: Digest | None = None


async def iter_unrecorded_blobs(registry: Registry) -> AsyncIterator[Unrecorded | None]:
    """Looks at every object among the blobs: yields each that has no record, and None for each that has one."""
    async for found in registry.storage.iter_objects(layout.BLOBS):
        digest = layout.blob_digest(found.key)
        if digest is None or await is_unrecorded(registry, digest):
            yield Unrecorded(found.key, found.size_bytes, digest)
        else:
            yield None


async def iter_unrecorded_uploads(registry: Registry, clock: Clock) -> AsyncIterator[Unrecorded]:
    """Yields the bytes of each upload that is unknown, unless they are young."""
    async for found in registry.storage.iter_objects(layout.UPLOADS):
        session_id = found.key.removeprefix(f"{layout.UPLOADS}/")
        if found.modified_ms >= clock.now_ms() - YOUNG_MS:
            continue
        if await registry.database.fetch_one(store.FIND_UPLOAD_RECORD, id=session_id) is None:
            yield Unrecorded(found.key, found.size_bytes)


async def is_unrecorded(registry: Registry, digest: Digest) -> bool:
    """Returns True if a blob is there that has no record, and is not just about to get one.

    An upload holds the blob's digest exclusively from before its bytes move until they are recorded; so whoever holds
    it and sees no record sees what nobody is going to record.
    """
    if await _has_record(registry.database, digest):
        return False
    async with registry.exclusive.hold(digest):
        is_there = await registry.storage.find(layout.blob_key(digest)) is not None
        return is_there and not await _has_record(registry.database, digest)


async def remove_unrecorded(registry: Registry, digest: Digest) -> bool:
    """Has the collector remove a blob that has no record; False if it has one by now.

    By a record that says that it goes, so that whoever pushes the same bytes meanwhile keeps them.
    """

    async def work(transaction: Transaction) -> bool:
        if await _has_record(transaction, digest):
            return False
        return await record_for_removal(transaction, digest, Change.at(registry.clock, "", registry.rules))

    async with registry.exclusive.hold(digest):
        return await registry.database.write(work)


async def _has_record(reader: Reader, digest: Digest) -> bool:
    for statement in _RECORDS:
        if await reader.fetch_one(statement, digest=digest) is not None:
            return True
    return False
