"""Looks for damage in what a registry has stored, and names it.

Promises: reads only; whatever is damaged is named and the rest is still looked at; memory does not grow with the
registry. Safe beside a running server: what differs from its record is looked at again, and reported only if record and
bytes still disagree, so that a blob deleted or pushed meanwhile is no finding.

What is compared, in this order:

1. the catalogue with itself (``roadstead.database.integrity``), tags with the manifests that they point at;
2. each manifest's body with its digest and with the rules for manifests, and the blobs that it names with those that
   its repositories have;
3. each blob's bytes with the length that its record has, and, ``deep``, with its digest;
4. bytes with records: what no record names does no harm, but takes space.
"""

import asyncio
import enum
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from roadstead.clock import Clock, SystemClock
from roadstead.database import DatabaseDamagedError, DatabaseUnavailableError
from roadstead.database.integrity import find_damage
from roadstead.oci import Digest, parse_manifest
from roadstead.oci.errors import DigestInvalidError, ManifestInvalidError
from roadstead.registry import layout, store
from roadstead.registry.service import Registry
from roadstead.registry.statistics import measure
from roadstead.storage import ObjectUnknownError, StorageError

PAGE: Final = 500
"""Digests asked of the catalogue at once."""

HASHED_AT_ONCE: Final = 4
"""Blobs hashed at the same time: as many as small machines have processors; each holds two pieces in memory."""

FOUND_AT_ONCE: Final = 16
"""Blobs looked up in storage at the same time."""

PIECE_BYTES: Final = 1 << 20
"""Bytes read and hashed at once."""

NAMED_HOLDERS: Final = 3
"""Manifests that are named as needing a damaged blob."""

YOUNG_MS: Final = 60_000
"""An upload written to so lately may just be ending: its record goes before its bytes."""

_T = TypeVar("_T")


class Severity(enum.StrEnum):
    """Whether something that a client was promised is lost."""

    DAMAGE = "damage"
    NOTE = "note"


class FindingKind(enum.StrEnum):
    """What is wrong."""

    CATALOGUE_DAMAGED = "catalogue-damaged"
    TAG_DANGLING = "tag-dangling"
    MANIFEST_DIGEST = "manifest-digest"
    MANIFEST_INVALID = "manifest-invalid"
    MANIFEST_UNREADABLE = "manifest-unreadable"
    MANIFEST_BLOB_MISSING = "manifest-blob-missing"
    BLOB_MISSING = "blob-missing"
    BLOB_LENGTH = "blob-length"
    BLOB_DIGEST = "blob-digest"
    BLOB_UNREADABLE = "blob-unreadable"
    BLOB_QUARANTINED = "blob-quarantined"
    BYTES_UNRECORDED = "bytes-unrecorded"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: with what, and a sentence that says how and what heals it."""

    kind: FindingKind
    subject: str
    detail: str
    severity: Severity = Severity.DAMAGE

    @property
    def is_blob_damage(self) -> bool:
        """Whether it is a blob that should be put into quarantine."""
        return self.kind in _BLOB_DAMAGE


_BLOB_DAMAGE: Final = frozenset(
    {
        FindingKind.BLOB_MISSING,
        FindingKind.BLOB_LENGTH,
        FindingKind.BLOB_DIGEST,
        FindingKind.BLOB_UNREADABLE,
    }
)


class Progress(Protocol):
    """Is told how far a check is."""

    def begin(self, stage: str, total: int, *, is_bytes: bool) -> None:
        """A stage begins, of so many records or bytes (about: the registry may change meanwhile)."""
        ...

    def advance(self, amount: int) -> None:
        """So much more of the stage is done."""
        ...


@dataclass(frozen=True, slots=True)
class Checker:
    """A check of one registry.

    ``accepts_missing_blobs`` says that manifests were taken although they named blobs that were not there.
    """

    registry: Registry
    progress: Progress
    deep: bool = False
    accepts_missing_blobs: bool = False
    clock: Clock = SystemClock()

    async def run(self) -> AsyncIterator[Finding]:
        """All findings, as they are found."""
        stages: list[tuple[str, Callable[[], AsyncIterator[Finding]]]] = [
            ("the catalogue", self._check_catalogue),
            ("tags", self._check_tags),
            ("manifests", self._check_manifests),
            ("blobs", self._check_blobs),
            ("bytes without records", self._check_stored),
        ]
        for name, stage in stages:
            try:
                async for finding in stage():
                    yield finding
            except (DatabaseDamagedError, DatabaseUnavailableError) as error:
                yield _catalogue(f"cannot go on reading {name}: {error.detail}")
