"""Gathers all that the registry's services know about a tag or digest."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from roadstead.access import visible_to_operator
from roadstead.cli.terminal import text
from roadstead.cli.terminal.target import Target
from roadstead.errors import RoadsteadError
from roadstead.oci import Descriptor, Digest, Manifest, RepositoryName, Tag, parse_manifest

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry import Registry
    from roadstead.registry.model import Referrer

MOST_TAGS: Final = 1000
"""Number of tags on one digest that are shown at most: more than anybody reads."""

PAGE: Final = 500
"""Number of referrers that are asked of the catalogue at once."""


@dataclass(frozen=True, slots=True)
class Child:
    """A manifest that an index lists; ``content_bytes`` is None if the repository does not have it."""

    descriptor: Descriptor
    content_bytes: int | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """A manifest as a repository has it.

    ``content_bytes`` is what config and layers take, in an index those of all children that are there, each blob
    counted once.
    """

    repository: RepositoryName
    digest: Digest
    size_bytes: int
    manifest: Manifest
    tags: tuple[str, ...]
    referrers: "tuple[Referrer, ...]"
    children: tuple[Child, ...]
    content_bytes: int

    @property
    def artifact_type(self) -> str:
        """The artifact type, empty for images and indexes that have none."""
        is_image = text.kind(self.manifest.media_type, self.manifest.artifact_type) == "image"
        return "" if is_image else self.manifest.artifact_type

    def as_record(self) -> dict[str, object]:
        """Returns the inspection as ``--json`` prints it."""
        manifest = self.manifest
        return {
            "repository": self.repository,
            "digest": self.digest,
            "media_type": manifest.media_type,
            "artifact_type": self.artifact_type,
            "size_bytes": self.size_bytes,
            "content_bytes": self.content_bytes,
            "tags": list(self.tags),
            "annotations": dict(manifest.annotations),
            "subject": manifest.subject.as_json() if manifest.subject else None,
            "config": manifest.config.as_json() if manifest.config else None,
            "layers": [layer.as_json() for layer in manifest.layers],
            "manifests": [
                child.descriptor.as_json()
                | {"is_present": child.content_bytes is not None, "content_bytes": child.content_bytes}
                for child in self.children
            ],
            "referrers": [
                {
                    "digest": referrer.digest,
                    "media_type": referrer.media_type,
                    "artifact_type": referrer.artifact_type,
                    "size_bytes": referrer.size_bytes,
                    "annotations": json.loads(referrer.annotations or "{}"),
                }
                for referrer in self.referrers
            ],
        }


async def inspect_manifest(registry: "Registry", target: Target) -> Inspection:
    """Inspects a manifest, that of the tag ``latest`` if the target has neither tag nor digest.

    Raises:
        RepositoryUnknownError, ManifestUnknownError: there is no such thing.
        ManifestInvalidError: its stored bytes do not parse.
    """
    repository = target.repository
    stored = await registry.manifests.get(repository, target.reference or Tag("latest"), visible=visible_to_operator())
    manifest = parse_manifest(await registry.manifests.get_body(stored.digest), stored.media_type)
    blobs: dict[Digest, int] = {blob.digest: blob.size_bytes for blob in manifest.blobs}
    children = [await _look_at(registry, repository, child, blobs) for child in manifest.children]
    return Inspection(
        repository=repository,
        digest=stored.digest,
        size_bytes=stored.size_bytes,
        manifest=manifest,
        tags=await registry.tags.list_of_manifest(
            repository, stored.digest, visible=visible_to_operator(), limit=MOST_TAGS
        ),
        referrers=await _referrers(registry, repository, stored.digest),
        children=tuple(children),
        content_bytes=sum(blobs.values()),
    )


async def _look_at(
    registry: "Registry", repository: RepositoryName, child: Descriptor, blobs: dict[Digest, int]
) -> Child:
    """Returns a child with its size, and adds its blobs to ``blobs``; nested indexes are not followed."""
    try:
        stored = await registry.manifests.get(repository, child.digest, visible=visible_to_operator())
        manifest = parse_manifest(await registry.manifests.get_body(stored.digest), stored.media_type)
    except RoadsteadError:
        return Child(child, None)
    own = {blob.digest: blob.size_bytes for blob in manifest.blobs}
    blobs.update(own)
    return Child(child, sum(own.values()))


async def _referrers(registry: "Registry", repository: RepositoryName, subject: Digest) -> "tuple[Referrer, ...]":
    found: list[Referrer] = []
    after = ""
    while True:
        page = await registry.referrers.list(
            repository, subject, visible=visible_to_operator(), after=after, limit=PAGE
        )
        found += page.items
        after = page.last
        if not after:
            return tuple(found)
