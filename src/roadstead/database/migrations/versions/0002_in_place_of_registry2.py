"""Removal that can be undone, collection of garbage, events, leases."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("repositories", sa.Column("removed_ms", sa.BigInteger, nullable=True))
    op.add_column("repositories", sa.Column("left_alone_ms", sa.BigInteger, nullable=True))
    op.add_column("blobs", sa.Column("deleting_ms", sa.BigInteger, nullable=True))
    op.create_index("ix_blobs_deleting_ms", "blobs", ["deleting_ms"], sqlite_where=sa.text("deleting_ms IS NOT NULL"))
    op.create_table(
        "removed_manifests",
        sa.Column("repository_id", sa.Integer, sa.ForeignKey("repositories.id"), primary_key=True),
        sa.Column("manifest_id", sa.Integer, sa.ForeignKey("manifests.id"), primary_key=True),
        sa.Column("pushed_ms", sa.BigInteger, nullable=False),
        sa.Column("removed_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_removed_manifests_manifest_id", "removed_manifests", ["manifest_id"])
    op.create_index("ix_removed_manifests_expires_ms", "removed_manifests", ["expires_ms"])
    op.create_table(
        "tag_history",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("repository_id", sa.Integer, sa.ForeignKey("repositories.id"), nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tag_history_repository_id_tag", "tag_history", ["repository_id", "tag", "id"])
    op.create_table(
        "reviews",
        sa.Column("kind", sa.Integer, primary_key=True),
        sa.Column("repository_id", sa.Integer, primary_key=True),
        sa.Column("item_id", sa.Integer, primary_key=True),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("not_before_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_reviews_kind_not_before_ms", "reviews", ["kind", "not_before_ms"])
    _create_events()
    _create_background_work()
    _review_what_nothing_names()
    _create_link_changes()


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("source_repository", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "notification_cursors",
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_ms", sa.BigInteger, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.Column("suspect_id", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "parked_events",
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Integer, primary_key=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("parked_ms", sa.BigInteger, nullable=False),
        sa.Column("is_due", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_parked_events_due", "parked_events", ["endpoint", "event_id"], sqlite_where=sa.text("is_due = 1")
    )


def _create_background_work() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "states",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )


def _review_what_nothing_names() -> None:
    """Has what earlier deletions left behind looked at: everything once, a day from now."""
    soon = "CAST(strftime('%s', 'now') AS INTEGER) * 1000"
    op.execute(
        "INSERT INTO reviews (kind, repository_id, item_id, since_ms, not_before_ms)"
        f" SELECT 1, repository_id, blob_id, {soon}, {soon} + 86400000 FROM repository_blobs"
    )
    op.execute(
        "INSERT INTO reviews (kind, repository_id, item_id, since_ms, not_before_ms)"
        f" SELECT 2, 0, id, {soon}, {soon} + 86400000 FROM manifests"
        " WHERE NOT EXISTS (SELECT 1 FROM repository_manifests WHERE manifest_id = manifests.id)"
    )
    op.execute(
        "INSERT INTO reviews (kind, repository_id, item_id, since_ms, not_before_ms)"
        f" SELECT 3, 0, id, {soon}, {soon} + 86400000 FROM blobs"
        " WHERE NOT EXISTS (SELECT 1 FROM repository_blobs WHERE blob_id = blobs.id)"
    )


_REPOSITORY = "(SELECT name FROM repositories WHERE id = {row}.repository_id)"
_BLOB = "(SELECT digest FROM blobs WHERE id = {row}.blob_id)"
_MANIFEST = "(SELECT digest FROM manifests WHERE id = {row}.manifest_id)"
_LINK_CHANGES = {
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
"""Triggers, so that no way to change a link can forget to say so; they do nothing while nobody follows."""


def _create_link_changes() -> None:
    op.create_table(
        "link_changes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    for name, (event, row, kind, repository, item) in _LINK_CHANGES.items():
        op.execute(
            f"CREATE TRIGGER follow_{name} AFTER {event}"
            " WHEN EXISTS (SELECT 1 FROM states WHERE name = 'links')"
            " BEGIN INSERT INTO link_changes (kind, repository, item)"
            f" VALUES ({kind}, coalesce({repository.format(row=row)}, ''), coalesce({item.format(row=row)}, '')); END"
        )


def downgrade() -> None:
    for name in _LINK_CHANGES:
        op.execute(f"DROP TRIGGER follow_{name}")
    op.drop_table("link_changes")
    for table in ("states", "leases", "parked_events", "notification_cursors", "events", "reviews", "tag_history"):
        op.drop_table(table)
    op.drop_table("removed_manifests")
    op.drop_index("ix_blobs_deleting_ms", "blobs")
    op.drop_column("blobs", "deleting_ms")
    op.drop_column("repositories", "left_alone_ms")
    op.drop_column("repositories", "removed_ms")
