"""Reclaims what nothing needs, in small steps, while clients push and pull.

What is kept, always: a manifest that a repository has, in use or in its trash; a blob that a repository links to; a
link that a manifest of its repository, in use or in the trash, names, or whose client may still push that manifest.

How an item goes, each arrow one transaction, each state a row that the next run takes up::

    trash: expires_ms over      -> review of the manifest, reviews of the links to the blobs that it names
    review LINK, nothing names it     -> no link; review of the blob
    review MANIFEST, nobody has it    -> bytes of its body in storage removed, then no record
    review BLOB, nobody links to it   -> deleting_ms set  -> bytes removed  -> no record
    review REPOSITORY, removed, empty -> no history, no record
    review UNTAGGED, nothing reaches it -> trash

Why nothing that is reachable can go, whoever writes at the same time on whatever replica:

1. What a repository has changes only in transactions that keep it (they add) or change it (they take out): see
   ``registry.locks``. A step here changes it, and asks in a statement of its own what is needed, so it finds either all
   of a push or nothing. A manifest is accepted only if the links to all that it names are there in the same
   transaction. So a link either goes first, and the manifest is refused (its client pushes the blob again), or stays.
   Rows of no repository are locked before it is asked what needs them: a blob with its review, where whoever links to
   it holds its row (a commit by writing it, a mount by keeping it), and a manifest's, which a push keeps.
2. Bytes go only after ``deleting_ms`` was committed on a row that no repository links to, and only while the digest is
   held (``content.exclusive``), where the row is read again. Whoever makes a blob of the same bytes sees the mark,
   which only one who holds the digest takes away, by recording a blob anew. So bytes that somebody was told are stored
   are never those that are removed. Who is stopped keeps the digest until its removals have ended.
3. Nobody reads a row with ``deleting_ms``: reading goes through links, and it has none.
4. A crash leaves a row with its review: the next run finds it due and goes on. Bytes without a row cannot be left,
   since the row goes last.
5. Nothing is forgotten: a review of a blob goes only with its row, or when a link is seen; a link without a review is
   named by a manifest of its repository (``transitions``), and a manifest leaves a repository for good only together
   with the reviews of what it names.

Cost follows what was deleted; nothing is scanned. Any number of collectors may run at once.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Final

from roadstead.database import Row, Statement, Transaction, as_list
from roadstead.events import KEPT
from roadstead.jobs import LeaseLostError, delete_state, find_state, save_state
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.cancellation import uninterrupted
from roadstead.registry.content import store
from roadstead.registry.content.blob_records import note_removal
from roadstead.registry.content.exclusive import Hold
from roadstead.registry.garbage import store as collection_store
from roadstead.registry.garbage.collected import Collected, MarkedBlob
from roadstead.registry.garbage.halts import Halts
from roadstead.registry.garbage.wished_age import WishedAge
from roadstead.registry.locks import COLLECTION_KEPT, removing_from
from roadstead.registry.model import Blob
from roadstead.registry.removal import store as removal_store
from roadstead.registry.removal.rules import HOUR_MS, GarbageRules, ReviewKind
from roadstead.registry.removal.transitions import (
    Change,
    blob_review,
    discard_manifest,
    drop_tag,
    record_for_removal,
    review_blob,
)
from roadstead.registry.service import Registry
from roadstead.storage import StorageError

BATCH: Final = 200
"""Rows looked at in one transaction: about three milliseconds in which other writers wait."""

MARKED: Final = 4 * BATCH
"""Blobs marked in one durable commit, in four milliseconds: a flush of the disk takes as long as all else of fifty."""

TOGETHER: Final = 24
"""Marked blobs looked at again, locked and removed at once: a millisecond or two, for which pushes of them wait.

Where replicas share the catalogue a hold costs round trips and a push seldom needs one: there it is a batch.
"""

EXPIRED_BATCH: Final = 20
"""Manifests taken out of the trash at once; each has a review for every blob that it names."""

MANY_NAMES: Final = 2000
"""Manifests that name one blob; from here on they are gone through a page at a time."""

PAGE: Final = 2000
"""Manifests of a repository that are asked at once whether they name a blob that very many name."""

REST_SECONDS: Final = 1.0
"""The longest rest between two steps."""

RETRY_MS: Final = 600_000
"""After which bytes that could not be removed are tried again: one bad file must hold nothing else up."""

SWEPT: Final = "untagged-swept"
"""The state that says that every manifest without a tag has had its review since the rule for them came."""

SIGNATURE_SUFFIXES: Final = ("", ".sig", ".att", ".sbom")
"""Tags in which clients keep what refers to a manifest: the specification's fallback, and cosign's."""


class Collector:
    """Collects the garbage of one registry."""

    def __init__(self, registry: Registry, rules: GarbageRules | None = None) -> None:
        """``rules`` in place of the registry's own, for a run that somebody asked for."""
        self._registry = registry
        self._rules = rules or registry.rules
        self._database = registry.database
        self._storage = registry.storage
        self._exclusive = registry.exclusive
        self.halts = Halts(registry)
        self.failure: StorageError | LeaseLostError | None = None
        """Why the storage could not remove something, the last time that it could not."""

    async def step(self) -> Collected:
        """A bounded part of what is due: a few transactions of milliseconds each.

        Nothing while something halts it (``garbage.halts``). What the storage cannot remove is counted, and waits; the
        rest goes on.

        Raises:
            DatabaseError: nothing is lost; the next step takes up what was left.
        """
        done = Collected()
        if await self.halts.is_paused():
            return done
        for work in (
            self._review_untagged,
            self._expire,
            self._review_links,
            self._review_manifests,
            self._review_blobs,
            self._review_repositories,
        ):
            await work(done)
        return done

    async def round(self, tell: Callable[[Collected], None]) -> bool:
        """A step, and a rest as long as it took, so that requests come first; whether more is due.

        Raises:
            DatabaseError: as ``step``.
            StorageError: something could not be removed; what else there was to do was done.
        """
        await self._follow_rule()
        now = self._registry.clock.monotonic_seconds
        started = now()
        done = await self.step()
        tell(done)
        if done.failed and self.failure is not None:
            raise self.failure
        await asyncio.sleep(min(now() - started, REST_SECONDS))
        return done.looked_at > 0

    async def _follow_rule(self) -> None:
        """Where manifests that no tag reaches have begun to be collected, those there are get their reviews."""
        is_swept = await find_state(self._database, SWEPT) is not None
        if is_swept == self._rules.collects_untagged:
            return
        if self._rules.collects_untagged:
            await self.review_all_untagged()

        async def work(transaction: Transaction) -> None:
            if self._rules.collects_untagged:
                await save_state(transaction, SWEPT, "")
            else:
                await delete_state(transaction, SWEPT)

        await self._database.write(work, is_long=True)

    async def count_due(self) -> int:
        """Reviews and manifests in the trash whose time has come; what they free follows."""
        row = await self._database.fetch_one(collection_store.COUNT_DUE, now_ms=self._registry.clock.grace_ms())
        return int(row[0]) if row else 0

    async def make_due(self, *, older_than_ms: int) -> None:
        """Makes due at once what was deleted, or has waited unneeded, for at least so long."""
        wish = WishedAge.of(self._registry, older_than_ms)
        for statement in (collection_store.MAKE_TRASH_DUE, collection_store.MAKE_REVIEWS_DUE):
            while await self._execute(statement, **wish.parameters, limit=BATCH):
                pass

    async def review_all_untagged(self) -> None:
        """Has every manifest that no tag points at looked at, once its time is over: when the rule is new."""
        after = 0
        while rows := await self._database.fetch_all(collection_store.LIST_REPOSITORY_IDS, after=after, limit=BATCH):
            for (repository_id,) in rows:
                await self._review_untagged_of(repository_id)
            after = rows[-1][0]

    async def _review_untagged_of(self, repository_id: int) -> None:
        after = 0
        while rows := await self._database.fetch_all(
            collection_store.PAGE_OF_REPOSITORY, repository_id=repository_id, after=after, limit=BATCH
        ):
            await self._execute(
                collection_store.REVIEW_ALL_UNTAGGED,
                repository_id=repository_id,
                after=after,
                last=rows[-1][0],
                wait_ms=self._rules.undo_ms,
                behind_ms=max(self._registry.clock.grace_ms() - self._registry.clock.now_ms(), 0),
                now_ms=self._registry.clock.grace_ms(),
            )
            after = rows[-1][0]

    async def _execute(self, statement: Statement, **parameters: object) -> int:
        """One statement in a transaction of its own."""

        async def work(transaction: Transaction) -> int:
            return await transaction.execute(statement, **parameters)

        return await self._database.write(work, is_long=True)

    def _change(self) -> Change:
        return Change.at(self._registry.clock, "", self._rules)

    # --- trash

    async def _expire(self, done: Collected) -> None:
        """Takes manifests whose time is over out of the trash, for good."""

        async def work(transaction: Transaction) -> int:
            change = self._change()
            rows = await _fetch_locked(
                transaction, collection_store.LIST_EXPIRED, now_ms=change.grace_ms, limit=EXPIRED_BATCH
            )
            for _, repository_id, manifest_id, digest in rows:
                await _expire_one(transaction, repository_id, manifest_id, digest, change)
            return len(rows)

        expired = await self._database.write(work, durable=False, is_long=True)
        done.expired += expired
        done.looked_at += expired

    # --- links

    async def _review_links(self, done: Collected) -> None:
        """As many as can free what is then marked at once."""
        for _ in range(MARKED // BATCH):
            if await self._review_some_links(done) < BATCH:
                break

    async def _review_some_links(self, done: Collected) -> int:
        rows = await self._database.write(self._sort_links, durable=False, is_long=True)
        done.looked_at += len(rows)
        done.links += sum(row[4] == "free" for row in rows)
        for row in rows:
            if row[4] == "often" and not await self._is_named(row[0], row[3]):
                done.links += await self._unlink_if_unchanged(row)
            elif row[4] == "often":
                await self._settle(row)
        return len(rows)

    async def _sort_links(self, transaction: Transaction) -> list[Row]:
        """Settles what is named and unlinks what is not; what must be looked at for longer is left as it is."""
        change = self._change()
        found = await _fetch_locked(
            transaction, collection_store.LIST_DUE_LINKS, now_ms=change.grace_ms, limit=BATCH, beyond=MANY_NAMES
        )
        rows = [(*row[1:], row[0]) for row in found]
        settled = [_link_key(row[0], row[1]) for row in rows if row[4] != "often"]
        free = [row for row in rows if row[4] == "free"]
        await transaction.execute_many(removal_store.DELETE_REVIEW, settled)
        await transaction.execute_many(
            collection_store.UNLINK, [{"repository_id": row[0], "blob_id": row[1]} for row in free]
        )
        await transaction.execute_many(removal_store.PUT_REVIEW, [blob_review(row[1], change) for row in free])
        return rows

    async def _is_named(self, repository_id: int, digest: str) -> bool:
        """The same question for a blob that very many manifests name, from the repository's side, in pages."""
        for statement in (collection_store.PAGE_OF_REPOSITORY, collection_store.PAGE_OF_TRASH):
            after = 0
            while rows := await self._database.fetch_all(
                statement, repository_id=repository_id, after=after, limit=PAGE
            ):
                for (manifest_id,) in rows:
                    if await self._database.fetch_one(
                        collection_store.FIND_NAMING, manifest_id=manifest_id, digest=digest
                    ):
                        return True
                after = rows[-1][0]
                await asyncio.sleep(0)
        return False

    async def _unlink_if_unchanged(self, row: Row) -> bool:
        """A manifest that has begun to name the blob meanwhile has taken the review away."""
        repository_id, blob_id, not_before_ms, _, _, repository = row

        async def work(transaction: Transaction) -> bool:
            if not await _is_unchanged(transaction, repository_id, blob_id, not_before_ms):
                return False
            await transaction.execute(removal_store.DELETE_REVIEW, **_link_key(repository_id, blob_id))
            await transaction.execute(collection_store.UNLINK, repository_id=repository_id, blob_id=blob_id)
            await review_blob(transaction, blob_id, self._change())
            return True

        return await self._database.write(work, locks=removing_from(repository), durable=False, is_long=True)

    async def _settle(self, row: Row) -> None:
        """The link is named; if the manifest went meanwhile, its going has put a newer review here."""
        repository_id, blob_id, not_before_ms, _, _, repository = row

        async def work(transaction: Transaction) -> None:
            if await _is_unchanged(transaction, repository_id, blob_id, not_before_ms):
                await transaction.execute(removal_store.DELETE_REVIEW, **_link_key(repository_id, blob_id))

        await self._database.write(work, locks=removing_from(repository), durable=False, is_long=True)

    # --- blobs

    async def _review_blobs(self, done: Collected) -> None:
        looked_at, marked = await self._database.write(self._mark_blobs, locks=[COLLECTION_KEPT], is_long=True)
        done.looked_at += looked_at
        for start in range(0, len(marked), BATCH):
            await self._remove_blobs(marked[start : start + BATCH], done)

    async def _remove_blobs(self, marked: list[MarkedBlob], done: Collected) -> None:
        """Removes marked blobs, first their bytes, then their records."""
        erased: list[bool | None] = []
        together = BATCH if self._exclusive.is_fenced else TOGETHER
        for start in range(0, len(marked), together):
            erased += await self._erase(marked[start : start + together])
        outcomes = list(zip(marked, erased, strict=True))
        tried = [row for row, is_erased in outcomes if is_erased is not None]
        failed = [row for row, is_erased in outcomes if is_erased is None]

        async def finish(transaction: Transaction) -> None:
            names = [{"blob_id": row[0], "digest": row[1], "object_key": row[3]} for row in tried]
            if not self._exclusive.is_fenced:
                await transaction.execute_many(collection_store.DELETE_MARKED_BLOB, names)
            await transaction.execute_many(collection_store.DELETE_REVIEW_OF_GONE_BLOB, names)
            for row in failed:
                await self._postpone(transaction, _blob_key(row[0]))

        await self._database.write(finish, locks=[KEPT], durable=False, is_long=True)
        done.failed += len(failed)
        done.blobs += sum(is_erased is True for _, is_erased in outcomes)
        done.blob_bytes += sum(row[2] for row, is_erased in outcomes if is_erased)

    async def _postpone(self, transaction: Transaction, key: dict[str, int]) -> None:
        """Has a review looked at again after ``RETRY_MS``."""
        now_ms = self._registry.clock.grace_ms()
        await transaction.execute(removal_store.POSTPONE_REVIEW, **key, now_ms=now_ms, not_before=now_ms + RETRY_MS)

    async def _mark_blobs(self, transaction: Transaction) -> tuple[int, list[MarkedBlob]]:
        """Marks blobs that no repository links to, unless a backup relies on them; durable before their bytes go.

        Returns how many were looked at. Their reviews and they themselves are locked before it is asked what links to
        them, so that whoever links to one, or takes a link away, has done so before or comes after.
        """
        now_ms = self._registry.clock.grace_ms()
        if await self.halts.is_marking_barred(transaction):
            return 0, []
        due = await transaction.lock_all(collection_store.LOCK_DUE_BLOB_REVIEWS, now_ms=now_ms, limit=MARKED)
        keys = [row[0] for row in due]
        await transaction.lock_all(collection_store.LOCK_BLOBS, blobs=as_list(map(str, keys)))
        rows = await transaction.fetch_all(collection_store.LIST_DUE_BLOBS, now_ms=now_ms, limit=MARKED)
        mine = set(keys)
        rows = [row for row in rows if row[0] in mine]
        settled = [_blob_key(row[0]) for row in rows if row[1] is None or row[3]]
        free = [row for row in rows if row[1] is not None and not row[3]]
        await transaction.execute_many(removal_store.DELETE_REVIEW, settled)
        await transaction.execute_many(
            collection_store.MARK_DELETING, [{"blob_id": row[0], "now_ms": now_ms} for row in free]
        )
        return len(due), [MarkedBlob(row[0], row[1], row[2], row[4] or "") for row in free]

    async def _erase(self, rows: list[MarkedBlob]) -> list[bool | None]:
        """Removes the bytes of some marked blobs.

        For each: False if a push has brought it back, None if its bytes cannot be removed. A cancellation waits for its
        end: a thread that goes on after the locks have gone would remove what a push has just stored.
        """
        return await uninterrupted(self._erase_locked(rows))

    async def _erase_locked(self, rows: list[MarkedBlob]) -> list[bool | None]:
        digests = [Digest(row[1]) for row in rows]
        keys = as_list(str(row[0]) for row in rows)
        try:
            async with self._exclusive.hold(*digests) as hold:
                if await self.halts.is_unconfirmed():
                    return [None] * len(rows)
                found = await self._database.fetch_all(collection_store.LIST_MARKED_BLOBS, blobs=keys)
                kept = await self._erase_marked(
                    hold, [(Blob(Digest(row[0]), 0, row[2]), row[1] is not None) for row in found]
                )
                if self._exclusive.is_fenced:
                    await self._delete_records(hold, [row for row in rows if Digest(row[1]) not in kept])
        except (StorageError, LeaseLostError) as error:  # no lock could be had, or it was lost
            self.failure = error
            return [None] * len(rows)
        marked = {row[0] for row in found}
        return [None if digest in kept else digest in marked for digest in digests]

    async def _delete_records(self, hold: Hold, rows: list[MarkedBlob]) -> None:
        """Deletes the records of blobs whose bytes have gone, while nobody else can have brought one back."""

        async def work(transaction: Transaction) -> None:
            await hold.require(transaction)
            names = [{"blob_id": row[0], "digest": row[1], "object_key": row[3]} for row in rows]
            await transaction.execute_many(collection_store.DELETE_MARKED_BLOB, names)
            await note_removal(transaction)

        await self._database.write(work, locks=[KEPT], durable=False)

    async def _erase_marked(self, hold: Hold, marked: list[tuple[Blob, bool]]) -> set[Digest]:
        """Removes bytes, those in quarantine too where there are some; returns the blobs of which some remain."""
        places = [blob.digest for blob, _ in marked]
        aside = [blob.digest for blob, is_aside in marked if is_aside]
        outcomes = [*await hold.remove([blob for blob, _ in marked])]
        if aside:
            places += aside
            outcomes += await hold.remove_aside(aside)
        failures = [outcome for outcome in outcomes if isinstance(outcome, StorageError)]
        if failures:
            self.failure = failures[-1]
        return {digest for digest, outcome in zip(places, outcomes, strict=True) if isinstance(outcome, StorageError)}

    # --- manifests

    async def _review_manifests(self, done: Collected) -> None:
        now_ms = self._registry.clock.grace_ms()
        rows = await self._database.fetch_all(collection_store.LIST_DUE_MANIFESTS, now_ms=now_ms, limit=EXPIRED_BATCH)
        done.looked_at += len(rows)
        for manifest_id, digest, _, is_had in rows:
            if digest is None or is_had or await uninterrupted(self._erase_body(Digest(digest))):
                work = functools.partial(_delete_manifest, manifest_id=manifest_id)
                done.manifests += await self._database.write(work, locks=[KEPT], durable=False, is_long=True)
            else:
                later = functools.partial(self._postpone, key=_key(ReviewKind.MANIFEST, 0, manifest_id))
                await self._database.write(later, durable=False, is_long=True)
                done.failed += 1

    async def _erase_body(self, digest: Digest) -> bool:
        """A manifest that a registry:2 wrote, or that was written for one, has its body among the blobs too.

        Where replicas share the catalogue it goes as blobs do, by a record.
        False if the storage cannot remove it.
        """
        if self._registry.places.has_own_keys:
            return True
        try:
            if self._exclusive.is_fenced:
                if await self._storage.find(layout.blob_key(digest)) is not None:
                    await self._database.write(lambda at: record_for_removal(at, digest, self._change()))
                return True
            async with self._exclusive.hold(digest):
                if await self._database.fetch_one(store.FIND_BLOB_RECORD, digest=digest) is None:
                    await self._storage.delete(layout.blob_key(digest))
                return True
        except StorageError as error:
            self.failure = error
            return False

    # --- manifests that no tag reaches

    async def _review_untagged(self, done: Collected) -> None:
        if not self._rules.collects_untagged:
            return

        async def work(transaction: Transaction) -> tuple[int, int]:
            change = self._change()
            rows = await _fetch_locked(
                transaction, collection_store.LIST_DUE_UNTAGGED, now_ms=change.grace_ms, limit=EXPIRED_BATCH
            )
            removed = 0
            for _, repository_id, manifest_id, digest, is_there in rows:
                await transaction.execute(
                    removal_store.DELETE_REVIEW, **_key(ReviewKind.UNTAGGED, repository_id, manifest_id)
                )
                if is_there and not await _is_reached(transaction, repository_id, manifest_id):
                    await discard_manifest(transaction, repository_id, manifest_id, digest, change)
                    removed += 1
            return len(rows), removed

        looked_at, removed = await self._database.write(work, durable=False, is_long=True)
        done.looked_at += looked_at
        done.untagged += removed

    # --- repositories

    async def _review_repositories(self, done: Collected) -> None:
        async def work(transaction: Transaction) -> tuple[int, int]:
            change = self._change()
            rows = await _fetch_locked(
                transaction, collection_store.LIST_DUE_REPOSITORIES, now_ms=change.grace_ms, limit=EXPIRED_BATCH
            )
            removed = 0
            for _, repository_id, removed_ms, is_used in rows:
                removed += await _review_repository(
                    transaction, repository_id, change, is_removed=removed_ms is not None, is_used=bool(is_used)
                )
            return len(rows), removed

        looked_at, removed = await self._database.write(work, durable=False, is_long=True)
        done.looked_at += looked_at
        done.repositories += removed


async def _fetch_locked(transaction: Transaction, statement: Statement, **parameters: object) -> list[Row]:
    """Rows, whose first column names the repository that each belongs to, as they are once nobody else is in it."""
    rows = await transaction.fetch_all(statement, **parameters)
    names = {row[0] for row in rows}
    if await transaction.take(removing_from(*filter(None, names))):
        rows = [row for row in await transaction.fetch_all(statement, **parameters) if row[0] in names]
    return rows


async def _expire_one(
    transaction: Transaction, repository_id: int, manifest_id: int, digest: str, change: Change
) -> None:
    keys = {"repository_id": repository_id, "manifest_id": manifest_id}
    await transaction.execute(removal_store.FORGET_DISCARDED, **keys)
    await transaction.execute(
        removal_store.REVIEW_LINKS,
        **keys,
        now_ms=change.grace_ms,
        not_before=change.grace_ms + change.rules.unlink_delay_ms,
    )
    await transaction.execute(
        removal_store.ENSURE_REVIEW,
        kind=ReviewKind.MANIFEST.value,
        repository_id=0,
        item_id=manifest_id,
        since_ms=change.grace_ms,
        not_before_ms=change.grace_ms,
    )
    if change.rules.collects_untagged:
        await _drop_fallback_tags(transaction, repository_id, Digest(digest), change)


async def _drop_fallback_tags(transaction: Transaction, repository_id: int, subject: Digest, change: Change) -> None:
    """Tags that only kept what referred to a manifest must not keep it after the manifest has gone."""
    stem = f"{subject.algorithm}-{subject.encoded}"
    for suffix in SIGNATURE_SUFFIXES:
        await drop_tag(transaction, repository_id, stem + suffix, change)


async def _delete_manifest(transaction: Transaction, manifest_id: int) -> bool:
    """Deletes a manifest's record with what it names, and its review; False if a repository has it (again)."""
    await transaction.execute(removal_store.DELETE_REVIEW, **_key(ReviewKind.MANIFEST, 0, manifest_id))
    await transaction.lock_one(collection_store.LOCK_MANIFEST, manifest_id=manifest_id)
    if await transaction.fetch_one(collection_store.FIND_HAD_MANIFEST, manifest_id=manifest_id) is not None:
        return False
    for statement in (collection_store.DELETE_NAMES, collection_store.DELETE_CHILDREN):
        await transaction.execute(statement, manifest_id=manifest_id)
    return bool(await transaction.execute(collection_store.DELETE_MANIFEST, manifest_id=manifest_id))


async def _is_reached(transaction: Transaction, repository_id: int, manifest_id: int) -> bool:
    """True if a tag, an index or a subject of the repository keeps a manifest; what keeps those is their review."""
    row = await transaction.fetch_one(
        collection_store.FIND_WHAT_REACHES, repository_id=repository_id, manifest_id=manifest_id
    )
    return row is not None and bool(row[0])


async def _review_repository(
    transaction: Transaction, repository_id: int, change: Change, *, is_removed: bool, is_used: bool
) -> bool:
    """Deletes the record of a removed repository once nothing is left in it."""
    key = _key(ReviewKind.REPOSITORY, 0, repository_id)
    if is_removed and is_used:
        await transaction.execute(
            removal_store.POSTPONE_REVIEW, **key, now_ms=change.grace_ms, not_before=change.grace_ms + HOUR_MS
        )
        return False
    if is_removed and await transaction.execute(
        collection_store.DELETE_SOME_HISTORY, repository_id=repository_id, limit=BATCH
    ):
        return False  # the review stays due, and the next step goes on
    await transaction.execute(removal_store.DELETE_REVIEW, **key)
    if not is_removed:
        return False
    await transaction.execute(collection_store.DELETE_REPOSITORY, repository_id=repository_id)
    return True


async def _is_unchanged(transaction: Transaction, repository_id: int, blob_id: int, not_before_ms: int) -> bool:
    row = await transaction.fetch_one(collection_store.FIND_REVIEW, **_link_key(repository_id, blob_id))
    return row is not None and row[0] == not_before_ms


def _key(kind: ReviewKind, repository_id: int, item_id: int) -> dict[str, int]:
    return {"review_kind": kind.value, "repository_id": repository_id, "item": item_id}


def _link_key(repository_id: int, blob_id: int) -> dict[str, int]:
    return _key(ReviewKind.LINK, repository_id, blob_id)


def _blob_key(blob_id: int) -> dict[str, int]:
    return _key(ReviewKind.BLOB, 0, blob_id)
