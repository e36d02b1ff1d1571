"""The catalogue on PostgreSQL begins here, with what a catalogue on SQLite has by now; that one is left as it is.

The triggers that note changes of links are twins of those of 0002. They keep the events first, as whoever writes one
does, so that notes can be read in an order that is safe to follow, and none is forgotten while following begins (see
``roadstead.events.order``).
"""

from typing import Final

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES: Final = (
    """
    CREATE TABLE blobs (
        id BIGSERIAL NOT NULL,
        digest TEXT COLLATE "C" NOT NULL,
        size_bytes BIGINT NOT NULL,
        created_ms BIGINT NOT NULL,
        quarantined_ms BIGINT,
        deleting_ms BIGINT,
        CONSTRAINT pk_blobs PRIMARY KEY (id),
        CONSTRAINT uq_blobs_digest UNIQUE (digest)
    )
    """,
    """
    CREATE INDEX ix_blobs_deleting_ms ON blobs (deleting_ms) WHERE deleting_ms IS NOT NULL
    """,
    """
    CREATE INDEX ix_blobs_quarantined_ms ON blobs (quarantined_ms) WHERE quarantined_ms IS NOT NULL
    """,
    """
    CREATE TABLE events (
        id BIGSERIAL NOT NULL,
        at_ms BIGINT NOT NULL,
        action TEXT COLLATE "C" NOT NULL,
        repository TEXT COLLATE "C" NOT NULL,
        digest TEXT COLLATE "C" NOT NULL,
        media_type TEXT COLLATE "C" NOT NULL,
        size_bytes BIGINT NOT NULL,
        tag TEXT COLLATE "C" NOT NULL,
        source_repository TEXT COLLATE "C" NOT NULL,
        origin TEXT COLLATE "C" NOT NULL,
        CONSTRAINT pk_events PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE leases (
        name TEXT COLLATE "C" NOT NULL,
        holder TEXT COLLATE "C" NOT NULL,
        expires_ms BIGINT NOT NULL,
        CONSTRAINT pk_leases PRIMARY KEY (name)
    )
    """,
    """
    CREATE TABLE link_changes (
        id BIGSERIAL NOT NULL,
        kind INTEGER NOT NULL,
        repository TEXT COLLATE "C" NOT NULL,
        item TEXT COLLATE "C" NOT NULL,
        CONSTRAINT pk_link_changes PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE manifests (
        id BIGSERIAL NOT NULL,
        digest TEXT COLLATE "C" NOT NULL,
        media_type TEXT COLLATE "C" NOT NULL,
        artifact_type TEXT COLLATE "C" NOT NULL,
        subject_digest TEXT COLLATE "C",
        size_bytes BIGINT NOT NULL,
        created_ms BIGINT NOT NULL,
        body BYTEA NOT NULL,
        CONSTRAINT pk_manifests PRIMARY KEY (id),
        CONSTRAINT uq_manifests_digest UNIQUE (digest)
    )
    """,
    """
    CREATE INDEX ix_manifests_subject_digest ON manifests (subject_digest, digest) WHERE subject_digest IS NOT NULL
    """,
    """
    CREATE TABLE notification_cursors (
        endpoint TEXT COLLATE "C" NOT NULL,
        event_id BIGINT NOT NULL,
        attempts INTEGER NOT NULL,
        next_ms BIGINT NOT NULL,
        error TEXT COLLATE "C" NOT NULL,
        updated_ms BIGINT NOT NULL,
        suspect_id BIGINT NOT NULL,
        CONSTRAINT pk_notification_cursors PRIMARY KEY (endpoint)
    )
    """,
    """
    CREATE TABLE parked_events (
        endpoint TEXT COLLATE "C" NOT NULL,
        event_id BIGINT NOT NULL,
        attempts INTEGER NOT NULL,
        error TEXT COLLATE "C" NOT NULL,
        parked_ms BIGINT NOT NULL,
        is_due INTEGER NOT NULL,
        CONSTRAINT pk_parked_events PRIMARY KEY (endpoint, event_id)
    )
    """,
    """
    CREATE INDEX ix_parked_events_due ON parked_events (endpoint, event_id) WHERE is_due = 1
    """,
    """
    CREATE TABLE repositories (
        id BIGSERIAL NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        created_ms BIGINT NOT NULL,
        removed_ms BIGINT,
        left_alone_ms BIGINT,
        CONSTRAINT pk_repositories PRIMARY KEY (id),
        CONSTRAINT uq_repositories_name UNIQUE (name)
    )
    """,
    """
    CREATE TABLE reviews (
        kind INTEGER NOT NULL,
        repository_id BIGINT NOT NULL,
        item_id BIGINT NOT NULL,
        since_ms BIGINT NOT NULL,
        not_before_ms BIGINT NOT NULL,
        CONSTRAINT pk_reviews PRIMARY KEY (kind, repository_id, item_id)
    )
    """,
    """
    CREATE INDEX ix_reviews_kind_not_before_ms ON reviews (kind, not_before_ms)
    """,
    """
    CREATE TABLE states (
        name TEXT COLLATE "C" NOT NULL,
        value TEXT COLLATE "C" NOT NULL,
        CONSTRAINT pk_states PRIMARY KEY (name)
    )
    """,
    """
    CREATE TABLE upload_sessions (
        id TEXT COLLATE "C" NOT NULL,
        repository TEXT COLLATE "C" NOT NULL,
        algorithm TEXT COLLATE "C" NOT NULL,
        offset_bytes BIGINT NOT NULL,
        digest_state BYTEA,
        committing_digest TEXT COLLATE "C",
        created_ms BIGINT NOT NULL,
        updated_ms BIGINT NOT NULL,
        CONSTRAINT pk_upload_sessions PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE manifest_annotations (
        manifest_id BIGINT NOT NULL,
        size_bytes BIGINT NOT NULL,
        annotations TEXT COLLATE "C" NOT NULL,
        CONSTRAINT pk_manifest_annotations PRIMARY KEY (manifest_id),
        CONSTRAINT fk_manifest_annotations_manifest_id FOREIGN KEY(manifest_id) REFERENCES manifests (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE manifest_blobs (
        manifest_id BIGINT NOT NULL,
        blob_digest TEXT COLLATE "C" NOT NULL,
        is_required INTEGER DEFAULT '1' NOT NULL,
        CONSTRAINT pk_manifest_blobs PRIMARY KEY (manifest_id, blob_digest),
        CONSTRAINT fk_manifest_blobs_manifest_id FOREIGN KEY(manifest_id) REFERENCES manifests (id)
    )
    """,
    """
    CREATE INDEX ix_manifest_blobs_blob_digest ON manifest_blobs (blob_digest)
    """,
    """
    CREATE TABLE manifest_children (
        manifest_id BIGINT NOT NULL,
        child_digest TEXT COLLATE "C" NOT NULL,
        CONSTRAINT pk_manifest_children PRIMARY KEY (manifest_id, child_digest),
        CONSTRAINT fk_manifest_children_manifest_id FOREIGN KEY(manifest_id) REFERENCES manifests (id)
    )
    """,
    """
    CREATE INDEX ix_manifest_children_child_digest ON manifest_children (child_digest)
    """,
    """
    CREATE TABLE removed_manifests (
        repository_id BIGINT NOT NULL,
        manifest_id BIGINT NOT NULL,
        pushed_ms BIGINT NOT NULL,
        removed_ms BIGINT NOT NULL,
        expires_ms BIGINT NOT NULL,
        actor TEXT COLLATE "C" NOT NULL,
        CONSTRAINT pk_removed_manifests PRIMARY KEY (repository_id, manifest_id),
        CONSTRAINT fk_removed_manifests_repository_id FOREIGN KEY(repository_id) REFERENCES repositories (id),
        CONSTRAINT fk_removed_manifests_manifest_id FOREIGN KEY(manifest_id) REFERENCES manifests (id)
    )
    """,
    """
    CREATE INDEX ix_removed_manifests_expires_ms ON removed_manifests (expires_ms)
    """,
    """
    CREATE INDEX ix_removed_manifests_manifest_id ON removed_manifests (manifest_id)
    """,
    """
    CREATE TABLE repository_blobs (
        repository_id BIGINT NOT NULL,
        blob_id BIGINT NOT NULL,
        linked_ms BIGINT NOT NULL,
        CONSTRAINT pk_repository_blobs PRIMARY KEY (repository_id, blob_id),
        CONSTRAINT fk_repository_blobs_repository_id FOREIGN KEY(repository_id) REFERENCES repositories (id),
        CONSTRAINT fk_repository_blobs_blob_id FOREIGN KEY(blob_id) REFERENCES blobs (id)
    )
    """,
    """
    CREATE INDEX ix_repository_blobs_blob_id ON repository_blobs (blob_id)
    """,
    """
    CREATE TABLE repository_manifests (
        repository_id BIGINT NOT NULL,
        manifest_id BIGINT NOT NULL,
        pushed_ms BIGINT NOT NULL,
        CONSTRAINT pk_repository_manifests PRIMARY KEY (repository_id, manifest_id),
        CONSTRAINT fk_repository_manifests_repository_id FOREIGN KEY(repository_id) REFERENCES repositories (id),
        CONSTRAINT fk_repository_manifests_manifest_id FOREIGN KEY(manifest_id) REFERENCES manifests (id)
    )
    """,
    """
    CREATE INDEX ix_repository_manifests_manifest_id ON repository_manifests (manifest_id)
    """,
    """
    CREATE TABLE tag_history (
        id BIGSERIAL NOT NULL,
        repository_id BIGINT NOT NULL,
        tag TEXT COLLATE "C" NOT NULL,
        action TEXT COLLATE "C" NOT NULL,
        digest TEXT COLLATE "C" NOT NULL,
        at_ms BIGINT NOT NULL,
        actor TEXT COLLATE "C" NOT NULL,
        CONSTRAINT pk_tag_history PRIMARY KEY (id),
        CONSTRAINT fk_tag_history_repository_id FOREIGN KEY(repository_id) REFERENCES repositories (id)
    )
    """,
    """
    CREATE INDEX ix_tag_history_repository_id_tag ON tag_history (repository_id, tag, id)
    """,
    """
    CREATE TABLE tags (
        repository_id BIGINT NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        manifest_id BIGINT NOT NULL,
        updated_ms BIGINT NOT NULL,
        CONSTRAINT pk_tags PRIMARY KEY (repository_id, name),
        CONSTRAINT fk_tags_repository_id_manifest_id FOREIGN KEY(repository_id, manifest_id) REFERENCES repository_manifests (repository_id, manifest_id)
    )
    """,
    """
    CREATE INDEX ix_tags_repository_id_manifest_id ON tags (repository_id, manifest_id)
    """,
)

_EVENTS: Final = 6962288933581589540
"""The key of ``roadstead.events.order.KEPT``."""

_REPOSITORY: Final = "(SELECT name FROM repositories WHERE id = {row}.repository_id)"
_BLOB: Final = "(SELECT digest FROM blobs WHERE id = {row}.blob_id)"
_MANIFEST: Final = "(SELECT digest FROM manifests WHERE id = {row}.manifest_id)"
_LINK_CHANGES: Final = {
    "repository_blobs_insert": ("INSERT ON repository_blobs", "NEW", 1, _REPOSITORY, _BLOB),
    "repository_blobs_delete": ("DELETE ON repository_blobs", "OLD", 1, _REPOSITORY, _BLOB),
    "repository_manifests_insert": ("INSERT ON repository_manifests", "NEW", 2, _REPOSITORY, _MANIFEST),
    "repository_manifests_delete": ("DELETE ON repository_manifests", "OLD", 2, _REPOSITORY, _MANIFEST),
    "tags_insert": ("INSERT ON tags", "NEW", 3, _REPOSITORY, "{row}.name"),
    "tags_update": ("UPDATE ON tags", "NEW", 3, _REPOSITORY, "{row}.name"),
    "tags_delete": ("DELETE ON tags", "OLD", 3, _REPOSITORY, "{row}.name"),
    "manifests_delete": ("DELETE ON manifests", "OLD", 4, "''", "{row}.digest"),
    "blobs_delete": ("DELETE ON blobs", "OLD", 4, "''", "{row}.digest"),
}

_FOLLOW: Final = """
CREATE FUNCTION follow_{name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared({events});
    IF EXISTS (SELECT FROM states WHERE name = 'links') THEN
        INSERT INTO link_changes (kind, repository, item)
        VALUES ({kind}, coalesce({repository}, ''), coalesce({item}, ''));
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    if op.get_context().dialect.name != "postgresql":
        return
    for statement in _TABLES:
        op.execute(statement)
    for name, (event, row, kind, repository, item) in _LINK_CHANGES.items():
        said = {"repository": repository.format(row=row), "item": item.format(row=row)}
        op.execute(_FOLLOW.format(name=name, kind=kind, events=_EVENTS, **said))
        op.execute(f"CREATE TRIGGER follow_{name} AFTER {event} FOR EACH ROW EXECUTE FUNCTION follow_{name}()")


def downgrade() -> None:
    if op.get_context().dialect.name != "postgresql":
        return
    names = (
        "blobs",
        "events",
        "leases",
        "link_changes",
        "manifests",
        "notification_cursors",
        "parked_events",
        "repositories",
        "reviews",
        "states",
        "upload_sessions",
        "manifest_annotations",
        "manifest_blobs",
        "manifest_children",
        "removed_manifests",
        "repository_blobs",
        "repository_manifests",
        "tag_history",
        "tags",
    )
    op.execute(f"DROP TABLE {', '.join(names)}")
    for name in _LINK_CHANGES:
        op.execute(f"DROP FUNCTION follow_{name}()")
