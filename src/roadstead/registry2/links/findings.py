"""The findings about a link tree: things that are not adopted, or not as they stand."""

import enum
from dataclasses import dataclass
from typing import Final

from roadstead.registry.integrity.findings import Severity


class TreeFindingKind(enum.StrEnum):
    """The kind of a finding; whatever is found stays as it is."""

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
"""Kinds of findings without a loss: clients got nothing from registry:2 either, or get it as before."""


@dataclass(frozen=True, slots=True)
class TreeFinding:
    """A finding about something that was left alone, with the reason."""

    kind: TreeFindingKind
    subject: str
    detail: str
    key: str = ""
    """Key of the thing that stays in the tree as it is, whatever the catalogue says; empty if there is none."""
    tags: tuple[str, ...] = ()
    """Some of the tags that clients lose by the finding, as ``repository:tag``."""

    @property
    def severity(self) -> Severity:
        """The severity, which depends on whether something that the tree promised to clients cannot be served."""
        return Severity.NOTE if self.kind in _NOTES else Severity.DAMAGE
