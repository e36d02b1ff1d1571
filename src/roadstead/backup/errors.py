"""Errors of taking, reading and restoring backups."""

from collections.abc import Sequence
from pathlib import Path

from roadstead.errors import RoadsteadError


class BackupError(RoadsteadError):
    """A backup could not be taken, read or brought back; what was there before is untouched."""


class BackupFolderUnusableError(BackupError):
    """A folder cannot be read or written, or holds something else."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.path = path


class BackupMarkerDamagedError(BackupError):
    """The file that makes a folder a backup is damaged or gone; what the folder holds may well be whole."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is damaged or missing, so nobody can tell which format this backup has: if no newer roadstead"
            ' wrote it, put {"roadstead_backup": 1} into that file, and look through all of it with --verify'
        )
        self.path = path


class BackupFullError(BackupError):
    """There is no space left; earlier snapshots are whole, and what was copied is not copied again."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"there is no space left for {path}: its earlier snapshots are whole; free some space, or forget old ones"
            " with --prune --keep N, and run it again: it goes on where it stopped"
        )
        self.path = path


class BackupBusyError(BackupError):
    """Another process works on the same backup."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"another process is working on {path}: wait for its end")
        self.path = path


class SnapshotUnknownError(BackupError):
    """There is no snapshot of this name, or none at all."""

    def __init__(self, path: Path, name: str, known: Sequence[str]) -> None:
        there_is = f"there are {', '.join(known[-3:])}" if known else "there is none; take one with `roadstead backup`"
        super().__init__(f"{path} has no snapshot {name}: {there_is}" if name else f"{path}: {there_is}")
        self.path = path
        self.name = name


class SnapshotDamagedError(BackupError):
    """A snapshot's own files are not what was written, so nothing in it can be believed."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the snapshot {path} is damaged: {reason}; use another one (--list shows them)")
        self.path = path
        self.reason = reason


class PruningRefusedError(BackupError):
    """A snapshot that stays cannot be read, so nobody knows which blobs it needs: nothing was removed."""

    def __init__(self, damaged: SnapshotDamagedError) -> None:
        super().__init__(
            f"nothing was pruned, since nobody can tell what the snapshot {damaged.path} needs: {damaged.reason}; once"
            " nothing in it is worth saving, remove that folder"
        )
        self.path = damaged.path


class BackupBlobDamagedError(BackupError):
    """Blobs of a snapshot are damaged or missing in the backup."""

    def __init__(self, path: Path, problems: Sequence[tuple[str, str]], count: int) -> None:
        """Keeps some of all ``count`` problems; each of ``problems`` is a digest and what is wrong with it."""
        named = "; ".join(f"{digest}: {reason}" for digest, reason in problems)
        more = f"; and {count - len(problems)} more" if count > len(problems) else ""
        super().__init__(
            f"{count} of its blobs cannot be restored from {path}: {named}{more}. Nothing was put into service; restore"
            " with --skip-damaged to bring up the rest, and push again what needs these"
        )
        self.path = path
        self.problems = tuple(problems)


class RestorationFullError(BackupError):
    """There is no space left where a snapshot is restored to; what was copied is not copied again."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"there is no space left for {path}: free some, and run it again: it goes on where it stopped; until then"
            " no server starts on it"
        )
        self.path = path


class DataFolderOccupiedError(BackupError):
    """The folder to restore into has a registry already."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"there is something in {path} already: choose an empty folder with --data, or give --force, which moves"
            " it aside"
        )
        self.path = path
