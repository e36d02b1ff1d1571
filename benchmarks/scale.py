"""How much is measured: the full form and the quick one. All counts are here."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scale:
    """The counts of a run.

    A sample of a bulk push or pull is `push_blobs` or `pull_blobs` blobs of `big_bytes`, shared among the clients (at
    least one each).
    """

    name: str
    rounds: int
    seconds: float
    images_per_client: int
    big_bytes: int
    push_blobs: int
    pull_blobs: int
    repositories: int
    tags: int
    blobs: int
    garbage: int
    garbage_beside: int
    garbage_files: int
    garbage_growth: int
    parallel_pushes: int
    parallel_bytes: int
    parallel_rounds: int


FULL = Scale(
    name="full",
    rounds=5,
    seconds=5.0,
    images_per_client=40,
    big_bytes=256 * MIB,
    push_blobs=4,
    pull_blobs=16,
    repositories=100_000,
    tags=1_000_000,
    blobs=1_000_000,
    garbage=1_000_000,
    garbage_beside=200_000,
    garbage_files=20_000,
    garbage_growth=50_000,
    parallel_pushes=20,
    parallel_bytes=1024 * MIB,
    parallel_rounds=1,
)

QUICK = Scale(
    name="quick",
    rounds=2,
    seconds=1.5,
    images_per_client=10,
    big_bytes=256 * MIB,
    push_blobs=1,
    pull_blobs=8,
    repositories=10_000,
    tags=100_000,
    blobs=100_000,
    garbage=50_000,
    garbage_beside=50_000,
    garbage_files=2_000,
    garbage_growth=20_000,
    parallel_pushes=20,
    parallel_bytes=64 * MIB,
    parallel_rounds=1,
)
