"""Backups: consistent copies of catalogue and blobs, taken beside a server, and what brings them back."""

from roadstead.registry.backup.destination import claim, explained, release, require_own_objects
from roadstead.registry.backup.errors import (
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
from roadstead.registry.backup.folder import BackupFolder, StoredSnapshot
from roadstead.registry.backup.model import MissingBlob, SnapshotManifest
from roadstead.registry.backup.pruning import Pruned, prune
from roadstead.registry.backup.restoration import Restoration, Restored
from roadstead.registry.backup.taking import Extras, take_backup
from roadstead.registry.backup.verification import verify_backup

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
    "prune",
    "release",
    "require_own_objects",
    "take_backup",
    "verify_backup",
]
