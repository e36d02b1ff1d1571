"""Writes the link tree of registry:2, so that it serves the content of the catalogue.

Promises: a link appears whole or not at all, and after what it refers to; what is there already is not written again;
nothing is removed but what the catalogue would have taken up and has no more. What adoption left alone stays byte for
byte: damaged links, links to what is missing, manifests that only registry:2 understands with the tags on them, half
uploads, foreign files. Called from threads.

The times of links are those of the catalogue, so that an adoption afterwards finds the same history.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry import layout
from roadstead.registry2.links import paths
from roadstead.registry2.links.protocol import LinkFiles
from roadstead.registry2.links.reader import LinkTree, Unclear
from roadstead.storage import EntryKind


@dataclass(frozen=True, slots=True)
class TagRecord:
    """The manifest that a tag points at, since when, and its earlier ones with their times."""

    digest: Digest
    updated_ms: int
    history: Sequence[tuple[Digest, int]] = ()


@dataclass(slots=True)
class RepositoryContent:
    """The content of a repository in the catalogue: digests with the times of their links, and tags."""

    name: RepositoryName
    blobs: Mapping[str, int] = field(default_factory=dict[str, int])
    manifests: Mapping[str, int] = field(default_factory=dict[str, int])
    tags: Mapping[str, TagRecord] = field(default_factory=dict[str, TagRecord])
    left_alone: frozenset[str] = frozenset()
    """Keys of links that an adoption left alone: see ``registry.adoption.left_alone``."""


@dataclass(slots=True)
class Written:
    """The numbers of files that were written and removed."""

    written: int = 0
    removed: int = 0


class LinkWriter:
    """The writer of links through ``files``; with ``is_durable`` each survives a loss of power, else after ``flush``.

    ``pause`` is called before each file, in the thread that writes it; what it raises ends the writing there.
    """

    def __init__(self, files: LinkFiles, *, is_durable: bool, pause: Callable[[], None] | None = None) -> None:
        self._files = files
        self._pause = pause or _go_on
        self._is_durable = is_durable
        self._tree = LinkTree(files, lambda _finding: None)
        self.done = Written()

    def write_body(self, digest: Digest, body: bytes, created_ms: int) -> None:
        """Puts a manifest's bytes where registry:2 looks for them.

        Raises:
            StorageError: they could not be written.
        """
        self._write(layout.blob_key(digest), body, created_ms)

    def has_body(self, digest: Digest, size_bytes: int) -> bool:
        """Returns True if bytes of this length are there already.

        Raises:
            StorageError: the disk does not say.
        """
        found = self._files.find(layout.blob_key(digest))
        return found is not None and found[0] == size_bytes

    def add_blob(self, repository: RepositoryName, digest: Digest, linked_ms: int) -> None:
        """Writes the link that lets a repository read a blob.

        Raises:
            StorageError: the link could not be written.
        """
        self._write(paths.layer_link(repository, digest), digest.encode(), linked_ms)

    def remove_blob(self, repository: RepositoryName, digest: Digest) -> None:
        """Removes the link that lets a repository read a blob.

        Raises:
            StorageError: the link is still there.
        """
        self._remove(paths.layer_link(repository, digest))

    def add_manifest(self, repository: RepositoryName, digest: Digest, pushed_ms: int) -> None:
        """Adds a manifest, whose bytes are there, to a repository.

        Raises:
            StorageError: the link could not be written.
        """
        self._write(paths.revision_link(repository, digest), digest.encode(), pushed_ms)
        self._files.make_folder(f"{paths.repository_folder(repository)}/{paths.LAYERS}")
        # registry:3's collector of garbage ends with an error where a repository has no folder of layers

    def remove_manifest(self, repository: RepositoryName, digest: Digest) -> None:
        """Takes a manifest out of a repository.

        Raises:
            StorageError: the link is still there.
        """
        self._remove(paths.revision_link(repository, digest))

    def set_tag(
        self, repository: RepositoryName, tag: Tag, record: TagRecord, left_alone: frozenset[str] = frozenset()
    ) -> None:
        """Points a tag at a manifest that the repository has; links of its history in ``left_alone`` stay as they are.

        Raises:
            StorageError: a link could not be written.
        """
        for digest, at_ms in record.history:
            key = paths.index_link(repository, tag, digest)
            if self._files.find(key) is None:
                self._write(key, digest.encode(), at_ms)
        index = paths.index_link(repository, tag, record.digest)
        if index not in left_alone:
            self._write(index, record.digest.encode(), record.updated_ms)
        self._write(paths.current_link(repository, tag), record.digest.encode(), record.updated_ms)

    def remove_tag(self, repository: RepositoryName, tag: Tag) -> None:
        """Removes a tag with its history: registry:2 would list a tag whose folder is left.

        Raises:
            StorageError: a link is still there.
        """
        folder = paths.tag_folder(repository, tag)
        self._remove(paths.current_link(repository, tag))
        for algorithm in self._files.entries(f"{folder}/index"):
            for encoded in self._files.entries(f"{folder}/index/{algorithm.name}"):
                if encoded.kind is EntryKind.FOLDER:
                    self._remove(f"{folder}/index/{algorithm.name}/{encoded.name}/{paths.LINK}")
            self._files.remove_folder(f"{folder}/index/{algorithm.name}")
        self._files.remove_folder(f"{folder}/index")
        self._files.remove_folder(folder)

    def remove_others(self, content: RepositoryContent, is_left_alone: Callable[[Digest], bool]) -> None:
        """Removes links of a repository that its content does not have: tags, then manifests, then blobs.

        ``is_left_alone`` says of a manifest that is there whether adoption would leave it alone.

        Raises:
            StorageError: something is still there.
        """
        name = content.name
        for tag in self._tree.tags(name).names:
            if tag not in content.tags and not self._is_tag_left_alone(content, Tag(tag), is_left_alone):
                self.remove_tag(name, Tag(tag))
        for digest in self._tree.revisions(name).names:
            if digest not in content.manifests and not is_left_alone(Digest(digest)):
                self.remove_manifest(name, Digest(digest))
        for digest in self._tree.layers(name).names:
            if digest not in content.blobs and not self._is_layer_left_alone(content, Digest(digest)):
                self.remove_blob(name, Digest(digest))
        self.remove_empty(name)

    def flush(self) -> None:
        """Makes everything that was written so far survive a loss of power."""
        self._files.flush()

    def _is_tag_left_alone(self, content: RepositoryContent, tag: Tag, is_left_alone: Callable[[Digest], bool]) -> bool:
        key = paths.current_link(content.name, tag)
        if key in content.left_alone or key.rpartition("/")[0] in content.left_alone:
            return True
        try:
            links = self._tree.read_tag(content.name, tag)
        except Unclear:
            return True
        return self._tree.has_link(key) if links is None else is_left_alone(links.current.digest)

    def _is_layer_left_alone(self, content: RepositoryContent, digest: Digest) -> bool:
        """Returns True if adoption does not take up a link: no digest, another name of a blob, or one that it named.

        What the catalogue had and has no more is written by us, and says the digest of its folder.
        """
        key = paths.layer_link(content.name, digest)
        if key in content.left_alone:
            return True
        found = self._files.read(key, paths.LINK_BYTES)
        if found is None:
            return self._tree.has_link(key)
        return found.content.decode("ascii", "replace").strip() != digest

    def remove_empty(self, name: RepositoryName) -> None:
        """Removes folders of a repository that hold nothing, so that it is not listed any more.

        Raises:
            StorageError: the disk does not say.
        """
        root = paths.repository_folder(name)
        is_empty = not self._tree.tags(name).names and not self._tree.revisions(name).names
        if not is_empty or self._tree.layers(name).names:
            return
        for folder in (paths.LAYERS, paths.REVISIONS):
            for algorithm in self._files.entries(f"{root}/{folder}"):
                self._files.remove_folder(f"{root}/{folder}/{algorithm.name}")
        for folder in (paths.LAYERS, paths.REVISIONS, paths.TAGS, paths.MANIFESTS, paths.UPLOADS):
            self._files.remove_folder(f"{root}/{folder}")
        while root != paths.REPOSITORIES and self._files.remove_folder(root):
            root = root.rpartition("/")[0]

    def _write(self, key: str, content: bytes, modified_ms: int) -> None:
        self._pause()
        self.done.written += self._files.write(key, content, modified_ms, is_durable=self._is_durable)

    def _remove(self, key: str) -> None:
        self._pause()
        self.done.removed += self._files.remove(key)


def _go_on() -> None:
    """Does nothing: the default ``pause``, which neither rests nor ends."""
