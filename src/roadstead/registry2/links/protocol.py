"""The methods that reading and writing a link tree need of a store, so that not only file systems can be adopted."""

from typing import Protocol

from roadstead.storage import Entry, SmallFile


class LinkFiles(Protocol):
    """A store of small files under keys, in folders; called from threads.

    All methods may raise ``StorageError``. See ``roadstead.storage.SmallFiles`` for what each promises.
    """

    def entries(self, folder: str) -> list[Entry]:
        """Lists a folder, in order of names; nothing if there is none."""
        ...

    def read(self, key: str, limit: int) -> SmallFile | None:
        """Reads up to ``limit`` bytes of a plain file; None if there is none."""
        ...

    def read_piece(self, key: str, offset: int, length: int) -> bytes:
        """Reads up to ``length`` bytes of a plain file from ``offset``; none at its end, or without such a file."""
        ...

    def find(self, key: str) -> tuple[int, int] | None:
        """Returns length and time in milliseconds of a plain file; None if there is none."""
        ...

    def write(self, key: str, content: bytes, modified_ms: int, *, is_durable: bool) -> bool:
        """Gives a file this content, at once for every reader; False if it had it already."""
        ...

    def add_name(self, key: str, name: str) -> None:
        """Gives a file another key, durably, without a second copy where the store can do that."""
        ...

    def make_folder(self, folder: str) -> None:
        """Makes a folder, with its parents."""
        ...

    def remove(self, key: str) -> bool:
        """Removes a file and then its folder if that is empty; False if there was no file."""
        ...

    def remove_folder(self, folder: str) -> bool:
        """Removes a folder if it is empty; False otherwise."""
        ...

    def flush(self) -> None:
        """Makes everything that was written so far survive a loss of power."""
        ...
