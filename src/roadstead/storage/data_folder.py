"""The folder in which one installation keeps everything.

::

    DIR/roadstead.lock   held by the one server (or the parent of its workers) that uses the folder
    DIR/roadstead.db     the catalogue, readable by nobody else
    DIR/registry/        bytes (see ``roadstead.registry.layout``), with a lock of the same name; replicas share it
    DIR/restoring.json   there until a backup is restored
    DIR/secrets/         keys and passwords, the master key among them, readable by nobody else

The bytes may be elsewhere, and several catalogues may be pointed at them: so they have a lock of their own. Where they
are in registry:2's own folder together with the catalogue, the two locks are one.
"""

import contextlib
import errno
import fcntl
import os
import pwd
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from roadstead.errors import RoadsteadError, is_disk_full
from roadstead.storage.modes import SECRET_FILE, TreeModes, find_group, open_to_group
from roadstead.storage.plain_files import make_folders, sync_folder

LOCK: Final = "roadstead.lock"

TRIES: Final = 25
WAIT_SECONDS: Final = 0.02
"""Time between two tries to lock: a command that checks a lock, and a server that is ending, hold it for an instant."""

_OURS: Final = frozenset({"registry", "restoring.json", "secrets", "lost+found"})


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
        super().__init__(f"user {self.user} may not write to {path}: {_remedy(path)}")


class DataFolder:
    """The paths below a data folder, and the lock on it."""

    def __init__(
        self, path: Path, *, catalogue: Path | None = None, objects: Path | None = None, group: str = ""
    ) -> None:
        """Makes nothing yet; ``catalogue`` and ``objects`` are their places if not in ``path``.

        ``group``, a name or number, may read the objects; empty: nobody but their owner.
        """
        self.path = path.absolute()
        self.catalogue = (catalogue or path / "roadstead.db").absolute()
        """The catalogue's file."""
        self.objects = (objects or path / "registry").absolute()
        """The root of the object store."""
        self.restoring = self.path / "restoring.json"
        """A file that is there while a backup is being restored into the folder, and after that was interrupted."""
        self._group = group
        self._locks: dict[Path, int] = {}

    def prepare(self, *, makes_parents: bool = True) -> None:
        """Makes the folder, for its owner alone, and checks that it is writable; the folder of objects is left alone.

        Without ``makes_parents`` a missing parent is refused: it may be the place of a disk that is not mounted.

        Raises:
            DataFolderError: it cannot.
        """
        try:
            for changed in make_folders(str(self.path.parent)) if makes_parents else []:
                sync_folder(changed)
            _make_own(self.path)
            secrets = self.path / "secrets"
            if not secrets.is_dir():
                TreeModes().make_folder(str(secrets))
            for folder in {self.path, self.catalogue.parent}:
                _require_writable(folder)
            for file in self.catalogue.parent.glob(f"{self.catalogue.name}*"):
                os.close(os.open(file, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise folder_error(self.path, error) from error

    def prepare_objects(self, folders: Sequence[str] = ()) -> None:
        """Makes the root of the objects if there is none, and checks that it is writable.

        A root of our own is for its owner, and for the group; ``folders`` are those below it through which the group
        has to come. One that another program has made keeps its modes. A missing parent is refused.

        Raises:
            DataFolderError: it cannot.
        """
        try:
            gid = find_group(self._group) if self._group else None
            is_made = _make_own(self.objects)
            is_inside = self.path in self.objects.parents
            if gid is not None and (is_made or is_inside):
                for folder in [self.path] if is_inside else []:
                    open_to_group(folder, gid)
                for folder in [self.objects, *(self.objects / name for name in folders)]:
                    open_to_group(folder, gid)
            _require_writable(self.objects)
        except KeyError:
            raise DataFolderError(f"there is no group {self._group}: correct storage.group") from None
        except OSError as error:
            raise folder_error(self.objects, error) from error

    def find_open(self) -> list[tuple[Path, int]]:
        """Returns our own files that other users of this machine can read, with their modes.

        A tree that another program has made has the modes that this one gave it.
        """
        own = [] if self.objects == self.path else [self.path]
        if own and not _mode_of(self.path) & (stat.S_IRWXG | stat.S_IRWXO):
            return []
        if self.path in self.objects.parents:
            own.append(self.objects)
        files = sorted(self.catalogue.parent.glob(f"{self.catalogue.name}*"))
        private = [self.path / "secrets", *(file for file in files if file.is_file())]
        found = [(folder, mode) for folder in own if (mode := _mode_of(folder)) & stat.S_IRWXO]
        return found + [(path, mode) for path in private if (mode := _mode_of(path)) & (stat.S_IRWXG | stat.S_IRWXO)]

    def lock(self) -> None:
        """Keeps every other server out until this process, and all it forks, have ended.

        Raises:
            DataFolderBusyError: another server has it.
            DataFolderError: the lock file cannot be written.
        """
        holder = self._take(self.path, os.O_RDWR | os.O_CREAT)
        if holder is not None:
            raise DataFolderBusyError(
                f"another server (process {holder}) is using {self.path}: stop it first, choose another"
                " folder with --data, or let one server run several processes with --workers"
            )

    def lock_objects(self, *, makes: bool = True, is_shared: bool = False) -> None:
        """Keeps every other server away from the objects, whichever catalogue it uses.

        ``makes``: whether a lock file may be made; where there is none, nobody of ours has ever been here.
        ``is_shared``: others that lock them so may be at them too; they see to it that they have the same catalogue.

        Raises:
            DataFolderBusyError: another server has them.
            DataFolderError: the lock file cannot be written.
        """
        if not makes and not (self.objects / LOCK).exists():
            return
        flags = os.O_RDWR | (os.O_CREAT if makes else 0)
        self._wait_for_objects(lambda: self._take(self.objects, flags, is_shared=is_shared))

    def unlock_objects(self) -> None:
        """Unlocks the objects alone, unless they are in the data folder itself, where the two locks are one."""
        if self.objects != self.path and self.objects in self._locks:
            os.close(self._locks.pop(self.objects))

    def require_no_other_server(self) -> None:
        """Raises if a server of another data folder works on the objects; one of this data folder may.

        Raises:
            DataFolderBusyError: one does.
        """

        def find_other() -> str | None:
            holder = _holder_of(self.objects)
            is_ours = self.path not in self._locks and _holder_of(self.path) is not None
            return None if is_ours else holder

        if self.objects not in self._locks and self.objects != self.path:
            self._wait_for_objects(find_other)

    def _wait_for_objects(self, find_holder: Callable[[], str | None]) -> None:
        for _ in range(TRIES):
            if find_holder() is None:
                return
            time.sleep(WAIT_SECONDS)
        holder = find_holder()
        if holder is None:
            return
        raise DataFolderBusyError(
            f"another server (process {holder}) is working on the blobs in {self.objects}, with another data folder:"
            " name that one with --data, or give this one blobs of its own with --storage"
        )

    def _take(self, folder: Path, flags: int, *, is_shared: bool = False) -> str | None:
        """Locks a folder; returns the holder's name if another process has it."""
        if self._has(folder):
            return None
        try:
            descriptor = os.open(folder / LOCK, flags | os.O_NOFOLLOW | os.O_CLOEXEC, SECRET_FILE)
        except OSError as error:
            raise folder_error(folder, error) from error
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _name_in(descriptor)
            os.close(descriptor)
            return holder
        with contextlib.suppress(OSError):  # only for the message above, and a full disk must not keep us from serving
            os.ftruncate(descriptor, 0)
            if not is_shared:
                os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._locks[folder] = descriptor
        return None

    def _has(self, folder: Path) -> bool:
        """Returns True if this process has the lock; a lock on a folder that was replaced since does not count."""
        descriptor = self._locks.get(folder)
        if descriptor is None:
            return False
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), (folder / LOCK).lstat()):
                return True
        os.close(self._locks.pop(folder))
        return False

    def require_restored(self) -> None:
        """Raises if a restoration of a backup was left unfinished.

        Raises:
            DataFolderError: one was.
        """
        if self.restoring.exists():
            raise DataFolderError(
                f"a backup was being restored into {self.path} and is not complete: run `roadstead restore-backup`"
                " again, which goes on where it stopped"
            )

    @property
    def lock_descriptors(self) -> tuple[int, ...]:
        """Returns the open lock files: a process that inherits them keeps the folders locked as long as it lives."""
        return tuple(self._locks.values())

    def unlock(self) -> None:
        """Unlocks the folders, the objects' first: a process that finds those locked then finds this one locked too."""
        while self._locks:
            os.close(self._locks.popitem()[1])


def _mode_of(path: Path) -> int:
    """Returns the permissions of a file or folder; 0 if there is none."""
    try:
        return stat.S_IMODE(path.lstat().st_mode)
    except FileNotFoundError:
        return 0


def _holder_of(folder: Path) -> str | None:
    """Returns the process that has a folder locked, or None."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None  # nobody was ever here, or nobody may look
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _name_in(descriptor)
    finally:
        os.close(descriptor)
    return None


def _name_in(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"


def _make_own(folder: Path) -> bool:
    """Makes a folder, not its parents, for its owner alone; returns True if there was none."""
    if folder.is_dir():
        return False
    try:
        TreeModes().make_folder(str(folder))
    except FileExistsError:  # another replica, which starts at the same moment, was faster
        if folder.is_dir():
            return False
        raise
    sync_folder(str(folder.parent))
    return True


def _require_writable(folder: Path) -> None:
    probe = folder / f".write-test-{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        probe.touch()
        probe.unlink()


def _nearest(path: Path) -> Path:
    """Returns the first folder that is there, of ``path`` and those above it."""
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def folder_error(path: Path, error: OSError) -> DataFolderError:
    """Returns the error for a folder of ours: why it cannot be used, and what to do."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return DataFolderForbiddenError(path)
    return DataFolderError(_explain(path, error))


def _explain(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT and not path.parent.exists():
        return (
            f"there is no folder {path.parent} for {path.name}: is its disk mounted? If it is to be made, run"
            f" `mkdir -p {path.parent}`"
        )
    if error.errno == errno.EROFS:
        return f"{path} is on a read-only file system: choose another folder with --data"
    if is_disk_full(error):
        return f"there is no space left for {path}: free some, or choose another folder with --data"
    return f"{path} cannot be used: {os.strerror(error.errno or 0)}; choose another folder with --data"


def _remedy(path: Path) -> str:
    """Returns advice for somebody who may not write; it never takes away files of another program."""
    user = os.geteuid()
    if not path.exists() or _is_ours(path):
        return f"run `chown -R {user} {path}`, or choose another with --data"
    uid = path.stat().st_uid
    owner = f"#{uid}"  # as sudo wants a number
    with contextlib.suppress(KeyError):
        owner = pwd.getpwuid(uid).pw_name
    return (
        f"another program's files are in it: run this as their owner (`sudo -u '{owner}' roadstead …`), or choose"
        " another folder for the catalogue with --data"
    )


def _is_ours(path: Path) -> bool:
    """Returns True if a folder holds nothing but files that this program makes."""
    try:
        names = os.listdir(path)  # noqa: PTH208 - names are enough
    except OSError:
        return False
    return all(name in _OURS or name.startswith("roadstead.") for name in names)
