"""Reads a password file again when it changes.

Asked before each login and each remembered one: a look at the file's status costs a microsecond and a half, so nobody
comes in with a password that was changed or a user that was removed. Replaced by a rename (as ``roadstead htpasswd``
does) and written in place (as Apache's ``htpasswd`` does) are the same here. Status alone cannot tell two changes
within one tick of the file system's clock apart, so a file that has just changed is read until it is older than that.

A file that vanished or cannot be read or used lets nobody in until it is back.
"""

import os
import stat
from pathlib import Path
from typing import Final

import structlog

from roadstead.clock import Clock
from roadstead.identity.errors import PasswordFileInvalidError, PasswordFileUnavailableError
from roadstead.identity.htpasswd import FILE_BYTES, HtpasswdFile, RefusedLine

SETTLE_MS: Final = 100
"""Age of a file's last change from which it counts as complete: several ticks of the kernel's clock for files, and
longer than anybody takes to write such a file."""

SHOWN_LINES: Final = 20
"""Number of lines that cannot be used and that the log names, at most."""

_Version = tuple[int, int, int, int, int]
_NEVER: Final[_Version] = (0, 0, 0, 0, 0)

_log = structlog.get_logger("roadstead.identity")


class WatchedFile:
    """The current users of a file; used from the event loop only."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Keeps its arguments; nothing is read yet."""
        self.path = path
        self._name = str(path)
        self._clock = clock
        self._version = _NEVER
        self._changed_ms = 0
        self._is_settled = False
        self._content: bytes = b""
        self._file: HtpasswdFile | None = None
        self._problem = ""

    def current(self) -> HtpasswdFile:
        """Returns the current users, reading the file again if it has changed.

        Raises:
            PasswordFileUnavailableError: the file cannot be read or used.
        """
        try:
            found = os.stat(self._name)  # noqa: PTH116 - the hot path; a Path costs more than the call
        except OSError as error:
            raise self._lose(error.strerror or type(error).__name__) from None
        version = (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev, found.st_size)
        if version != self._version or not self._is_settled:
            if not stat.S_ISREG(found.st_mode):  # a pipe would hold everybody up until somebody writes into it
                raise self._lose("it is no regular file")
            self._read(version)
        if self._file is None:
            raise PasswordFileUnavailableError(self._name, self._problem)
        return self._file

    def read_again(self) -> None:
        """Makes the next question read the file, whatever its status says."""
        self._is_settled = False
        self._content = b""

    def has_just_changed(self) -> bool:
        """Returns True if the file may have been read while somebody was writing it."""
        return abs(self._clock.now_ms() - self._changed_ms) < SETTLE_MS

    def _read(self, version: _Version) -> None:
        self._version = version
        self._changed_ms = max(version[0], version[1]) // 1_000_000
        self._is_settled = not self.has_just_changed()
        try:
            with self.path.open("rb") as stream:
                content: bytes = stream.read(FILE_BYTES + 1)
            if content == self._content and self._file is not None:
                return
            read = HtpasswdFile.parse(content)
        except OSError as error:
            raise self._lose(error.strerror or type(error).__name__) from None
        except PasswordFileInvalidError as error:
            raise self._lose(error.reason) from None
        self._content = content
        self._file, self._problem = read, ""
        _log.info("passwords read", file=self._name, users=len(read.hashes))
        if read.refused:
            _tell(self._name, read.refused)

    def _lose(self, reason: str) -> PasswordFileUnavailableError:
        """Returns the error with which nobody is let in from now on; logs each reason once."""
        if reason != self._problem:
            _log.error("passwords cannot be read: nobody can log in", file=self._name, reason=reason)
        self._version, self._is_settled = _NEVER, False
        self._file, self._content, self._problem = None, b"", reason
        return PasswordFileUnavailableError(self._name, reason)


def _tell(name: str, refused: tuple[RefusedLine, ...]) -> None:
    for line in refused[:SHOWN_LINES]:
        _log.warning("password not usable", file=name, line=line.number, user=line.user, reason=line.reason)
    if len(refused) > SHOWN_LINES:
        _log.warning("more passwords not usable", file=name, lines=len(refused) - SHOWN_LINES)
