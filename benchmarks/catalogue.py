"""Loads a large catalogue without the wire: rows inserted through roadstead's own tables and migrations.

Only records are made; the bytes that they speak of are not there, which listings and starts never notice. The
reference gets the same names as folders, since a folder tree is its catalogue.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.content import MANIFEST_TYPE
from benchmarks.peers import PeerAbsentError

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy import Table

BIG = "big/image"
"""The repository that holds a tenth of all tags."""

NOW_MS = 1_700_000_000_000
BATCH = 50_000


@dataclass(frozen=True, slots=True)
class Content:
    """How much a catalogue holds. The repositories beside BIG share nine tenths of the tags evenly."""

    repositories: int
    tags: int
    blobs: int = 0

    def hundredth(self) -> Content:
        """Return a content of a hundredth of the size."""
        return Content(self.repositories // 100, self.tags // 100, self.blobs // 100)

    def names(self) -> Iterator[str]:
        """Yield the names of all repositories, BIG first, then in order."""
        yield BIG
        for number in range(self.repositories - 1):
            yield f"project-{number // 100:05d}/image-{number % 100:02d}"

    @property
    def big_tags(self) -> int:
        """The number of tags of BIG: a tenth, and what can't be shared evenly."""
        return self.tags - self.other_tags * (self.repositories - 1)

    @property
    def other_tags(self) -> int:
        """The number of tags of each other repository."""
        return (self.tags - self.tags // 10) // max(1, self.repositories - 1)


def tag_name(number: int) -> str:
    """Return the name of a tag; names sort as numbers do."""
    return f"v{number:07d}"


def load_roadstead(data: Path, content: Content) -> None:
    """Make roadstead's data folder with the content; raise PeerAbsentError when its packages are not there."""
    try:
        from roadstead.jobs import tables as job_tables  # noqa: PLC0415 - a peer like the others: it may be absent
        from roadstead.registry import tables  # noqa: PLC0415
    except ImportError as error:
        raise PeerAbsentError(f"its packages can't be imported: {error}") from error
    make_catalogue(data)
    _load(
        data,
        (
            (tables.repositories, _repositories(content)),
            (tables.manifests, _manifests(content)),
            (tables.repository_manifests, _repository_manifests(content)),
            (tables.tags, _tags(content)),
            (tables.blobs, _blobs(content)),
            (tables.repository_blobs, _repository_blobs(content)),
            (job_tables.states, iter([LINKS_WRITTEN])),
        ),
    )
    for last in deque(_blobs(content), maxlen=1):
        _place(data, str(last["digest"]))


def _place(data: Path, digest: str) -> None:
    """Make the file of a blob: a server does not start where none of its blobs is there."""
    from roadstead.oci import Digest  # noqa: PLC0415 - load_roadstead has found it
    from roadstead.registry import layout  # noqa: PLC0415

    path = data / "registry" / layout.blob_key(Digest(digest))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


Values = dict[str, object]

LINKS_WRITTEN: Values = {"name": "links", "value": '{"is_complete":true,"after":""}'}
"""As if registry:2's links had been written with each push: else the server would write them all during the rows."""


def make_catalogue(data: Path) -> None:
    """Make roadstead's data folder with an empty catalogue; raise PeerAbsentError when its packages are not there."""
    try:
        from roadstead.database import migrate  # noqa: PLC0415 - a peer like the others: it may be absent
    except ImportError as error:
        raise PeerAbsentError(f"its packages can't be imported: {error}") from error
    data.mkdir(parents=True)
    migrate(data / "roadstead.db")


def _load(data: Path, content: Iterable[tuple[Table, Iterable[Values]]]) -> None:
    from roadstead.database.sqlite import connect  # noqa: PLC0415 - make_catalogue has found it

    with contextlib.closing(connect(data / "roadstead.db")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA foreign_keys = OFF")
        for table, rows in content:
            _insert(connection, table, rows)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


GARBAGE_REPOSITORY = 1_000_000_000
"""The number of the repository that garbage is linked to; blobs are numbered on from it, past all others."""

GARBAGE_BYTES = 4096
"""The size of each blob that nothing needs; no other blob of a row has it."""


def garbage_digest(number: int) -> str:
    """Return the digest of a blob that nothing needs. The bytes of none of them have it: nobody reads them."""
    return _digest("garbage", number)


def add_garbage(data: Path, count: int) -> None:
    """Add blobs that were pushed once and that no manifest has come to name, all of them due, to a catalogue."""
    from roadstead.registry import tables  # noqa: PLC0415 - make_catalogue has found it
    from roadstead.registry.removal.rules import ReviewKind  # noqa: PLC0415

    numbers = range(count)
    repository, link = GARBAGE_REPOSITORY, ReviewKind.LINK.value
    record = {"size_bytes": GARBAGE_BYTES, "created_ms": NOW_MS}
    linked = {"repository_id": repository, "linked_ms": NOW_MS}
    review = {"kind": link, "repository_id": repository, "since_ms": NOW_MS, "not_before_ms": NOW_MS}
    _load(
        data,
        (
            (tables.repositories, [{"id": repository, "name": "bench/garbage", "created_ms": NOW_MS}]),
            (tables.blobs, ({**record, "id": repository + n, "digest": garbage_digest(n)} for n in numbers)),
            (tables.repository_blobs, ({**linked, "blob_id": repository + n} for n in numbers)),
            (tables.reviews, ({**review, "item_id": repository + n} for n in numbers)),
        ),
    )
    _place(data, garbage_digest(count - 1))


def _insert(connection: sqlite3.Connection, table: Table, rows: Iterable[Values]) -> None:
    """Insert rows in transactions of BATCH; columns that a row leaves out are NULL."""
    names = [column.name for column in table.columns]
    marks = ", ".join("?" * len(names))
    statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"
    batch: list[tuple[object, ...]] = []
    for row in rows:
        batch.append(tuple(row.get(name) for name in names))
        if len(batch) == BATCH:
            _insert_batch(connection, statement, batch)
            batch.clear()
    _insert_batch(connection, statement, batch)


def _insert_batch(connection: sqlite3.Connection, statement: str, batch: list[tuple[object, ...]]) -> None:
    connection.execute("BEGIN")
    connection.executemany(statement, batch)
    connection.execute("COMMIT")


def _digest(kind: str, number: int) -> str:
    return "sha256:" + hashlib.sha256(f"{kind} {number}".encode()).hexdigest()


def _repositories(content: Content) -> Iterator[Values]:
    for number, name in enumerate(content.names(), 1):
        yield {"id": number, "name": name, "created_ms": NOW_MS}


def _manifests(content: Content) -> Iterator[Values]:
    """Yield one manifest a repository."""
    body = b"{}" + b" " * 500
    for number in range(1, content.repositories + 1):
        yield {
            "id": number,
            "digest": _digest("manifest", number),
            "media_type": MANIFEST_TYPE,
            "artifact_type": "",
            "size_bytes": len(body),
            "created_ms": NOW_MS,
            "body": body,
        }


def _repository_manifests(content: Content) -> Iterator[Values]:
    for number in range(1, content.repositories + 1):
        yield {"repository_id": number, "manifest_id": number, "pushed_ms": NOW_MS}


def _tags(content: Content) -> Iterator[Values]:
    for repository in range(1, content.repositories + 1):
        for number in range(content.big_tags if repository == 1 else content.other_tags):
            yield {
                "repository_id": repository,
                "name": tag_name(number),
                "manifest_id": repository,
                "updated_ms": NOW_MS,
            }


def _blobs(content: Content) -> Iterator[Values]:
    for number in range(1, content.blobs + 1):
        yield {"id": number, "digest": _digest("blob", number), "size_bytes": 1_000_000, "created_ms": NOW_MS}


def _repository_blobs(content: Content) -> Iterator[Values]:
    for number in range(1, content.blobs + 1):
        repository = number * content.repositories // (content.blobs + 1) + 1
        yield {"repository_id": repository, "blob_id": number, "linked_ms": NOW_MS}


def load_distribution(data: Path, content: Content) -> None:
    """Make the folders by which docker-registry and registry:3 know repositories and the tags of BIG."""
    root = data / "docker" / "registry" / "v2" / "repositories"
    for name in content.names():
        (root / name / "_layers").mkdir(parents=True)
        (root / name / "_manifests").mkdir()
    for number in range(content.big_tags):
        (root / BIG / "_manifests" / "tags" / tag_name(number)).mkdir(parents=True)
