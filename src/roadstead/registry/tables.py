"""The catalogue's tables. A migration changes the database; a test compares the two.

Times are milliseconds since 1970 UTC. Digests are their text. Texts compare by code point ("ASCIIbetical"), which is
the order that the distribution specification asks of listings.

::

    projects --< repositories                             the first part of a name, or ``library``
         .
    repositories --< repository_blobs     >-- blobs       a blob may be read in the repositories that it is linked to
         |                                       +--< blob_parts   its bytes, where they are not one object
         +------< repository_manifests    >-- manifests --< manifest_blobs, manifest_children
         |                  ^
         +------< tags -----+                             a tag points at a manifest of its own repository
    manifest_blobs       every digest that config, layers or an index's entries name: what is kept with the manifest;
                         those with is_required must be there for it to be accepted
    manifest_children    the entries of an index: what reaches manifests without a tag
    upload_sessions --< upload_parts                      not tied to a repository's row: there may be none yet

What versions before 0006 write has NULL in the columns that these do not know: a repository without ``project_id``
gets it with the next push, an upload session without ``owner`` is of whoever may push there. A blob without
``object_key`` is one object under the key of its digest (``layout``); a key that ends in ``+`` is the first of its
``blob_parts``.

What was deleted and can still be restored, and what must be looked at by the collector (see ``garbage.collection``)::

    removed_manifests    a manifest taken out of its repository: kept, with all it names, until expires_ms
    tag_history          each change of a tag: what it pointed at afterwards, or before it was deleted
    reviews              a link, manifest or blob that nothing may need any more, and when to look
    repositories.removed_ms    deleted; a push brings it back
    blobs.deleting_ms    its bytes are going: a row that no repository links to
"""

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, ForeignKeyConstraint, Index, Integer, LargeBinary, Table

from roadstead.database import KEY, TEXT, metadata

projects: Final = Table(
    "projects",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("name", TEXT, nullable=False, unique=True),
    Column("created_ms", BigInteger, nullable=False),
)

repositories: Final = Table(
    "repositories",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("name", TEXT, nullable=False, unique=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("removed_ms", BigInteger, nullable=True),
    Column("left_alone_ms", BigInteger, nullable=True),  # adopted with content that only registry:2 understands
    Column("project_id", KEY, ForeignKey("projects.id"), nullable=True, index=True),
)

blobs: Final = Table(
    "blobs",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("digest", TEXT, nullable=False, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("quarantined_ms", BigInteger, nullable=True),
    Column("deleting_ms", BigInteger, nullable=True),
    Column("store", TEXT, nullable=True),
    Column("object_key", TEXT, nullable=True),
)
Index(
    "ix_blobs_quarantined_ms",
    blobs.c.quarantined_ms,
    sqlite_where=blobs.c.quarantined_ms.is_not(None),
    postgresql_where=blobs.c.quarantined_ms.is_not(None),
)
Index(
    "ix_blobs_deleting_ms",
    blobs.c.deleting_ms,
    sqlite_where=blobs.c.deleting_ms.is_not(None),
    postgresql_where=blobs.c.deleting_ms.is_not(None),
)

Index(
    "ix_blobs_object_key",
    blobs.c.object_key,
    sqlite_where=blobs.c.object_key.is_not(None),
    postgresql_where=blobs.c.object_key.is_not(None),
)

blob_parts: Final = Table(  # in the order of ``number``
    "blob_parts",
    metadata,
    Column("blob_id", KEY, ForeignKey("blobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", KEY, primary_key=True),
    Column("object_key", TEXT, nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

repository_blobs: Final = Table(
    "repository_blobs",
    metadata,
    Column("repository_id", KEY, ForeignKey("repositories.id"), primary_key=True),
    Column("blob_id", KEY, ForeignKey("blobs.id"), primary_key=True),
    Column("linked_ms", BigInteger, nullable=False),
    Index("ix_repository_blobs_blob_id", "blob_id"),
    sqlite_with_rowid=False,
)

manifests: Final = Table(
    "manifests",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("digest", TEXT, nullable=False, unique=True),
    Column("media_type", TEXT, nullable=False),
    Column("artifact_type", TEXT, nullable=False),
    Column("subject_digest", TEXT, nullable=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),  # last, so that the columns before it stand in the row's first page
)
Index(
    "ix_manifests_subject_digest",
    manifests.c.subject_digest,
    manifests.c.digest,
    sqlite_where=manifests.c.subject_digest.is_not(None),
    postgresql_where=manifests.c.subject_digest.is_not(None),
)

manifest_blobs: Final = Table(
    "manifest_blobs",
    metadata,
    Column("manifest_id", KEY, ForeignKey("manifests.id"), primary_key=True),
    Column("blob_digest", TEXT, primary_key=True),
    Column("is_required", Integer, nullable=False, server_default="1"),  # 0: kept with the manifest, but may be absent
    Index("ix_manifest_blobs_blob_digest", "blob_digest"),
    sqlite_with_rowid=False,
)

manifest_annotations: Final = Table(  # of manifests with a subject; versions before 0004 recorded none
    "manifest_annotations",
    metadata,
    Column("manifest_id", KEY, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("annotations", TEXT, nullable=False),  # a JSON object
)

manifest_children: Final = Table(
    "manifest_children",
    metadata,
    Column("manifest_id", KEY, ForeignKey("manifests.id"), primary_key=True),
    Column("child_digest", TEXT, primary_key=True),
    Index("ix_manifest_children_child_digest", "child_digest"),
    sqlite_with_rowid=False,
)

repository_manifests: Final = Table(
    "repository_manifests",
    metadata,
    Column("repository_id", KEY, ForeignKey("repositories.id"), primary_key=True),
    Column("manifest_id", KEY, ForeignKey("manifests.id"), primary_key=True),
    Column("pushed_ms", BigInteger, nullable=False),
    Index("ix_repository_manifests_manifest_id", "manifest_id"),
    sqlite_with_rowid=False,
)

tags: Final = Table(
    "tags",
    metadata,
    Column("repository_id", KEY, primary_key=True),
    Column("name", TEXT, primary_key=True),
    Column("manifest_id", KEY, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["repository_id", "manifest_id"], ["repository_manifests.repository_id", "repository_manifests.manifest_id"]
    ),
    Index("ix_tags_repository_id_manifest_id", "repository_id", "manifest_id"),
    sqlite_with_rowid=False,
)

upload_sessions: Final = Table(
    "upload_sessions",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("repository", TEXT, nullable=False),
    Column("algorithm", TEXT, nullable=False),
    Column("offset_bytes", BigInteger, nullable=False),
    Column("digest_state", LargeBinary, nullable=True),
    Column("committing_digest", TEXT, nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),  # no index: purging reads the few rows there are
    Column("owner", TEXT, nullable=True),  # who began it, empty for an anonymous client
    sqlite_with_rowid=False,
)

upload_parts: Final = Table(  # in the order of ``begin_bytes``; of a session whose bytes are not in one file
    "upload_parts",
    metadata,
    Column("session_id", TEXT, primary_key=True),
    Column("begin_bytes", BigInteger, primary_key=True, autoincrement=False),
    Column("object_key", TEXT, nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

swept_objects: Final = Table(  # keys of objects that no row named and that were removed: no commit may name them now
    "swept_objects",
    metadata,
    Column("object_key", TEXT, primary_key=True),
    Column("swept_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

removed_manifests: Final = Table(
    "removed_manifests",
    metadata,
    Column("repository_id", KEY, ForeignKey("repositories.id"), primary_key=True),
    Column("manifest_id", KEY, ForeignKey("manifests.id"), primary_key=True),
    Column("pushed_ms", BigInteger, nullable=False),
    Column("removed_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("actor", TEXT, nullable=False),
    Index("ix_removed_manifests_manifest_id", "manifest_id"),
    Index("ix_removed_manifests_expires_ms", "expires_ms"),
    sqlite_with_rowid=False,
)

tag_history: Final = Table(
    "tag_history",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("repository_id", KEY, ForeignKey("repositories.id"), nullable=False),
    Column("tag", TEXT, nullable=False),
    Column("action", TEXT, nullable=False),  # push, delete, restore, adopt
    Column("digest", TEXT, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", TEXT, nullable=False),
    Index("ix_tag_history_repository_id_tag", "repository_id", "tag", "id"),
    sqlite_autoincrement=True,
)

reviews: Final = Table(
    "reviews",
    metadata,
    Column("kind", Integer, primary_key=True),  # collection.ReviewKind
    Column("repository_id", KEY, primary_key=True),  # 0 where the item belongs to none
    Column("item_id", KEY, primary_key=True),  # a blob's or a manifest's
    Column("since_ms", BigInteger, nullable=False),
    Column("not_before_ms", BigInteger, nullable=False),
    Index("ix_reviews_kind_not_before_ms", "kind", "not_before_ms"),
    sqlite_with_rowid=False,
)

link_changes: Final = Table(  # filled by triggers (migration 0002) while ``link_following`` is on
    "link_changes",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("kind", Integer, nullable=False),  # link_following.NoteKind
    Column("repository", TEXT, nullable=False),
    Column("item", TEXT, nullable=False),  # a digest or a tag
    sqlite_autoincrement=True,
)

pulls: Final = Table(  # of a manifest from a repository; see content.traffic
    "pulls",
    metadata,
    Column("repository_id", KEY, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("manifest_id", KEY, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
    Column("pulls", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Index("ix_pulls_manifest_id", "manifest_id"),
    sqlite_with_rowid=False,
)

project_days: Final = Table(
    "project_days",
    metadata,
    Column("project", TEXT, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),  # since 1970, UTC
    Column("pulls", BigInteger, nullable=False),
    Column("pulled_bytes", BigInteger, nullable=False),
    Column("pushes", BigInteger, nullable=False),
    Column("pushed_bytes", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=True),  # None: not measured on that day
    Index("ix_project_days_day", "day"),
    sqlite_with_rowid=False,
)
