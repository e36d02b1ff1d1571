"""Reads and judges the content behind links: in threads, before any record is written."""

import collections
import hashlib
import json
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Final, cast

from roadstead.oci import Digest, Manifest, RepositoryName, Tag, parse_manifest
from roadstead.oci.errors import ManifestInvalidError
from roadstead.registry import layout
from roadstead.registry2.links import Link, LinkFiles, LinkTree, TagLinks, TreeFinding, TreeFindingKind, Unclear, paths
from roadstead.storage import StorageError

MANIFEST_BYTES: Final = 4 << 20
"""The longest manifest that registry:2 takes (``maxManifestBodySize``)."""

PIECE_BYTES: Final = 1 << 20
"""Bytes of a blob that are hashed in one go."""

EMPTY: Final = {algorithm: Digest.of(b"", algorithm) for algorithm in ("sha256", "sha512")}


@dataclass(frozen=True, slots=True)
class FoundBlob:
    """A blob that a repository may read; ``is_damaged`` if its bytes cannot be those of its digest."""

    digest: Digest
    size_bytes: int
    created_ms: int
    linked_ms: int
    is_damaged: bool


@dataclass(frozen=True, slots=True)
class FoundManifest:
    """A manifest that a repository has; without content if the catalogue has it already."""

    digest: Digest
    pushed_ms: int
    manifest: Manifest | None
    body: bytes


class ContentReader:
    """The reader of the content behind one repository's links; returns None for what it reports and leaves out."""

    def __init__(self, tree: LinkTree, repository: RepositoryName, report: Callable[[TreeFinding], None]) -> None:
        self.tree = tree
        self.repository = repository
        self.left_alone: set[str] = set()
        """Digests of manifests that are in the tree and were not adopted."""
        self.tags: collections.defaultdict[str, list[str]] = collections.defaultdict(list)
        """The tags that were read, by the digest that each points at."""
        self._report = report

    def read_blob(self, digest: Digest) -> FoundBlob | None:
        """Reads a blob by its link.

        Raises:
            Unclear: the disk does not say.
        """
        link = self.tree.read_layer(self.repository, digest)
        if link is None:
            return None
        key = paths.layer_link(self.repository, digest)
        try:
            found = self.tree.files.find(layout.blob_key(digest))
        except StorageError as error:
            self._tell(TreeFindingKind.UNREADABLE, digest, str(error), key)
            raise Unclear from error
        if found is None:
            detail = "the repository links to a blob whose bytes are not there"
            self._tell(TreeFindingKind.BLOB_MISSING, digest, detail, key)
            return None
        is_damaged = found[0] == 0 and digest != EMPTY[digest.algorithm]
        if is_damaged:
            self._tell(TreeFindingKind.BLOB_DAMAGED, digest, "the blob's file is empty; push it again", key)
        return FoundBlob(digest, found[0], found[1], link.modified_ms, is_damaged)

    def read_manifest(self, digest: Digest, known: Container[str]) -> FoundManifest | None:
        """Reads a manifest by its link; the content of ``known`` ones is not read.

        Raises:
            Unclear: the disk does not say.
        """
        link = self.tree.read_revision(self.repository, digest)
        if link is None:
            return None
        if digest in known:
            return FoundManifest(digest, link.modified_ms, None, b"")
        try:
            found = self.tree.files.read(layout.blob_key(digest), MANIFEST_BYTES + 1)
        except StorageError as error:
            self._tell(TreeFindingKind.UNREADABLE, digest, str(error), self._revision(digest))
            raise Unclear from error
        if found is None:
            detail = "the repository links to a manifest that is not there"
            self._tell(TreeFindingKind.MANIFEST_MISSING, digest, detail, self._revision(digest))
            return None
        return self._judge(link, found.content)

    def _judge(self, link: Link, body: bytes) -> FoundManifest | None:
        digest, key = link.digest, self._revision(link.digest)
        self.left_alone.add(digest)
        if len(body) > MANIFEST_BYTES:
            self._tell(TreeFindingKind.MANIFEST_INVALID, digest, "longer than any manifest may be", key)
            return None
        if Digest.of(body, digest.algorithm) != digest:
            detail = "its bytes are not those that its digest stands for"
            self._tell(TreeFindingKind.MANIFEST_DIGEST, digest, detail, key)
            return None
        try:
            manifest = parse_manifest(body, "")
        except ManifestInvalidError as error:
            if _is_schema_1(body):
                detail = "of Docker's first format, which no client of today can pull; build or convert it anew"
                self._tell(TreeFindingKind.MANIFEST_SCHEMA_1, digest, detail, key)
                self.tree.tell_of_signatures(key.rpartition("/")[0])
            else:
                self._tell(TreeFindingKind.MANIFEST_INVALID, digest, error.reason, key)
            return None
        self.left_alone.discard(digest)
        if manifest.is_withdrawn:
            detail = "an artifact manifest, which was withdrawn from the specification; it is served as it is"
            self._tell(TreeFindingKind.MANIFEST_WITHDRAWN, digest, detail)
        return FoundManifest(digest, link.modified_ms, manifest, body)

    def read_tag(self, tag: Tag) -> TagLinks | None:
        """Reads a tag with its history.

        Raises:
            Unclear: the disk does not say.
        """
        links = self.tree.read_tag(self.repository, tag)
        if links is not None:
            self.tags[links.current.digest].append(tag)
        return links

    def _revision(self, digest: Digest) -> str:
        return paths.revision_link(self.repository, digest)

    def _tell(self, kind: TreeFindingKind, digest: Digest, detail: str, key: str = "") -> None:
        self._report(TreeFinding(kind, f"{self.repository}@{digest}", detail, key))


def hash_object(files: LinkFiles, key: str, algorithm: str) -> str:
    """Returns the digest of a whole file; that of no bytes if there is no file.

    Raises:
        StorageError: it cannot be read.
    """
    running = hashlib.new(algorithm)
    offset = 0
    while piece := files.read_piece(key, offset, PIECE_BYTES):
        running.update(piece)
        offset += len(piece)
    return f"{algorithm}:{running.hexdigest()}"


def _is_schema_1(body: bytes) -> bool:
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and cast("dict[str, object]", document).get("schemaVersion") == 1
