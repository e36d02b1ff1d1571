"""Modes and owners of new files in a storage: those of the tree around them, whatever the umask.

A folder of our own is open to nobody else, or to one group (``storage.group``). A tree that another program has made
keeps the modes it has, and what is added to it looks like the rest, so that the other program can go on with it.
"""

import contextlib
import grp
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OWN_FOLDER: Final = 0o700
GROUP_FOLDER: Final = 0o750
OWN_FILE: Final = 0o640
SECRET_FILE: Final = 0o600

_FOLDER_BITS: Final = 0o2777
"""Bits that a new folder takes from the tree: the permissions, and the one that gives its files its group."""

_FILE_BITS: Final = 0o664
"""Bits that a new file takes from its folder: nobody executes it, and other users never write to it."""

_ALL_BITS: Final = 0o777

_KEEP: Final = -1
"""The value with which ``chown`` changes nothing."""


@dataclass(frozen=True, slots=True)
class TreeModes:
    """The modes and owners of new folders and files of one tree."""

    folder: int = OWN_FOLDER
    file: int = OWN_FILE
    uid: int = _KEEP
    gid: int = _KEEP
    is_natural: bool = False
    """True if files that this process makes with these modes look like the tree without further calls."""

    @classmethod
    def of(cls, root: Path, known_folder: str = "") -> "TreeModes":
        """Reads the modes of ``known_folder`` below ``root``, or of ``root``; our own if neither is there."""
        for folder in (root / known_folder, root):
            with contextlib.suppress(OSError):
                status = folder.stat()
                mode, file = status.st_mode & _FOLDER_BITS, status.st_mode & _FILE_BITS | OWN_FILE
                is_own = (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())
                is_kept = mode & _ALL_BITS == mode and not (mode | file) & _find_umask()
                uid = status.st_uid if os.geteuid() == 0 else _KEEP
                return cls(mode, file, uid, status.st_gid, is_natural=is_own and is_kept)
        return cls()

    def open_new_file(self, path: str, flags: int) -> int:
        """Opens a file that must not be there, made to look like the tree.

        Raises:
            FileExistsError: it is there.
            OSError: it cannot be made.
        """
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, self.file if self.is_natural else SECRET_FILE)
        if not self.is_natural:
            try:
                self.give_to_file(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def give_to_file(self, descriptor: int) -> None:
        """Makes a file that was made just now look like the tree.

        Raises:
            OSError: it is not ours.
        """
        self._give_owner(descriptor, os.fstat(descriptor))
        os.fchmod(descriptor, self.file)

    def make_folder(self, path: str, parent: int | None = None) -> None:
        """Makes a folder that looks like the tree; ``path`` is below the open folder ``parent`` where there is one.

        Raises:
            FileExistsError: somebody else has made it.
            OSError: it cannot be made.
        """
        if self.is_natural:
            os.mkdir(path, self.folder, dir_fd=parent)
            return
        os.mkdir(path, OWN_FOLDER, dir_fd=parent)
        with contextlib.suppress(FileNotFoundError):  # somebody found it empty and removed it: whoever needs it is told
            self._give_owner(path, os.stat(path, dir_fd=parent, follow_symlinks=False), parent)
            os.chmod(path, self.folder, dir_fd=parent)

    def _give_owner(self, place: int | str, status: os.stat_result, parent: int | None = None) -> None:
        """Gives the tree's group to a file; a user who is not in that group cannot, and keeps the file's own."""
        uid = _KEEP if self.uid == status.st_uid else self.uid
        gid = _KEEP if self.gid == status.st_gid else self.gid
        if (uid, gid) != (_KEEP, _KEEP):
            with contextlib.suppress(PermissionError):
                os.chown(place, uid, gid, dir_fd=parent)


def _find_umask() -> int:
    """Returns the bits that this process never grants; all, if the system tells only by changing them."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return _ALL_BITS


def find_group(name: str) -> int:
    """Returns the number of a group that is given by name or number.

    Raises:
        KeyError: there is none.
    """
    return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid


def open_to_group(folder: Path, gid: int) -> None:
    """Opens a folder of its owner's alone to a group; a folder that is not there, or open already, is left alone.

    Raises:
        PermissionError: this user is not in the group, or the folder is another's.
    """
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(status.st_mode) or mode & stat.S_IRWXO or (status.st_gid == gid and mode & stat.S_IRWXG):
        return
    os.chown(folder, _KEEP, gid)
    os.chmod(folder, mode | GROUP_FOLDER)
