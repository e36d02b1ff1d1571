"""What a backup says of itself: ``manifest.json`` of each snapshot."""

from typing import Final

from msgspec import Struct

FORMAT: Final = 1
"""The version of the layout; a reader refuses a newer one."""


class MissingBlob(Struct, frozen=True, kw_only=True):
    """A blob that could not be copied, since the registry itself has it damaged or lost it."""

    digest: str
    reason: str


class SnapshotManifest(Struct, frozen=True, kw_only=True):
    """A snapshot; sizes in bytes, digests of its own files, by which damage of these is known."""

    name: str
    taken_ms: int
    """The moment: every push that was acknowledged before it is in the snapshot."""
    version: str
    """Of the roadstead that took it."""
    catalogue_bytes: int
    catalogue_digest: str
    list_digest: str
    """Of ``blobs.txt``."""
    blobs: int
    blob_bytes: int
    copied_blobs: int
    """Of these, how many were not in the backup before."""
    copied_bytes: int
    missing: list[MissingBlob] = []
    has_secrets: bool = False
    extras: dict[str, str] = {}
    """Files that are there when they were asked for, secrets and settings: paths below the snapshot, with digests."""
    format: int = FORMAT
