"""Takeover of what replicas that died have left behind, one by one while others serve.

Nothing here assumes to be alone. An upload session is looked at once its record has stood still for ``STILL_SECONDS``,
by this process's own clock: nobody has recorded anything of it since. Even if somebody is in the middle of it:

- Bytes that were published and not recorded get a record that says that they go (``record_for_removal``), unless they
  have one. Whoever records them later finds it, holds the digest and publishes anew (``content.exclusive``); so the
  session itself stays, and its client may go on. Which blob they are is said by the session's record, or by its object:
  that one keeps its bytes until the blob is recorded, so they are read where they go past what is recorded.
- A session whose bytes are lost is ended. Who is about to write to it is told that it is unknown.
- The bytes of a session that has no record are removed when they are old by the storage's own clock: no upload leaves
  its first bytes unrecorded for so long. So is what a removal has taken out of its place and not removed.

Nothing of this happens before somebody has confirmed what the catalogue knows: see ``confirmation``, and who calls.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

from roadstead.clock import Clock
from roadstead.database import Database, Row, Transaction
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.content import store
from roadstead.registry.content.file_intake import READ_BYTES
from roadstead.registry.content.running_digest import RunningDigest, find_digest
from roadstead.registry.content.session_ids import ALGORITHMS
from roadstead.registry.operation.recovery import BATCH, Recovered
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import Change, record_for_removal
from roadstead.storage import FolderStore, ObjectUnknownError

STILL_SECONDS: Final = 600.0
"""After which nobody is in the middle of a session: longer than any request waits for a body or for a database."""

UNRECORDED_MS: Final = 86_400_000
"""Age of bytes of a session without a record: a day, in which no client sends a body that it has begun.

And of what stands aside: a day, in which no process that removes something stays frozen and is then let go on."""


class Takeover:
    """Looks for sessions that stand still, and takes them up."""

    def __init__(self, database: Database, storage: FolderStore, clock: Clock, rules: GarbageRules) -> None:
        self._database = database
        self._storage = storage
        self._clock = clock
        self._rules = rules
        self._seen: dict[str, tuple[Row, float]] = {}
        self._settled: dict[str, Row] = {}

    async def round(self) -> Recovered:
        """Looks at every session once, and takes up what has stood still since an earlier round."""
        removed = ended = 0
        sessions = await self._list_sessions()
        self._seen = {name: seen for name, seen in self._seen.items() if name in sessions}
        self._settled = {name: row for name, row in self._settled.items() if name in sessions}
        for session_id, row in sessions.items():
            if not self._stands_still(session_id, row):
                continue
            is_ended, is_removed = await self._settle(session_id, row)
            ended += is_ended
            removed += is_removed
        return Recovered(removed, await self._remove_unrecorded(sessions.__contains__), ended)

    async def _list_sessions(self) -> dict[str, Row]:
        """All open sessions."""
        sessions: dict[str, Row] = {}
        after = ""
        while rows := await self._database.fetch_all(store.LIST_UPLOADS, after=after, limit=BATCH):
            sessions.update({str(row[0]): row[1:] for row in rows})
            after = rows[-1][0]
        return sessions

    def _stands_still(self, session_id: str, row: Row) -> bool:
        """True if a session has not changed for long, and was not looked at since it stands like that."""
        now = self._clock.monotonic_seconds()
        seen, since = self._seen.get(session_id, (None, now))
        if seen != row:
            self._seen[session_id] = (row, now)
            return False
        return now - since >= STILL_SECONDS and self._settled.get(session_id) != row

    async def _settle(self, session_id: str, row: Row) -> tuple[bool, bool]:
        """Settles a session; returns if it was ended, and if bytes that it has published will be removed."""
        algorithm, offset, state, committing = row
        digest = Digest(committing) if committing else find_digest(algorithm, state) if state else None
        key = layout.upload_key(session_id)
        found = await self._storage.find(key)
        if found is not None and found.size_bytes > offset:
            digest = await self._find_published(key) or digest
        is_published = digest is not None and await self._storage.find(layout.blob_key(digest)) is not None
        is_lost = (offset or committing) and found is None

        async def work(transaction: Transaction) -> tuple[bool, bool]:
            change = Change.at(self._clock, "", self._rules)
            is_ended = bool(is_lost and await transaction.execute(store.END_UPLOAD, session_id=session_id))
            is_removed = digest is not None and is_published and await record_for_removal(transaction, digest, change)
            return is_ended, is_removed

        outcome = await self._database.write(work) if is_lost or is_published else (False, False)
        self._settled[session_id] = row
        return outcome

    async def _remove_unrecorded(self, is_known: Callable[[str], bool]) -> int:
        """Removes old bytes of sessions that have no record, or none any more."""
        before_ms = await self._storage_ms() - UNRECORDED_MS
        removed = await self._storage.sweep_aside(older_than_ms=UNRECORDED_MS)
        async for found in self._storage.iter_objects(layout.UPLOADS):
            session_id = found.key.removeprefix(f"{layout.UPLOADS}/")
            if found.modified_ms < before_ms and not is_known(session_id):
                await self._record_published(found.key)
                removed += await self._storage.delete(found.key)
        return removed

    async def _record_published(self, key: str) -> None:
        """Has bytes removed that an upload without a record has published, and that no record names."""
        digest = await self._find_published(key)
        if digest is not None:
            change = Change.at(self._clock, "", self._rules)
            await self._database.write(lambda transaction: record_for_removal(transaction, digest, change))

    async def _find_published(self, key: str) -> Digest | None:
        """The digest of an object's bytes, if there is a blob of it."""
        try:
            reader = await self._storage.open_reader(key)
        except ObjectUnknownError:
            return None
        running = [RunningDigest(algorithm) for algorithm in ALGORITHMS]
        try:
            for offset in range(0, reader.size_bytes, READ_BYTES):
                piece = bytes(await reader.read(offset, min(READ_BYTES, reader.size_bytes - offset)))
                for each in running:
                    await asyncio.to_thread(each.update, piece)
        finally:
            reader.close()
        for each in running:
            if await self._storage.find(layout.blob_key(each.digest())) is not None:
                return each.digest()
        return None

    async def _storage_ms(self) -> int:
        """The time by the storage's own clock: that of an object made now."""
        key = layout.upload_key(f"clock-{secrets.token_hex(8)}")
        (await self._storage.open_writer(key)).close()
        found = await self._storage.find(key)
        await self._storage.delete(key)
        return 0 if found is None else found.modified_ms
