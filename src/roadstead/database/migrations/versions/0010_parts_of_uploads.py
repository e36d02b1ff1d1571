"""Parts of upload sessions, each an object of its own, since a bucket cannot append; and keys that were swept.

No row has an ``object_key`` yet, so that the indexes are made in a moment: of ``blobs`` every row is looked at once,
and on PostgreSQL writers wait for that, a second for some millions.
"""

import sqlalchemy as sa
from alembic import op

from roadstead.database.types import TEXT

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upload_parts",
        sa.Column("session_id", TEXT, primary_key=True),
        sa.Column("begin_bytes", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("object_key", TEXT, nullable=False, index=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "swept_objects",
        sa.Column("object_key", TEXT, primary_key=True),
        sa.Column("swept_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_blob_parts_object_key", "blob_parts", ["object_key"])
    has_key = sa.text("object_key IS NOT NULL")
    op.create_index("ix_blobs_object_key", "blobs", ["object_key"], sqlite_where=has_key, postgresql_where=has_key)


def downgrade() -> None:
    op.drop_index("ix_blobs_object_key", "blobs")
    op.drop_index("ix_blob_parts_object_key", "blob_parts")
    op.drop_table("swept_objects")
    op.drop_table("upload_parts")
