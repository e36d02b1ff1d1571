"""Backups: consistent copies of catalogue and blobs, taken beside a server, and what brings them back."""

from roadstead.registry.backup.destination import claim, release
from roadstead.registry.backup.errors import (
    BackupBlobDamagedError,
    BackupBusyError,
    BackupError,
    BackupFolderUnusableError,
    BackupFullError,
    DataFolderOccupiedError,
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
    "DataFolderOccupiedError",
    "Extras",
    "MissingBlob",
    "Pruned",
    "Restoration",
    "Restored",
    "SnapshotDamagedError",
    "SnapshotManifest",
    "SnapshotUnknownError",
    "StoredSnapshot",
    "claim",
    "prune",
    "release",
    "take_backup",
    "verify_backup",
]
