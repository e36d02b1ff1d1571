"""The scripts that record an upload's blob: the end of its session, the blob, its link to the repository and the event.

A push may record its blob without holding the digest (see ``exclusive``) if nothing has removed such bytes since it put
its own in place. Whoever deletes the record of a blob, which happens after its bytes have gone, leaves a mark that
nobody has seen before (``note_removal``), in the same transaction. So a push knows the mark from before it published,
records its blob, which waits for who deletes the same record, and then looks at the mark again: the same as before, and
no bytes have gone meanwhile whose record went too. Those of a record that is there are out of service first, which the
push is told. A mark that has changed says nothing about this blob: the push then takes the digest for itself.
"""

import secrets
from collections.abc import Mapping
from typing import Final

from roadstead.clock import Clock
from roadstead.database import End, Script, Step, Transaction
from roadstead.database.script import differ, given, none, run_steps, same, some
from roadstead.events import ADD_EVENT, EventAction
from roadstead.jobs import FIND_STATE, save_state
from roadstead.oci import RepositoryName
from roadstead.registry.content import place_store, store
from roadstead.registry.content.repositories import ENSURE_REPOSITORY, project_of
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import REVIEW_LINK, Change

OCTETS: Final = "application/octet-stream"
"""The media type that registry:2 gives every blob in its events."""

REMOVALS: Final = "blobs-removed"
"""The state that has the mark."""

SESSION_OVER: Final = "session over"
"""An outcome: the session has ended, or was never known."""

SESSION_MOVED: Final = "session moved"
"""An outcome: the session has ended, was never known, or another request has added to it."""

SWEPT: Final = "swept"
"""An outcome: the object was old before anybody named it, and was removed (``garbage.object_sweep``)."""

OUT_OF_SERVICE: Final = "out of service"
"""An outcome: the record, or its bytes, must be decided about by one who holds the digest."""

_LINK: Final = (
    *ENSURE_REPOSITORY,
    Step(store.LINK_BLOB, counts="is_new_link", binds={"linked_ms": "now_ms"}),
    *REVIEW_LINK,
)


def _saving(fixed: Mapping[str, int | str], binds: Mapping[str, str]) -> tuple[Step, Step]:
    """Records how a session stands, whether it has a row or must have one by now."""
    return (
        Step(store.SAVE_UPLOAD, when=some("may_be_new"), otherwise=SESSION_OVER, fixed=fixed, binds=binds),
        Step(store.SAVE_RECORDED_UPLOAD, when=none("may_be_new"), otherwise=SESSION_OVER, fixed=fixed, binds=binds),
    )


def _saving_at(fixed: Mapping[str, int | str], binds: Mapping[str, str]) -> tuple[Step, Step]:
    """The same if the session still stands at the offset ``was``."""
    return (
        Step(store.SAVE_UPLOAD_AT, when=some("may_be_new"), otherwise=SESSION_MOVED, fixed=fixed, binds=binds),
        Step(store.SAVE_RECORDED_UPLOAD_AT, when=none("may_be_new"), otherwise=SESSION_MOVED, fixed=fixed, binds=binds),
    )


_END_SESSION: Final = _saving(fixed={"offset": store.ENDED}, binds={"now_ms": "grace_ms"})
_TELL: Final = Step(
    ADD_EVENT,
    binds={"at_ms": "now_ms"},
    fixed={"action": EventAction.PUSH.value, "media_type": OCTETS, "tag": "", "source_repository": ""},
)

RECORD_BLOB: Final = Script(  # of one who does not hold the digest
    "record_blob",
    *_END_SESSION,
    Step(store.SAVE_BLOB_IN_SERVICE, gives=("blob_id",), binds={"created_ms": "now_ms"}, otherwise=OUT_OF_SERVICE),
    Step(FIND_STATE, gives=("removals",), fixed={"name": REMOVALS}),
    End(differ("removals", "removals_before"), OUT_OF_SERVICE),
    *_LINK,
    _TELL,
)
RECORD_HELD_BLOB: Final = Script(  # whatever it was before
    "record_held_blob",
    *_END_SESSION,
    Step(store.SAVE_BLOB, gives=("blob_id",), binds={"created_ms": "now_ms"}),
    *_LINK,
    _TELL,
)
SAVE_SESSION: Final = Script("save_session", *_saving({}, {}))

_ADD_PART: Final = Step(
    place_store.ADD_UPLOAD_PART, when=given("part_key"), binds={"object_key": "part_key", "size_bytes": "part_bytes"}
)
_REQUIRE_UNSWEPT: Final = (
    Step(place_store.FIND_SWEPT, gives=("swept_ms",)),
    End(given("swept_ms"), SWEPT),
)
SAVE_PART: Final = Script("save_part", *_REQUIRE_UNSWEPT, *_saving_at({}, {}), _ADD_PART)
_IS_PLACE: Final = same("place", "object_key")
RECORD_PLACED_BLOB: Final = Script(  # the blob is where its parts are, unless its record says that it is elsewhere
    "record_placed_blob",
    *_REQUIRE_UNSWEPT,
    *_saving_at(fixed={"offset": store.ENDED}, binds={"now_ms": "grace_ms"}),
    _ADD_PART,
    Step(place_store.SAVE_PLACED_BLOB, gives=("blob_id", "place"), binds={"created_ms": "now_ms"}),
    Step(place_store.DELETE_BLOB_PARTS, when=_IS_PLACE),
    Step(place_store.MOVE_UPLOAD_PARTS, when=_IS_PLACE & some("has_parts")),
    Step(place_store.DELETE_UPLOAD_PARTS),
    *_LINK,
    _TELL,
    returns=("place",),
)
_LINK_BLOB: Final = Script("link_blob", *_LINK)


async def link_blob(
    transaction: Transaction, repository: RepositoryName, blob_id: int, clock: Clock, rules: GarbageRules
) -> None:
    """Lets a repository, made if need be, read a blob, which waits for a manifest that names it."""
    values = {
        **Change.at(clock, "", rules).values(),
        "repository": repository,
        "project": project_of(repository),
        "blob_id": blob_id,
    }
    await run_steps(_LINK_BLOB, transaction, values)


async def note_removal(transaction: Transaction) -> None:
    """Records of blobs are deleted in this transaction, after the bytes have gone."""
    await save_state(transaction, REMOVALS, secrets.token_hex(8))
