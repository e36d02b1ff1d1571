"""The statements of backups, on a snapshot of the catalogue or on a restored one."""

from typing import Final

from sqlalchemy import delete, func, select

from roadstead.database import Statement, parameter
from roadstead.registry.tables import blobs, upload_sessions

_intact = (blobs.c.quarantined_ms.is_(None), blobs.c.deleting_ms.is_(None))

COUNT_INTACT_BLOBS: Final = Statement(
    select(func.count(), func.coalesce(func.sum(blobs.c.size_bytes), 0)).where(*_intact)
)
LIST_INTACT_BLOBS: Final = Statement(  # what is being deleted is needed by nobody, what is in quarantine has no bytes
    select(blobs.c.digest, blobs.c.size_bytes)
    .where(blobs.c.digest > parameter("after"), *_intact)
    .order_by(blobs.c.digest)
    .limit(parameter("limit"))
)
DELETE_UPLOADS: Final = Statement(delete(upload_sessions))
