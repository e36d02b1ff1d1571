"""Statements that find records without the records that they need."""

from typing import Final

from sqlalchemy import Table, and_, exists, func, literal, or_, select, tuple_
from sqlalchemy.sql.elements import ColumnElement

from roadstead.access.pattern import LIBRARY
from roadstead.database import Statement, parameter
from roadstead.registry.removal.rules import ReviewKind
from roadstead.registry.tables import (
    blobs,
    manifest_blobs,
    manifests,
    removed_manifests,
    repositories,
    repository_blobs,
    repository_manifests,
    reviews,
    tag_history,
)

_limit = parameter("limit")

GET_MANIFEST: Final = Statement(
    select(manifests.c.body, manifests.c.media_type).where(manifests.c.digest == parameter("digest"))
)
LIST_MISSING_BLOBS_OF_TRASH: Final = Statement(  # what a deleted manifest needs to be restored
    select(repositories.c.name, manifest_blobs.c.blob_digest)
    .join(removed_manifests, removed_manifests.c.repository_id == repositories.c.id)
    .join(manifests, manifests.c.id == removed_manifests.c.manifest_id)
    .join(manifest_blobs, manifest_blobs.c.manifest_id == manifests.c.id)
    .where(
        manifests.c.digest == parameter("digest"),
        manifest_blobs.c.is_required == literal(1),
        ~exists()
        .where(
            blobs.c.digest == manifest_blobs.c.blob_digest,
            repository_blobs.c.blob_id == blobs.c.id,
            repository_blobs.c.repository_id == repositories.c.id,
        )
        .correlate(repositories, manifest_blobs),
    )
    .limit(_limit)
)
LIST_REPOSITORIES_OF_TRASH: Final = Statement(
    select(repositories.c.name)
    .join(removed_manifests, removed_manifests.c.repository_id == repositories.c.id)
    .join(manifests, manifests.c.id == removed_manifests.c.manifest_id)
    .where(manifests.c.digest == parameter("digest"))
    .limit(_limit)
)

_in_library: Final = repositories.alias("in_library")
LIST_NAMES_TWICE: Final = Statement(  # names without a slash that are also there below ``library``
    select(repositories.c.name)
    .join(_in_library, _in_library.c.name == literal(LIBRARY + "/") + repositories.c.name)
    .where(
        repositories.c.name > parameter("after"),
        repositories.c.name.not_like("%/%"),
        repositories.c.removed_ms.is_(None),
        _in_library.c.removed_ms.is_(None),
    )
    .order_by(repositories.c.name)
    .limit(_limit)
)

LIST_FULL_THOUGH_REMOVED: Final = Statement(  # nobody can read what a removed repository holds, nor delete it
    select(repositories.c.name)
    .where(
        repositories.c.removed_ms.is_not(None),
        exists().where(repository_manifests.c.repository_id == repositories.c.id).correlate(repositories),
    )
    .limit(_limit)
)
LIST_DELETED_THOUGH_LIVE: Final = Statement(  # when its time in the trash ends, what it needs would be looked at
    select(repositories.c.name, manifests.c.digest)
    .join(removed_manifests, removed_manifests.c.repository_id == repositories.c.id)
    .join(manifests, manifests.c.id == removed_manifests.c.manifest_id)
    .join(
        repository_manifests,
        and_(
            repository_manifests.c.repository_id == removed_manifests.c.repository_id,
            repository_manifests.c.manifest_id == removed_manifests.c.manifest_id,
        ),
    )
    .limit(_limit)
)
LIST_LINKED_THOUGH_GOING: Final = Statement(
    select(blobs.c.digest)
    .where(
        blobs.c.deleting_ms.is_not(None),
        exists().where(repository_blobs.c.blob_id == blobs.c.id).correlate(blobs),
    )
    .limit(_limit)
)


def _lacks(referred: ColumnElement[int], key: ColumnElement[int]) -> ColumnElement[bool]:
    """True if a review refers to something that is not there."""
    return ~exists().where(referred == key).correlate(reviews)


_in_no_repository = _lacks(repositories.c.id, reviews.c.repository_id)
_of_no_blob = _lacks(blobs.c.id, reviews.c.item_id)
_of_no_manifest = _lacks(manifests.c.id, reviews.c.item_id)
_of_no_repository = _lacks(repositories.c.id, reviews.c.item_id)


def _kind(*kinds: ReviewKind) -> ColumnElement[bool]:
    return reviews.c.kind.in_([literal(kind.value) for kind in kinds])


COUNT_LOST_REVIEWS: Final = Statement(  # the collector drops them when their time comes
    select(func.count())
    .select_from(reviews)
    .where(
        or_(
            and_(_kind(ReviewKind.LINK), or_(_in_no_repository, _of_no_blob)),
            and_(_kind(ReviewKind.UNTAGGED), or_(_in_no_repository, _of_no_manifest)),
            and_(_kind(ReviewKind.BLOB), _of_no_blob),
            and_(_kind(ReviewKind.MANIFEST), _of_no_manifest),
            and_(_kind(ReviewKind.REPOSITORY), _of_no_repository),
        )
    )
)
COUNT_LOST_HISTORY: Final = Statement(
    select(func.count())
    .select_from(tag_history)
    .where(~exists().where(repositories.c.id == tag_history.c.repository_id).correlate(tag_history))
)
COUNT_LOST_TRASH: Final = Statement(
    select(func.count())
    .select_from(removed_manifests)
    .where(
        or_(
            ~exists().where(repositories.c.id == removed_manifests.c.repository_id).correlate(removed_manifests),
            ~exists().where(manifests.c.id == removed_manifests.c.manifest_id).correlate(removed_manifests),
        )
    )
)


def _named(table: Table) -> ColumnElement[bool]:
    """True if a manifest with a row of ``table`` in the link's repository names the blob.

    The manifests that name it come first, by an index: a repository may have very many.
    """
    has_row = (
        exists()
        .where(
            table.c.manifest_id == manifest_blobs.c.manifest_id,
            table.c.repository_id == repository_blobs.c.repository_id,
        )
        .correlate(manifest_blobs, repository_blobs)
    )
    return exists().where(manifest_blobs.c.blob_digest == blobs.c.digest, has_row).correlate(blobs, repository_blobs)


def _kept_by(table: Table) -> ColumnElement[bool]:
    """True if a manifest with a row of ``table`` names the blob in a repository that has the blob."""
    is_linked = (
        exists()
        .where(
            table.c.manifest_id == manifest_blobs.c.manifest_id,
            repository_blobs.c.repository_id == table.c.repository_id,
            repository_blobs.c.blob_id == blobs.c.id,
        )
        .correlate(manifest_blobs, blobs)
    )
    return exists().where(manifest_blobs.c.blob_digest == blobs.c.digest, is_linked).correlate(blobs)


_has_review = (
    exists()
    .where(
        reviews.c.kind == literal(ReviewKind.LINK.value),
        reviews.c.repository_id == repository_blobs.c.repository_id,
        reviews.c.item_id == repository_blobs.c.blob_id,
    )
    .correlate(repository_blobs)
)
LIST_UNREVIEWED_LINKS: Final = Statement(  # nothing will ever collect them
    select(repository_blobs.c.repository_id, repository_blobs.c.blob_id, repositories.c.name, blobs.c.digest)
    .join(repositories, repositories.c.id == repository_blobs.c.repository_id)
    .join(blobs, blobs.c.id == repository_blobs.c.blob_id)
    .where(
        tuple_(repository_blobs.c.repository_id, repository_blobs.c.blob_id)
        > tuple_(parameter("after_repository"), parameter("after_blob")),
        ~_named(repository_manifests),
        ~_named(removed_manifests),
        ~_has_review,
    )
    .order_by(repository_blobs.c.repository_id, repository_blobs.c.blob_id)
    .limit(_limit)
)

_live = _kept_by(repository_manifests)
_deleted = _kept_by(removed_manifests)
_size = blobs.c.size_bytes
MEASURE_WAITING: Final = Statement(  # deleted manifests; blobs that only they name; blobs that nothing names
    select(
        select(func.count()).select_from(removed_manifests).scalar_subquery(),
        func.count().filter(_deleted),
        func.coalesce(func.sum(_size).filter(_deleted), 0),
        func.count().filter(~_deleted),
        func.coalesce(func.sum(_size).filter(~_deleted), 0),
    )
    .select_from(blobs)
    .where(~_live)
)
