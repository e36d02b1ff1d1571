"""Reads a backup again and compares all of it with the recorded digests."""

import asyncio
import hashlib
import heapq
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

from roadstead.backup.errors import SnapshotDamagedError
from roadstead.backup.folder import BackupFolder, StoredSnapshot
from roadstead.backup.taking import PIECE_BYTES
from roadstead.oci import Digest
from roadstead.registry.pace import Pace
from roadstead.registry.progress import Progress


async def verify_backup(
    folder: BackupFolder, names: Sequence[str], progress: Progress, pace: Pace
) -> AsyncGenerator[tuple[str, str], None]:
    """Yields what is damaged: a snapshot's name or a digest, and a description of the damage.

    A damaged blob is put aside, so that the next backup copies it anew if the registry still has it; the caller has
    locked the folder.
    """
    whole: list[StoredSnapshot] = []
    for name in names:
        try:
            snapshot = folder.snapshot(name)
            await asyncio.to_thread(snapshot.verify)
        except SnapshotDamagedError as error:
            yield name, error.reason
        else:
            whole.append(snapshot)
    progress.begin("blobs", max((snapshot.manifest.blob_bytes for snapshot in whole), default=0), is_bytes=True)
    for digest, size_bytes in _distinct(whole):
        problem = await find_problem(folder.blob_path(digest), digest, size_bytes, progress, pace)
        if problem is not None:
            await asyncio.to_thread(folder.put_damaged_aside, digest)
            yield digest, problem


async def find_problem(path: Path, digest: Digest, size_bytes: int, progress: Progress, pace: Pace) -> str | None:
    """Returns what is wrong with a blob of the pool, or None if it is whole."""
    running = hashlib.new(digest.algorithm)
    try:
        with path.open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != size_bytes:
                return f"it has {os.fstat(file.fileno()).st_size} bytes instead of {size_bytes}"
            while piece := await asyncio.to_thread(file.read, pace.piece_bytes(PIECE_BYTES)):
                await asyncio.to_thread(running.update, piece)
                progress.advance(len(piece))
                await pace.spend(len(piece))
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read ({os.strerror(error.errno or 0)})"
    return None if running.hexdigest() == digest.encoded else "its bytes are not those that its digest stands for"


def _distinct(snapshots: Sequence[StoredSnapshot]) -> Iterator[tuple[Digest, int]]:
    """Yields the blobs of all snapshots, each once."""
    last = ""
    for digest, size_bytes in heapq.merge(*(snapshot.iter_blobs() for snapshot in snapshots)):
        if digest != last:
            last = digest
            yield digest, size_bytes
