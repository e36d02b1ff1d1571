"""The account of a run of the collector."""

from dataclasses import dataclass, fields
from typing import NamedTuple


@dataclass(slots=True)
class Collected:
    """The result of a run of the collector. Sizes in bytes."""

    expired: int = 0
    links: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    manifests: int = 0
    untagged: int = 0
    repositories: int = 0
    failed: int = 0
    """Objects that the storage could not remove: they are tried again after ``RETRY_MS``; see ``Collector.failure``."""
    looked_at: int = 0
    """Reviews that came up, whatever became of them; 0 means that nothing was due."""

    def add(self, other: "Collected") -> None:
        """Counts ``other`` in."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class MarkedBlob(NamedTuple):
    """A blob that no repository links to, marked to go; ``object_key`` is empty where it has none of its own."""

    blob_id: int
    digest: str
    size_bytes: int
    object_key: str
