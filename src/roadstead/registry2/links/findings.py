"""What a link tree may hold that is not taken up, or not as it stands."""

import enum
from dataclasses import dataclass
from typing import Final

from roadstead.registry.integrity.findings import Severity


class TreeFindingKind(enum.StrEnum):
    """What is odd; all are left as they are."""

    LINK_EMPTY = "link-empty"
    LINK_INVALID = "link-invalid"
    LINK_MISMATCH = "link-mismatch"
    BLOB_MISSING = "blob-missing"
    BLOB_DAMAGED = "blob-damaged"
    BLOB_UNLINKED = "blob-unlinked"
    MANIFEST_MISSING = "manifest-missing"
    MANIFEST_DIGEST = "manifest-digest"
    MANIFEST_INVALID = "manifest-invalid"
    MANIFEST_SCHEMA_1 = "manifest-schema-1"
    MANIFEST_SIZES = "manifest-sizes"
    MANIFEST_WITHDRAWN = "manifest-withdrawn"
    TAG_DANGLING = "tag-dangling"
    TAG_INVALID = "tag-invalid"
    REPOSITORY_INVALID = "repository-invalid"
    SYMLINK = "symlink"
    UNREADABLE = "unreadable"
    TAG_UNSET = "tag-unset"
    DIGEST_ALIAS = "digest-alias"
    DIGEST_UNSUPPORTED = "digest-unsupported"
    SIGNATURES = "signatures"
    REPOSITORY_EMPTY = "repository-empty"
    UPLOAD = "upload"
    LEFTOVER = "leftover"
    FOREIGN = "foreign"
    PROXY_STATE = "proxy-state"
    BYTES_UNLINKED = "bytes-unlinked"


_NOTES: Final = frozenset(
    {
        TreeFindingKind.TAG_UNSET,
        TreeFindingKind.DIGEST_ALIAS,
        TreeFindingKind.DIGEST_UNSUPPORTED,
        TreeFindingKind.SIGNATURES,
        TreeFindingKind.REPOSITORY_EMPTY,
        TreeFindingKind.UPLOAD,
        TreeFindingKind.LEFTOVER,
        TreeFindingKind.FOREIGN,
        TreeFindingKind.PROXY_STATE,
        TreeFindingKind.BYTES_UNLINKED,
        TreeFindingKind.MANIFEST_SIZES,
        TreeFindingKind.MANIFEST_WITHDRAWN,
        TreeFindingKind.TAG_INVALID,
        TreeFindingKind.REPOSITORY_INVALID,
    }
)
"""What no client could be given by registry:2 either, or can be given as before."""


@dataclass(frozen=True, slots=True)
class TreeFinding:
    """Something that was left alone: what, and why."""

    kind: TreeFindingKind
    subject: str
    detail: str
    key: str = ""
    """What stands in the tree and stays as it is, whatever the catalogue says; empty where there is no such thing."""
    tags: tuple[str, ...] = ()
    """Some of the tags that clients lose by it, as ``repository:tag``."""

    @property
    def severity(self) -> Severity:
        """Whether something that the tree promised to clients cannot be served."""
        return Severity.NOTE if self.kind in _NOTES else Severity.DAMAGE
