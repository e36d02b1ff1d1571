"""SQL statements of backups, on a snapshot of the catalogue or on a restored one."""

from typing import Final

from sqlalchemy import delete, func, literal, select

from roadstead.database import Statement, parameter
from roadstead.jobs.tables import states
from roadstead.registry.tables import blobs, upload_sessions
from roadstead.secrets import secrets
from roadstead.secrets.state import STATE as SECRET_STATE

COUNT_NEEDED_BLOBS: Final = Statement(
    select(func.count(), func.coalesce(func.sum(blobs.c.size_bytes), 0)).where(blobs.c.deleting_ms.is_(None))
)
LIST_NEEDED_BLOBS: Final = Statement(  # blobs that are being deleted are needed by nobody
    select(blobs.c.digest, blobs.c.size_bytes, blobs.c.quarantined_ms)
    .where(blobs.c.digest > parameter("after"), blobs.c.deleting_ms.is_(None))
    .order_by(blobs.c.digest)
    .limit(parameter("limit"))
)
LIST_QUARANTINED_BLOBS: Final = Statement(
    select(blobs.c.digest, blobs.c.size_bytes)
    .where(blobs.c.digest > parameter("after"), blobs.c.quarantined_ms.is_not(None), blobs.c.deleting_ms.is_(None))
    .order_by(blobs.c.digest)
    .limit(parameter("limit"))
)
LEAVE_OUT_SECRETS: Final = (
    Statement(delete(secrets)),
    Statement(delete(states).where(states.c.name == literal(SECRET_STATE))),
)
"""Take the secrets that servers share out of a copy."""

DELETE_UPLOADS: Final = Statement(delete(upload_sessions))
