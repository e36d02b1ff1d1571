"""The scripts that record a manifest: its repository, what it needs, itself, what it names, its tag, and the event."""

import json
from collections.abc import Sequence
from typing import Final

from roadstead.database import End, Script, Step, Transaction, as_list
from roadstead.database.script import AGAIN, absent, differ, given, none, run_steps, some
from roadstead.events import ADD_EVENT
from roadstead.oci import Descriptor, Digest, Manifest
from roadstead.registry.content import store
from roadstead.registry.content.repositories import ENSURE_REPOSITORY
from roadstead.registry.removal import store as removal_store
from roadstead.registry.removal.rules import ReviewKind
from roadstead.registry.removal.transitions import POINT_TAG, SETTLE_MANIFEST

INCOMPLETE: Final = "incomplete"
"""An outcome: a blob that the manifest needs is missing, or has another size than the manifest says."""

_NAMES_ARE_NEW: Final = some("is_new") | some("is_healed")
"""A migration could not read them from damaged bytes, which a push has just replaced."""

_ENSURE_MANIFEST: Final = (  # one that is there stays, and its body is replaced if it was damaged
    Step(store.ADD_MANIFEST, gives=("manifest_id",), counts="is_new", binds={"created_ms": "now_ms"}),
    Step(store.FIND_MANIFEST_ID_TO_KEEP, when=absent("manifest_id"), gives=("manifest_id",), otherwise=AGAIN),
    Step(store.HEAL_MANIFEST, when=none("is_new"), counts="is_healed"),
    Step(store.ADD_REQUIRED_BLOBS, when=_NAMES_ARE_NEW & given("required")),
    Step(store.ADD_OTHER_NAMED, when=_NAMES_ARE_NEW & given("others")),
    Step(store.ADD_MANIFEST_CHILDREN, when=_NAMES_ARE_NEW & given("children")),
    Step(
        store.ADD_MANIFEST_ANNOTATIONS,
        when=some("is_new") & given("annotations"),
        binds={"size_bytes": "annotations_bytes"},
    ),
)
_TELL: Final = Step(ADD_EVENT, binds={"at_ms": "now_ms", "tag": "event_tag"}, fixed={"source_repository": ""})
RECORD_MANIFEST: Final = Script(
    "record_manifest",
    *ENSURE_REPOSITORY,
    Step(store.COUNT_LINKED_BLOBS, when=given("sized"), gives=("linked",)),
    End(given("sized") & differ("linked", "sized_count"), INCOMPLETE),
    *_ENSURE_MANIFEST,
    Step(store.LINK_MANIFEST, binds={"pushed_ms": "now_ms"}),
    *SETTLE_MANIFEST,
    *POINT_TAG,
    Step(  # no tag may reach it
        removal_store.PUT_REVIEW,
        when=absent("tag") & given("untagged_due_ms"),
        fixed={"kind": ReviewKind.UNTAGGED.value},
        binds={"item_id": "manifest_id", "since_ms": "grace_ms", "not_before_ms": "untagged_due_ms"},
    ),
    _TELL,
    Step(store.COUNT_ABSENT_CHILDREN, when=given("children"), gives=("absent_children",)),
    returns=("repository_id", "manifest_id", "absent_children"),
)
RECORD_TAG: Final = Script("record_tag", *POINT_TAG, _TELL)  # one more, for a manifest that has just been recorded
_ENSURE: Final = Script("ensure_manifest", *_ENSURE_MANIFEST, returns=("manifest_id",))


async def ensure_manifest(
    transaction: Transaction, manifest: Manifest, digest: Digest, body: bytes, now_ms: int
) -> int:
    """The key of the manifest's row, made with what it names if need be; a damaged body is replaced by ``body``."""
    values = {**manifest_values(manifest, digest, body), "now_ms": now_ms}
    (manifest_id,) = await run_steps(_ENSURE, transaction, values)
    return int(manifest_id)


def manifest_values(manifest: Manifest, digest: Digest, body: bytes) -> dict[str, object]:
    """The values of the steps that come from the manifest itself."""
    required = dict.fromkeys(blob.digest for blob in manifest.required_blobs)
    others = dict.fromkeys(each.digest for each in manifest.named if each.digest not in required)
    annotations = None
    if manifest.subject:
        annotations = json.dumps(dict(manifest.annotations), ensure_ascii=False, separators=(",", ":"))
    return {
        "digest": digest,
        "media_type": manifest.media_type,
        "artifact_type": manifest.artifact_type,
        "subject_digest": manifest.subject.digest if manifest.subject else None,
        "size_bytes": len(body),
        "body": body,
        "required": as_list(required) if required else None,
        "others": as_list(others) if others else None,
        "children": as_list(child.digest for child in manifest.children) if manifest.children else None,
        "annotations": annotations,
        "annotations_bytes": len(annotations.encode()) if annotations is not None else None,
    }


def requirement(blobs: Sequence[Descriptor]) -> dict[str, object]:
    """The values for ``COUNT_LINKED_BLOBS``: the blobs that it is to find; None where there are none."""
    sized = dict.fromkeys(f"{blob.digest} {blob.size_bytes}" for blob in blobs)
    return {"sized": as_list(sized) if sized else None, "sized_count": len(sized)}
