"""Repositories, tags, manifests, blobs and upload sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "repositories",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "blobs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("quarantined_ms", sa.BigInteger, nullable=True),
    )
    op.create_index(
        "ix_blobs_quarantined_ms", "blobs", ["quarantined_ms"], sqlite_where=sa.text("quarantined_ms IS NOT NULL")
    )
    op.create_table(
        "repository_blobs",
        sa.Column("repository_id", sa.Integer, sa.ForeignKey("repositories.id"), primary_key=True),
        sa.Column("blob_id", sa.Integer, sa.ForeignKey("blobs.id"), primary_key=True),
        sa.Column("linked_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_repository_blobs_blob_id", "repository_blobs", ["blob_id"])
    op.create_table(
        "manifests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("artifact_type", sa.Text, nullable=False),
        sa.Column("subject_digest", sa.Text, nullable=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index(
        "ix_manifests_subject_digest",
        "manifests",
        ["subject_digest", "digest"],
        sqlite_where=sa.text("subject_digest IS NOT NULL"),
    )
    op.create_table(
        "manifest_blobs",
        sa.Column("manifest_id", sa.Integer, sa.ForeignKey("manifests.id"), primary_key=True),
        sa.Column("blob_digest", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_manifest_blobs_blob_digest", "manifest_blobs", ["blob_digest"])
    op.create_table(
        "manifest_children",
        sa.Column("manifest_id", sa.Integer, sa.ForeignKey("manifests.id"), primary_key=True),
        sa.Column("child_digest", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_manifest_children_child_digest", "manifest_children", ["child_digest"])
    op.create_table(
        "repository_manifests",
        sa.Column("repository_id", sa.Integer, sa.ForeignKey("repositories.id"), primary_key=True),
        sa.Column("manifest_id", sa.Integer, sa.ForeignKey("manifests.id"), primary_key=True),
        sa.Column("pushed_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_repository_manifests_manifest_id", "repository_manifests", ["manifest_id"])
    op.create_table(
        "tags",
        sa.Column("repository_id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("manifest_id", sa.Integer, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id", "manifest_id"], ["repository_manifests.repository_id", "repository_manifests.manifest_id"]
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tags_repository_id_manifest_id", "tags", ["repository_id", "manifest_id"])
    op.create_table(
        "upload_sessions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("offset_bytes", sa.BigInteger, nullable=False),
        sa.Column("digest_state", sa.LargeBinary, nullable=True),
        sa.Column("committing_digest", sa.Text, nullable=True),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in (
        "upload_sessions",
        "tags",
        "repository_manifests",
        "manifest_children",
        "manifest_blobs",
        "manifests",
        "repository_blobs",
        "blobs",
        "repositories",
    ):
        op.drop_table(table)
