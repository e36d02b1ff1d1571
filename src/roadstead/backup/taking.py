"""Takes a backup beside a running server.

1. Hold the collector off (``roadstead.registry.garbage.holds``).
2. Copy the catalogue as it is at that moment, from whatever database into a file: every push that was acknowledged
   before is in it, whole, since a push is acknowledged when its manifest's transaction is committed, and that needs its
   blobs.
3. Copy every blob that this copy names and the backup has not, comparing its digest on the way.
4. Write the list and the manifest, and make the snapshot visible with one rename.

A blob that the registry itself has lost or that has rotted does not end the backup: the rest is worth having. The
manifest names it, unless an earlier snapshot has brought it into the pool: then this one lists it too, so that it is
neither pruned nor missing after a restoration.
"""

import asyncio
import contextlib
import datetime as dt
import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from roadstead import __version__
from roadstead.backup import store
from roadstead.backup.errors import BackupFolderUnusableError, BackupFullError
from roadstead.backup.folder import (
    CATALOGUE,
    LIST,
    MANIFEST,
    MANIFEST_SUM,
    SECRETS,
    SETTINGS,
    BackupFolder,
    copy_private_tree,
    flush,
    hash_file,
    manifest_sum,
    open_private,
    write_file,
)
from roadstead.backup.model import MissingBlob, SnapshotManifest
from roadstead.database import DatabaseFullError, Reader
from roadstead.database.copy_to_file import FileObserver, copy_to_file
from roadstead.database.snapshot import change_copy, open_snapshot
from roadstead.errors import is_disk_full
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.garbage.holds import Hold, hold_collection
from roadstead.registry.pace import Pace
from roadstead.registry.progress import Progress
from roadstead.registry.service import Registry
from roadstead.storage import ObjectReader, ObjectUnknownError, StorageAbsentError, StorageError
from roadstead.storage.plain_files import make_folders, sync_folder

PAGE: Final = 500
"""Number of blobs that are looked up in the backup at once."""

COPIED_AT_ONCE: Final = 4
"""Number of small blobs copied at once: their flushes overlap, and more would take the disk from the server."""

PIECE_BYTES: Final = 1 << 20

_QUARANTINED: Final = "it is in quarantine, since its bytes were damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """Files that belong to an installation beside its registry, for a backup that includes them."""

    secrets: Path | None = None
    """The folder of keys and passwords; with it secrets in the catalogue, sealed as they are, are in the backup too."""
    master_key_files: frozenset[Path] = frozenset()
    """Files that never are, resolved: with one of them, whoever has the backup could open what is sealed in it."""
    settings: Path | None = None
    """The settings file."""


@dataclass(slots=True)
class _Tally:
    blobs: int = 0
    bytes: int = 0
    copied_blobs: int = 0
    copied_bytes: int = 0
    missing: list[MissingBlob] = field(default_factory=list[MissingBlob])
    changed: set[str] = field(default_factory=set[str])
    """Folders of the pool in which a new blob got its name; they have to be flushed."""


async def take_backup(
    registry: Registry, folder: BackupFolder, progress: Progress, pace: Pace, extras: Extras | None = None
) -> SnapshotManifest:
    """Takes a snapshot into ``folder``, which the caller has prepared and locked, and returns its manifest.

    Raises:
        DatabaseDamagedError: the catalogue is damaged: there is no snapshot of it.
        BackupFullError, BackupFolderUnusableError: the folder cannot be written; earlier snapshots are whole.
        HoldLapsedError: this process stood still for too long.
    """
    with _explained(folder.path):
        partial = folder.partial / "snapshot"
        partial.mkdir(mode=0o700)
        try:
            async with hold_collection(registry.database, registry.clock, f"backup to {folder.path}") as hold:
                taken_ms = registry.clock.now_ms()
                await _copy_catalogue(registry, folder, partial, progress)
                if extras is None or extras.secrets is None:
                    await _leave_out_secrets(folder, partial)
                with open_snapshot(partial / CATALOGUE) as snapshot:
                    tally = await _Copy(registry, folder, hold, progress, pace).run(snapshot, partial / LIST)
            return await asyncio.to_thread(_conclude, folder, partial, taken_ms, tally, extras or Extras())
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # what was copied to the pool stays, for the next time
            raise


async def _copy_catalogue(registry: Registry, folder: BackupFolder, partial: Path, progress: Progress) -> None:
    observer = FileObserver(
        begin=lambda stage, total, is_bytes: progress.begin(stage, total, is_bytes=is_bytes), advance=progress.advance
    )
    try:
        await copy_to_file(registry.database, partial / CATALOGUE, observer)
    except DatabaseFullError as error:  # it is the copy that has no space: the catalogue is only read
        raise BackupFullError(folder.path) from error


async def _leave_out_secrets(folder: BackupFolder, partial: Path) -> None:
    try:
        await asyncio.to_thread(change_copy, partial / CATALOGUE, store.LEAVE_OUT_SECRETS)
    except DatabaseFullError as error:
        raise BackupFullError(folder.path) from error


class _Copy:
    """The copying of one snapshot's blobs into the pool."""

    def __init__(self, registry: Registry, folder: BackupFolder, hold: Hold, progress: Progress, pace: Pace) -> None:
        self._storage = registry.storage
        self._folder = folder
        self._hold = hold
        self._progress = progress
        self._pace = pace
        self._tally = _Tally()

    async def run(self, snapshot: Reader, listing: Path) -> _Tally:
        """Copies the blobs that are not in the pool yet, and writes the list."""
        row = await snapshot.fetch_one(store.COUNT_NEEDED_BLOBS)
        self._progress.begin("blobs", row[1] if row else 0, is_bytes=True)
        after = ""
        with open_private(listing) as file:
            while rows := await snapshot.fetch_all(store.LIST_NEEDED_BLOBS, after=after, limit=PAGE):
                page = [(Digest.parse(text), int(size)) for text, size, _ in rows]
                quarantined = {text for text, _, quarantined_ms in rows if quarantined_ms is not None}
                kept = await self._take(page, quarantined)
                file.write("".join(f"{digest} {size}\n" for digest, size in kept).encode("ascii"))
                after = rows[-1][0]
            flush(file)
        return self._tally

    async def _take(self, page: Sequence[tuple[Digest, int]], quarantined: set[str]) -> list[tuple[Digest, int]]:
        """Copies a page of blobs into the pool as needed, and returns those that are there."""
        wanted = await asyncio.to_thread(lambda: [each for each in page if not self._folder.has_blob(*each)])
        missing: set[Digest] = set()

        async def copy(each: tuple[Digest, int]) -> None:
            digest, size_bytes = each
            problem = _QUARANTINED if digest in quarantined else await self._copy(digest, size_bytes)
            if problem is not None:
                self._hold.require()  # or the collector may have removed it
                self._tally.missing.append(MissingBlob(digest=str(digest), reason=problem))
                missing.add(digest)
            else:
                self._tally.copied_blobs += 1
                self._tally.copied_bytes += size_bytes

        await run_some_at_once(wanted, copy, COPIED_AT_ONCE)
        wanted_digests = {digest for digest, _ in wanted}
        self._progress.advance(sum(size for digest, size in page if digest not in wanted_digests))
        kept = [each for each in page if each[0] not in missing]
        self._tally.blobs += len(kept)
        self._tally.bytes += sum(size for _, size in kept)
        return kept

    async def _copy(self, digest: Digest, size_bytes: int) -> str | None:
        """Copies a blob; returns None, or what is wrong with it if it cannot be copied."""
        try:
            reader = await self._storage.open_reader(layout.blob_key(digest))
        except ObjectUnknownError:
            return "its bytes are missing"
        except StorageAbsentError:
            raise  # a snapshot without any blob would be none
        except StorageError as error:
            return str(error)
        if reader.size_bytes != size_bytes:
            reader.close()
            return f"it has {reader.size_bytes} bytes instead of {size_bytes}"
        writer = PoolWriter(self._folder, digest)
        try:
            await self._fill(writer, reader)
            changed = await asyncio.to_thread(writer.publish)
        except StorageError as error:
            return str(error)
        finally:
            reader.close()
            writer.close()
        if changed is None:
            return "its bytes are not those that its digest stands for"
        self._tally.changed.update(changed)
        return None

    async def _fill(self, writer: "PoolWriter", reader: ObjectReader) -> None:
        offset, most = 0, self._pace.piece_bytes(PIECE_BYTES)
        while offset < reader.size_bytes:
            piece = await reader.read_once(offset, min(most, reader.size_bytes - offset))
            if not piece:
                return  # cut off meanwhile: the digest will tell
            await asyncio.to_thread(writer.write, piece)
            offset += len(piece)
            self._progress.advance(len(piece))
            await self._pace.spend(len(piece))


class PoolWriter:
    """A blob that is being written into the pool; blocking, used by one thread at a time."""

    def __init__(self, folder: BackupFolder, digest: Digest) -> None:
        """Keeps its arguments; nothing is written yet."""
        self._temporary = folder.partial / digest.encoded
        self._target = folder.blob_path(digest)
        self._digest = digest
        self._running = hashlib.new(digest.algorithm)
        self._descriptor = -1

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Adds bytes to the blob."""
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._descriptor = os.open(self._temporary, flags, 0o600)
        self._running.update(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def publish(self) -> set[str] | None:
        """Flushes the blob and names it if its digest is right; returns the folders to flush then, or None."""
        self.write(b"")  # an empty blob is a file too
        if self._running.hexdigest() != self._digest.encoded:
            return None
        os.fsync(self._descriptor)
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        folder = str(self._target.parent)
        changed = {folder, *make_folders(folder)}
        self._temporary.rename(self._target)
        return changed

    def close(self) -> None:
        """Closes and removes the temporary file, unless the blob was published."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with contextlib.suppress(FileNotFoundError):
                self._temporary.unlink()


async def run_some_at_once(
    items: Sequence[tuple[Digest, int]], work: Callable[[tuple[Digest, int]], Awaitable[None]], width: int
) -> None:
    """Runs ``work`` on each item, ``width`` at a time; the first failure stops all and is raised."""
    queue = iter(items)

    async def go_on() -> None:
        for item in queue:
            await work(item)

    tasks = [asyncio.ensure_future(go_on()) for _ in range(min(width, len(items)))]
    try:
        if tasks:
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _conclude(folder: BackupFolder, partial: Path, taken_ms: int, tally: _Tally, extras: Extras) -> SnapshotManifest:
    """Makes everything durable, and then the snapshot visible."""
    for changed in tally.changed:
        sync_folder(changed)
    copied_extras = _copy_extras(partial, extras)
    name = _free_name(folder, taken_ms)
    manifest = SnapshotManifest(
        name=name,
        taken_ms=taken_ms,
        version=__version__,
        catalogue_bytes=(partial / CATALOGUE).stat().st_size,
        catalogue_digest=hash_file(partial / CATALOGUE),
        list_digest=hash_file(partial / LIST),
        blobs=tally.blobs,
        blob_bytes=tally.bytes,
        copied_blobs=tally.copied_blobs,
        copied_bytes=tally.copied_bytes,
        missing=tally.missing,
        has_secrets=extras.secrets is not None,
        extras=copied_extras,
    )
    (partial / CATALOGUE).chmod(0o600)
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    write_file(partial / MANIFEST, [content])
    write_file(partial / MANIFEST_SUM, [manifest_sum(content)])
    folder.publish_snapshot(partial, name)
    return manifest


def _copy_extras(partial: Path, extras: Extras) -> dict[str, str]:
    """Copies secrets and settings, and returns the copies with their digests."""
    copied: list[Path] = []
    if extras.secrets is not None:
        left_out = extras.master_key_files
        copied += copy_private_tree(extras.secrets, partial / SECRETS, lambda file: file.resolve() in left_out)
    if extras.settings is not None:
        write_file(partial / SETTINGS, [extras.settings.read_bytes()])
        copied.append(partial / SETTINGS)
    return {str(path.relative_to(partial)): hash_file(path) for path in copied}


def _free_name(folder: BackupFolder, taken_ms: int) -> str:
    """Returns a name made of the time that sorts behind the names of all other snapshots."""
    base = dt.datetime.fromtimestamp(taken_ms // 1000, dt.UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    known = folder.names()
    if not known or base > known[-1]:
        return base
    latest, _, number = known[-1].partition("+")  # a snapshot of the same second, or of a clock that went back
    return f"{latest}+{int(number or 1) + 1:04}"


@contextlib.contextmanager
def _explained(path: Path) -> Generator[None, None, None]:
    """Turns errors of the operating system into errors for the person who chose the folder."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise BackupFullError(path) from error
        raise BackupFolderUnusableError(path, f"cannot be written: {os.strerror(error.errno or 0)}") from error
