"""A backup in a folder: generations of the catalogue that share a pool of blobs.

::

    TO/backup.json                          says that this folder is a backup, and of which format
    TO/lock                                 held by the one process that works on it
    TO/blobs/<algorithm>/<2>/<hex>          the pool: a blob once, however many snapshots name it
    TO/snapshots/<time>/roadstead.db        the catalogue at that time, a single file
    TO/snapshots/<time>/blobs.txt           digest and size of each blob, a line each, in order
    TO/snapshots/<time>/manifest.json       what it is, with the digests of all its other files
    TO/snapshots/<time>/manifest.sha256     the manifest's own, as sha256sum writes and checks it
    TO/snapshots/<time>/secrets/ settings.yaml    only when asked for
    TO/partial/                             what is being made or removed; of no use after a crash
    TO/damaged/                             blobs that a verification found damaged

What is below ``blobs`` and ``snapshots`` was flushed before it got its name, so a crash at any moment leaves every
visible snapshot whole. Blobs never change, so one that is there with its size need not be copied again. All that knows
files is in this module: a backup in a bucket would be another class of these methods.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from roadstead.backup.errors import (
    BackupBusyError,
    BackupFolderUnusableError,
    BackupMarkerDamagedError,
    SnapshotDamagedError,
    SnapshotUnknownError,
)
from roadstead.backup.model import FORMAT, SnapshotManifest
from roadstead.oci import Digest
from roadstead.oci.errors import DigestInvalidError
from roadstead.storage.plain_files import make_folders, sync_folder

CATALOGUE: Final = "roadstead.db"
LIST: Final = "blobs.txt"
MANIFEST: Final = "manifest.json"
MANIFEST_SUM: Final = "manifest.sha256"
SECRETS: Final = "secrets"
SETTINGS: Final = "settings.yaml"

_MARKER: Final = "backup.json"
_HALF_MARKER: Final = f".{_MARKER}."
"""Prefix of a marker's name until the marker is written whole."""

_LOST: Final = "lost+found"
"""The folder in the root of every new ext file system; a folder with nothing else counts as empty."""


class BackupFolder:
    """Paths and files of a backup."""

    def __init__(self, path: Path) -> None:
        """Keeps the path; nothing is read or made yet."""
        self.path = path.absolute()
        self.snapshots = self.path / "snapshots"
        self.partial = self.path / "partial"

    def prepare(self) -> None:
        """Makes the folder a backup, unless it is one.

        Raises:
            BackupFolderUnusableError: it holds something else.
            BackupMarkerDamagedError: it was a backup.
            OSError: it cannot be written.
        """
        if not self._is_backup():
            if self.path.exists() and not all(_is_nothing(name) for name in os.listdir(self.path)):  # noqa: PTH208 - names are enough
                raise BackupFolderUnusableError(self.path, "is not empty and holds no backup: choose another folder")
            if not self.path.parent.is_dir():
                raise _parent_missing(self.path)
            changed = make_folders(str(self.path))
            self.path.chmod(0o700)  # private images, and perhaps secrets
            self._replace(self.path / _MARKER, msgspec.json.encode({"roadstead_backup": FORMAT}) + b"\n")
            for parent in changed:
                sync_folder(parent)
        for folder in (self.snapshots, self.partial):
            folder.mkdir(exist_ok=True)
        sync_folder(str(self.path))

    def require(self) -> None:
        """Raises unless the folder is a backup.

        Raises:
            BackupFolderUnusableError: there is none, or one of a newer format.
            BackupMarkerDamagedError: there was one.
        """
        if not self._is_backup():
            raise BackupFolderUnusableError(self.path, "holds no backup")

    @contextlib.contextmanager
    def locked(self) -> Generator[None, None, None]:
        """Keeps other processes out, and removes what a crash has left.

        Raises:
            BackupBusyError: another one is inside.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupBusyError(self.path) from None
            self.sweep_partial()
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def read(self) -> Generator[None, None, None]:
        """Keeps writers out while the backup is read, unless the folder is read-only, where nobody can write.

        Raises:
            BackupBusyError: a backup is being taken or pruned.
        """
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM}:
                raise
            yield
            return
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupBusyError(self.path) from None
            yield
        finally:
            os.close(descriptor)

    def sweep_partial(self) -> None:
        """Removes files that are half made or half removed."""
        for path in self.path.glob(f"{_HALF_MARKER}*"):
            path.unlink()
        for path in list(self.partial.iterdir()) if self.partial.exists() else []:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    # --- snapshots

    def names(self) -> list[str]:
        """Returns the names of the snapshots, oldest first."""
        if not self.snapshots.is_dir():
            return []
        return sorted(path.name for path in self.snapshots.iterdir() if path.is_dir())

    def snapshot(self, name: str = "") -> "StoredSnapshot":
        """Returns the snapshot of this name, or the latest if ``name`` is empty.

        Raises:
            SnapshotUnknownError: there is none such.
            SnapshotDamagedError: its manifest cannot be read.
        """
        known = self.names()
        chosen = name or (known[-1] if known else "")
        if chosen not in known:
            raise SnapshotUnknownError(self.path, name, known)
        return StoredSnapshot.read(self.snapshots / chosen)

    def publish_snapshot(self, partial: Path, name: str) -> None:
        """Makes a finished snapshot visible, durably."""
        sync_folder(str(partial))
        partial.rename(self.snapshots / name)
        sync_folder(str(self.snapshots))

    def remove_snapshot(self, name: str) -> None:
        """Removes a snapshot from view at once, then deletes its files."""
        self.partial.mkdir(exist_ok=True)  # a copy of a backup may be without empty folders
        hidden = self.partial / f"removed-{name}"
        (self.snapshots / name).rename(hidden)
        sync_folder(str(self.snapshots))
        shutil.rmtree(hidden)

    # --- the pool

    def blob_path(self, digest: Digest) -> Path:
        """Returns the path at which a blob is kept, whether it is there or not."""
        return self.path / "blobs" / digest.algorithm / digest.encoded[:2] / digest.encoded

    def has_blob(self, digest: Digest, size_bytes: int) -> bool:
        """Returns True if a blob is there in full length; only ``verification`` compares its bytes."""
        try:
            return self.blob_path(digest).stat().st_size == size_bytes
        except (FileNotFoundError, NotADirectoryError):
            return False

    def iter_blobs(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yields the digest and file of each blob in the pool, in order of digests."""
        root = self.path / "blobs"
        for algorithm in _entries(root):
            for prefix in _entries(Path(algorithm.path)):
                for entry in _entries(Path(prefix.path)):
                    yield f"{algorithm.name}:{entry.name}", entry

    def put_damaged_aside(self, digest: Digest) -> None:
        """Takes a damaged blob out of the pool, so that the next backup copies it anew."""
        folder = self.path / "damaged"
        folder.mkdir(exist_ok=True)
        source = self.blob_path(digest)
        with contextlib.suppress(FileNotFoundError):
            source.rename(folder / f"{digest.algorithm}-{digest.encoded}")
            sync_folder(str(folder))
            sync_folder(str(source.parent))

    # --- files

    def _is_backup(self) -> bool:
        try:
            content = (self.path / _MARKER).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            if self.names():
                raise BackupMarkerDamagedError(self.path / _MARKER) from None
            return False
        try:
            found = msgspec.json.decode(content, type=dict[str, int]).get("roadstead_backup", 0)
        except msgspec.DecodeError:
            found = 0
        if not found:
            raise BackupMarkerDamagedError(self.path / _MARKER)
        if found > FORMAT:
            raise BackupFolderUnusableError(self.path, f"was written by a newer roadstead (format {found})")
        return True

    def _replace(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f"{_HALF_MARKER}{os.getpid()}")
        write_file(temporary, [content])
        temporary.rename(path)


class StoredSnapshot:
    """A visible snapshot of a backup, with its manifest."""

    def __init__(self, path: Path, manifest: SnapshotManifest) -> None:
        """Keeps path and manifest; call ``read`` instead."""
        self.path = path
        self.manifest = manifest
        self.catalogue = path / CATALOGUE

    @classmethod
    def read(cls, path: Path) -> "StoredSnapshot":
        """Reads the snapshot in a folder.

        Raises:
            SnapshotDamagedError: its manifest is damaged.
            BackupFolderUnusableError: a newer roadstead wrote it.
        """
        try:
            content = (path / MANIFEST).read_bytes()
            if (path / MANIFEST_SUM).read_bytes() != manifest_sum(content):
                raise SnapshotDamagedError(path, f"{MANIFEST} is not what {MANIFEST_SUM} says")
            manifest = msgspec.json.decode(content, type=SnapshotManifest)
        except OSError as error:
            name = Path(error.filename or MANIFEST).name
            raise SnapshotDamagedError(path, f"{name} cannot be read ({os.strerror(error.errno or 0)})") from error
        except msgspec.MsgspecError as error:
            raise SnapshotDamagedError(path, f"{MANIFEST} cannot be read ({error})") from error
        if manifest.format > FORMAT:
            raise BackupFolderUnusableError(path, f"was written by a newer roadstead (format {manifest.format})")
        return cls(path, manifest)

    def verify(self) -> None:
        """Reads the catalogue, the list and all other files of the manifest, and compares their digests.

        Raises:
            SnapshotDamagedError: one of them is not what was written.
        """
        manifest = self.manifest
        files = {CATALOGUE: manifest.catalogue_digest, LIST: manifest.list_digest, **manifest.extras}
        for name, expected in files.items():
            try:
                found = hash_file(self.path / name)
            except OSError as error:
                raise SnapshotDamagedError(
                    self.path, f"{name} cannot be read ({os.strerror(error.errno or 0)})"
                ) from error
            if found != expected:
                raise SnapshotDamagedError(self.path, f"{name} is not what was written")

    def iter_blobs(self) -> Iterator[tuple[Digest, int]]:
        """Yields digest and size of each blob, in order of digests.

        Raises:
            SnapshotDamagedError: the list cannot be read.
        """
        try:
            with (self.path / LIST).open(encoding="ascii") as lines:
                for line in lines:
                    digest, _, size = line.rstrip("\n").partition(" ")
                    yield Digest.parse(digest), int(size)
        except (OSError, ValueError, DigestInvalidError) as error:
            raise SnapshotDamagedError(self.path, f"{LIST} cannot be read ({error})") from error


def manifest_sum(content: bytes) -> bytes:
    """Returns the content of the checksum file that stands beside this manifest."""
    return f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode("ascii")


def hash_file(path: Path) -> str:
    """Returns the SHA-256 digest of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _parent_missing(path: Path) -> BackupFolderUnusableError:
    return BackupFolderUnusableError(
        path,
        f"cannot be made, since there is no folder {path.parent}: is its disk mounted? If it is to be made, run"
        f" `mkdir -p {path.parent}`",
    )


def write_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Writes and flushes a file that nobody else may read."""
    with open_private(path) as file:
        for piece in pieces:
            file.write(piece)
        flush(file)


def copy_private_tree(source: Path, target: Path, leaves_out: Callable[[Path], bool] = lambda _: False) -> list[Path]:
    """Copies the files below a folder, durably and readable by their owner only, and returns the copies."""
    copied: list[Path] = []
    for folder, _, names in os.walk(source):
        below = target / Path(folder).relative_to(source)
        below.mkdir(mode=0o700, exist_ok=True)
        for name in sorted(names):
            file = Path(folder) / name
            if file.is_file() and not file.is_symlink() and not leaves_out(file):
                write_file(below / name, [file.read_bytes()])
                copied.append(below / name)
        sync_folder(str(below))
    return copied


def open_private(path: Path) -> BinaryIO:
    """Opens a file for writing that only its owner may read; a file that is there already is emptied."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def flush(file: BinaryIO) -> None:
    """Makes a file's bytes durable."""
    file.flush()
    os.fsync(file.fileno())


def _is_nothing(name: str) -> bool:
    """Returns True if a folder that contains only this name still counts as empty."""
    return name == _LOST or name.startswith(_HALF_MARKER)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
