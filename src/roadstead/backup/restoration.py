"""Restores a snapshot into an empty data folder.

1. Catalogue and list of the snapshot are compared with its manifest.
2. Each blob is copied and its digest compared; what an interrupted run has copied already is read again instead.
3. The catalogue is put in place by one rename, as the last step: without it there is no registry that could be served
   by mistake, and a marker (``DataFolder.restoring``) keeps a server from making a new one.

A catalogue on a server gets its rows afterwards, from that file (``roadstead.app.server_catalogue``).

What belonged to the process that was, upload sessions and holds, does not come along, and neither do signing keys (see
``roadstead.secrets.restoration``). Nothing is removed from storage before somebody confirms what this catalogue knows
(``roadstead.registry.operation.confirmation``). Blobs that the backup does not have are put into quarantine in the
restored catalogue: clients push them again instead of being told that they are there. What was in quarantine and has
come back whole is taken out of it.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path
from typing import Final

from roadstead.backup import store
from roadstead.backup.errors import BackupBlobDamagedError, BackupFolderUnusableError
from roadstead.backup.folder import SECRETS, BackupFolder, StoredSnapshot, copy_private_tree, hash_file, open_private
from roadstead.backup.taking import COPIED_AT_ONCE, PAGE, PIECE_BYTES, run_some_at_once
from roadstead.clock import Clock
from roadstead.database import Database, Reader, Transaction, migrate
from roadstead.database.snapshot import open_snapshot
from roadstead.jobs import delete_state, find_state, save_state
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.content import store as registry_store
from roadstead.registry.content.running_digest import RunningDigest
from roadstead.registry.garbage.holds import forget_holds
from roadstead.registry.operation import confirmation, storage_owner
from roadstead.registry.operation.adoption_state import LINKS_STATE, AdoptionPhase, AdoptionState, save_adoption
from roadstead.registry.pace import Pace
from roadstead.registry.progress import Progress
from roadstead.secrets.restoration import end_signatures
from roadstead.storage import FolderStore, ObjectWriter
from roadstead.storage.plain_files import sync_folder

RESTORED: Final = "restored"
"""The row that says which snapshot a catalogue came from, by the digest of its list."""

NAMED: Final = 10
"""Number of damaged blobs that an error names; its count includes all of them."""


@dataclass(slots=True)
class Restored:
    """The outcome of a restoration."""

    blobs: int = 0
    bytes: int = 0
    kept_blobs: int = 0
    """Number of the blobs above that an earlier run had restored already."""
    damaged: list[tuple[Digest, str]] = field(default_factory=list[tuple[Digest, str]])
    """Blobs that were left out, with what is wrong; at most ``NAMED`` unless the caller skips damaged ones."""
    damaged_count: int = 0


class Restoration:
    """The restoration of one snapshot."""

    def __init__(
        self,
        folder: BackupFolder,
        snapshot: StoredSnapshot,
        storage: FolderStore,
        clock: Clock,
        progress: Progress,
        pace: Pace,
        open_catalogue: Callable[[Path], Database],
        *,
        recorded_storage: str = "",
    ) -> None:
        """Keeps its arguments; ``storage`` is the object store of the restored registry.

        ``open_catalogue`` opens the copy of the catalogue before it is put in place; ``recorded_storage`` is the URL by
        which commands find the bytes, empty for those in the data folder.
        """
        self._recorded_storage = recorded_storage
        self._open_catalogue = open_catalogue
        self._folder = folder
        self._snapshot = snapshot
        self._storage = storage
        self._clock = clock
        self._progress = progress
        self._pace = pace

    async def bring_blobs(self, *, skip_damaged: bool) -> Restored:
        """Copies all blobs into the registry's storage.

        Raises:
            SnapshotDamagedError: the snapshot's own files are damaged; nothing was done.
            BackupBlobDamagedError: blobs are damaged, and ``skip_damaged`` is not given; all were looked at.
            StorageError: the registry's storage takes no more.
        """
        await asyncio.to_thread(self._snapshot.verify)
        self._progress.begin("blobs", self._snapshot.manifest.blob_bytes, is_bytes=True)
        restored = Restored()

        async def bring(each: tuple[Digest, int]) -> None:
            problem = await self._bring(*each, restored)
            if problem is not None:
                restored.damaged_count += 1
                if skip_damaged or restored.damaged_count <= NAMED:
                    restored.damaged.append((each[0], problem))
            else:
                restored.blobs += 1
                restored.bytes += each[1]

        for page in _pages(self._snapshot):
            await run_some_at_once(page, bring, COPIED_AT_ONCE)
        if restored.damaged_count and not skip_damaged:
            raise BackupBlobDamagedError(self._folder.path, restored.damaged, restored.damaged_count)
        return restored

    async def bring_catalogue(self, target: Path, damaged: Sequence[Digest]) -> None:
        """Puts the catalogue in place, with ``damaged`` and what was missing already in quarantine.

        Raises:
            SchemaUnknownError: a newer roadstead wrote it.
            BackupFolderUnusableError: the copy differs from what was read before.
        """
        self._progress.begin("catalogue", 0, is_bytes=False)
        new = target.with_name(f"{target.name}.restoring")
        for stale in target.parent.glob(f"{new.name}*"):
            stale.unlink()
        await asyncio.to_thread(self._copy_catalogue, new)
        await asyncio.to_thread(migrate, new)
        missing = [Digest.parse(blob.digest) for blob in self._snapshot.manifest.missing]
        await self._adapt(new, [*missing, *damaged], await self._find_healed(new))
        await asyncio.to_thread(_put_in_place, new, target)

    def restore_secrets(self, target: Path) -> int:
        """Copies keys and passwords, readable by their owner only, and returns the number of files."""
        return len(copy_private_tree(self._snapshot.path / SECRETS, target))

    async def _bring(self, digest: Digest, size_bytes: int, restored: Restored) -> str | None:
        """Copies a blob; returns what is wrong with it in the backup, or None if it is whole."""
        if await self._is_there(digest, size_bytes):
            restored.kept_blobs += 1
            return None
        try:
            file = await asyncio.to_thread(self._folder.blob_path(digest).open, "rb", 0)
        except FileNotFoundError:
            return "it is missing"
        except OSError as error:
            return f"it cannot be read ({os.strerror(error.errno or 0)})"
        key = layout.upload_key(f"restore-{digest.encoded}")
        with file:
            writer = await self._storage.open_writer(key)
            try:
                problem = await self._fill(writer, file, digest, size_bytes)
                if problem is None:
                    await writer.publish(layout.blob_key(digest))
            finally:
                writer.close()
        if problem is not None:
            await self._storage.delete(key)
        return problem

    async def _fill(self, writer: ObjectWriter, file: RawIOBase, digest: Digest, size_bytes: int) -> str | None:
        running = RunningDigest(digest.algorithm)
        most = self._pace.piece_bytes(PIECE_BYTES)
        while True:
            try:
                piece = await asyncio.to_thread(file.read, most)
            except OSError as error:
                return f"it cannot be read ({os.strerror(error.errno or 0)})"
            if not piece:
                break
            await writer.append([piece], running.update)
            self._progress.advance(len(piece))
            await self._pace.spend(len(piece))
        if writer.offset != size_bytes:
            return f"it has {writer.offset} bytes instead of {size_bytes}"
        return None if running.digest() == digest else "its bytes are not those that its digest stands for"

    async def _is_there(self, digest: Digest, size_bytes: int) -> bool:
        """Returns True if an earlier run has copied a blob and its bytes are right."""
        found = await self._storage.find(layout.blob_key(digest))
        if found is None or found.size_bytes != size_bytes:
            return False
        running = RunningDigest(digest.algorithm)
        reader = await self._storage.open_reader(layout.blob_key(digest))
        try:
            for offset in range(0, size_bytes, PIECE_BYTES):
                piece = await reader.read_once(offset, min(PIECE_BYTES, size_bytes - offset))
                await asyncio.to_thread(running.update, bytes(piece))
                self._progress.advance(len(piece))
                await self._pace.spend(len(piece))
        finally:
            reader.close()
        return running.digest() == digest

    def _copy_catalogue(self, new: Path) -> None:
        with self._snapshot.catalogue.open("rb") as source, open_private(new) as target:
            shutil.copyfileobj(source, target)
        if hash_file(new) != self._snapshot.manifest.catalogue_digest:
            raise BackupFolderUnusableError(self._snapshot.catalogue, "changed while it was read")

    async def _find_healed(self, catalogue: Path) -> list[Digest]:
        """Returns the blobs that the catalogue has in quarantine and that came whole out of the backup."""
        healed: list[Digest] = []
        after = ""
        with open_snapshot(catalogue) as reader:
            while rows := await reader.fetch_all(store.LIST_QUARANTINED_BLOBS, after=after, limit=PAGE):
                for text, size_bytes in rows:
                    found = await self._storage.find(layout.blob_key(Digest.parse(text)))
                    if found is not None and found.size_bytes == size_bytes:
                        healed.append(Digest.parse(text))
                after = rows[-1][0]
        return healed

    async def _adapt(self, catalogue: Path, quarantined: Sequence[Digest], healed: Sequence[Digest]) -> None:
        """Removes what belonged to the old processes from the catalogue, and updates the quarantine."""
        now_ms = self._clock.now_ms()

        async def work(transaction: Transaction) -> None:
            await transaction.execute(store.DELETE_UPLOADS)
            await end_signatures(transaction, keeps_credentials=self._snapshot.manifest.has_secrets)
            await forget_holds(transaction)
            await save_adoption(transaction, AdoptionState(AdoptionPhase.IN_CHARGE, now_ms, self._recorded_storage))
            await delete_state(transaction, LINKS_STATE)  # so they are all written anew
            await delete_state(transaction, storage_owner.STATE)  # the bytes here are others
            await confirmation.forget_server(transaction)
            reason = f"the backup {self._snapshot.manifest.name} was restored"
            await delete_state(transaction, confirmation.STATE)
            await confirmation.await_confirmation(transaction, reason, now_ms)
            await save_state(transaction, RESTORED, self._snapshot.manifest.list_digest)
            for digest in healed:
                await transaction.execute(registry_store.TAKE_OUT_OF_QUARANTINE, digest=digest)
            for digest in quarantined:
                await transaction.execute(registry_store.QUARANTINE_BLOB, digest=digest, now_ms=now_ms)

        database = self._open_catalogue(catalogue)
        try:
            await database.write(work)
        finally:
            await database.close()


async def is_of(reader: Reader, snapshot: StoredSnapshot) -> bool:
    """Returns True if a catalogue came from the snapshot."""
    return await find_state(reader, RESTORED) == snapshot.manifest.list_digest


def _pages(snapshot: StoredSnapshot) -> Iterator[list[tuple[Digest, int]]]:
    page: list[tuple[Digest, int]] = []
    for each in snapshot.iter_blobs():
        page.append(each)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _put_in_place(new: Path, target: Path) -> None:
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.rename(target)
    sync_folder(str(target.parent))
