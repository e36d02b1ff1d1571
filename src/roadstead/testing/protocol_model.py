"""A small model of a registry's content according to the distribution specification.

It knows nothing of catalogues, files or transactions: a registry is some repositories, each with the blobs that it may
read, manifests and tags. Where the specification leaves a choice, the model has this registry's: a manifest that names
missing blobs is refused, a blob that a manifest names is not deleted, an index may name what is not there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from roadstead.testing.images import Document, ManifestContent, describe, digest_of


@dataclass(slots=True)
class RepositoryModel:
    """The content of one repository; ``is_known`` once anything was pushed to it."""

    blobs: set[str] = field(default_factory=set[str])
    manifests: dict[str, ManifestContent] = field(default_factory=dict[str, ManifestContent])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    is_known: bool = False

    def holders(self, blob: str) -> list[str]:
        """The manifests that name a blob."""
        return [
            digest for digest, manifest in self.manifests.items() if blob in {named.digest for named in manifest.blobs}
        ]

    def referrers(self, subject: str, artifact_type: str = "") -> list[Document]:
        """The descriptors of the manifests that name ``subject``, in order of their digests."""
        found = [
            _referrer(digest, manifest)
            for digest, manifest in sorted(self.manifests.items())
            if _subject(manifest) == subject
        ]
        return [entry for entry in found if not artifact_type or entry.get("artifactType") == artifact_type]


@dataclass(slots=True)
class SessionModel:
    """An upload: its repository, and the bytes it has so far."""

    repository: str
    content: bytes = b""


@dataclass(slots=True)
class RegistryModel:
    """A registry; ``damaged`` are blobs whose bytes are known to be lost."""

    repositories: dict[str, RepositoryModel] = field(default_factory=dict[str, RepositoryModel])
    sessions: dict[str, SessionModel] = field(default_factory=dict[str, SessionModel])
    contents: dict[str, bytes] = field(default_factory=dict[str, bytes])
    damaged: set[str] = field(default_factory=set[str])

    def repository(self, name: str) -> RepositoryModel:
        """Returns a repository, empty if nobody has used it."""
        return self.repositories.setdefault(name, RepositoryModel())

    def can_read(self, name: str, blob: str) -> bool:
        """Returns True if a repository serves a blob."""
        return blob in self.repository(name).blobs and blob not in self.damaged

    def can_mount(self, blob: str, source: str | None) -> bool:
        """Returns True if a blob can be mounted from ``source``, or from any repository if that is None."""
        sources = self.repositories if source is None else [source]
        return any(self.can_read(name, blob) for name in list(sources))

    def link(self, name: str, blob: str) -> None:
        """Records that a blob was mounted into a repository."""
        repository = self.repository(name)
        repository.is_known = True
        repository.blobs.add(blob)

    def push_blob(self, name: str, content: bytes, digest: str) -> None:
        """Records that a blob was pushed, which also heals it."""
        self.damaged.discard(digest)
        self.contents[digest] = content
        self.link(name, digest)

    def missing_blobs(self, name: str, manifest: ManifestContent) -> list[str]:
        """Returns the missing blobs of a manifest, which keep it from being accepted, in the order of the document."""
        return list(dict.fromkeys(blob.digest for blob in manifest.blobs if not self.can_read(name, blob.digest)))

    def push_manifest(self, name: str, manifest: ManifestContent, digest: str, tags: Iterable[str]) -> None:
        """Records that a manifest was accepted under a digest, and that tags point at it."""
        repository = self.repository(name)
        repository.is_known = True
        repository.manifests[digest] = manifest
        repository.tags |= dict.fromkeys(tags, digest)

    def delete_manifest(self, name: str, digest: str) -> None:
        """Removes a manifest and the tags that pointed at it."""
        repository = self.repository(name)
        del repository.manifests[digest]
        repository.tags = {tag: target for tag, target in repository.tags.items() if target != digest}

    def catalogue(self) -> list[str]:
        """The repositories that hold a manifest."""
        return sorted(name for name, repository in self.repositories.items() if repository.manifests)


def _property(document: object, name: str) -> object:
    """Returns a property of a JSON object, None if there is none or the value is no object."""
    return cast("Document", document).get(name) if isinstance(document, dict) else None


def _subject(manifest: ManifestContent) -> object:
    return _property(manifest.document.get("subject"), "digest")


def _referrer(digest: str, manifest: ManifestContent) -> Document:
    document = manifest.document
    entry = describe(manifest) | {"digest": digest}
    if artifact_type := document.get("artifactType") or _property(document.get("config"), "mediaType"):
        entry["artifactType"] = artifact_type
    if annotations := document.get("annotations"):
        entry["annotations"] = annotations
    return entry


def part_of(content: bytes, first: int, last: int | None) -> bytes | None:
    """Returns the bytes of one range, None if it lies outside (RFC 9110, section 14.1.2)."""
    end = len(content) - 1 if last is None else min(last, len(content) - 1)
    return content[first : end + 1] if first <= end else None


def page_of(items: Iterable[str], size: int | None, last: str) -> list[str]:
    """Returns the page of a listing that ``n`` and ``last`` ask for."""
    rest = sorted(item for item in items if item > last)
    return rest if size is None else rest[:size]


def digest_as_pushed(manifest: ManifestContent, *, by_tag: bool) -> str:
    """Returns a manifest's digest: of the algorithm of the reference it was pushed under, sha256 under a tag."""
    return digest_of(manifest.content) if by_tag else manifest.digest
