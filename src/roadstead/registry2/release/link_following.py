"""Keeps the link tree of registry:2 a few seconds behind the catalogue, so that the way back is short at any time.

The catalogue's triggers note each link, manifest and tag that changes, in the transaction that changes it, so nothing
can be forgotten; a note names what to look at, not what to write. One process of the fleet takes notes in their order,
makes the files what the records say by now, and forgets the notes. To do so twice does no harm, so a crash costs
nothing. Where following begins, on a catalogue that has content already, each repository is written whole first; it
begins when nobody who changes links is under way, and only notes that are settled are followed, so that what commits
late is neither missed nor forgotten (``roadstead.events.order``).

A repository whose links cannot be written, since something foreign stands in their place, is set aside and named: the
others go on, and it is written whole when it can be (``link_troubles``). What an adoption left alone stays
(``left_alone``).

Pauses in maintenance and while the tree is the truth. Takes at most a tenth of a processor, in a thread.
"""

import asyncio
import enum
import functools
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from msgspec import MsgspecError, Struct, json, structs

from roadstead.clock import Clock
from roadstead.database import Database, DatabaseDamagedError, Reader, Row, Statement, Transaction
from roadstead.events import SETTLED, SettledOrder
from roadstead.jobs import delete_state, find_state, save_state
from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry import layout
from roadstead.registry.cancellation import uninterrupted
from roadstead.registry.content import store
from roadstead.registry.content.exclusive import Exclusive
from roadstead.registry.operation.adoption_state import LINKS_STATE, AdoptionPhase, find_adoption
from roadstead.registry.operation.maintenance import Maintenance
from roadstead.registry.removal import store as removal_store
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import Change, record_for_removal
from roadstead.registry2.adoption import store as adoption_store
from roadstead.registry2.links import LinkFiles, paths
from roadstead.registry2.links.writer import LinkWriter, RepositoryContent, TagRecord
from roadstead.registry2.release.left_alone import claim, claim_all, find_left_alone
from roadstead.registry2.release.link_troubles import (
    Pauses,
    Trouble,
    count_missed,
    end_trouble,
    forget_troubles,
    list_troubles,
    save_trouble,
)
from roadstead.registry2.release.release import read_content, write_body, write_repository
from roadstead.storage import ObjectStore, StorageError, StorageFullError

NOTES: Final = 100
"""Number of notes taken in one round: some hundred flushes of a disk, less than a second on most."""

REST: Final = 9
"""Rest after work, as a multiple of its time: a tenth of a processor, which follows some 300 changes a second."""

MOST_ASIDE: Final = 100
"""Number of repositories that are set aside at most; beyond it the storage is at fault, and nothing is written."""

_log = structlog.get_logger("roadstead.links")


class NoteKind(enum.IntEnum):
    """The kind of thing that a note asks to look at; the values are stored by triggers."""

    LAYER = 1
    MANIFEST = 2
    TAG = 3
    BYTES = 4


class _StateRow(Struct, frozen=True):
    """The progress of the first writing of whole repositories."""

    is_complete: bool
    after: str


class LinkFollower:
    """The follower of changes in one process."""

    def __init__(
        self,
        database: Database,
        storage: ObjectStore,
        exclusive: Exclusive,
        files: LinkFiles,
        clock: Clock,
        maintenance: Maintenance,
    ) -> None:
        self._database = database
        self._order = SettledOrder(database, adoption_store.LAST_LINK_CHANGE_ID)
        self._clock = clock
        self._pauses = Pauses(clock)
        self._storage = storage
        self._exclusive = exclusive
        self._files = files
        self._maintenance = maintenance
        self._rests = _Rests()
        self._writer = LinkWriter(files, is_durable=True, pause=self._rests)

    async def round(self) -> bool:
        """Follows some changes; returns True if more are waiting.

        Raises:
            StorageError: the storage is full, or gives trouble to very many repositories; the next round tries again.
            DatabaseError: the next round tries again.
        """
        try:
            return await self._round()
        except asyncio.CancelledError:
            self._rests.end()  # a thread that writes the links of a large repository must not outlive the server
            raise

    async def _round(self) -> bool:
        if self._maintenance.is_still or (await find_adoption(self._database)).phase is not AdoptionPhase.IN_CHARGE:
            return False
        state = await self._state()
        aside = await list_troubles(self._database)
        for subject in [each for each in aside if self._pauses.is_due(each)][:1]:
            await self._try_again(subject, aside.pop(subject))
        if state.is_complete:
            return await self._follow({*aside})
        await self._write_next(state.after)
        return True

    async def _state(self) -> _StateRow:
        value = await find_state(self._database, LINKS_STATE)
        try:
            return json.decode(value or "", type=_StateRow)
        except MsgspecError:
            return await self._save(_StateRow(is_complete=False, after=""), is_first=True)

    async def _save(self, state: _StateRow, *, is_first: bool = False) -> _StateRow:
        """Writes the progress; the first time at a moment at which nobody is under way who could not know of it."""
        text = json.encode(state).decode()
        locks = [SETTLED] if is_first else []
        await self._database.write(lambda transaction: save_state(transaction, LINKS_STATE, text), locks=locks)
        return state

    async def _write_next(self, after: str) -> None:
        """Writes the next whole repository."""
        rows = await self._database.fetch_all(adoption_store.LIST_ALL_REPOSITORIES, after=after, limit=1)
        if not rows:
            await self._save(_StateRow(is_complete=True, after=""))
            return
        name = rows[0][1]
        try:
            await self._write_whole(RepositoryName(name))
        except (StorageError, DatabaseDamagedError) as error:
            await self._set_aside(name, error)
        await self._save(_StateRow(is_complete=False, after=name))

    async def _write_whole(self, name: RepositoryName) -> None:
        row = await self._database.fetch_one(removal_store.FIND_REPOSITORY_EVEN_REMOVED, repository=name)
        if row is not None and row[1] is None:
            content = await read_content(self._database, name, row[0])
        else:
            content = RepositoryContent(name, left_alone=await find_left_alone(self._database, name))
        await write_repository(self._database, self._writer, self._files, content)
        await claim_all(self._database, content)

    # --- what is set aside

    async def _set_aside(self, subject: str, error: StorageError | DatabaseDamagedError) -> None:
        """Sets a subject aside, so that the others go on; raises unless the error concerns this one alone."""
        aside = await list_troubles(self._database)
        if isinstance(error, StorageFullError) or len({*aside, subject}) > MOST_ASIDE:
            raise error
        reason = f"{error} ({error.key})" if isinstance(error, StorageError) and error.key else str(error)
        is_first = self._pauses.begin(subject)
        if subject in aside and not is_first and aside[subject].reason == reason:
            return
        before = aside.get(subject, Trouble(reason, self._clock.now_ms()))
        trouble = structs.replace(before, reason=reason)
        await self._database.write(lambda transaction: save_trouble(transaction, subject, trouble))
        _log.error("links set aside", subject=subject, reason=reason)

    async def _try_again(self, subject: str, trouble: Trouble) -> None:
        try:
            if ":" in subject:  # no repository's name has one
                await uninterrupted(self._remove_bytes(Digest(subject)))
            else:
                await self._write_whole(RepositoryName(subject))
        except (StorageError, DatabaseDamagedError) as error:
            await self._set_aside(subject, error)
            return
        await end_trouble(self._database, subject, trouble)
        self._pauses.end(subject)
        _log.info("links written again", subject=subject)

    # --- one change after another

    async def _follow(self, aside: set[str]) -> bool:
        """Follows some changes, but not those of ``aside``, which are repositories and bytes."""
        settled = await self._order.find()
        notes = await self._database.fetch_all(adoption_store.LIST_LINK_CHANGES, upto=settled, limit=NOTES)
        missed: set[str] = set()
        for kind, repository, item in dict.fromkeys((kind, name, item) for _, kind, name, item in notes):
            subject = item if kind == NoteKind.BYTES else repository
            if subject not in aside:
                try:
                    await self._look_at(kind, repository, item)
                    continue
                except StorageError as error:
                    await self._set_aside(subject, error)
                    aside.add(subject)
            missed.add(subject)
        if notes:
            upto = notes[-1][0]
            await self._database.write(lambda transaction: _forget(transaction, upto, missed), durable=False)
        return len(notes) == NOTES

    async def _look_at(self, kind: int, repository: str, item: str) -> None:
        """Makes the files of one thing equal to the records."""
        if kind == NoteKind.BYTES:
            await uninterrupted(self._remove_bytes(Digest(item)))
            return
        name = RepositoryName(repository)
        if kind == NoteKind.LAYER:
            found = await self._find(adoption_store.FIND_LINK_TO_BLOB, repository, item)
            if await self._may_change(name, paths.layer_link(name, Digest(item)), found):
                await self._work(lambda: self._set_layer(name, Digest(item), found))
        elif kind == NoteKind.MANIFEST:
            await self._set_manifest(name, Digest(item))
        elif kind == NoteKind.TAG:
            await self._set_tag(name, Tag(item))

    async def _find(self, statement: Statement, repository: str, item: str) -> Row | None:
        return await self._database.fetch_one(statement, repository=repository, item=item)

    async def _may_change(self, name: RepositoryName, key: str, found: Row | None) -> bool:
        return await claim(self._database, name, key, is_known=found is not None)

    def _set_layer(self, name: RepositoryName, digest: Digest, found: Row | None) -> None:
        if found is None:
            self._writer.remove_blob(name, digest)
        else:
            self._writer.add_blob(name, digest, found[0])

    async def _set_manifest(self, name: RepositoryName, digest: Digest) -> bool:
        """Makes a manifest's files equal to the records; returns False, and writes nothing, if its body is damaged."""
        found = await self._find(adoption_store.FIND_LINK_TO_MANIFEST, name, digest)
        if not await self._may_change(name, paths.revision_link(name, digest), found):
            return True
        if found is None:
            await self._work(lambda: self._writer.remove_manifest(name, digest))
            return True
        try:
            await write_body(self._database, self._writer, digest, found[0])
        except DatabaseDamagedError as error:  # one damaged body must not hold up what comes after it
            _log.error("a damaged manifest has no link", repository=str(name), reason=error.detail)
            return False
        await self._work(lambda: self._writer.add_manifest(name, digest, found[0]))
        return True

    async def _set_tag(self, name: RepositoryName, tag: Tag) -> None:
        found = await self._find(adoption_store.FIND_TAG, name, tag)
        if not await self._may_change(name, paths.current_link(name, tag), found):
            return
        if found is None:
            await self._work(lambda: self._writer.remove_tag(name, tag))
            await self._work(lambda: self._writer.remove_empty(name))
            return
        if not await self._set_manifest(name, Digest(found[0])):
            return
        await self._work(lambda: self._writer.set_tag(name, tag, TagRecord(Digest(found[0]), found[1])))

    async def _remove_bytes(self, digest: Digest) -> None:
        """Removes the bytes of a manifest that neither the catalogue nor anything else needs any more."""
        if self._exclusive.is_fenced:
            await self._database.write(functools.partial(self._record_for_removal, digest=digest))
            return
        async with self._exclusive.hold(digest):
            if not await _is_needed(self._database, digest):
                await self._storage.delete(layout.blob_key(digest))

    async def _record_for_removal(self, transaction: Transaction, digest: Digest) -> None:
        if not await _is_needed(transaction, digest):
            await record_for_removal(transaction, digest, Change.at(self._clock, "", GarbageRules()))

    async def _work(self, job: Callable[[], None]) -> None:
        await asyncio.to_thread(job)


async def _is_needed(reader: Reader, digest: Digest) -> bool:
    for statement in (store.FIND_MANIFEST_ID, store.FIND_BLOB_RECORD, store.FIND_COMMITTING_UPLOAD):
        if await reader.fetch_one(statement, digest=digest) is not None:
            return True
    return False


class _EndedError(Exception):
    """The server stops: the rest is written after its next start."""


class _Rests:
    """Pauses of the writing thread: ``REST`` times as long as it worked, and an end when it is told to stop."""

    def __init__(self) -> None:
        self._has_ended = threading.Event()
        self._thread = 0
        self._since = 0.0

    def __call__(self) -> None:
        """Rests for the work since the last call in this thread."""
        if self._thread != threading.get_ident():
            self._thread, self._since = threading.get_ident(), time.thread_time()
        worked = max(0.0, time.thread_time() - self._since)
        if self._has_ended.wait(REST * worked):
            raise _EndedError
        self._since = time.thread_time()

    def end(self) -> None:
        """Makes the next call raise."""
        self._has_ended.set()


async def stop_following(database: Database) -> None:
    """Stops the notes of changes, for links that are written on release only."""

    async def work(transaction: Transaction) -> None:
        await delete_state(transaction, LINKS_STATE)
        await forget_troubles(transaction)
        await transaction.execute(adoption_store.FORGET_LINK_CHANGES, upto=2**62)

    if await find_state(database, LINKS_STATE) is not None:
        await database.write(work, locks=[SETTLED])


async def _forget(transaction: Transaction, upto: int, missed: set[str]) -> None:
    await count_missed(transaction, missed)
    await transaction.execute(adoption_store.FORGET_LINK_CHANGES, upto=upto)
