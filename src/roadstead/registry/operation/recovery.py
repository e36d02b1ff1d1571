"""Recovery at a start from a crash before it. Runs while no other process uses the data folder.

Cost follows the number of unfinished uploads, never the number of blobs.
"""

from dataclasses import dataclass

from roadstead.database import Database, Transaction
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.content import store
from roadstead.registry.content.running_digest import find_digest
from roadstead.registry.operation.confirmation import find_unconfirmed
from roadstead.storage import ObjectStore, SinkStore

BATCH = 500
"""Sessions looked at in one go."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The result of a recovery: objects removed, sessions ended."""

    orphaned_blobs: int
    orphaned_uploads: int
    ended_sessions: int


async def recover(database: Database, storage: ObjectStore) -> Recovered:
    """Removes what uploads that a crash interrupted have left behind; their acknowledged bytes stay.

    Nothing before somebody has confirmed what the catalogue knows: bytes without a record may be all that is left.
    """
    if isinstance(storage, SinkStore) or await find_unconfirmed(database) is not None:
        return Recovered(0, 0, 0)  # in a bucket a commit moves nothing, and what no row names is swept by its age
    orphaned_blobs, ended = await _recover_commits(database, storage)
    return Recovered(orphaned_blobs, await _remove_orphaned_uploads(database, storage), ended)


async def _recover_commits(database: Database, storage: ObjectStore) -> tuple[int, int]:
    """Sessions whose bytes are not where they were: moved and not recorded as a blob, or lost."""
    removed = ended = 0
    after = ""
    while rows := await database.fetch_all(store.LIST_UPLOADS, after=after, limit=BATCH):
        for session_id, algorithm, offset, state, committing in rows:
            after = session_id
            if not (offset or committing) or await storage.find(layout.upload_key(session_id)) is not None:
                continue  # the client may go on
            digest = Digest(committing) if committing else find_digest(algorithm, state) if state else None
            if digest is not None and await database.fetch_one(store.FIND_BLOB_RECORD, digest=digest) is None:
                removed += await storage.delete(layout.blob_key(digest))
            await _end(database, session_id)
            ended += 1
    return removed, ended


async def _end(database: Database, session_id: str) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.execute(store.END_UPLOAD, session_id=session_id)

    await database.write(work)


async def _remove_orphaned_uploads(database: Database, storage: ObjectStore) -> int:
    """Bytes of sessions whose record is gone."""
    known: set[str] = set()
    after = ""
    while rows := await database.fetch_all(store.LIST_UPLOADS, after=after, limit=BATCH):
        known.update(layout.upload_key(row[0]) for row in rows)
        after = rows[-1][0]
    removed = 0
    async for found in storage.iter_objects(layout.UPLOADS):
        if found.key not in known:
            removed += await storage.delete(found.key)
    return removed
