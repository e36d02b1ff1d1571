"""Tells, without a system call, that nothing has been committed to a catalogue since a moment ago.

SQLite keeps the state of its write-ahead log in a file that every process which uses the database maps into its memory.
The first 96 bytes are two copies of a header that each commit changes (a counter in it grows), and that SQLite itself
compares to learn whether what it has cached still holds. The same bytes are read here, where SQLite has mapped them: to
open and close the file once more would drop the locks that this process holds on it (fcntl(2), "record locks").

Source: https://sqlite.org/walformat.html, section "The WAL-Index File Format".
"""

import ctypes
from pathlib import Path
from typing import Final

HEADER_BYTES: Final = 96
"""Both copies: read while they are being changed they equal nothing that was read before."""

_MAPS: Final = Path("/proc/self/maps")


class WalIndex:
    """The header of one database's index, valid as long as a connection of this process has it open."""

    def __init__(self, address: int) -> None:
        self._header = (ctypes.c_char * HEADER_BYTES).from_address(address)

    def header(self) -> bytes:
        """The header as it is now: as long as it stays the same, so does what a new read would find."""
        return self._header.raw


def find_wal_index(database: Path) -> WalIndex | None:
    """Where SQLite has mapped the index of a database; None where that cannot be told for certain.

    A connection of this process must have read from the database before.
    """
    try:
        inode = Path(f"{database}-shm").stat().st_ino
        lines = _MAPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = [fields for line in lines if _is_beginning(fields := line.split(maxsplit=5), f"{database.name}-shm", inode)]
    return WalIndex(int(found[0][0].partition("-")[0], 16)) if len(found) == 1 else None


def _is_beginning(fields: list[str], name: str, inode: int) -> bool:
    """Returns True if a line (address, permissions, offset, device, inode, path) is about the start of the file."""
    if len(fields) != 6:  # noqa: PLR2004 - proc_pid_maps(5)
        return False
    _, permissions, offset, _, found, path = fields
    return permissions.startswith("r") and int(offset, 16) == 0 and int(found) == inode and path.endswith(f"/{name}")
