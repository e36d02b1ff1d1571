"""Removals that can be kept from happening late.

A process may be frozen right before the system call that removes a file, for as long as it likes, and wake up when the
name is another's. An ``unlink`` then removes what that one has stored. So nothing here is unlinked in its place: the
folder of an object, in which nothing else is, is renamed to a name that belongs to the removal alone,
``aside/<token>-<hash of the key>``, and what stands there is removed at leisure.

To rename a folder to a name at which a folder with something in it stands already fails, whoever does it and whenever
(POSIX: ``EEXIST`` or ``ENOTEMPTY``; so does NFS). So whoever wants to be certain that a removal by another never takes
effect from now on makes that folder first, with a file in it. Either the rename came before, and is seen by everything
that happens after ``bar``, or it fails. What was made to bar stays; there is one for each death of a process in the
middle of a removal or a commit.

Whatever else a late process does, it does to its own name below ``aside``.
"""

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Generator
from pathlib import Path
from typing import Final

from roadstead.storage.errors import ObjectBarredError, ObjectUnknownError

ASIDE: Final = "aside"

_BARRED: Final = "barred"
"""The file that fills a folder to which nothing may be renamed; no object has such a name."""

_TRIES: Final = 100
"""Of making a folder and a file in it, while the other removes it as empty."""


class SetAside:
    """The folder ``aside`` of a store."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def remove(self, token: str, key: str) -> bool:
        """Removes an object with its folder; False if there was none. Blocks.

        Raises:
            ObjectBarredError: the token was barred from it; it stays.
        """
        try:
            with self.taken(token, key) as aside:
                (self._root / aside).unlink()
        except (ObjectUnknownError, FileNotFoundError):
            return False
        return True

    @contextlib.contextmanager
    def taken(self, token: str, key: str) -> Generator[str, None, None]:
        """Takes an object's folder away, and gives the object's key there; the folder goes once it is empty.

        Raises:
            ObjectUnknownError: there is no such folder.
            ObjectBarredError: the token was barred from it; it stays.
        """
        aside = _key_of(token, key)
        self._take(key, aside)
        try:
            yield f"{aside}/{Path(key).name}"
        finally:
            with contextlib.suppress(OSError):
                (self._root / aside).rmdir()

    def _take(self, key: str, aside: str) -> None:
        folder = (self._root / key).parent
        (self._root / ASIDE).mkdir(exist_ok=True)
        try:
            folder.rename(self._root / aside)
        except FileNotFoundError:
            raise ObjectUnknownError(key) from None
        except OSError as error:
            if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
                raise ObjectBarredError(key) from error
            raise

    def bar(self, token: str, key: str) -> None:
        """Keeps the token from taking away that object's folder from now on. Blocks."""
        barred = self._root / _key_of(token, key)
        for _ in range(_TRIES):
            barred.mkdir(parents=True, exist_ok=True)
            try:
                with open(barred / _BARRED, "x", encoding="ascii"):  # noqa: PTH123 - as short
                    return
            except FileExistsError:
                return
            except FileNotFoundError:  # the other has just emptied its folder, and removed it
                continue
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def sweep(self, older_than_ms: int) -> int:
        """Removes what removals that came to no end have left here for so long; returns the number of objects. Blocks.

        The age is that of the folder's last new name, by the clock of the file system itself. What bars somebody stays.
        """
        root, removed = self._root / ASIDE, 0
        try:
            left = [Path(entry.path) for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return 0
        before = self._now(root) - older_than_ms / 1000 if left else 0.0
        for folder in left:
            with contextlib.suppress(FileNotFoundError):  # another one sweeps too
                removed += _sweep_folder(folder, before)
        return removed

    def _now(self, root: Path) -> float:
        probe = root / f"clock-{secrets.token_hex(8)}"
        probe.touch()
        now = probe.stat().st_ctime
        probe.unlink()
        return now


def _sweep_folder(folder: Path, before: float) -> int:
    if folder.lstat().st_ctime >= before:
        return 0
    files = [file for file in folder.iterdir() if file.name != _BARRED]
    for file in files:
        file.unlink()
    with contextlib.suppress(OSError):  # it bars somebody
        folder.rmdir()
    return len(files)


def _key_of(token: str, key: str) -> str:
    return f"{ASIDE}/{token}-{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}"
