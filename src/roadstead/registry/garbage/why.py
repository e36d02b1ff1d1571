"""Says what keeps a blob or manifest: the answer to "why is this still here?"."""

import enum
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import exists, literal, select

from roadstead.clock import calendar_ms
from roadstead.database import TEXT, Database, Statement, parameter
from roadstead.oci import Digest
from roadstead.registry.content import store
from roadstead.registry.removal.rules import ReviewKind
from roadstead.registry.service import Registry
from roadstead.registry.tables import (
    blobs,
    manifest_blobs,
    manifest_children,
    manifests,
    removed_manifests,
    repositories,
    repository_blobs,
    repository_manifests,
    reviews,
    tags,
)

MOST: Final = 100
"""Reasons of one kind that are named."""

_digest = parameter("digest", TEXT)
_limit = parameter("limit")
_in_use = (
    select(repositories.c.name, manifests.c.digest)
    .join(repository_manifests, repository_manifests.c.repository_id == repositories.c.id)
    .join(manifests, manifests.c.id == repository_manifests.c.manifest_id)
    .order_by(repositories.c.name, manifests.c.digest)
    .limit(_limit)
)
_has_blob = (  # a name keeps a blob only in a repository that has it
    exists()
    .where(
        blobs.c.digest == _digest,
        repository_blobs.c.blob_id == blobs.c.id,
        repository_blobs.c.repository_id == repositories.c.id,
    )
    .correlate(repositories)
)
_in_trash = (
    select(repositories.c.name, manifests.c.digest, removed_manifests.c.expires_ms)
    .join(removed_manifests, removed_manifests.c.repository_id == repositories.c.id)
    .join(manifests, manifests.c.id == removed_manifests.c.manifest_id)
    .order_by(repositories.c.name, manifests.c.digest)
    .limit(_limit)
)
_waiting = (
    select(repositories.c.name, _digest, reviews.c.not_before_ms)
    .join(reviews, reviews.c.repository_id == repositories.c.id)
    .order_by(repositories.c.name)
    .limit(_limit)
)


class Keeper(enum.StrEnum):
    """A reason for which something is kept."""

    TAG = "tag"
    """A tag points at it."""
    MANIFEST = "manifest"
    """A repository has this manifest, which names the blob."""
    LINK = "link"
    """A repository has this manifest: it was pushed by digest, or lost its tags."""
    INDEX = "index"
    """A repository has this index, which names the manifest."""
    SUBJECT = "subject"
    """A repository has this manifest, to which it refers."""
    TRASH = "trash"
    """It, or what names it, was deleted and can be restored until then."""
    WAITING = "waiting"
    """A client pushed or mounted the blob lately, and may still push a manifest that names it."""
    UPLOAD = "upload"
    """An upload of the same content is being finished."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that keeps a blob or manifest: ``where`` is a tag, manifest, repository or upload."""

    keeper: Keeper
    where: str
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known; with ``is_blob`` and ``is_manifest`` both false there is no such content."""

    is_blob: bool
    is_manifest: bool
    is_deleting: bool
    reasons: tuple[Reason, ...]


_OF_BLOB: Final = (
    (
        Keeper.MANIFEST,
        Statement(
            _in_use.join(manifest_blobs, manifest_blobs.c.manifest_id == manifests.c.id).where(
                manifest_blobs.c.blob_digest == _digest, _has_blob
            )
        ),
    ),
    (
        Keeper.TRASH,
        Statement(
            _in_trash.join(manifest_blobs, manifest_blobs.c.manifest_id == manifests.c.id).where(
                manifest_blobs.c.blob_digest == _digest, _has_blob
            )
        ),
    ),
    (
        Keeper.WAITING,
        Statement(
            _waiting.join(blobs, blobs.c.id == reviews.c.item_id).where(
                reviews.c.kind == literal(ReviewKind.LINK.value), blobs.c.digest == _digest
            )
        ),
    ),
)
_subjects = manifests.alias("referring")
_OF_MANIFEST: Final = (
    (
        Keeper.INDEX,
        Statement(
            _in_use.join(manifest_children, manifest_children.c.manifest_id == manifests.c.id).where(
                manifest_children.c.child_digest == _digest
            )
        ),
    ),
    (
        Keeper.SUBJECT,
        Statement(
            _in_use.join(_subjects, _subjects.c.subject_digest == manifests.c.digest).where(
                _subjects.c.digest == _digest
            )
        ),
    ),
    (Keeper.LINK, Statement(_in_use.where(manifests.c.digest == _digest))),
    (Keeper.TRASH, Statement(_in_trash.where(manifests.c.digest == _digest))),
)
_TAGS: Final = Statement(
    select(repositories.c.name, tags.c.name)
    .join(tags, tags.c.repository_id == repositories.c.id)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(manifests.c.digest == _digest)
    .order_by(repositories.c.name, tags.c.name)
    .limit(_limit)
)


async def explain(registry: Registry, digest: Digest) -> Explanation:
    """The reasons that keep ``digest``, until when by the calendar; with none it goes with the next collection."""
    database = registry.database
    reasons: list[Reason] = []
    blob = await database.fetch_one(store.FIND_BLOB_RECORD, digest=digest)
    manifest = await database.fetch_one(store.FIND_MANIFEST_ID, digest=digest)
    if manifest is not None:
        for repository, tag in await database.fetch_all(_TAGS, digest=digest, limit=MOST):
            reasons.append(Reason(Keeper.TAG, f"{repository}:{tag}"))
        reasons += await _read(database, _OF_MANIFEST, digest)
    if blob is not None:
        reasons += await _read(database, _OF_BLOB, digest)
    upload = await database.fetch_one(store.FIND_COMMITTING_UPLOAD, digest=digest)
    if upload is not None:
        reasons.append(Reason(Keeper.UPLOAD, upload[0]))
    is_deleting = blob is not None and blob[3] is not None
    reasons = [
        reason if reason.until_ms is None else replace(reason, until_ms=calendar_ms(registry.clock, reason.until_ms))
        for reason in reasons
    ]
    return Explanation(blob is not None, manifest is not None, is_deleting, tuple(reasons))


async def _read(database: Database, questions: tuple[tuple[Keeper, Statement], ...], digest: Digest) -> list[Reason]:
    reasons: list[Reason] = []
    for keeper, statement in questions:
        for repository, other, *until in await database.fetch_all(statement, digest=digest, limit=MOST):
            where = repository if keeper is Keeper.WAITING else f"{repository}@{other}"
            reasons.append(Reason(keeper, where, until[0] if until else None))
    return reasons
