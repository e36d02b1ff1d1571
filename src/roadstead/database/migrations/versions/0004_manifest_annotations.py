"""Annotations of manifests that have a subject, so that lists of referrers need not read the manifests."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "manifest_annotations",
        sa.Column("manifest_id", sa.Integer, sa.ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("annotations", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("manifest_annotations")
