"""The content of a snapshot's ``manifest.json``."""

from typing import Final

from msgspec import Struct

FORMAT: Final = 1
"""The version of the layout; a reader refuses a newer one."""


class MissingBlob(Struct, frozen=True, kw_only=True):
    """A blob that could not be copied, since the registry itself has lost it or has it damaged."""

    digest: str
    reason: str


class SnapshotManifest(Struct, frozen=True, kw_only=True):
    """The description of a snapshot: sizes in bytes, and digests of its own files that reveal damage to them."""

    name: str
    taken_ms: int
    """Time of the snapshot: it contains every push that was acknowledged before."""
    version: str
    """Version of the roadstead that took the snapshot."""
    catalogue_bytes: int
    catalogue_digest: str
    list_digest: str
    """Digest of ``blobs.txt``."""
    blobs: int
    blob_bytes: int
    copied_blobs: int
    """Number of the blobs above that were not in the backup before."""
    copied_bytes: int
    missing: list[MissingBlob] = []
    has_secrets: bool = False
    extras: dict[str, str] = {}
    """Secrets and settings, if they were asked for: paths below the snapshot, with digests."""
    format: int = FORMAT
