"""Statements about where the bytes of blobs and of open uploads are, where they are not under the key of a digest."""

from typing import Final

from sqlalchemy import and_, case, delete, exists, insert, null, select, union_all, update

from roadstead.database import KEY, Statement, listed, parameter, upsert
from roadstead.registry.content.store import ENDED
from roadstead.registry.tables import blob_parts, blobs, swept_objects, upload_parts, upload_sessions

_placed_blob: Final = upsert(blobs).values(
    {name: parameter(name) for name in ("digest", "size_bytes", "created_ms", "object_key")}
)
_is_in_service: Final = and_(blobs.c.quarantined_ms.is_(None), blobs.c.deleting_ms.is_(None))
SAVE_PLACED_BLOB: Final = Statement(  # a record in service keeps its place; one that is not gets this one
    _placed_blob.on_conflict_do_update(
        index_elements=["digest"],
        set_={
            "object_key": case((_is_in_service, blobs.c.object_key), else_=_placed_blob.excluded.object_key),
            "size_bytes": _placed_blob.excluded.size_bytes,
            "quarantined_ms": null(),
            "deleting_ms": null(),
        },
    ).returning(blobs.c.id, blobs.c.object_key)
)
FIND_PLACE: Final = Statement(select(blobs.c.object_key).where(blobs.c.digest == parameter("digest")))
QUARANTINE_PLACED_BLOB: Final = Statement(  # if it is still where it was seen
    update(blobs)
    .where(blobs.c.digest == parameter("digest"), blobs.c.object_key == parameter("object_key"))
    .values(quarantined_ms=parameter("now_ms"))
)
LIST_BLOB_PARTS: Final = Statement(  # of this place alone: a push may have given the blob another one meanwhile
    select(blob_parts.c.object_key, blob_parts.c.size_bytes)
    .join(blobs, blobs.c.id == blob_parts.c.blob_id)
    .where(blobs.c.digest == parameter("digest"), blobs.c.object_key == parameter("object_key"))
    .order_by(blob_parts.c.number)
)
DELETE_BLOB_PARTS: Final = Statement(delete(blob_parts).where(blob_parts.c.blob_id == parameter("blob_id")))
MOVE_UPLOAD_PARTS: Final = Statement(
    insert(blob_parts).from_select(
        ["blob_id", "number", "object_key", "size_bytes"],
        select(
            parameter("blob_id", KEY),
            upload_parts.c.begin_bytes,
            upload_parts.c.object_key,
            upload_parts.c.size_bytes,
        ).where(upload_parts.c.session_id == parameter("session_id")),
    )
)
ADD_UPLOAD_PART: Final = Statement(
    insert(upload_parts).values(
        {name: parameter(name) for name in ("session_id", "begin_bytes", "object_key", "size_bytes")}
    )
)
LIST_UPLOAD_PARTS: Final = Statement(
    select(upload_parts.c.begin_bytes, upload_parts.c.object_key, upload_parts.c.size_bytes)
    .where(upload_parts.c.session_id == parameter("session_id"))
    .order_by(upload_parts.c.begin_bytes)
)
DELETE_UPLOAD_PARTS: Final = Statement(delete(upload_parts).where(upload_parts.c.session_id == parameter("session_id")))
LIST_LOST_UPLOAD_PARTS: Final = Statement(  # of sessions that have ended, in the middle of which somebody died
    select(upload_parts.c.session_id)
    .where(
        ~exists()
        .where(upload_sessions.c.id == upload_parts.c.session_id, upload_sessions.c.offset_bytes != ENDED)
        .correlate(upload_parts)
    )
    .distinct()
    .limit(parameter("limit"))
)
FIND_SWEPT: Final = Statement(
    select(swept_objects.c.swept_ms).where(swept_objects.c.object_key == parameter("own_key"))
)
ADD_SWEPT: Final = Statement(
    upsert(swept_objects)
    .values(object_key=parameter("object_key"), swept_ms=parameter("now_ms"))
    .on_conflict_do_nothing()
)
DELETE_OLD_SWEPT: Final = Statement(delete(swept_objects).where(swept_objects.c.swept_ms < parameter("before_ms")))
LIST_NAMED_KEYS: Final = Statement(  # of a list of keys, those that a blob or an open upload is made of
    union_all(
        *(
            select(table.c.object_key).where(table.c.object_key.in_(listed("keys")))
            for table in (blobs, blob_parts, upload_parts)
        )
    )
)
