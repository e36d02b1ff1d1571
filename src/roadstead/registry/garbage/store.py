"""Statements of the collection of garbage."""

from typing import Final

from sqlalchemy import and_, case, delete, exists, func, literal, or_, select, true, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from roadstead.database import KEY, Lock, LockingStatement, Statement, listed, parameter, upsert
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

_now_ms = parameter("now_ms")
_limit = parameter("limit")
_after = parameter("after")
_repository_id = parameter("repository_id")
_manifest_id = parameter("manifest_id")
_blob_id = parameter("blob_id")
_digest = parameter("digest")


def _due(kind: ReviewKind) -> ColumnElement[bool]:
    return and_(reviews.c.kind == literal(kind.value), reviews.c.not_before_ms <= _now_ms)


def _is_named_in(digest: ColumnElement[str], repository_id: ColumnElement[int]) -> ColumnElement[bool]:
    """True if a manifest of a repository, in use or in the trash, names a blob.

    The manifests that name it come first, by an index: a repository may have very many.
    """
    return or_(
        *(
            exists()
            .where(
                manifest_blobs.c.blob_digest == digest,
                exists()
                .where(table.c.manifest_id == manifest_blobs.c.manifest_id, table.c.repository_id == repository_id)
                .correlate(manifest_blobs, reviews),
            )
            .correlate(reviews, blobs)
            for table in (repository_manifests, removed_manifests)
        )
    )


def _is_had(manifest_id: ColumnElement[int]) -> ColumnElement[bool]:
    """True if a repository has a manifest, in use or in the trash."""
    return or_(
        exists().where(repository_manifests.c.manifest_id == manifest_id).correlate(reviews, manifests),
        exists().where(removed_manifests.c.manifest_id == manifest_id).correlate(reviews, manifests),
    )


def _is_left_alone(repository_id: ColumnElement[int]) -> ColumnElement[bool]:
    """True if a repository was adopted with manifests that were not taken up, which may need anything in it."""
    return (
        exists()
        .where(repositories.c.id == repository_id, repositories.c.left_alone_ms.is_not(None))
        .correlate(reviews, repository_blobs, repository_manifests)
    )


_names = select(literal(1)).where(manifest_blobs.c.blob_digest == blobs.c.digest).correlate(blobs)
_is_named_often = select(func.count()).select_from(_names.limit(parameter("beyond")).subquery()).scalar_subquery()

# --- trash whose time is over

LIST_EXPIRED: Final = Statement(
    select(repositories.c.name, removed_manifests.c.repository_id, removed_manifests.c.manifest_id, manifests.c.digest)
    .join(manifests, manifests.c.id == removed_manifests.c.manifest_id)
    .join(repositories, repositories.c.id == removed_manifests.c.repository_id)
    .where(removed_manifests.c.expires_ms <= _now_ms)
    .order_by(removed_manifests.c.expires_ms)
    .limit(_limit)
)

# --- links

LIST_DUE_LINKS: Final = Statement(
    select(
        repositories.c.name,
        reviews.c.repository_id,
        reviews.c.item_id,
        reviews.c.not_before_ms,
        blobs.c.digest,
        case(
            (blobs.c.id.is_(None), literal("gone")),
            (_is_left_alone(reviews.c.repository_id), literal("named")),
            (~exists(_names), literal("free")),  # most of what comes up here: one look instead of three
            (_is_named_often == parameter("beyond"), literal("often")),
            (_is_named_in(blobs.c.digest, reviews.c.repository_id), literal("named")),
            else_=literal("free"),
        ),
    )
    .join(blobs, blobs.c.id == reviews.c.item_id, isouter=True)
    .join(repositories, repositories.c.id == reviews.c.repository_id, isouter=True)
    .where(_due(ReviewKind.LINK))
    .order_by(reviews.c.not_before_ms)
    .limit(_limit)
)
FIND_REVIEW: Final = Statement(
    select(reviews.c.not_before_ms).where(
        reviews.c.kind == parameter("review_kind"),
        reviews.c.repository_id == _repository_id,
        reviews.c.item_id == parameter("item"),
    )
)
PAGE_OF_REPOSITORY: Final = Statement(
    select(repository_manifests.c.manifest_id)
    .where(repository_manifests.c.repository_id == _repository_id, repository_manifests.c.manifest_id > _after)
    .order_by(repository_manifests.c.manifest_id)
    .limit(_limit)
)
PAGE_OF_TRASH: Final = Statement(
    select(removed_manifests.c.manifest_id)
    .where(removed_manifests.c.repository_id == _repository_id, removed_manifests.c.manifest_id > _after)
    .order_by(removed_manifests.c.manifest_id)
    .limit(_limit)
)
FIND_NAMING: Final = Statement(
    select(manifest_blobs.c.manifest_id).where(
        manifest_blobs.c.manifest_id == _manifest_id, manifest_blobs.c.blob_digest == _digest
    )
)
UNLINK: Final = Statement(
    delete(repository_blobs).where(
        repository_blobs.c.repository_id == _repository_id, repository_blobs.c.blob_id == _blob_id
    )
)

# --- blobs

LOCK_DUE_BLOB_REVIEWS: Final = LockingStatement(
    select(reviews.c.item_id).where(_due(ReviewKind.BLOB)).order_by(reviews.c.not_before_ms).limit(_limit),
    Lock.CHANGE,
    skips_locked=True,
)
LOCK_BLOBS: Final = LockingStatement(
    select(blobs.c.id).where(blobs.c.id.in_(listed("blobs", KEY))).order_by(blobs.c.id), Lock.CHANGE
)
LIST_DUE_BLOBS: Final = Statement(
    select(
        reviews.c.item_id,
        blobs.c.digest,
        blobs.c.size_bytes,
        exists().where(repository_blobs.c.blob_id == reviews.c.item_id).correlate(reviews),
        blobs.c.object_key,
    )
    .join(blobs, blobs.c.id == reviews.c.item_id, isouter=True)
    .where(_due(ReviewKind.BLOB))
    .order_by(reviews.c.not_before_ms)
    .limit(_limit)
)
_is_unlinked = ~exists().where(repository_blobs.c.blob_id == blobs.c.id).correlate(blobs)
MARK_DELETING: Final = Statement(update(blobs).where(blobs.c.id == _blob_id, _is_unlinked).values(deleting_ms=_now_ms))
LIST_MARKED_BLOBS: Final = Statement(  # by key, since keys of one batch lie together; but keys are used again
    select(blobs.c.digest, blobs.c.quarantined_ms, blobs.c.object_key).where(
        blobs.c.id.in_(listed("blobs", KEY)), blobs.c.deleting_ms.is_not(None)
    )
)
DELETE_MARKED_BLOB: Final = Statement(
    delete(blobs).where(
        blobs.c.id == _blob_id,
        blobs.c.digest == _digest,
        func.coalesce(blobs.c.object_key, literal("")) == parameter("object_key"),
        blobs.c.deleting_ms.is_not(None),
        _is_unlinked,
    )
)
DELETE_REVIEW_OF_GONE_BLOB: Final = Statement(  # a push may have brought it back, and a deletion taken it again
    delete(reviews).where(
        reviews.c.kind == literal(ReviewKind.BLOB.value),
        reviews.c.repository_id == literal(0),
        reviews.c.item_id == _blob_id,
        ~exists().where(blobs.c.id == reviews.c.item_id).correlate(reviews),
    )
)

# --- manifests

LIST_DUE_MANIFESTS: Final = Statement(
    select(reviews.c.item_id, manifests.c.digest, manifests.c.size_bytes, _is_had(reviews.c.item_id))
    .join(manifests, manifests.c.id == reviews.c.item_id, isouter=True)
    .where(_due(ReviewKind.MANIFEST))
    .order_by(reviews.c.not_before_ms)
    .limit(_limit)
)
LOCK_MANIFEST: Final = LockingStatement(select(manifests.c.id).where(manifests.c.id == _manifest_id), Lock.CHANGE)
FIND_HAD_MANIFEST: Final = Statement(
    select(manifests.c.id).where(manifests.c.id == _manifest_id, _is_had(manifests.c.id))
)
DELETE_NAMES: Final = Statement(delete(manifest_blobs).where(manifest_blobs.c.manifest_id == _manifest_id))
DELETE_CHILDREN: Final = Statement(delete(manifest_children).where(manifest_children.c.manifest_id == _manifest_id))
DELETE_MANIFEST: Final = Statement(delete(manifests).where(manifests.c.id == _manifest_id))

# --- manifests that no tag reaches

LIST_DUE_UNTAGGED: Final = Statement(
    select(
        repositories.c.name,
        reviews.c.repository_id,
        reviews.c.item_id,
        manifests.c.digest,
        and_(
            ~_is_left_alone(reviews.c.repository_id),  # an index that only registry:2 understands may name it
            exists()
            .where(
                repository_manifests.c.repository_id == reviews.c.repository_id,
                repository_manifests.c.manifest_id == reviews.c.item_id,
            )
            .correlate(reviews),
        ),
    )
    .join(manifests, manifests.c.id == reviews.c.item_id, isouter=True)
    .join(repositories, repositories.c.id == reviews.c.repository_id, isouter=True)
    .where(_due(ReviewKind.UNTAGGED))
    .order_by(reviews.c.not_before_ms)
    .limit(_limit)
)
_parent = repository_manifests.alias("parent")
_subject = manifests.alias("subject")
FIND_WHAT_REACHES: Final = Statement(  # a tag, an index that names it, or the subject that it refers to
    select(
        case(
            (
                exists()
                .where(tags.c.repository_id == _repository_id, tags.c.manifest_id == manifests.c.id)
                .correlate(manifests),
                literal("tag"),
            ),
            (
                exists()
                .where(
                    manifest_children.c.child_digest == manifests.c.digest,
                    _parent.c.manifest_id == manifest_children.c.manifest_id,
                    _parent.c.repository_id == _repository_id,
                )
                .correlate(manifests),
                literal("index"),
            ),
            (
                exists()
                .where(
                    _subject.c.digest == manifests.c.subject_digest,
                    repository_manifests.c.manifest_id == _subject.c.id,
                    repository_manifests.c.repository_id == _repository_id,
                )
                .correlate(manifests),
                literal("subject"),
            ),
            else_=literal(""),
        )
    ).where(manifests.c.id == _manifest_id)
)
LIST_UNREACHED: Final = Statement(  # what a look at all manifests that no tag points at would find
    select(
        repositories.c.name,
        manifests.c.digest,
        manifests.c.size_bytes,
        repository_manifests.c.repository_id,
        repository_manifests.c.manifest_id,
    )
    .join(repositories, repositories.c.id == repository_manifests.c.repository_id)
    .join(manifests, manifests.c.id == repository_manifests.c.manifest_id)
    .where(
        tuple_(repository_manifests.c.repository_id, repository_manifests.c.manifest_id)
        > tuple_(parameter("after_repository"), _after),
        repository_manifests.c.pushed_ms <= parameter("before_ms"),
        ~_is_left_alone(repository_manifests.c.repository_id),
        ~exists()
        .where(
            tags.c.repository_id == repository_manifests.c.repository_id,
            tags.c.manifest_id == repository_manifests.c.manifest_id,
        )
        .correlate(repository_manifests),
        ~exists()
        .where(
            manifest_children.c.child_digest == manifests.c.digest,
            _parent.c.manifest_id == manifest_children.c.manifest_id,
            _parent.c.repository_id == repository_manifests.c.repository_id,
        )
        .correlate(manifests, repository_manifests),
        ~exists()
        .where(
            _subject.c.digest == manifests.c.subject_digest,
            _parent.c.manifest_id == _subject.c.id,
            _parent.c.repository_id == repository_manifests.c.repository_id,
        )
        .correlate(manifests, repository_manifests),
    )
    .order_by(repository_manifests.c.repository_id, repository_manifests.c.manifest_id)
    .limit(_limit)
)
_by_calendar = repository_manifests.c.pushed_ms + parameter("behind_ms")
_pushed_ms = case((_by_calendar < _now_ms, _by_calendar), else_=_now_ms)
# While the calendar is ahead it says nothing of how long ago a push was; where it was set back for good, all that it
# said is later by ``behind_ms``.
REVIEW_ALL_UNTAGGED: Final = Statement(  # a page of all manifests that no tag points at
    upsert(reviews)
    .from_select(
        ["kind", "repository_id", "item_id", "since_ms", "not_before_ms"],
        select(
            literal(ReviewKind.UNTAGGED.value),
            repository_manifests.c.repository_id,
            repository_manifests.c.manifest_id,
            _pushed_ms,
            _pushed_ms + parameter("wait_ms"),
        ).where(
            repository_manifests.c.repository_id == _repository_id,
            repository_manifests.c.manifest_id > _after,
            repository_manifests.c.manifest_id <= parameter("last"),
            ~exists()
            .where(
                tags.c.repository_id == repository_manifests.c.repository_id,
                tags.c.manifest_id == repository_manifests.c.manifest_id,
            )
            .correlate(repository_manifests),
            true(),
        ),
    )
    .on_conflict_do_nothing()
)
LIST_REPOSITORY_IDS: Final = Statement(
    select(repositories.c.id).where(repositories.c.id > _after).order_by(repositories.c.id).limit(_limit)
)

# --- repositories

LIST_DUE_REPOSITORIES: Final = Statement(
    select(
        repositories.c.name,
        reviews.c.item_id,
        repositories.c.removed_ms,
        or_(
            exists().where(repository_manifests.c.repository_id == reviews.c.item_id).correlate(reviews),
            exists().where(removed_manifests.c.repository_id == reviews.c.item_id).correlate(reviews),
            exists().where(repository_blobs.c.repository_id == reviews.c.item_id).correlate(reviews),
        ),
    )
    .join(repositories, repositories.c.id == reviews.c.item_id, isouter=True)
    .where(_due(ReviewKind.REPOSITORY))
    .order_by(reviews.c.not_before_ms)
    .limit(_limit)
)
DELETE_SOME_HISTORY: Final = Statement(
    delete(tag_history).where(
        tag_history.c.id.in_(
            select(tag_history.c.id).where(tag_history.c.repository_id == _repository_id).limit(_limit)
        )
    )
)
DELETE_REPOSITORY: Final = Statement(delete(repositories).where(repositories.c.id == _repository_id))

# --- asked for now: times are moved up

_early = removed_manifests.alias("early")
MAKE_TRASH_DUE: Final = Statement(
    update(removed_manifests)
    .where(
        tuple_(removed_manifests.c.repository_id, removed_manifests.c.manifest_id).in_(
            select(_early.c.repository_id, _early.c.manifest_id)
            .where(
                _early.c.expires_ms > _now_ms,
                _early.c.removed_ms <= parameter("removed_before_ms"),
                _early.c.expires_ms <= parameter("expires_before_ms"),
            )
            .limit(_limit)
        )
    )
    .values(expires_ms=_now_ms)
)
_waiting = reviews.alias("waiting")
MAKE_REVIEWS_DUE: Final = Statement(
    update(reviews)
    .where(
        tuple_(reviews.c.kind, reviews.c.repository_id, reviews.c.item_id).in_(
            select(_waiting.c.kind, _waiting.c.repository_id, _waiting.c.item_id)
            .where(_waiting.c.not_before_ms > _now_ms, _waiting.c.since_ms <= parameter("since_before_ms"))
            .limit(_limit)
        )
    )
    .values(not_before_ms=_now_ms)
)

# --- what waits

COUNT_DUE: Final = Statement(
    select(
        select(func.count()).where(removed_manifests.c.expires_ms <= _now_ms).scalar_subquery()
        + select(func.count())
        .where(reviews.c.kind.in_([literal(kind.value) for kind in ReviewKind]), reviews.c.not_before_ms <= _now_ms)
        .scalar_subquery()
    )
)

# --- a dry run

_LINK = ReviewKind.LINK.value
_is_over = or_(
    removed_manifests.c.expires_ms <= _now_ms,
    and_(
        removed_manifests.c.removed_ms <= parameter("removed_before_ms"),
        removed_manifests.c.expires_ms <= parameter("expires_before_ms"),
    ),
)
_review_is_over = or_(reviews.c.not_before_ms <= _now_ms, reviews.c.since_ms <= parameter("since_before_ms"))
_is_kept_link = or_(
    _is_left_alone(repository_blobs.c.repository_id),
    exists()
    .where(
        manifest_blobs.c.blob_digest == blobs.c.digest,
        repository_manifests.c.manifest_id == manifest_blobs.c.manifest_id,
        repository_manifests.c.repository_id == repository_blobs.c.repository_id,
    )
    .correlate(blobs, repository_blobs),
    exists()
    .where(
        manifest_blobs.c.blob_digest == blobs.c.digest,
        removed_manifests.c.manifest_id == manifest_blobs.c.manifest_id,
        removed_manifests.c.repository_id == repository_blobs.c.repository_id,
        ~_is_over,
    )
    .correlate(blobs, repository_blobs),
    exists()
    .where(
        reviews.c.kind == literal(_LINK),
        reviews.c.repository_id == repository_blobs.c.repository_id,
        reviews.c.item_id == blobs.c.id,
        ~_review_is_over,
    )
    .correlate(blobs, repository_blobs),
)
LIST_FREE_BLOBS: Final = Statement(
    select(blobs.c.id, blobs.c.digest, blobs.c.size_bytes)
    .where(
        blobs.c.id > _after,
        ~exists().where(repository_blobs.c.blob_id == blobs.c.id, _is_kept_link).correlate(blobs),
        or_(
            exists().where(repository_blobs.c.blob_id == blobs.c.id).correlate(blobs),
            ~exists()
            .where(reviews.c.kind == literal(ReviewKind.BLOB.value), reviews.c.item_id == blobs.c.id, ~_review_is_over)
            .correlate(blobs),
        ),
    )
    .order_by(blobs.c.id)
    .limit(_limit)
)
LIST_REPOSITORIES_OF_BLOB: Final = Statement(
    select(repositories.c.name)
    .join(repository_blobs, repository_blobs.c.repository_id == repositories.c.id)
    .where(repository_blobs.c.blob_id == _blob_id)
    .order_by(repositories.c.name)
    .limit(_limit)
)
LIST_OVER: Final = Statement(
    select(
        repositories.c.name,
        manifests.c.digest,
        manifests.c.size_bytes,
        removed_manifests.c.removed_ms,
        removed_manifests.c.repository_id,
        removed_manifests.c.manifest_id,
    )
    .join(repositories, repositories.c.id == removed_manifests.c.repository_id)
    .join(manifests, manifests.c.id == removed_manifests.c.manifest_id)
    .where(
        _is_over,
        tuple_(removed_manifests.c.repository_id, removed_manifests.c.manifest_id)
        > tuple_(parameter("after_repository"), _after),
    )
    .order_by(removed_manifests.c.repository_id, removed_manifests.c.manifest_id)
    .limit(_limit)
)
