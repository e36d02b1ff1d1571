"""Backups: takes consistent copies of catalogue and blobs beside a running server, and restores them."""

from roadstead.backup.destination import Kept, claim, explained, is_begun, release, require_own_objects
from roadstead.backup.errors import (
    BackupBlobDamagedError,
    BackupBusyError,
    BackupError,
    BackupFolderUnusableError,
    BackupFullError,
    BackupMarkerDamagedError,
    DataFolderOccupiedError,
    PruningRefusedError,
    RestorationFullError,
    SnapshotDamagedError,
    SnapshotUnknownError,
)
from roadstead.backup.folder import BackupFolder, StoredSnapshot
from roadstead.backup.model import MissingBlob, SnapshotManifest
from roadstead.backup.pruning import Pruned, prune
from roadstead.backup.restoration import Restoration, Restored, is_of
from roadstead.backup.taking import Extras, take_backup
from roadstead.backup.verification import verify_backup

__all__ = [
    "BackupBlobDamagedError",
    "BackupBusyError",
    "BackupError",
    "BackupFolder",
    "BackupFolderUnusableError",
    "BackupFullError",
    "BackupMarkerDamagedError",
    "DataFolderOccupiedError",
    "Extras",
    "Kept",
    "MissingBlob",
    "Pruned",
    "PruningRefusedError",
    "Restoration",
    "RestorationFullError",
    "Restored",
    "SnapshotDamagedError",
    "SnapshotManifest",
    "SnapshotUnknownError",
    "StoredSnapshot",
    "claim",
    "explained",
    "is_begun",
    "is_of",
    "prune",
    "release",
    "require_own_objects",
    "take_backup",
    "verify_backup",
]
