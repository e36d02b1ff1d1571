"""The data folder that a snapshot is restored into: empty, moved aside, or left by a restoration that was stopped."""

import contextlib
import datetime as dt
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from roadstead.backup.errors import BackupFolderUnusableError, DataFolderOccupiedError, RestorationFullError
from roadstead.backup.folder import SECRETS, StoredSnapshot, write_file
from roadstead.clock import Clock
from roadstead.database import DatabaseFullError
from roadstead.errors import is_disk_full
from roadstead.registry.operation.storage_owner import StorageForeignError
from roadstead.storage import DataFolder, StorageFullError
from roadstead.storage.plain_files import sync_folder
from roadstead.storage.presence import MARK, read_mark

ASIDE: Final = "replaced-"
"""Prefix of the names that files get when they are moved aside."""

MASTER_KEY: Final = "master.key"
"""The file of the master key in the folder of secrets: it is in no backup, so a restoration leaves it there."""

_OBJECTS: Final = ("docker", "uploads", "quarantine", "locks", "aside", "stamp", MARK)
"""Names in the root of the object store (see ``roadstead.registry.layout``)."""

_OWN: Final = frozenset({"roadstead.lock", "lost+found"})


def require_own_objects(folder: DataFolder, catalogue: str) -> None:
    """Raises if the objects that may be moved aside belong to another catalogue; those in the data folder never do.

    ``catalogue`` is the place of our own, as the mark names it.

    Raises:
        StorageForeignError: they belong to another catalogue.
        StorageUnavailableError: the mark that says so cannot be read.
    """
    if folder.objects.is_relative_to(folder.path):
        return
    mark = read_mark(folder.objects)
    if mark is not None and not mark.released and mark.catalogue != catalogue:
        raise StorageForeignError(folder.objects, mark.catalogue)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The parts of an installation that a restoration leaves where they are."""

    objects: bool = False
    """The blobs: those that the snapshot names and that are whole are used, others stay."""
    catalogue: bool = False
    """The file of a catalogue in the data folder, because the one that is restored is elsewhere."""


def claim(
    folder: DataFolder,
    snapshot: StoredSnapshot,
    clock: Clock,
    *,
    force: bool,
    kept: Kept = Kept(),
) -> list[Path]:
    """Prepares a locked folder for the restoration and returns where its earlier content was moved to.

    If the restoration of the same snapshot was begun in the folder, it is continued.

    Raises:
        DataFolderOccupiedError: the folder is not empty, and ``force`` is not given.
        BackupFolderUnusableError: its content cannot be moved aside.
    """
    moved: list[Path] = []
    if not is_begun(folder, snapshot):
        if occupied := _occupied(folder, snapshot, kept):
            if not force:
                raise DataFolderOccupiedError(folder.path)
            moved = _move_aside(folder, occupied, clock)
        write_file(folder.restoring, [_mark_of(snapshot)])
        sync_folder(str(folder.path))
    return moved


def is_begun(folder: DataFolder, snapshot: StoredSnapshot) -> bool:
    """Returns True if the restoration of the snapshot was begun in the folder, and has not come to its end."""
    return _read(folder.restoring) == _mark_of(snapshot)


def _mark_of(snapshot: StoredSnapshot) -> bytes:
    return msgspec.json.encode({"snapshot": str(snapshot.path), "list": snapshot.manifest.list_digest}) + b"\n"


@contextlib.contextmanager
def explained(folder: DataFolder) -> Generator[None, None, None]:
    """Turns a full disk into an error for the person who chose the folder.

    Raises:
        RestorationFullError: the work in the block found no space left.
    """
    try:
        yield
    except (StorageFullError, DatabaseFullError) as error:
        raise RestorationFullError(folder.path) from error
    except OSError as error:
        if is_disk_full(error):
            raise RestorationFullError(folder.path) from error
        raise


def release(folder: DataFolder) -> None:
    """Marks the restored registry as whole, so that a server may serve it."""
    folder.restoring.unlink()
    sync_folder(str(folder.path))


def _occupied(folder: DataFolder, snapshot: StoredSnapshot, kept: Kept) -> list[Path]:
    """Returns the files in the folder that are in the way of the restoration."""
    found = [] if kept.catalogue else [*folder.catalogue.parent.glob(f"{folder.catalogue.name}*")]
    if kept.objects:
        pass
    elif folder.objects == folder.path:  # registry:2's own folder
        found += [path for name in _OBJECTS if (path := folder.path / name).exists()]
    elif _has_entries(folder.objects):
        found.append(folder.objects)
    secrets = folder.path / SECRETS
    if snapshot.manifest.has_secrets and _has_entries(secrets, but=MASTER_KEY):
        found.append(secrets)
    if found and folder.restoring.exists():  # alone it is of a restoration that was stopped before it began
        found.append(folder.restoring)
    return found


def _move_aside(folder: DataFolder, occupied: list[Path], clock: Clock) -> list[Path]:
    stamp = dt.datetime.fromtimestamp(clock.now_ms() // 1000, dt.UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    moved: list[Path] = []
    for path in occupied:
        target = path.with_name(f"{ASIDE}{stamp}-{path.name}")
        try:
            path.rename(target)
        except OSError as error:
            reason = f"cannot be moved aside ({os.strerror(error.errno or 0)}): move what is in it away yourself"
            raise BackupFolderUnusableError(path, reason) from error
        moved.append(target)
    for parent in {path.parent for path in moved}:
        sync_folder(str(parent))
    folder.prepare()  # the folders that were moved are there again, empty
    folder.prepare_objects()
    for path, target in zip(occupied, moved, strict=True):
        if path == folder.path / SECRETS:
            _keep_master_key(target, path)
    return moved


def _keep_master_key(aside: Path, secrets: Path) -> None:
    """Gives the folder of secrets back its master key, which no backup has; it stays where it was moved to as well."""
    if (aside / MASTER_KEY).is_file():
        temporary = secrets / f".{MASTER_KEY}.kept"
        write_file(temporary, [(aside / MASTER_KEY).read_bytes()])
        temporary.rename(secrets / MASTER_KEY)
        sync_folder(str(secrets))


def _has_entries(path: Path, *, but: str = "") -> bool:
    return path.is_dir() and any(entry.name not in _OWN and entry.name != but for entry in path.iterdir())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
