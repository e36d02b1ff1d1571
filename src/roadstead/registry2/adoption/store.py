"""Statements of adoption and release: whole repositories, page by page."""

from typing import Final

from sqlalchemy import and_, delete, exists, func, literal, or_, select, update

from roadstead.database import Statement, insert_or_skip, parameter, upsert
from roadstead.registry.removal.rules import ReviewKind
from roadstead.registry.tables import (
    blobs,
    link_changes,
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
_after = parameter("after")
_limit = parameter("limit")

LIST_ALL_REPOSITORIES: Final = Statement(
    select(repositories.c.id, repositories.c.name, repositories.c.removed_ms)
    .where(repositories.c.name > _after)
    .order_by(repositories.c.name)
    .limit(_limit)
)
LIST_LINKED_BLOBS: Final = Statement(
    select(
        blobs.c.id,
        blobs.c.digest,
        repository_blobs.c.linked_ms,
        blobs.c.quarantined_ms,
        blobs.c.deleting_ms,
        blobs.c.size_bytes,
    )
    .join(repository_blobs, repository_blobs.c.blob_id == blobs.c.id)
    .where(repository_blobs.c.repository_id == _repository_id, repository_blobs.c.blob_id > _after)
    .order_by(repository_blobs.c.blob_id)
    .limit(_limit)
)
LIST_LINKED_MANIFESTS: Final = Statement(
    select(manifests.c.id, manifests.c.digest, repository_manifests.c.pushed_ms)
    .join(repository_manifests, repository_manifests.c.manifest_id == manifests.c.id)
    .where(repository_manifests.c.repository_id == _repository_id, repository_manifests.c.manifest_id > _after)
    .order_by(repository_manifests.c.manifest_id)
    .limit(_limit)
)
LIST_TAGS: Final = Statement(
    select(tags.c.name, tags.c.manifest_id, manifests.c.digest, tags.c.updated_ms)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.repository_id == _repository_id, tags.c.name > _after)
    .order_by(tags.c.name)
    .limit(_limit)
)
LIST_DIGESTS_OF_TAG: Final = Statement(
    select(tag_history.c.digest, tag_history.c.at_ms)
    .where(
        tag_history.c.repository_id == _repository_id,
        tag_history.c.tag == parameter("tag"),
        tag_history.c.action != literal("delete"),
    )
    .order_by(tag_history.c.id)
    .limit(_limit)
)
_is_named_here = (
    exists()
    .where(
        manifest_blobs.c.blob_digest == blobs.c.digest,
        or_(
            exists()
            .where(
                repository_manifests.c.manifest_id == manifest_blobs.c.manifest_id,
                repository_manifests.c.repository_id == _repository_id,
            )
            .correlate(manifest_blobs),
            exists()
            .where(
                removed_manifests.c.manifest_id == manifest_blobs.c.manifest_id,
                removed_manifests.c.repository_id == _repository_id,
            )
            .correlate(manifest_blobs),
        ),
    )
    .correlate(blobs)
)
REVIEW_UNNAMED_LINKS: Final = Statement(  # links that no manifest needs: left behind by deletions of registry:2
    upsert(reviews)
    .from_select(
        ["kind", "repository_id", "item_id", "since_ms", "not_before_ms"],
        select(
            literal(ReviewKind.LINK.value),
            repository_blobs.c.repository_id,
            repository_blobs.c.blob_id,
            parameter("now_ms"),
            parameter("not_before"),
        )
        .join(blobs, blobs.c.id == repository_blobs.c.blob_id)
        .where(repository_blobs.c.repository_id == _repository_id, ~_is_named_here),
    )
    .on_conflict_do_nothing()
)
_here_as_manifest = manifests.alias("here")
_links = repository_manifests.alias("links")
LIST_UNLINKED_BLOBS: Final = Statement(  # what manifests name and the repository has neither as blob nor as manifest
    select(manifests.c.digest, manifest_blobs.c.blob_digest, manifest_blobs.c.is_required)
    .join(repository_manifests, repository_manifests.c.manifest_id == manifests.c.id)
    .join(manifest_blobs, manifest_blobs.c.manifest_id == manifests.c.id)
    .where(
        repository_manifests.c.repository_id == _repository_id,
        manifests.c.id > _after,
        manifests.c.id <= parameter("upto"),
        ~exists()
        .where(
            and_(
                blobs.c.digest == manifest_blobs.c.blob_digest,
                repository_blobs.c.blob_id == blobs.c.id,
                repository_blobs.c.repository_id == _repository_id,
            )
        )
        .correlate(manifest_blobs),
        or_(
            manifest_blobs.c.is_required == literal(1),
            ~exists()
            .where(
                _here_as_manifest.c.digest == manifest_blobs.c.blob_digest,
                _links.c.manifest_id == _here_as_manifest.c.id,
                _links.c.repository_id == _repository_id,
            )
            .correlate(manifest_blobs),
        ),
    )
    .limit(_limit)
)
_naming = (
    select(manifests.c.digest)
    .join(repository_manifests, repository_manifests.c.manifest_id == manifests.c.id)
    .where(repository_manifests.c.repository_id == _repository_id)
)
LIST_NAMING: Final = Statement(  # manifests of a repository that name a blob or a manifest
    _naming.join(manifest_blobs, manifest_blobs.c.manifest_id == manifests.c.id)
    .where(manifest_blobs.c.blob_digest == parameter("digest"))
    .union(
        _naming.join(manifest_children, manifest_children.c.manifest_id == manifests.c.id).where(
            manifest_children.c.child_digest == parameter("digest")
        )
    )
    .limit(_limit)
)
FIND_MANIFEST_RECORD: Final = Statement(select(manifests.c.id).where(manifests.c.digest == parameter("digest")))
GET_MANIFEST_SIZE: Final = Statement(select(manifests.c.size_bytes).where(manifests.c.digest == parameter("digest")))

# --- following

LIST_LINK_CHANGES: Final = Statement(
    select(link_changes.c.id, link_changes.c.kind, link_changes.c.repository, link_changes.c.item)
    .where(link_changes.c.id <= parameter("upto"))
    .order_by(link_changes.c.id)
    .limit(_limit)
)
LAST_LINK_CHANGE_ID: Final = Statement(select(func.coalesce(func.max(link_changes.c.id), 0)))
FORGET_LINK_CHANGES: Final = Statement(delete(link_changes).where(link_changes.c.id <= parameter("upto")))
_here = and_(repositories.c.name == parameter("repository"), repositories.c.removed_ms.is_(None))
FIND_LINK_TO_BLOB: Final = Statement(
    select(repository_blobs.c.linked_ms)
    .join(repositories, repositories.c.id == repository_blobs.c.repository_id)
    .join(blobs, blobs.c.id == repository_blobs.c.blob_id)
    .where(
        _here,
        blobs.c.digest == parameter("item"),
        blobs.c.quarantined_ms.is_(None),
        blobs.c.deleting_ms.is_(None),
    )
)
FIND_LINK_TO_MANIFEST: Final = Statement(
    select(repository_manifests.c.pushed_ms)
    .join(repositories, repositories.c.id == repository_manifests.c.repository_id)
    .join(manifests, manifests.c.id == repository_manifests.c.manifest_id)
    .where(_here, manifests.c.digest == parameter("item"))
)
FIND_TAG: Final = Statement(
    select(manifests.c.digest, tags.c.updated_ms)
    .join(repositories, repositories.c.id == tags.c.repository_id)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(_here, tags.c.name == parameter("item"))
)

# --- rebuilding

FORGET_HISTORY: Final = Statement(
    delete(tag_history).where(
        tag_history.c.repository_id == _repository_id,
        tag_history.c.tag == parameter("tag"),
        tag_history.c.action != literal("delete"),
    )
)
ADD_TO_TRASH: Final = Statement(
    insert_or_skip(removed_manifests, "repository_id", "manifest_id", "pushed_ms", "removed_ms", "expires_ms", "actor")
)
NOTE_LEFT_ALONE: Final = Statement(
    update(repositories)
    .where(repositories.c.id == parameter("repository_id"))
    .values(left_alone_ms=parameter("now_ms"))
)
