"""Where master keys come from: a file that the administrator keeps, this installation's own file, or a setting.

An installation's own file is made at the first need, in one step and flushed: of two processes that make it at once one
wins, and both read that one's. A file is replaced in one step too, so a reader sees the old or the new keys.
"""

import contextlib
import fcntl
import os
import stat
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Final, Protocol

from roadstead.secrets.errors import MasterKeyInvalidError, MasterKeyMissingError, MasterKeyUnreadableError
from roadstead.secrets.keyring import REMEDY, Keyring, new_key

OWN_NAME: Final = "master.key"
"""The name of an installation's own file, in its folder of secrets."""

FILE_BYTES: Final = 64 * 1024
"""Size of a key file at most; one with more is another file given by mistake."""

_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
_HEAD: Final = "# roadstead's master keys, the newest first; keep a copy where no backup of the registry is\n"


class KeySource(Protocol):
    """A place from which master keys come."""

    @property
    def name(self) -> str:
        """Its name in messages."""
        ...

    @property
    def is_given(self) -> bool:
        """True if the administrator has named it, so that it is there from the beginning."""
        ...

    def read(self) -> Keyring:
        """Reads the keys. Blocking.

        Raises:
            MasterKeyError: they cannot be had.
        """
        ...

    def make(self) -> Keyring:
        """Reads the keys, and makes the first one if this place may. Blocking.

        Raises:
            MasterKeyError: they cannot be had.
        """
        ...

    def add_key(self) -> Keyring | None:
        """Adds a newest key, if this place may; None if that is for the administrator to do. Blocking.

        Raises:
            MasterKeyError: the file cannot be written.
        """
        ...


class GivenKeys:
    """Keys that a setting has."""

    is_given = True

    def __init__(self, text: str, name: str = "secrets.master_key") -> None:
        self._text = text
        self.name = name

    def read(self) -> Keyring:
        """Reads the setting."""
        return Keyring.parse(self._text, self.name)

    def make(self) -> Keyring:
        """Makes none."""
        return self.read()

    def add_key(self) -> Keyring | None:
        """Adds none."""
        return None


class NoKeys:
    """No keys: nobody has said where they are, and several servers must have the same."""

    is_given = False
    name = "secrets.master_key_file"

    def read(self) -> Keyring:
        """Says what to do."""
        raise MasterKeyMissingError(
            "there is no master key, and servers that share a catalogue must all have the same",
            self.name,
            "make one with `roadstead secrets new-key FILE`, or take secrets/master.key of the data folder whose"
            " catalogue was copied, bring the file to each server, and name it as secrets.master_key_file",
        )

    def make(self) -> Keyring:
        """Says what to do."""
        return self.read()

    def add_key(self) -> Keyring | None:
        """Adds none."""
        return None


class KeyFile:
    """Keys in a file that the administrator keeps."""

    is_given = True

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.name = str(self.path)

    def read(self) -> Keyring:
        """Reads the file."""
        return Keyring.parse(self.read_text(), self.name)

    def make(self) -> Keyring:
        """Makes none."""
        return self.read()

    def add_key(self) -> Keyring | None:
        """Adds none: the other servers need it as well."""
        return None

    def read_text(self) -> str:
        """Reads the file's text, comments and all. Blocking.

        Raises:
            MasterKeyError: it is not there, cannot be read, or is no text.
        """
        try:
            with self.path.open("rb") as file:
                content = file.read(FILE_BYTES + 1)
        except FileNotFoundError:
            raise MasterKeyMissingError("the file of the master key is not there", self.name, self._remedy) from None
        except OSError as error:
            raise _unreadable(self.path, "read", error) from error
        if len(content) > FILE_BYTES:
            raise MasterKeyInvalidError("it is too long for a file of master keys", self.name, REMEDY)
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            raise MasterKeyInvalidError("it is no text", self.name, REMEDY) from None

    @property
    def _remedy(self) -> str:
        return (
            "mount its disk, put it back, or name the right one; if it is lost for good, see `roadstead secrets reset`"
        )


class OwnKeyFile(KeyFile):
    """The file that an installation on one machine makes for itself."""

    is_given = False

    def make(self) -> Keyring:
        """Reads the file, made if it is not there."""
        if not self.path.exists():
            self._make_folder()
            add_key_to(self.path, is_first=True)
        return self.read()

    def add_key(self) -> Keyring | None:
        """Adds a newest key."""
        self._make_folder()
        add_key_to(self.path)
        return self.read()

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        except OSError as error:
            raise _unreadable(self.path, "written", error) from error

    @property
    def _remedy(self) -> str:
        return (
            "put it back from the copy that you keep of it, or name it as secrets.master_key_file; if it is lost for"
            " good, see `roadstead secrets reset`"
        )


def add_key_to(path: Path, *, is_first: bool = False) -> str:
    """Writes a new key above those in the file, which is made for its owner alone; returns its id. Blocking.

    With ``is_first`` a file that somebody else has made meanwhile is left as it is.

    Raises:
        MasterKeyInvalidError: there is a file, and it is none of master keys.
        MasterKeyUnreadableError: it cannot be read or written.
    """
    try:
        path = path.resolve()  # a link stays one
        with _locked(path.parent):
            if path.exists():
                before = KeyFile(path)
                text, ring = before.read_text(), before.read()
                if is_first:
                    return ring.newest.id
                status: os.stat_result | None = path.stat()
            else:
                text, status = _HEAD, None
            key = new_key()
            _remove_leftovers(path)
            _replace(path, _with_key(text, key), status)
    except OSError as error:
        raise _unreadable(path, "written", error) from error
    return Keyring.parse(key, str(path)).newest.id


def _with_key(text: str, key: str) -> str:
    """The text with a key above all others, below the comments at its beginning."""
    lines = text.splitlines()
    place = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join([*lines[:place], key, *lines[place:], ""])


def _replace(path: Path, text: str, status: os.stat_result | None) -> None:
    """Gives the file this text, durably.

    A file that was there keeps its owner and its modes; a new one that root makes is for the owner of its folder.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            owner = status or path.parent.stat()
            is_given = status is not None or os.geteuid() == 0
            if is_given and (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.fchmod(descriptor, _MODE if status is None else stat.S_IMODE(status.st_mode))
            file.write(text.encode())
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with _opened(path.parent) as folder:
        os.fsync(folder)


def _remove_leftovers(path: Path) -> None:
    """Removes keys of a process that died before it put them in place: nothing was ever sealed under them."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Generator[None, None, None]:
    """Keeps other processes that would add a key waiting; ends with this process in any case."""
    with _opened(folder) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _opened(folder: Path) -> Generator[int, None, None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _unreadable(path: Path, what: str, error: OSError) -> MasterKeyUnreadableError:
    problem = f"the file of the master key cannot be {what} ({os.strerror(error.errno or 0)})"
    return MasterKeyUnreadableError(problem, str(path), f"let user {os.geteuid()} do it, on a disk with room")
