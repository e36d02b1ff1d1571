"""The folder in which one installation keeps everything.

::

    DIR/roadstead.lock   held by the one server (or the parent of its workers) that uses the folder
    DIR/roadstead.db     the catalogue
    DIR/registry/        bytes (see ``roadstead.registry.layout``)
    DIR/restoring.json   there until a backup is restored
    DIR/secrets/         keys and passwords, readable by nobody else
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from roadstead.errors import RoadsteadError
from roadstead.storage.filesystem import make_folders, sync_folder


class DataFolderError(RoadsteadError):
    """The data folder cannot be used; the message says why and what to do. For the terminal: it names the path."""


class DataFolderBusyError(DataFolderError):
    """Another server uses the folder."""


class DataFolderForbiddenError(DataFolderError):
    """The process's user may not write to the folder ``path``, which belongs to ``owner`` and ``group`` (numbers)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.user = os.geteuid()
        status = _nearest(path).stat()
        self.owner, self.group = status.st_uid, status.st_gid
        super().__init__(
            f"user {self.user} may not write to {path}: run `chown -R {self.user} {path}`, or choose another with"
            " --data"
        )


class DataFolder:
    """Paths below a data folder, and the lock on it."""

    def __init__(self, path: Path, *, catalogue: Path | None = None, objects: Path | None = None) -> None:
        """``catalogue`` and ``objects`` say where those are if not in ``path``."""
        self.path = path.absolute()
        self.catalogue = (catalogue or path / "roadstead.db").absolute()
        """The catalogue's file."""
        self.objects = (objects or path / "registry").absolute()
        """The root of the object store."""
        self.restoring = self.path / "restoring.json"
        """There while a backup is being restored into the folder, and after that was interrupted."""
        self._lock: int | None = None

    def prepare(self, *, for_objects: bool = True) -> None:
        """Makes the folder and sees that it can be written to; ``for_objects``: that of the objects too.

        Raises:
            DataFolderError: it cannot.
        """
        try:
            changed = make_folders(str(self.path)) + (make_folders(str(self.objects)) if for_objects else [])
            secrets = self.path / "secrets"
            secrets.mkdir(mode=0o700, exist_ok=True)
            for folder in {self.path, self.catalogue.parent} | ({self.objects} if for_objects else set[Path]()):
                _require_writable(folder)
            for file in self.catalogue.parent.glob(f"{self.catalogue.name}*"):
                os.close(os.open(file, os.O_RDWR | os.O_CLOEXEC))
            for path in changed:
                sync_folder(path)
        except OSError as error:
            raise _error(self.path, error) from error

    def lock(self) -> None:
        """Keeps every other server out until this process, and all it forks, have ended.

        Raises:
            DataFolderBusyError: another server has it.
            DataFolderError: the lock file cannot be written.
        """
        try:
            descriptor = os.open(self.path / "roadstead.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _error(self.path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise DataFolderBusyError(
                f"another server (process {holder or 'unknown'}) is using {self.path}: stop it first, choose another"
                " folder with --data, or let one server run several processes with --workers"
            ) from None
        with contextlib.suppress(OSError):  # only for the message above, and a full disk must not keep us from serving
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._lock = descriptor

    def require_restored(self) -> None:
        """Sees that no restoration of a backup was left half done.

        Raises:
            DataFolderError: one was.
        """
        if self.restoring.exists():
            raise DataFolderError(
                f"a backup was being restored into {self.path} and is not complete: run `roadstead restore-backup`"
                " again, which goes on where it stopped"
            )

    @property
    def lock_descriptor(self) -> int:
        """The open lock file: a process that inherits it keeps the folder locked as long as it lives.

        Raises:
            DataFolderError: the folder is not locked.
        """
        if self._lock is None:
            raise DataFolderError(f"{self.path} is not locked")
        return self._lock

    def unlock(self) -> None:
        """Gives the folder up."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _require_writable(folder: Path) -> None:
    probe = folder / f".write-test-{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        probe.touch()
        probe.unlink()


def _nearest(path: Path) -> Path:
    """The folder that is there, of ``path`` and those above it."""
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def _error(path: Path, error: OSError) -> DataFolderError:
    if error.errno in {errno.EACCES, errno.EPERM}:
        return DataFolderForbiddenError(path)
    return DataFolderError(_explain(path, error))


def _explain(path: Path, error: OSError) -> str:
    if error.errno == errno.EROFS:
        return f"{path} is on a read-only file system: choose another folder with --data"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"there is no space left for {path}: free some, or choose another folder with --data"
    return f"{path} cannot be used: {os.strerror(error.errno or 0)}; choose another folder with --data"
