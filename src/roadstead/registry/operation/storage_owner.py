"""Which catalogue owns a set of bytes.

A catalogue has an identity, made at random once, and the storage a mark with the identity of its owner (see
``roadstead.storage.presence``). Two catalogues over the same bytes would each collect what only the other knows; so one
that comes to another's bytes is refused, unless somebody says that it takes them over.

A catalogue that has claimed a storage knows that it is there by its mark. One that has not, of an earlier version or
made just now, claims what it finds at its first start, if what it names is there: below a mount point without its disk
are no bytes to claim. A mark that was lost, as by a backup without it, is made again by the same proof.

::

    nothing ──claim──> claimed ──release──> not claimed; the mark says so, and anybody may claim
"""

import contextlib
import uuid
from pathlib import Path
from typing import Final

from msgspec import MsgspecError, Struct, json
from sqlalchemy import select

from roadstead.database import Database, Reader, Statement, Transaction, parameter
from roadstead.jobs import find_state, lock_state, save_state
from roadstead.oci import Digest
from roadstead.oci.errors import DigestInvalidError
from roadstead.registry import layout
from roadstead.registry.tables import blobs
from roadstead.storage import Mark, StorageAbsentError, StorageError, StorageUnavailableError, TreeModes
from roadstead.storage.plain_files import make_folders, sync_folder
from roadstead.storage.presence import read_mark, write_mark

STATE: Final = "storage"
"""Where the catalogue keeps its identity."""

KNOWN_BLOBS: Final = 20
"""Blobs that are looked for before a storage without a mark counts as empty: a few may have been lost."""

_LIST_KNOWN: Final = Statement(
    select(blobs.c.digest)
    .where(blobs.c.quarantined_ms.is_(None), blobs.c.deleting_ms.is_(None))
    .order_by(blobs.c.id.desc())
    .limit(parameter("limit"))
)


class StorageForeignError(StorageError):
    """The bytes are another catalogue's; ``catalogue`` is where that one was last."""

    def __init__(self, root: Path, catalogue: str) -> None:
        super().__init__("the storage belongs to another catalogue")
        self.root = root
        self.catalogue = catalogue


class StorageMissingError(StorageAbsentError):
    """The storage of a catalogue is not where it is said to be; ``root`` is that place."""

    def __init__(self, root: Path, reason: str) -> None:
        super().__init__(reason)
        self.root = root


class _StateRow(Struct, frozen=True):
    owner: str
    is_claimed: bool


async def find_owner(reader: Reader) -> str:
    """The identity of a catalogue that has claimed its storage, empty where it has not."""
    row = await _find(reader)
    return row.owner if row is not None and row.is_claimed else ""


async def require_owned(database: Database, root: Path) -> None:
    """Sees that nothing stands against working on the storage in ``root`` with this catalogue; changes nothing.

    Raises:
        StorageForeignError: it is another catalogue's.
        StorageMissingError: it is not there.
        StorageUnavailableError: its mark cannot be read.
    """
    row, mark = await _find(database), read_mark(root)
    if mark is not None and _is_of(mark, row):
        return
    is_claimed = row is not None and row.is_claimed
    if mark is not None and (is_claimed or not mark.released):
        raise StorageForeignError(root, mark.catalogue)
    known = await _known_blobs(database)
    if any((root / layout.blob_key(digest)).is_file() for digest in known):
        return
    if is_claimed:
        raise StorageMissingError(root, "the storage is not there: its folder is empty, or its disk is not mounted")
    if known:
        raise StorageMissingError(root, f"none of the blobs of this catalogue is there; looked for {len(known)}")


async def is_owned(database: Database, root: Path) -> bool:
    """Returns True if the catalogue has claimed the bytes in ``root``, and their mark says so too."""
    row = await _find(database)
    if row is None or not row.is_claimed:
        return False
    mark = read_mark(root)
    return mark is not None and mark.owner == row.owner and not mark.released


async def claim(database: Database, root: Path, catalogue: str, *, takes_over: bool = False) -> None:
    """Makes the bytes in ``root`` those of the catalogue, which is in ``catalogue``; nothing is written if they are.

    The caller has the bytes locked. Others may claim them for the same catalogue meanwhile: its identity is made once,
    and is there before any mark names it. ``takes_over``: also where they are another's, or nothing of them is there.

    Raises:
        StorageForeignError, StorageMissingError, StorageUnavailableError: as ``require_owned``.
        OSError: the mark cannot be written.
    """
    if not takes_over:
        await require_owned(database, root)
    row, folder = await _identify(database), root / layout.BLOBS
    wanted = Mark(owner=row.owner, catalogue=catalogue)
    if row.is_claimed and folder.is_dir() and _is_marked(root, wanted):
        return
    modes = TreeModes.of(root, layout.BLOBS)
    for changed in make_folders(str(folder), modes):
        sync_folder(changed)
    write_mark(root, wanted, modes)
    await _save(database, _StateRow(row.owner, is_claimed=True))


async def _identify(database: Database) -> _StateRow:
    """Returns the row of the catalogue's identity, which whoever comes first makes."""

    async def work(transaction: Transaction) -> _StateRow:
        row = _decoded(await lock_state(transaction, STATE))
        if row is None:
            row = _StateRow(uuid.uuid4().hex, is_claimed=False)
            await save_state(transaction, STATE, json.encode(row).decode())
        return row

    known = await _find(database)
    return known if known is not None else await database.write(work)


async def give_up(database: Database, root: Path) -> None:
    """Lets any catalogue claim the bytes, this one too.

    Raises:
        StorageUnavailableError: the mark cannot be read.
        OSError: it cannot be written.
    """
    row, mark = await _find(database), read_mark(root)
    if row is None or mark is None or mark.owner != row.owner:
        return
    await _save(database, _StateRow(row.owner, is_claimed=False))
    released = Mark(owner=mark.owner, catalogue=mark.catalogue, released=True)
    write_mark(root, released, TreeModes.of(root, layout.BLOBS))


def _is_marked(root: Path, wanted: Mark) -> bool:
    with contextlib.suppress(StorageUnavailableError):  # one that nobody can read is written anew
        return read_mark(root) == wanted
    return False


def _is_of(mark: Mark, row: _StateRow | None) -> bool:
    return row is not None and mark.owner == row.owner


async def _find(reader: Reader) -> _StateRow | None:
    return _decoded(await find_state(reader, STATE))


def _decoded(value: str | None) -> _StateRow | None:
    try:
        return None if value is None else json.decode(value, type=_StateRow)
    except MsgspecError:
        return None


async def _save(database: Database, row: _StateRow) -> None:
    async def work(transaction: Transaction) -> None:
        await save_state(transaction, STATE, json.encode(row).decode())

    await database.write(work)


async def _known_blobs(database: Database) -> list[Digest]:
    """Some blobs that the catalogue has, the latest first."""
    known: list[Digest] = []
    for (text,) in await database.fetch_all(_LIST_KNOWN, limit=KNOWN_BLOBS):
        try:
            known.append(Digest.parse(text))
        except DigestInvalidError:  # `check` says so
            continue
    return known
