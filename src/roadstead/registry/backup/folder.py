"""A backup in a folder: generations of the catalogue that share a pool of blobs.

::

    TO/backup.json                          says that this folder is a backup, and of which format
    TO/lock                                 held by the one process that works on it
    TO/blobs/<algorithm>/<2>/<hex>          the pool: a blob once, however many snapshots name it
    TO/snapshots/<time>/roadstead.db        the catalogue at that time, a single file
    TO/snapshots/<time>/blobs.txt           digest and size of each blob, a line each, in order
    TO/snapshots/<time>/manifest.json       what it is, with the digests of the two
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
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from roadstead.oci import Digest
from roadstead.oci.errors import DigestInvalidError
from roadstead.registry.backup.errors import (
    BackupBusyError,
    BackupFolderUnusableError,
    SnapshotDamagedError,
    SnapshotUnknownError,
)
from roadstead.registry.backup.model import FORMAT, SnapshotManifest
from roadstead.storage.filesystem import make_folders, sync_folder

CATALOGUE: Final = "roadstead.db"
LIST: Final = "blobs.txt"
MANIFEST: Final = "manifest.json"
SECRETS: Final = "secrets"
SETTINGS: Final = "settings.yaml"

_MARKER: Final = "backup.json"
_LOST: Final = "lost+found"
"""What a new file system has in its root: a folder with nothing else is empty."""


class BackupFolder:
    """Paths and files of a backup."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or made yet."""
        self.path = path.absolute()
        self.snapshots = self.path / "snapshots"
        self.partial = self.path / "partial"

    def prepare(self) -> None:
        """Makes the folder a backup, unless it is one.

        Raises:
            BackupFolderUnusableError: it holds something else.
            OSError: it cannot be written.
        """
        if not self._is_backup():
            if self.path.exists() and any(name != _LOST for name in os.listdir(self.path)):  # noqa: PTH208 - names are enough
                raise BackupFolderUnusableError(self.path, "is not empty and holds no backup: choose another folder")
            changed = make_folders(str(self.path))
            self.path.chmod(0o700)  # private images, and perhaps secrets
            self._replace(self.path / _MARKER, msgspec.json.encode({"roadstead_backup": FORMAT}) + b"\n")
            for parent in changed:
                sync_folder(parent)
        for folder in (self.snapshots, self.partial):
            folder.mkdir(exist_ok=True)
        sync_folder(str(self.path))

    def require(self) -> None:
        """Sees that there is a backup.

        Raises:
            BackupFolderUnusableError: there is none, or one of a newer format.
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
        """Keeps those out who write, where the folder can be written at all: a medium may be read-only.

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
        """Removes what is half made or half removed."""
        for path in list(self.partial.iterdir()) if self.partial.exists() else []:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    # --- snapshots

    def names(self) -> list[str]:
        """The snapshots, oldest first."""
        if not self.snapshots.is_dir():
            return []
        return sorted(path.name for path in self.snapshots.iterdir() if path.is_dir())

    def snapshot(self, name: str = "") -> "StoredSnapshot":
        """A snapshot, without a ``name`` the latest.

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
        """Removes a snapshot at once, its files afterwards."""
        hidden = self.partial / f"removed-{name}"
        (self.snapshots / name).rename(hidden)
        sync_folder(str(self.snapshots))
        shutil.rmtree(hidden)

    # --- the pool

    def blob_path(self, digest: Digest) -> Path:
        """Where a blob is, or would be."""
        return self.path / "blobs" / digest.algorithm / digest.encoded[:2] / digest.encoded

    def has_blob(self, digest: Digest, size_bytes: int) -> bool:
        """Whether a blob is there in its length; whether its bytes are right says ``verification``."""
        try:
            return self.blob_path(digest).stat().st_size == size_bytes
        except (FileNotFoundError, NotADirectoryError):
            return False

    def iter_blobs(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """What is in the pool: digests, in their order, with their files."""
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
            return False
        try:
            found = msgspec.json.decode(content, type=dict[str, int]).get("roadstead_backup", 0)
        except msgspec.DecodeError:
            found = 0
        if not found:
            raise BackupFolderUnusableError(self.path / _MARKER, "is damaged: it does not say which backup this is")
        if found > FORMAT:
            raise BackupFolderUnusableError(self.path, f"was written by a newer roadstead (format {found})")
        return True

    def _replace(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        write_file(temporary, [content])
        temporary.rename(path)


class StoredSnapshot:
    """A snapshot that is there."""

    def __init__(self, path: Path, manifest: SnapshotManifest) -> None:
        """Made by ``read``."""
        self.path = path
        self.manifest = manifest
        self.catalogue = path / CATALOGUE

    @classmethod
    def read(cls, path: Path) -> "StoredSnapshot":
        """The snapshot in a folder.

        Raises:
            SnapshotDamagedError: its manifest is damaged.
        """
        try:
            manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=SnapshotManifest)
        except (OSError, msgspec.MsgspecError) as error:
            raise SnapshotDamagedError(path, f"{MANIFEST} cannot be read ({error})") from error
        if manifest.format > FORMAT:
            raise SnapshotDamagedError(path, f"it has format {manifest.format}, of a newer roadstead")
        return cls(path, manifest)

    def verify(self) -> None:
        """Reads the catalogue and the list and compares them with the manifest.

        Raises:
            SnapshotDamagedError: one of them is not what was written.
        """
        for name, expected in ((CATALOGUE, self.manifest.catalogue_digest), (LIST, self.manifest.list_digest)):
            try:
                found = hash_file(self.path / name)
            except OSError as error:
                raise SnapshotDamagedError(
                    self.path, f"{name} cannot be read ({os.strerror(error.errno or 0)})"
                ) from error
            if found != expected:
                raise SnapshotDamagedError(self.path, f"{name} is not what was written")

    def iter_blobs(self) -> Iterator[tuple[Digest, int]]:
        """Digest and size of each blob, in the digests' order.

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


def hash_file(path: Path) -> str:
    """The SHA-256 digest of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def write_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Writes and flushes a file that nobody else may read."""
    with open_private(path) as file:
        for piece in pieces:
            file.write(piece)
        flush(file)


def open_private(path: Path) -> BinaryIO:
    """A new file that nobody else may read; an old one is emptied."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def flush(file: BinaryIO) -> None:
    """Makes a file's bytes durable."""
    file.flush()
    os.fsync(file.fileno())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
