"""The kinds of findings of a check of stored data."""

import enum
from dataclasses import dataclass
from typing import Final

from roadstead.storage import StoredObject


class Severity(enum.StrEnum):
    """Says if something that a client was promised is lost."""

    DAMAGE = "damage"
    NOTE = "note"


class FindingKind(enum.StrEnum):
    """The kinds of faults."""

    CATALOGUE_DAMAGED = "catalogue-damaged"
    CATALOGUE_UNCHECKED = "catalogue-unchecked"
    TAG_DANGLING = "tag-dangling"
    RECORD_DANGLING = "record-dangling"
    GARBAGE_FORGOTTEN = "garbage-forgotten"
    MANIFEST_DIGEST = "manifest-digest"
    MANIFEST_INVALID = "manifest-invalid"
    MANIFEST_UNREADABLE = "manifest-unreadable"
    MANIFEST_BLOB_MISSING = "manifest-blob-missing"
    BLOB_MISSING = "blob-missing"
    BLOB_LENGTH = "blob-length"
    BLOB_DIGEST = "blob-digest"
    BLOB_UNREADABLE = "blob-unreadable"
    BLOB_QUARANTINED = "blob-quarantined"
    STORAGE_UNREADABLE = "storage-unreadable"
    STORAGE_UNCONFIRMED = "storage-unconfirmed"
    NAME_TWICE = "name-twice"
    BYTES_UNRECORDED = "bytes-unrecorded"
    OPEN_TO_OTHERS = "open-to-others"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: with what, and how; what heals it follows from the kind."""

    kind: FindingKind
    subject: str
    detail: str
    severity: Severity = Severity.DAMAGE
    seen: StoredObject | None = None
    """For a blob: what the storage had when it was looked at."""

    @property
    def is_blob_damage(self) -> bool:
        """True if it is a blob that should be put into quarantine."""
        return self.kind in _BLOB_DAMAGE


_BLOB_DAMAGE: Final = frozenset(
    {
        FindingKind.BLOB_MISSING,
        FindingKind.BLOB_LENGTH,
        FindingKind.BLOB_DIGEST,
        FindingKind.BLOB_UNREADABLE,
    }
)
