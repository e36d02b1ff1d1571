"""Leases get a number that grows with each change of hands, and one that their holder raises: no clock is compared.

``expires_ms`` stays for versions before this one, which go by it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("fence", "beat"):
        op.add_column("leases", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    for name in ("fence", "beat"):
        op.drop_column("leases", name)
