"""Statements for what was deleted and can be restored: history, trash, reviews."""

from typing import Final

from sqlalchemy import and_, delete, exists, func, insert, literal, null, or_, select, update
from sqlalchemy import true as always

from roadstead.database import (
    KEY,
    Lock,
    LockingStatement,
    Statement,
    insert_or_skip,
    insert_or_update,
    parameter,
    upsert,
)
from roadstead.registry.removal.rules import ReviewKind
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
    tag_history,
    tags,
)

_repository_id = parameter("repository_id")
_manifest_id = parameter("manifest_id")
_digest = parameter("digest")
_now_ms = parameter("now_ms")
_limit = parameter("limit")

_live = and_(
    repository_manifests.c.repository_id == _repository_id, repository_manifests.c.manifest_id == manifests.c.id
)

# --- tags and manifests of a repository

SET_TAG: Final = Statement(
    insert_or_update(tags, "repository_id", "name", "manifest_id", "updated_ms", key=("repository_id", "name"))
)
DELETE_TAG: Final = Statement(
    delete(tags).where(tags.c.repository_id == _repository_id, tags.c.name == parameter("tag"))
)
DELETE_TAGS_OF_MANIFEST: Final = Statement(
    delete(tags).where(tags.c.repository_id == _repository_id, tags.c.manifest_id == _manifest_id)
)
UNLINK_MANIFEST: Final = Statement(
    delete(repository_manifests).where(
        repository_manifests.c.repository_id == _repository_id,
        repository_manifests.c.manifest_id == _manifest_id,
    )
)

# --- history of tags

_tag = (
    select(tags.c.manifest_id, manifests.c.digest)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.repository_id == _repository_id, tags.c.name == parameter("tag"))
)
FIND_TAG_TO_CHANGE: Final = LockingStatement(_tag, Lock.CHANGE, of=tags)
ADD_TAG: Final = Statement(insert_or_skip(tags, "repository_id", "name", "manifest_id", "updated_ms"))
ADD_HISTORY: Final = Statement(
    insert(tag_history).values(
        {name: parameter(name) for name in ("repository_id", "tag", "action", "digest", "at_ms", "actor")}
    )
)
ADD_HISTORY_OF_TAGS: Final = Statement(
    insert(tag_history).from_select(
        ["repository_id", "tag", "action", "digest", "at_ms", "actor"],
        select(
            tags.c.repository_id,
            tags.c.name,
            literal("delete"),
            _digest,
            _now_ms,
            parameter("actor"),
        ).where(tags.c.repository_id == _repository_id, tags.c.manifest_id == _manifest_id),
    )
)
TRIM_HISTORY: Final = Statement(
    delete(tag_history).where(
        tag_history.c.repository_id == _repository_id,
        tag_history.c.tag == parameter("tag"),
        tag_history.c.id
        <= select(tag_history.c.id)
        .where(tag_history.c.repository_id == _repository_id, tag_history.c.tag == parameter("tag"))
        .order_by(tag_history.c.id.desc())
        .limit(literal(1))
        .offset(parameter("keep", KEY))
        .scalar_subquery(),
    )
)
_entries = (
    select(
        tag_history.c.id,
        tag_history.c.tag,
        tag_history.c.action,
        tag_history.c.digest,
        tag_history.c.at_ms,
        tag_history.c.actor,
        exists()
        .where(
            manifests.c.digest == tag_history.c.digest,
            repository_manifests.c.manifest_id == manifests.c.id,
            repository_manifests.c.repository_id == tag_history.c.repository_id,
        )
        .correlate(tag_history),
        select(removed_manifests.c.expires_ms)
        .join(manifests, manifests.c.id == removed_manifests.c.manifest_id)
        .where(
            manifests.c.digest == tag_history.c.digest,
            removed_manifests.c.repository_id == tag_history.c.repository_id,
        )
        .correlate(tag_history)
        .scalar_subquery(),
    )
    .where(tag_history.c.repository_id == _repository_id, tag_history.c.id < parameter("before"))
    .order_by(tag_history.c.id.desc())
    .limit(_limit)
)
LIST_HISTORY: Final = Statement(_entries.where(tag_history.c.tag == parameter("tag")))
LIST_REPOSITORY_HISTORY: Final = Statement(_entries)
LIST_TAGS_LOST_WITH: Final = Statement(  # the tags that went when a manifest was removed, and are free now
    select(tag_history.c.tag)
    .where(
        tag_history.c.repository_id == _repository_id,
        tag_history.c.action == "delete",
        tag_history.c.digest == _digest,
        tag_history.c.at_ms == parameter("at_ms"),
        ~exists()
        .where(tags.c.repository_id == tag_history.c.repository_id, tags.c.name == tag_history.c.tag)
        .correlate(tag_history),
    )
    .distinct()
    .order_by(tag_history.c.tag)
)

# --- trash

FIND_REPOSITORY_EVEN_REMOVED: Final = Statement(
    select(repositories.c.id, repositories.c.removed_ms, repositories.c.project_id).where(
        repositories.c.name == parameter("repository")
    )
)
MARK_REPOSITORY_REMOVED: Final = Statement(
    update(repositories).where(repositories.c.id == _repository_id).values(removed_ms=_now_ms)
)
BRING_REPOSITORY_BACK: Final = Statement(
    update(repositories).where(repositories.c.id == _repository_id).values(removed_ms=null())
)
_discarded = upsert(removed_manifests).from_select(
    ["repository_id", "manifest_id", "pushed_ms", "removed_ms", "expires_ms", "actor"],
    select(
        repository_manifests.c.repository_id,
        repository_manifests.c.manifest_id,
        repository_manifests.c.pushed_ms,
        _now_ms,
        parameter("expires_ms"),
        parameter("actor"),
    ).where(
        repository_manifests.c.repository_id == _repository_id,
        repository_manifests.c.manifest_id == _manifest_id,
    ),
)
DISCARD_MANIFEST: Final = Statement(
    _discarded.on_conflict_do_update(
        index_elements=["repository_id", "manifest_id"],
        set_={
            "removed_ms": _discarded.excluded.removed_ms,
            "expires_ms": _discarded.excluded.expires_ms,
            "actor": _discarded.excluded.actor,
        },
    )
)
FIND_DISCARDED: Final = Statement(
    select(
        removed_manifests.c.manifest_id,
        removed_manifests.c.pushed_ms,
        removed_manifests.c.removed_ms,
        removed_manifests.c.expires_ms,
    )
    .join(manifests, manifests.c.id == removed_manifests.c.manifest_id)
    .where(removed_manifests.c.repository_id == _repository_id, manifests.c.digest == _digest)
)
FORGET_DISCARDED: Final = Statement(
    delete(removed_manifests).where(
        removed_manifests.c.repository_id == _repository_id, removed_manifests.c.manifest_id == _manifest_id
    )
)
LIST_DISCARDED: Final = Statement(
    select(
        manifests.c.digest,
        manifests.c.media_type,
        manifests.c.size_bytes,
        removed_manifests.c.removed_ms,
        removed_manifests.c.expires_ms,
        removed_manifests.c.actor,
    )
    .join(manifests, manifests.c.id == removed_manifests.c.manifest_id)
    .where(removed_manifests.c.repository_id == _repository_id, manifests.c.digest > parameter("after"))
    .order_by(manifests.c.digest)
    .limit(_limit)
)
LIST_DISCARDED_CHILDREN: Final = Statement(
    select(manifests.c.digest)
    .join(manifest_children, manifest_children.c.child_digest == manifests.c.digest)
    .join(removed_manifests, removed_manifests.c.manifest_id == manifests.c.id)
    .where(manifest_children.c.manifest_id == _manifest_id, removed_manifests.c.repository_id == _repository_id)
)
COUNT_UNLINKED_BLOBS: Final = Statement(  # what a manifest needs and its repository cannot read
    select(func.count()).where(
        manifest_blobs.c.manifest_id == _manifest_id,
        manifest_blobs.c.is_required == literal(1),
        ~exists()
        .where(
            blobs.c.digest == manifest_blobs.c.blob_digest,
            repository_blobs.c.blob_id == blobs.c.id,
            repository_blobs.c.repository_id == _repository_id,
        )
        .correlate(manifest_blobs),
    )
)

# --- reviews

_REVIEW: Final = ("kind", "repository_id", "item_id", "since_ms", "not_before_ms")
ADD_REVIEW: Final = Statement(insert_or_skip(reviews, *_REVIEW))
_added_review = upsert(reviews).values({name: parameter(name) for name in _REVIEW})
ENSURE_REVIEW: Final = Statement(  # as ``ADD_REVIEW``, and one that is there stays until this transaction ends
    _added_review.on_conflict_do_update(index_elements=_REVIEW[:3], set_={"since_ms": reviews.c.since_ms})
)
ADD_UNRECORDED: Final = Statement(  # bytes without a record get one that says that they go
    upsert(blobs)
    .values(
        digest=parameter("digest"),
        size_bytes=literal(0),
        created_ms=parameter("now_ms"),
        deleting_ms=parameter("deleting_ms"),
    )
    .on_conflict_do_nothing()
    .returning(blobs.c.id)
)
PUT_REVIEW: Final = Statement(insert_or_update(reviews, *_REVIEW, key=_REVIEW[:3]))
POSTPONE_REVIEW: Final = Statement(
    update(reviews)
    .where(
        reviews.c.kind == parameter("review_kind"),
        reviews.c.repository_id == _repository_id,
        reviews.c.item_id == parameter("item"),
        reviews.c.not_before_ms < parameter("not_before"),
    )
    .values(not_before_ms=parameter("not_before"), since_ms=_now_ms)
)
DELETE_REVIEW: Final = Statement(
    delete(reviews).where(
        reviews.c.kind == parameter("review_kind"),
        reviews.c.repository_id == _repository_id,
        reviews.c.item_id == parameter("item"),
    )
)
SETTLE_LINKS: Final = Statement(  # a manifest names them: they need no review while it is there
    delete(reviews).where(
        reviews.c.kind == ReviewKind.LINK.value,
        reviews.c.repository_id == _repository_id,
        reviews.c.item_id.in_(
            select(blobs.c.id)
            .join(manifest_blobs, manifest_blobs.c.blob_digest == blobs.c.digest)
            .where(manifest_blobs.c.manifest_id == _manifest_id)
        ),
    )
)
REVIEW_LINKS: Final = Statement(  # a manifest has gone for good: whether others name its blobs must be looked at
    upsert(reviews)
    .from_select(
        list(_REVIEW),
        select(literal(ReviewKind.LINK.value), _repository_id, blobs.c.id, _now_ms, parameter("not_before"))
        .join(manifest_blobs, manifest_blobs.c.blob_digest == blobs.c.digest)
        .where(
            manifest_blobs.c.manifest_id == _manifest_id,
            exists()
            .where(repository_blobs.c.repository_id == _repository_id, repository_blobs.c.blob_id == blobs.c.id)
            .correlate(blobs),
        ),
    )
    .on_conflict_do_nothing()
)
REVIEW_DEPENDENTS: Final = Statement(  # children and referrers of a manifest that was taken out of a repository
    upsert(reviews)
    .from_select(
        list(_REVIEW),
        select(
            literal(ReviewKind.UNTAGGED.value), _repository_id, manifests.c.id, _now_ms, parameter("not_before")
        ).where(
            or_(
                manifests.c.subject_digest == _digest,
                manifests.c.digest.in_(
                    select(manifest_children.c.child_digest).where(manifest_children.c.manifest_id == _manifest_id)
                ),
            ),
            exists().where(_live).correlate(manifests),
            always(),
        ),
    )
    .on_conflict_do_nothing()
)
