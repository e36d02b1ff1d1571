"""Opens plain files in plain folders below a root; anything else in their place is neither opened nor followed.

A storage is a folder that other programs can write to as well. A pipe in place of a file would keep whoever opens it
waiting, a device would do things when it is opened, and a symbolic link leads anywhere. The root itself may be reached
by symbolic links, and so may ``trusted`` folders, which only an administrator makes.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Collection
from typing import Final

from roadstead.storage.modes import TreeModes

_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DELETED: Final = " (deleted)"
"""Suffix that Linux adds to the path of an open file that was deleted."""


def open_plain(path: str, flags: int) -> tuple[int, os.stat_result]:
    """Opens a plain file that is there; its folders are not looked at.

    Raises:
        FileNotFoundError: there is none, or something that is no plain file.
        OSError: it cannot be opened.
    """
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    try:
        descriptor = os.open(path, flags | _FLAGS)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:  # it was replaced at this very moment
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return descriptor, status


def open_or_make(path: str, modes: TreeModes) -> int:
    """Opens a plain file for reading and writing, made if there is none; its folder must be there.

    Raises:
        FileNotFoundError: there is no folder.
        OSError: something else stands in its place, or it cannot be opened.
    """
    try:
        return modes.open_new_file(path, os.O_RDWR | _FLAGS)
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):
            return open_plain(path, os.O_RDWR)[0]
        raise OSError(errno.EIO, "something that is no plain file stands in its place") from None


def is_plain_folder(root: str, folder: str, trusted: Collection[str] = ()) -> bool:
    """Returns True if no part of ``folder``, a path below ``root``, is a symbolic link; missing parts are none."""
    part = ""
    for name in folder.split("/") if folder else ():
        part = f"{part}/{name}" if part else name
        try:
            status = os.lstat(f"{root}/{part}")
        except OSError:
            return True  # not there, or not to be seen: whoever opens something in it is told
        if stat.S_ISLNK(status.st_mode) and part not in trusted:
            return False
    return True


def path_of_open_file(descriptor: int) -> str:
    """Returns the path by which an open file was reached, without any symbolic link in it.

    Raises:
        OSError: the system does not tell.
    """
    return os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(_DELETED)


def make_folders(path: str, modes: TreeModes | None = None) -> list[str]:
    """Makes ``path`` and returns the folders that got a new entry by it and need a ``sync_folder``."""
    changed: list[str] = []
    missing: list[str] = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    make = os.mkdir if modes is None else modes.make_folder
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            make(folder)
        changed.append(os.path.dirname(folder))
    return changed


def open_folder(path: str, parent: int | None = None) -> int:
    """Opens a folder, below the open folder ``parent`` if given; the folder itself must be no symbolic link.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is none, or cannot be opened.
    """
    flags = _FLAGS if parent is not None else os.O_CLOEXEC
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | flags, dir_fd=parent)


def sync_folder(path: str) -> None:
    """Makes the names in a folder durable."""
    descriptor = open_folder(path)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: str) -> None:
    """Makes the bytes of a file durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
