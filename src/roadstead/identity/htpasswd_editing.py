"""Changes a password file that a server reads at the same time, and other people edit.

The new content is written beside the file, flushed, and renamed over it: whoever reads sees the old file or the new
one, also after a crash. Editors of this kind wait for each other (a lock on the folder, which leaves nothing behind).
Mode and owner stay; lines of other users, comments and blank lines stay as they are, byte for byte.
"""

import contextlib
import errno
import fcntl
import io
import os
import secrets
import stat
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

from roadstead.identity.errors import PasswordFileInvalidError
from roadstead.identity.htpasswd import BYTE_ORDER_MARK, FILE_BYTES, decode_name

NEW_MODE: Final = 0o640
"""Mode of a new file: the group may be the server's."""


def set_user(content: bytes, user: str, hashed: bytes) -> tuple[bytes, bool]:
    """Returns ``content`` with a user's hash in the user's first line or a new one, and True if the user was there.

    Further lines of the user go, since for registry:2 the last one counts.
    """
    line = user.encode() + b":" + hashed
    lines: list[bytes] = []
    found = False
    for each in io.BytesIO(content):  # which knows no end of a line but the one that readers know
        if _user_of(each) != user:
            lines.append(each)
        elif not found:
            found = True
            lines.append(line + _rest_of(each))
    if not found:
        lines.append(line + b"\n")
        if len(lines) > 1 and not lines[-2].endswith(b"\n"):
            lines[-2] += b"\n"
    return b"".join(lines), found


def delete_user(content: bytes, user: str) -> tuple[bytes, bool]:
    """Returns ``content`` without a user's lines, and True if there were any."""
    lines = list(io.BytesIO(content))
    kept = [each for each in lines if _user_of(each) != user]
    return b"".join(kept), len(kept) < len(lines)


def edit_file(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replaces a file's content with the result of ``change``; a file that is not there counts as empty, and is made.

    Raises:
        OSError: it cannot be read or written; nothing has changed.
        PasswordFileInvalidError: it is too large to be a password file.
    """
    path = path.resolve()  # what a symbolic link leads to is replaced, not the link
    with _locked(path.parent):
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file", str(path))
            if status.st_size > FILE_BYTES:
                raise PasswordFileInvalidError(f"it has more than {FILE_BYTES >> 20} MiB")
            content = path.read_bytes()
        except FileNotFoundError:
            status, content = None, b""
        changed = change(content)
        if changed != content or status is None:
            _replace(path, changed, status)


def _user_of(line: bytes) -> str | None:
    stripped = line.removeprefix(BYTE_ORDER_MARK).strip()
    name, colon, _ = stripped.partition(b":")
    return decode_name(name) if colon and not stripped.startswith(b"#") else None


def _rest_of(line: bytes) -> bytes:
    """Returns everything that follows the hash: further fields, and the end of the line."""
    bare = line.rstrip(b"\r\n")
    _, colon, further = bare.split(b":", 1)[1].partition(b":")
    return colon + further + (line[len(bare) :] or b"\n")


@contextlib.contextmanager
def _locked(folder: Path) -> Generator[None, None, None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes, status: os.stat_result | None) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if status is not None and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, NEW_MODE if status is None else stat.S_IMODE(status.st_mode))
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Flushes a folder, so that a new name in it survives a loss of power too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
