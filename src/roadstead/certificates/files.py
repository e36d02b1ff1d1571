"""Writes files of certificates and keys: in one step, keys for their owner only, nothing overwritten by accident."""

import contextlib
import os
import uuid
from pathlib import Path
from typing import Final

from roadstead.certificates.errors import CertificateExistsError, CertificateUnreadableError

SECRET: Final = 0o600
PUBLIC: Final = 0o644


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Writes a file that must not be there yet.

    Raises:
        CertificateExistsError: it is there.
        CertificateUnreadableError: it cannot be written.
    """
    with _written(path, content, mode) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise CertificateExistsError(path, "it is never overwritten: move it away first") from None


def replace(path: Path, content: bytes, mode: int) -> None:
    """Replaces a file, or makes it; readers see the old or the new content, never a mixture.

    Raises:
        CertificateUnreadableError: it cannot be written.
    """
    with _written(path, content, mode) as temporary:
        temporary.replace(path)


def make_folder(path: Path, mode: int) -> None:
    """Makes a folder with its parents.

    Raises:
        CertificateUnreadableError: it cannot be made.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise CertificateUnreadableError(path, f"cannot be made ({error.strerror})") from error


class _written(contextlib.AbstractContextManager[Path]):  # noqa: N801 - used as a function
    """A temporary file beside ``path``, flushed to disk; it is removed at the end, and the folder flushed."""

    def __init__(self, path: Path, content: bytes, mode: int) -> None:
        self._path = path
        self._content = content
        self._mode = mode
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")

    def __enter__(self) -> Path:
        try:
            self._write()
        except OSError as error:
            self._remove()
            raise CertificateUnreadableError(self._path, f"cannot be written ({error.strerror})") from error
        return self._temporary

    def __exit__(self, *failure: object) -> None:
        self._remove()
        error = failure[1]
        if isinstance(error, OSError):
            raise CertificateUnreadableError(self._path, f"cannot be written ({error.strerror})") from error
        if error is None:
            _flush_folder(self._path.parent)

    def _write(self) -> None:
        descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, self._mode)  # whatever the umask is
            file.write(self._content)
            file.flush()
            os.fsync(descriptor)

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._temporary.unlink()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
