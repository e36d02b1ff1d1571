"""Removes old snapshots, and the blobs that only they named.

A snapshot disappears with one rename; blobs go only afterwards, and only those that no visible snapshot lists. A crash
leaves blobs too many, never too few: the next pruning finds them. Memory does not grow with the pool: its listing and
those of the snapshots are in the same order and are read side by side.
"""

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from roadstead.backup.errors import PruningRefusedError, SnapshotDamagedError
from roadstead.backup.folder import BackupFolder
from roadstead.registry.progress import Progress


@dataclass(frozen=True, slots=True)
class Pruned:
    """The outcome of a pruning: what was removed and what stayed."""

    snapshots: list[str]
    blobs: int
    bytes: int


def prune(folder: BackupFolder, keep: int, progress: Progress) -> Pruned:
    """Removes all but the latest ``keep`` snapshots (at least one) of a folder that the caller has locked.

    Raises:
        PruningRefusedError: one of those that stay cannot be read, so nobody knows what it needs: nothing was removed.
    """
    names = folder.names()
    gone = names[: -max(1, keep)]
    try:
        kept = [folder.snapshot(name) for name in names[len(gone) :]]
        for snapshot in kept:
            snapshot.verify()
    except SnapshotDamagedError as error:
        raise PruningRefusedError(error) from error
    for name in gone:
        folder.remove_snapshot(name)
    progress.begin("pruning", 0, is_bytes=False)
    needed = (digest for digest, _ in heapq.merge(*(snapshot.iter_blobs() for snapshot in kept)))
    blobs = freed = 0
    for entry in _unneeded(folder, needed):
        status = entry.stat(follow_symlinks=False)
        Path(entry.path).unlink()
        blobs, freed = blobs + 1, freed + status.st_size
        progress.advance(1)
    return Pruned(gone, blobs, freed)


def _unneeded(folder: BackupFolder, needed: Iterator[str]) -> Iterator[os.DirEntry[str]]:
    """Yields the blobs of the pool that are not among ``needed``; both are in order of digests."""
    wanted = next(needed, None)
    for digest, entry in folder.iter_blobs():
        while wanted is not None and wanted < digest:
            wanted = next(needed, None)
        if wanted != digest:
            yield entry
