"""Descriptors: references from one document to another piece of content.

Source: image specification, descriptor.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from roadstead.oci.digest import Digest
from roadstead.oci.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A reference to content: its type, digest and size in bytes; empty and 0 where the document states none."""

    media_type: str
    digest: Digest
    size_bytes: int
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    """Other places of the content, as the document says; an entry that is no text is an empty one."""

    def as_json(self) -> dict[str, object]:
        """Returns the descriptor as it stands in an index, empty fields left out."""
        document: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size_bytes,
        }
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.platform:
            document["platform"] = self.platform.as_json()
        return document
