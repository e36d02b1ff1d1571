"""The steps of which deletions, pushes and restorations are made, each inside somebody's transaction.

What they keep true together (``garbage.collection`` relies on it):

- a manifest is in a repository or in its trash, never in both, or in neither;
- a link to a blob has a review, or a manifest of the repository, in use or in the trash, names the blob; a review of a
  link goes with it;
- each change of what a tag points at has its row of history.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from roadstead.clock import Clock
from roadstead.database import Script, Step, Transaction
from roadstead.database.script import AGAIN, absent, differ, given, none, run_steps, some
from roadstead.oci import Digest
from roadstead.registry.removal import store
from roadstead.registry.removal.rules import GarbageRules, ReviewKind

TRIM_EVERY: Final = 64
"""Of so many changes of tags about one trims its tag's history: counting entries at each would cost every push."""


@dataclass(frozen=True, slots=True)
class Change:
    """When and by whom, under which rules.

    ``now_ms`` is what people are shown; ``grace_ms`` is what waits are measured by (``roadstead.clock``).
    """

    now_ms: int
    actor: str
    rules: GarbageRules
    grace_ms: int

    @classmethod
    def at(cls, clock: Clock, actor: str, rules: GarbageRules) -> "Change":
        """A change that happens now."""
        return cls(clock.now_ms(), actor, rules, clock.grace_ms())

    def values(self) -> dict[str, object]:
        """The values for which the steps below ask."""
        return {
            "now_ms": self.now_ms,
            "grace_ms": self.grace_ms,
            "actor": self.actor,
            "link_due_ms": self.grace_ms + self.rules.upload_ms,
            "untagged_due_ms": self.grace_ms + self.rules.undo_ms if self.rules.collects_untagged else None,
            "keep": self.rules.history_entries if self.now_ms % TRIM_EVERY == 0 else None,
        }


_IS_POINTED: Final = given("tag")
_IS_MOVED: Final = _IS_POINTED & differ("old_manifest_id", "manifest_id")
POINT_TAG: Final = (  # at a manifest of its repository; history gets a row unless it pointed there already
    Step(store.FIND_TAG_TO_CHANGE, when=_IS_POINTED, gives=("old_manifest_id", "old_digest")),
    Step(
        store.ADD_TAG,
        when=_IS_POINTED & absent("old_manifest_id"),
        binds={"name": "tag", "updated_ms": "now_ms"},
        otherwise=AGAIN,
    ),
    Step(
        store.SET_TAG,
        when=_IS_POINTED & given("old_manifest_id"),
        binds={"name": "tag", "updated_ms": "now_ms"},
    ),
    Step(store.ADD_HISTORY, when=_IS_MOVED, binds={"at_ms": "now_ms"}),
    Step(store.TRIM_HISTORY, when=_IS_MOVED & given("keep")),
    Step(
        store.PUT_REVIEW,
        when=_IS_MOVED & given("old_manifest_id") & given("untagged_due_ms"),
        fixed={"kind": ReviewKind.UNTAGGED.value},
        binds={"item_id": "old_manifest_id", "since_ms": "grace_ms", "not_before_ms": "untagged_due_ms"},
    ),
)
SETTLE_MANIFEST: Final = (  # it is in the trash no longer, and what it names needs no review
    Step(store.FORGET_DISCARDED),
    Step(store.SETTLE_LINKS),
)
REVIEW_LINK: Final = (  # a client relies on a blob: it gets the time to push the manifest that names it
    Step(
        store.PUT_REVIEW,
        when=some("is_new_link"),
        fixed={"kind": ReviewKind.LINK.value},
        binds={"item_id": "blob_id", "since_ms": "grace_ms", "not_before_ms": "link_due_ms"},
    ),
    Step(  # one that has no review is named by a manifest
        store.POSTPONE_REVIEW,
        when=none("is_new_link"),
        fixed={"review_kind": ReviewKind.LINK.value},
        binds={"item": "blob_id", "now_ms": "grace_ms", "not_before": "link_due_ms"},
    ),
)
_POINT_TAG: Final = Script("point_tag", *POINT_TAG)
_SETTLE_MANIFEST: Final = Script("settle_manifest", *SETTLE_MANIFEST)


async def point_tag(
    transaction: Transaction, repository_id: int, tag: str, manifest_id: int, digest: str, change: Change, action: str
) -> None:
    """Points a tag at a manifest of its repository; history gets a row unless it pointed there already."""
    values = {**change.values(), "repository_id": repository_id, "tag": tag, "manifest_id": manifest_id}
    await run_steps(_POINT_TAG, transaction, {**values, "digest": digest, "action": action})


async def drop_tag(transaction: Transaction, repository_id: int, tag: str, change: Change) -> Digest | None:
    """Removes a tag; the digest that it pointed at, None if there was no such tag."""
    row = await transaction.lock_one(store.FIND_TAG_TO_CHANGE, repository_id=repository_id, tag=tag)
    if row is None:
        return None
    await transaction.execute(store.DELETE_TAG, repository_id=repository_id, tag=tag)
    await _record(transaction, repository_id, tag, "delete", row[1], change)
    await review_untagged(transaction, repository_id, row[0], change)
    return Digest(row[1])


async def discard_manifest(
    transaction: Transaction, repository_id: int, manifest_id: int, digest: str, change: Change
) -> int:
    """Takes a manifest and its tags out of a repository, into the trash; returns how many tags."""
    keys = {"repository_id": repository_id, "manifest_id": manifest_id}
    await transaction.execute(
        store.ADD_HISTORY_OF_TAGS, **keys, digest=digest, now_ms=change.now_ms, actor=change.actor
    )
    tags = await transaction.execute(store.DELETE_TAGS_OF_MANIFEST, **keys)
    expires_ms = change.grace_ms + change.rules.undo_ms
    await transaction.execute(
        store.DISCARD_MANIFEST, **keys, now_ms=change.now_ms, expires_ms=expires_ms, actor=change.actor
    )
    await transaction.execute(store.UNLINK_MANIFEST, **keys)
    if change.rules.collects_untagged:
        await transaction.execute(
            store.REVIEW_DEPENDENTS,
            **keys,
            digest=digest,
            now_ms=change.grace_ms,
            not_before=change.grace_ms + change.rules.undo_ms,
        )
    return tags


async def settle_manifest(transaction: Transaction, repository_id: int, manifest_id: int) -> None:
    """A manifest is in its repository (again): it is in the trash no longer, and what it names needs no review."""
    await run_steps(_SETTLE_MANIFEST, transaction, {"repository_id": repository_id, "manifest_id": manifest_id})


async def review_untagged(transaction: Transaction, repository_id: int, manifest_id: int, change: Change) -> None:
    """No tag may reach a manifest any more: it is looked at once its time is over, where such are collected."""
    if change.rules.collects_untagged:
        await _review(
            transaction, ReviewKind.UNTAGGED, repository_id, manifest_id, change, wait_ms=change.rules.undo_ms
        )


async def postpone_link(transaction: Transaction, repository_id: int, blob_id: int, change: Change) -> None:
    """Moves the time at which a link is looked at, if it is to be looked at."""
    await transaction.execute(
        store.POSTPONE_REVIEW,
        review_kind=ReviewKind.LINK.value,
        repository_id=repository_id,
        item=blob_id,
        now_ms=change.grace_ms,
        not_before=change.grace_ms + change.rules.upload_ms,
    )


async def forget_link_review(transaction: Transaction, repository_id: int, blob_id: int) -> None:
    """A link has gone: it is not to be looked at any more."""
    await transaction.execute(
        store.DELETE_REVIEW, review_kind=ReviewKind.LINK.value, repository_id=repository_id, item=blob_id
    )


async def review_blob(transaction: Transaction, blob_id: int, change: Change) -> None:
    """A link to a blob has gone: whether another is left is looked at next."""
    await transaction.execute(store.PUT_REVIEW, **blob_review(blob_id, change))


async def record_for_removal(transaction: Transaction, digest: Digest, change: Change) -> bool:
    """Has the collector remove bytes that no record names, if there are any; False where a record names them.

    By a record that says that they go, so that whoever pushes the same knows.
    """
    row = await transaction.fetch_one(
        store.ADD_UNRECORDED, digest=digest, now_ms=change.now_ms, deleting_ms=change.grace_ms
    )
    if row is not None:
        await review_blob(transaction, row[0], change)
    return row is not None


def blob_review(blob_id: int, change: Change) -> dict[str, int]:
    """The review that ``review_blob`` adds."""
    return _review_row(ReviewKind.BLOB, 0, blob_id, change, wait_ms=0)


async def remove_repository_row(transaction: Transaction, repository_id: int, change: Change) -> None:
    """A repository is empty: it is no longer known, until a push or restoration brings it back."""
    await transaction.execute(store.MARK_REPOSITORY_REMOVED, repository_id=repository_id, now_ms=change.now_ms)
    wait_ms = change.rules.undo_ms + change.rules.upload_ms
    await _review(transaction, ReviewKind.REPOSITORY, 0, repository_id, change, wait_ms=wait_ms)


async def _review(
    transaction: Transaction, kind: ReviewKind, repository_id: int, item_id: int, change: Change, *, wait_ms: int
) -> None:
    row = _review_row(kind, repository_id, item_id, change, wait_ms=wait_ms)
    await transaction.execute(store.PUT_REVIEW, **row)


def _review_row(kind: ReviewKind, repository_id: int, item_id: int, change: Change, *, wait_ms: int) -> dict[str, int]:
    return {
        "kind": kind.value,
        "repository_id": repository_id,
        "item_id": item_id,
        "since_ms": change.grace_ms,
        "not_before_ms": change.grace_ms + wait_ms,
    }


async def _record(
    transaction: Transaction, repository_id: int, tag: str, action: str, digest: str, change: Change
) -> None:
    await transaction.execute(
        store.ADD_HISTORY,
        repository_id=repository_id,
        tag=tag,
        action=action,
        digest=digest,
        at_ms=change.now_ms,
        actor=change.actor,
    )
    if change.now_ms % TRIM_EVERY == 0:
        await transaction.execute(
            store.TRIM_HISTORY, repository_id=repository_id, tag=tag, keep=change.rules.history_entries
        )


async def find_lost_tags(transaction: Transaction, repository_id: int, digest: str, at_ms: int) -> Sequence[str]:
    """The tags that a manifest lost when it was discarded, and that nothing has taken since."""
    rows = await transaction.fetch_all(
        store.LIST_TAGS_LOST_WITH, repository_id=repository_id, digest=digest, at_ms=at_ms
    )
    return [row[0] for row in rows]
