"""The registry's statements, each compiled once. Parameters are named after what they are.

A statement that reads what a repository holds always goes through the repository's links: content that is in the
catalogue but not linked to the repository asked for does not exist for the caller (CVE-2024-39897 is what happens
else).
"""

from typing import Final

from sqlalchemy import (
    Text,
    and_,
    case,
    cast,
    delete,
    exists,
    func,
    literal,
    null,
    select,
    tuple_,
    update,
)
from sqlalchemy import true as always

from roadstead.database import (
    KEY,
    Lock,
    LockingStatement,
    Statement,
    insert_or_skip,
    insert_or_update,
    listed,
    parameter,
    upsert,
)
from roadstead.registry.removal.rules import ReviewKind
from roadstead.registry.tables import (
    blobs,
    manifest_annotations,
    manifest_blobs,
    manifest_children,
    manifests,
    projects,
    repositories,
    repository_blobs,
    repository_manifests,
    reviews,
    tags,
    upload_sessions,
)

SHORT_ANNOTATIONS_BYTES: Final = 1024
"""Annotations of a referrer that are listed with it: a page of a thousand is then a megabyte."""

_repository = parameter("repository")
_repository_id = parameter("repository_id")
_digest = parameter("digest")
_after = parameter("after")
_limit = parameter("limit")

_of_repository = and_(repositories.c.name == _repository, repositories.c.id == repository_manifests.c.repository_id)

# --- repositories

FIND_REPOSITORY: Final = Statement(
    select(repositories.c.id).where(repositories.c.name == _repository, repositories.c.removed_ms.is_(None))
)
ADD_REPOSITORY: Final = Statement(  # gives back its key, unless there is one of this name
    upsert(repositories)
    .values(name=parameter("name"), created_ms=parameter("created_ms"), project_id=parameter("project_id"))
    .on_conflict_do_nothing()
    .returning(repositories.c.id)
)
PUT_REPOSITORY_INTO_PROJECT: Final = Statement(
    update(repositories)
    .where(repositories.c.id == _repository_id, repositories.c.project_id.is_(None))
    .values(project_id=parameter("project_id"))
)
FIND_PROJECT_TO_KEEP: Final = LockingStatement(
    select(projects.c.id).where(projects.c.name == parameter("project")), Lock.KEEP
)
_new_project: Final = upsert(projects).values(name=parameter("project"), created_ms=parameter("created_ms"))
ADD_PROJECT: Final = Statement(  # gives back its key, also if there is one of this name, which then stays
    _new_project.on_conflict_do_update(index_elements=["name"], set_={"name": _new_project.excluded.name}).returning(
        projects.c.id
    )
)
LIST_REPOSITORIES_IN_RANGE: Final = Statement(
    select(repositories.c.name)
    .where(  # one bound on each side: an index is followed by one, and what else is said is only looked at
        repositories.c.name >= parameter("low"),
        repositories.c.name < parameter("high"),
        exists().where(repository_manifests.c.repository_id == repositories.c.id),
    )
    .order_by(repositories.c.name)
    .limit(_limit)
)
_is_unslashed: Final = repositories.c.name.not_like("%/%")
"""The project ``library``: no range, so that what lies between is looked at, along the index of names."""

LIST_UNSLASHED_REPOSITORIES: Final = Statement(
    select(repositories.c.name)
    .where(
        repositories.c.name > _after,
        _is_unslashed,
        exists().where(repository_manifests.c.repository_id == repositories.c.id),
    )
    .order_by(repositories.c.name)
    .limit(_limit)
)
LIST_REPOSITORIES: Final = Statement(
    select(repositories.c.name)
    .where(repositories.c.name > _after, exists().where(repository_manifests.c.repository_id == repositories.c.id))
    .order_by(repositories.c.name)
    .limit(_limit)
)
SUMMARISE_REPOSITORY: Final = Statement(
    select(
        select(func.count()).where(tags.c.repository_id == _repository_id).scalar_subquery(),
        select(func.count()).where(repository_manifests.c.repository_id == _repository_id).scalar_subquery(),
    )
)

# --- tags

LIST_TAGS: Final = Statement(
    select(tags.c.name)
    .where(tags.c.repository_id == _repository_id, tags.c.name > _after)
    .order_by(tags.c.name)
    .limit(_limit)
)
SUMMARISE_TAGS: Final = Statement(
    select(tags.c.name, manifests.c.digest, manifests.c.media_type, manifests.c.artifact_type, tags.c.updated_ms)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.repository_id == _repository_id, tags.c.name > _after)
    .order_by(tags.c.name)
    .limit(_limit)
)
LIST_TAGS_OF_MANIFEST: Final = Statement(
    select(tags.c.name)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.repository_id == _repository_id, manifests.c.digest == _digest)
    .order_by(tags.c.name)
    .limit(_limit)
)

# --- manifests

FIND_MANIFEST_BY_TAG: Final = Statement(
    select(manifests.c.digest, manifests.c.media_type, manifests.c.size_bytes)
    .join(tags, tags.c.manifest_id == manifests.c.id)
    .join(repositories, repositories.c.id == tags.c.repository_id)
    .where(repositories.c.name == _repository, tags.c.name == parameter("tag"))
)
FIND_MANIFEST_BY_DIGEST: Final = Statement(
    select(manifests.c.digest, manifests.c.media_type, manifests.c.size_bytes).where(
        manifests.c.digest == _digest, _of_repository, repository_manifests.c.manifest_id == manifests.c.id
    )
)
GET_MANIFEST_BODY: Final = Statement(select(manifests.c.body).where(manifests.c.digest == _digest))
FIND_MANIFEST_ID: Final = Statement(select(manifests.c.id).where(manifests.c.digest == _digest))
FIND_MANIFEST_ID_TO_KEEP: Final = LockingStatement(
    select(manifests.c.id).where(manifests.c.digest == _digest), Lock.KEEP
)
FIND_LINKED_MANIFEST_ID: Final = Statement(
    select(manifests.c.id)
    .join(repository_manifests, repository_manifests.c.manifest_id == manifests.c.id)
    .where(manifests.c.digest == _digest, repository_manifests.c.repository_id == _repository_id)
)
ADD_MANIFEST: Final = Statement(
    upsert(manifests)
    .values(
        {
            name: parameter(name)
            for name in (
                "digest",
                "media_type",
                "artifact_type",
                "subject_digest",
                "size_bytes",
                "created_ms",
                "body",
            )
        }
    )
    .on_conflict_do_nothing()
    .returning(manifests.c.id)
)
HEAL_MANIFEST: Final = Statement(  # changes nothing unless the bytes were damaged
    update(manifests)
    .where(manifests.c.id == parameter("manifest_id"), manifests.c.body.is_distinct_from(parameter("body")))
    .values(body=parameter("body"))
)
_names: Final = ["manifest_id", "blob_digest", "is_required"]
_manifest_id: Final = parameter("manifest_id", KEY)


def _adding_names(name: str, *, is_required: bool) -> Statement:
    named = listed(name).subquery()
    rows = select(_manifest_id, named.c.value, literal(int(is_required))).where(always())
    return Statement(upsert(manifest_blobs).from_select(_names, rows).on_conflict_do_nothing())


_children: Final = listed("children").subquery()
ADD_REQUIRED_BLOBS: Final = _adding_names("required", is_required=True)
ADD_OTHER_NAMED: Final = _adding_names("others", is_required=False)
ADD_MANIFEST_CHILDREN: Final = Statement(
    upsert(manifest_children)
    .from_select(["manifest_id", "child_digest"], select(_manifest_id, _children.c.value).where(always()))
    .on_conflict_do_nothing()
)
COUNT_LINKED_BLOBS: Final = Statement(  # of a list of digests, each with its size, as ``sized`` writes them
    select(func.count()).where(
        blobs.c.digest.in_(listed("required")),
        (blobs.c.digest + literal(" ") + cast(blobs.c.size_bytes, Text)).in_(listed("sized")),
        blobs.c.quarantined_ms.is_(None),
        exists()
        .where(repository_blobs.c.blob_id == blobs.c.id, repository_blobs.c.repository_id == _repository_id)
        .correlate(blobs),
    )
)
COUNT_ABSENT_CHILDREN: Final = Statement(  # entries of an index that its repository has neither as manifest nor as blob
    select(func.count()).where(
        manifest_children.c.manifest_id == parameter("manifest_id"),
        ~exists()
        .where(
            manifests.c.digest == manifest_children.c.child_digest,
            repository_manifests.c.manifest_id == manifests.c.id,
            repository_manifests.c.repository_id == _repository_id,
        )
        .correlate(manifest_children),
        ~exists()
        .where(
            blobs.c.digest == manifest_children.c.child_digest,
            blobs.c.quarantined_ms.is_(None),
            repository_blobs.c.blob_id == blobs.c.id,
            repository_blobs.c.repository_id == _repository_id,
        )
        .correlate(manifest_children),
    )
)
LINK_MANIFEST: Final = Statement(
    insert_or_update(
        repository_manifests, "repository_id", "manifest_id", "pushed_ms", key=("repository_id", "manifest_id")
    )
)
_referrers = (  # annotations that are longer than a line of text are fetched one by one
    select(
        manifests.c.digest,
        manifests.c.media_type,
        manifests.c.size_bytes,
        manifests.c.artifact_type,
        manifest_annotations.c.size_bytes,
        case((manifest_annotations.c.size_bytes <= SHORT_ANNOTATIONS_BYTES, manifest_annotations.c.annotations)),
    )
    .join(manifest_annotations, manifest_annotations.c.manifest_id == manifests.c.id, isouter=True)
    .join(repository_manifests, repository_manifests.c.manifest_id == manifests.c.id)
    .join(repositories, repositories.c.id == repository_manifests.c.repository_id)
    .where(manifests.c.subject_digest == _digest, manifests.c.digest > _after, repositories.c.name == _repository)
    .order_by(manifests.c.digest)
    .limit(_limit)
)
LIST_REFERRERS: Final = Statement(_referrers)
LIST_REFERRERS_OF_TYPE: Final = Statement(_referrers.where(manifests.c.artifact_type == parameter("artifact_type")))
GET_MANIFEST_ANNOTATIONS: Final = Statement(
    select(manifest_annotations.c.annotations)
    .join(manifests, manifests.c.id == manifest_annotations.c.manifest_id)
    .where(manifests.c.digest == _digest)
)
ADD_MANIFEST_ANNOTATIONS: Final = Statement(
    insert_or_skip(manifest_annotations, "manifest_id", "size_bytes", "annotations")
)

# --- blobs

FIND_BLOB: Final = Statement(
    select(blobs.c.size_bytes, blobs.c.quarantined_ms, blobs.c.object_key)
    .join(repository_blobs, repository_blobs.c.blob_id == blobs.c.id)
    .join(repositories, repositories.c.id == repository_blobs.c.repository_id)
    .where(repositories.c.name == _repository, repositories.c.removed_ms.is_(None), blobs.c.digest == _digest)
)
FIND_BLOB_UNDER_REVIEW: Final = Statement(  # the same with what is needed to move the review's time
    select(
        blobs.c.size_bytes,
        blobs.c.quarantined_ms,
        repository_blobs.c.repository_id,
        blobs.c.id,
        select(reviews.c.not_before_ms)
        .where(
            reviews.c.kind == literal(ReviewKind.LINK.value),
            reviews.c.repository_id == repository_blobs.c.repository_id,
            reviews.c.item_id == blobs.c.id,
        )
        .correlate(repository_blobs, blobs)
        .scalar_subquery(),
        blobs.c.object_key,
    )
    .join(repository_blobs, repository_blobs.c.blob_id == blobs.c.id)
    .join(repositories, repositories.c.id == repository_blobs.c.repository_id)
    .where(repositories.c.name == _repository, repositories.c.removed_ms.is_(None), blobs.c.digest == _digest)
)
FIND_BLOB_ANYWHERE: Final = LockingStatement(
    select(blobs.c.id, blobs.c.size_bytes, blobs.c.quarantined_ms).where(
        blobs.c.digest == _digest,
        blobs.c.deleting_ms.is_(None),
        exists().where(repository_blobs.c.blob_id == blobs.c.id),
    ),
    Lock.KEEP,
)
_mountable = (
    select(blobs.c.id, blobs.c.size_bytes, blobs.c.quarantined_ms)
    .join(repository_blobs, repository_blobs.c.blob_id == blobs.c.id)
    .join(repositories, repositories.c.id == repository_blobs.c.repository_id)
    .where(blobs.c.digest == _digest, blobs.c.deleting_ms.is_(None), repositories.c.removed_ms.is_(None))
    .limit(literal(1))
)
FIND_BLOB_IN_RANGE: Final = LockingStatement(  # of a repository whose name is in the range
    _mountable.where(repositories.c.name >= parameter("low"), repositories.c.name < parameter("high")),
    Lock.KEEP,
    of=blobs,
)
FIND_BLOB_IN_UNSLASHED: Final = LockingStatement(  # of a repository whose name has no slash
    _mountable.where(_is_unslashed), Lock.KEEP, of=blobs
)
FIND_BLOB_RECORD: Final = Statement(
    select(blobs.c.id, blobs.c.size_bytes, blobs.c.quarantined_ms, blobs.c.deleting_ms, blobs.c.object_key).where(
        blobs.c.digest == _digest
    )
)
FIND_LINKED_BLOB: Final = LockingStatement(
    select(blobs.c.id, blobs.c.size_bytes)
    .join(repository_blobs, repository_blobs.c.blob_id == blobs.c.id)
    .where(
        blobs.c.digest == _digest,
        blobs.c.quarantined_ms.is_(None),
        blobs.c.deleting_ms.is_(None),
        repository_blobs.c.repository_id == _repository_id,
    ),
    Lock.KEEP,
    of=blobs,
)
FIND_LINKED_BLOBS: Final = Statement(  # of a list of digests; by these, not by all that the repository has
    select(blobs.c.digest, blobs.c.size_bytes).where(
        blobs.c.digest.in_(listed("digests")),
        blobs.c.quarantined_ms.is_(None),
        exists()
        .where(repository_blobs.c.blob_id == blobs.c.id, repository_blobs.c.repository_id == _repository_id)
        .correlate(blobs),
    )
)
SAVE_BLOB: Final = Statement(
    insert_or_update(
        blobs, "digest", "size_bytes", "created_ms", "quarantined_ms", "deleting_ms", key=("digest",)
    ).returning(blobs.c.id)
)
_saved_blob: Final = upsert(blobs).values({name: parameter(name) for name in ("digest", "size_bytes", "created_ms")})
SAVE_BLOB_IN_SERVICE: Final = Statement(  # a new one, or one that is neither in quarantine nor going; it is held so
    _saved_blob.on_conflict_do_update(
        index_elements=["digest"],
        set_={"size_bytes": _saved_blob.excluded.size_bytes},
        where=and_(blobs.c.quarantined_ms.is_(None), blobs.c.deleting_ms.is_(None)),
    ).returning(blobs.c.id)
)
QUARANTINE_BLOB: Final = Statement(
    update(blobs).where(blobs.c.digest == _digest).values(quarantined_ms=parameter("now_ms"))
)
TAKE_OUT_OF_QUARANTINE: Final = Statement(update(blobs).where(blobs.c.digest == _digest).values(quarantined_ms=null()))
LINK_BLOB: Final = Statement(insert_or_skip(repository_blobs, "repository_id", "blob_id", "linked_ms"))
UNLINK_BLOB: Final = Statement(
    delete(repository_blobs).where(
        repository_blobs.c.repository_id == _repository_id, repository_blobs.c.blob_id == parameter("blob_id")
    )
)
FIND_MANIFEST_OF_BLOB: Final = Statement(
    select(manifests.c.digest)
    .join(manifest_blobs, manifest_blobs.c.manifest_id == manifests.c.id)
    .join(repository_manifests, repository_manifests.c.manifest_id == manifests.c.id)
    .where(manifest_blobs.c.blob_digest == _digest, repository_manifests.c.repository_id == _repository_id)
    .limit(literal(1))
)

# --- upload sessions

ENDED: Final = -1
"""The offset of a session that is over; its row stays until nobody can take its id for a new one."""

_is_open: Final = upload_sessions.c.offset_bytes != ENDED

_new_upload: Final = upsert(upload_sessions).values(
    id=parameter("session_id"),
    repository=_repository,
    algorithm=parameter("algorithm"),
    offset_bytes=parameter("offset"),
    digest_state=parameter("state"),
    committing_digest=parameter("committing"),
    created_ms=parameter("now_ms"),
    updated_ms=parameter("now_ms"),
    owner=parameter("owner"),
)
_changed_upload: Final = {
    "offset_bytes": parameter("offset"),
    "digest_state": parameter("state"),
    "committing_digest": parameter("committing"),
    "updated_ms": parameter("now_ms"),
}
ADD_UPLOAD: Final = Statement(_new_upload.on_conflict_do_nothing())
SAVE_UPLOAD: Final = Statement(  # whether it has a row or not; one that has ended stays ended
    _new_upload.on_conflict_do_update(index_elements=["id"], set_=_changed_upload, where=_is_open)
)
SAVE_RECORDED_UPLOAD: Final = Statement(
    update(upload_sessions).where(upload_sessions.c.id == parameter("session_id"), _is_open).values(_changed_upload)
)
_is_at: Final = upload_sessions.c.offset_bytes == parameter("was")
SAVE_UPLOAD_AT: Final = Statement(  # if nobody has added to it meanwhile, and it has not ended
    _new_upload.on_conflict_do_update(index_elements=["id"], set_=_changed_upload, where=_is_at)
)
SAVE_RECORDED_UPLOAD_AT: Final = Statement(
    update(upload_sessions).where(upload_sessions.c.id == parameter("session_id"), _is_at).values(_changed_upload)
)
END_UPLOAD: Final = Statement(
    update(upload_sessions)
    .where(upload_sessions.c.id == parameter("session_id"), _is_open)
    .values(offset_bytes=literal(ENDED), digest_state=null(), committing_digest=null())
)
FIND_UPLOAD: Final = Statement(
    select(
        upload_sessions.c.repository,
        upload_sessions.c.algorithm,
        upload_sessions.c.offset_bytes,
        upload_sessions.c.digest_state,
        upload_sessions.c.owner,
    ).where(upload_sessions.c.id == parameter("session_id"))
)
LIST_ENDED_UPLOADS: Final = Statement(
    select(upload_sessions.c.id)
    .where(upload_sessions.c.offset_bytes == ENDED, upload_sessions.c.id > _after)
    .order_by(upload_sessions.c.id)
    .limit(_limit)
)
REMOVE_ENDED_UPLOAD: Final = Statement(
    delete(upload_sessions).where(upload_sessions.c.id == parameter("session_id"), ~_is_open)
)
LIST_UPLOADS: Final = Statement(
    select(
        upload_sessions.c.id,
        upload_sessions.c.algorithm,
        upload_sessions.c.offset_bytes,
        upload_sessions.c.digest_state,
        upload_sessions.c.committing_digest,
    )
    .where(upload_sessions.c.id > _after, _is_open)
    .order_by(upload_sessions.c.id)
    .limit(_limit)
)
LIST_STALE_UPLOADS: Final = Statement(
    select(upload_sessions.c.id)
    .where(upload_sessions.c.updated_ms < parameter("before_ms"), _is_open)
    .order_by(upload_sessions.c.updated_ms, upload_sessions.c.id)
    .limit(_limit)
)

# --- totals and verification

COUNT_REPOSITORIES: Final = Statement(
    select(func.count())
    .select_from(repositories)
    .where(exists().where(repository_manifests.c.repository_id == repositories.c.id))
)
COUNT_TAGS: Final = Statement(select(func.count()).select_from(tags))
COUNT_MANIFESTS: Final = Statement(select(func.count(), func.coalesce(func.sum(manifests.c.size_bytes), 0)))
COUNT_BLOBS: Final = Statement(
    select(func.count(), func.coalesce(func.sum(blobs.c.size_bytes), 0), func.count(blobs.c.quarantined_ms))
)
COUNT_QUARANTINED: Final = Statement(select(func.count()).where(blobs.c.quarantined_ms.is_not(None)))
COUNT_UPLOADS: Final = Statement(
    select(func.count(), func.coalesce(func.sum(upload_sessions.c.offset_bytes), 0)).where(_is_open)
)
# Listings by digest are answered by the index on it alone, so that damage in a table's pages does not end them.
LIST_BLOB_DIGESTS: Final = Statement(
    select(blobs.c.digest).where(blobs.c.digest > _after).order_by(blobs.c.digest).limit(_limit)
)
LIST_MANIFEST_DIGESTS: Final = Statement(
    select(manifests.c.digest).where(manifests.c.digest > _after).order_by(manifests.c.digest).limit(_limit)
)
LIST_REPOSITORIES_OF_MANIFEST: Final = Statement(
    select(repositories.c.name)
    .join(repository_manifests, repository_manifests.c.repository_id == repositories.c.id)
    .join(manifests, manifests.c.id == repository_manifests.c.manifest_id)
    .where(manifests.c.digest == _digest)
    .limit(_limit)
)
LIST_HOLDERS: Final = Statement(  # of repositories that have the blob: a name alone is no need
    select(repositories.c.name, manifests.c.digest)
    .join(repository_manifests, repository_manifests.c.repository_id == repositories.c.id)
    .join(manifests, manifests.c.id == repository_manifests.c.manifest_id)
    .join(manifest_blobs, manifest_blobs.c.manifest_id == manifests.c.id)
    .join(blobs, blobs.c.digest == manifest_blobs.c.blob_digest)
    .where(
        manifest_blobs.c.blob_digest == _digest,
        exists()
        .where(repository_blobs.c.repository_id == repositories.c.id, repository_blobs.c.blob_id == blobs.c.id)
        .correlate(repositories, blobs),
    )
    .limit(_limit)
)
LIST_MISSING_BLOBS: Final = Statement(
    select(repositories.c.name, manifest_blobs.c.blob_digest)
    .join(repository_manifests, repository_manifests.c.repository_id == repositories.c.id)
    .join(manifests, manifests.c.id == repository_manifests.c.manifest_id)
    .join(manifest_blobs, manifest_blobs.c.manifest_id == manifests.c.id)
    .where(
        manifests.c.digest == _digest,
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
LIST_DANGLING_TAGS: Final = Statement(
    select(tags.c.repository_id, tags.c.name, repositories.c.name)
    .join(repositories, repositories.c.id == tags.c.repository_id, isouter=True)
    .where(
        tuple_(tags.c.repository_id, tags.c.name) > tuple_(parameter("after_id"), _after),
        ~exists()
        .where(
            repository_manifests.c.repository_id == tags.c.repository_id,
            repository_manifests.c.manifest_id == tags.c.manifest_id,
            manifests.c.id == tags.c.manifest_id,
        )
        .correlate(tags),
    )
    .order_by(tags.c.repository_id, tags.c.name)
    .limit(_limit)
)
FIND_COMMITTING_UPLOAD: Final = Statement(
    select(upload_sessions.c.id).where(upload_sessions.c.committing_digest == _digest).limit(literal(1))
)
FIND_UPLOAD_RECORD: Final = Statement(
    select(upload_sessions.c.id).where(upload_sessions.c.id == parameter("id"), _is_open)
)

# --- removal of a repository

LIST_LINKED_MANIFESTS: Final = Statement(
    select(repository_manifests.c.manifest_id, manifests.c.digest)
    .join(manifests, manifests.c.id == repository_manifests.c.manifest_id)
    .where(repository_manifests.c.repository_id == _repository_id)
    .limit(_limit)
)
