"""Counts of pulls, and what each project was asked for on each day."""

import sqlalchemy as sa
from alembic import op

from roadstead.database.types import KEY, TEXT

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pulls",
        sa.Column("repository_id", KEY, sa.ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("manifest_id", KEY, sa.ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("pulls", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_pulls_manifest_id", "pulls", ["manifest_id"])
    op.create_table(
        "project_days",
        sa.Column("project", TEXT, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("pulls", sa.BigInteger, nullable=False),
        sa.Column("pulled_bytes", sa.BigInteger, nullable=False),
        sa.Column("pushes", sa.BigInteger, nullable=False),
        sa.Column("pushed_bytes", sa.BigInteger, nullable=False),
        sa.Column("stored_bytes", sa.BigInteger, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_project_days_day", "project_days", ["day"])
    op.execute("DELETE FROM states WHERE name = 'notifications.wanted'")  # every change is written now


def downgrade() -> None:
    op.drop_table("project_days")
    op.drop_table("pulls")
