"""Reads the link tree of registry:2, trusting nothing in it.

Promises: nothing is written; nothing outside the tree is read; whatever cannot be understood becomes a finding and the
rest is still read. Called from threads. While another program writes to the tree each answer is right for some moment.
"""

import contextlib
import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.oci.errors import NameInvalidError, TagInvalidError
from roadstead.registry2.links import paths
from roadstead.registry2.links.findings import TreeFinding, TreeFindingKind
from roadstead.registry2.links.protocol import LinkFiles
from roadstead.storage import Entry, EntryKind, StorageError

_MARKS: Final = frozenset({paths.LAYERS, paths.MANIFESTS, paths.UPLOADS})
"""Names of folders that make the folder around them a repository."""

_SUPPORTED: Final = frozenset({"sha256", "sha512"})

_ALGORITHM: Final = re.compile(r"[a-z0-9]+")
"""Pattern of a folder of digests; those of tarsum have more below it. Folders of file servers and snapshots differ."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link: a digest, and the time at which it was written."""

    digest: Digest
    modified_ms: int


@dataclass(frozen=True, slots=True)
class TagLinks:
    """The links of a tag: the current one with its time, and all earlier ones, the oldest first."""

    tag: Tag
    current: Link
    history: tuple[Link, ...]


@dataclass(slots=True)
class Names:
    """The names in a folder of links, before any link is read."""

    names: list[str] = field(default_factory=list[str])
    is_complete: bool = True
    """False if a part could not be read: whatever is missing in ``names`` may be there."""


Report = Callable[[TreeFinding], None]


class Unclear(Exception):  # noqa: N818 - no error: the answer of a disk that does not say
    """A part of the tree could not be read, so that nobody knows if there is something."""


class LinkTree:
    """The link tree of one storage root. ``report`` gets each finding, in the thread that reads."""

    def __init__(self, files: LinkFiles, report: Report) -> None:
        self.files = files
        self._report = report

    def exists(self) -> bool:
        """Returns True if there is a tree with at least one folder of repositories."""
        return any(entry.kind is EntryKind.FOLDER for entry in self.files.entries(paths.REPOSITORIES))

    # --- repositories

    def iter_repositories(self) -> Iterator[RepositoryName]:
        """Yields the names of all repositories that the grammar allows.

        Raises:
            StorageError: a folder above them cannot be read, so that what is missing would seem deleted.
        """
        pending = [""]
        while pending:
            name = pending.pop()
            folder = paths.repository_folder(name) if name else paths.REPOSITORIES
            entries = self.files.entries(folder)
            marks = {entry.name for entry in entries if entry.kind is EntryKind.FOLDER} & _MARKS
            for entry in reversed(entries):
                if entry.kind is EntryKind.FOLDER and _is_name(entry.name):
                    pending.append(f"{name}/{entry.name}" if name else entry.name)
                elif entry.name not in marks:
                    self._tell_unnameable(name, entry)
            if marks and (parsed := self._parse_name(name)) is not None:
                yield parsed
            elif name and not entries:
                self._tell(TreeFindingKind.REPOSITORY_EMPTY, folder, "an empty folder")

    def _tell_unnameable(self, above: str, entry: Entry) -> None:
        """Reports something between repositories that is none, such as ``@eaDir``, ``.snapshot`` or ``lost+found``.

        Nobody could ask registry:2 for what is below it, so nothing there is looked at: it may hold copies of the whole
        tree, and may be closed to us.
        """
        name = f"{above}/{entry.name}" if above else entry.name
        folder = paths.repository_folder(name)
        if entry.kind is EntryKind.FOLDER and self._has_any(folder, _MARKS):
            self._parse_name(name)
        else:
            self.tell_foreign(folder.rpartition("/")[0], entry)

    def _has_any(self, folder: str, names: frozenset[str]) -> bool:
        with contextlib.suppress(StorageError):
            return any(entry.name in names for entry in self.files.entries(folder))
        return False

    def _parse_name(self, name: str) -> RepositoryName | None:
        try:
            return RepositoryName.parse(name)
        except NameInvalidError as error:
            self._tell(TreeFindingKind.REPOSITORY_INVALID, name, f"no repository can have this name: {error}")
            return None

    # --- names of links

    def layers(self, repository: RepositoryName) -> Names:
        """Lists the blobs that a repository may have, as digests' texts."""
        return self._digests(f"{paths.repository_folder(repository)}/{paths.LAYERS}")

    def revisions(self, repository: RepositoryName) -> Names:
        """Lists the manifests that a repository may have, as digests' texts."""
        return self._digests(f"{paths.repository_folder(repository)}/{paths.REVISIONS}")

    def tags(self, repository: RepositoryName) -> Names:
        """Lists the tags that a repository may have."""
        self._look_beside(f"{paths.repository_folder(repository)}/{paths.MANIFESTS}", {"revisions", "tags"})
        found, folder = Names(), f"{paths.repository_folder(repository)}/{paths.TAGS}"
        for entry in self._entries(folder, found):
            if entry.kind is not EntryKind.FOLDER:
                self.tell_foreign(folder, entry)
                continue
            try:
                found.names.append(Tag.parse(entry.name))
            except TagInvalidError:
                if self._has_any(f"{folder}/{entry.name}", frozenset({"current"})):
                    self._tell(TreeFindingKind.TAG_INVALID, f"{repository}:{entry.name}", "no tag can have this name")
                else:
                    self.tell_foreign(folder, entry)
        return found

    def _digests(self, folder: str) -> Names:
        found = Names()
        for algorithm in self._entries(folder, found):
            key = f"{folder}/{algorithm.name}"
            if algorithm.kind is not EntryKind.FOLDER or not _ALGORITHM.fullmatch(algorithm.name):
                self.tell_foreign(folder, algorithm)
            elif algorithm.name not in _SUPPORTED:
                detail = "digests of an algorithm that only very old clients used"
                self._tell(TreeFindingKind.DIGEST_UNSUPPORTED, key, detail, key)
            else:
                self._add_digests(f"{folder}/{algorithm.name}", algorithm.name, found)
        return found

    def _add_digests(self, folder: str, algorithm: str, found: Names) -> None:
        for entry in self._entries(folder, found):
            digest = paths.find_digest(algorithm, entry.name)
            if digest is None or entry.kind is not EntryKind.FOLDER:
                self.tell_foreign(folder, entry)
            else:
                found.names.append(digest)

    def _entries(self, folder: str, found: Names) -> list[Entry]:
        try:
            return self.files.entries(folder)
        except StorageError as error:
            found.is_complete = False
            self._tell(TreeFindingKind.UNREADABLE, folder, str(error), folder)
            return []

    def _look_beside(self, folder: str, known: set[str]) -> None:
        for entry in self._entries(folder, Names()):
            if entry.name not in known or entry.kind is not EntryKind.FOLDER:
                self.tell_foreign(folder, entry)

    # --- links

    def read_layer(self, repository: RepositoryName, digest: Digest) -> Link | None:
        """Reads a repository's link to a blob; returns None if there is none, or if it leads to something else.

        Raises:
            Unclear: the disk does not say.
        """
        link = self._read_link(paths.layer_link(repository, digest))
        if link is None or link.digest == digest:
            return link
        self._tell_other(paths.layer_link(repository, digest), digest, link.digest)
        return None

    def list_aliases(self, repository: RepositoryName) -> list[tuple[Digest, Link]]:
        """Lists names of blobs that registry:2 keeps under sha256, with their links; invalid ones are left out."""
        folder = f"{paths.repository_folder(repository)}/{paths.LAYERS}/sha512"
        found: list[tuple[Digest, Link]] = []
        for entry in self._entries(folder, Names()):
            digest = paths.find_digest("sha512", entry.name)
            link = self.find_alias(repository, digest) if digest and entry.kind is EntryKind.FOLDER else None
            if digest is not None and link is not None:
                found.append((digest, link))
        return found

    def find_alias(self, repository: RepositoryName, digest: Digest) -> Link | None:
        """Returns the link behind another name of a blob; None if the name is the blob's own, or unknown."""
        try:
            link = self._read_link(paths.layer_link(repository, digest))
        except Unclear:
            return None
        return None if link is None or link.digest.algorithm == digest.algorithm else link

    def read_revision(self, repository: RepositoryName, digest: Digest) -> Link | None:
        """Reads a repository's link to a manifest; returns None if there is none, or if it leads to something else.

        Raises:
            Unclear: the disk does not say.
        """
        key = paths.revision_link(repository, digest)
        link = self._read_link(key)
        if link is None or link.digest == digest:
            return link
        self._tell_other(key, digest, link.digest)
        return None

    def _tell_other(self, key: str, digest: Digest, target: Digest) -> None:
        """Reports a link to another digest: another name of content that registry:2 keeps under sha256, or a fault."""
        if target.algorithm != digest.algorithm:
            detail = f"another name of {target}; when roadstead serves, the same bytes stand under both"
            self._tell(TreeFindingKind.DIGEST_ALIAS, key, detail)
        else:
            self._tell(TreeFindingKind.LINK_MISMATCH, key, f"it says {target}", key)

    def has_link(self, key: str) -> bool:
        """Returns True if anything, even a symbolic link, is in a link's place; after a deletion nothing is.

        Raises:
            StorageError: the disk does not say.
        """
        folder, _, name = key.rpartition("/")
        return any(entry.name == name for entry in self.files.entries(folder))

    def read_tag(self, repository: RepositoryName, tag: Tag) -> TagLinks | None:
        """Reads a tag with its history; returns None if it points at nothing.

        Raises:
            Unclear: the disk does not say.
        """
        folder = paths.tag_folder(repository, tag)
        key = paths.current_link(repository, tag)
        current = self._read_link(key)
        if current is None:
            self._look_beside(folder, {"current", "index"})
            if self.files.find(key) is None:  # else it was told of already
                self._tell(TreeFindingKind.TAG_UNSET, f"{repository}:{tag}", "a tag that points at nothing", key)
            return None
        history: list[Link] = []
        for name in self._digests(f"{folder}/index").names:
            with contextlib.suppress(Unclear):  # was told of; what the tag points at now is known all the same
                link = self._read_link(paths.index_link(repository, tag, Digest(name)))
                if link is not None:
                    history.append(link)
        return TagLinks(tag, current, _in_order(history, current))

    def _read_link(self, key: str) -> Link | None:
        """Reads a link; returns None if it has no content."""
        try:
            found = self.files.read(key, paths.LINK_BYTES)
            if found is None:
                self._look_beside_link(key)
                return None
        except StorageError as error:
            self._tell(TreeFindingKind.UNREADABLE, key, str(error), key)
            raise Unclear from error
        digest = paths.parse_digest(found.content.decode("ascii", "replace").strip())
        if digest is not None:
            return Link(digest, found.modified_ms)
        if found.content:
            self._tell(TreeFindingKind.LINK_INVALID, key, f"no digest: {found.content[:80]!r}", key)
        else:
            detail = "an empty link, as registry:2 leaves it when its machine dies"
            self._tell(TreeFindingKind.LINK_EMPTY, key, detail, key)
        return None

    def _look_beside_link(self, key: str) -> None:
        """Reports what stands in the folder of a link, which a deletion leaves empty."""
        folder = key.rpartition("/")[0]
        for entry in self.files.entries(folder):
            if entry.name == paths.SIGNATURES and entry.kind is EntryKind.FOLDER:
                self.tell_of_signatures(folder)
            elif entry.name != paths.LINK or entry.kind is not EntryKind.FILE:
                self.tell_foreign(folder, entry)

    def tell_of_signatures(self, folder: str) -> None:
        """Reports the signatures that stand beside a link to a manifest of Docker's first format."""
        if self.files.entries(f"{folder}/{paths.SIGNATURES}"):
            detail = "signatures of Docker's first format, which no client asks for any more"
            self._tell(TreeFindingKind.SIGNATURES, f"{folder}/{paths.SIGNATURES}", detail)

    # --- what is only told of

    def tell_of_uploads(self, repository: RepositoryName, now_ms: int) -> int:
        """Reports unfinished uploads with their age; returns their number."""
        folder = f"{paths.repository_folder(repository)}/{paths.UPLOADS}"
        count = 0
        for entry in self._entries(folder, Names()):
            if entry.kind is not EntryKind.FOLDER:
                self.tell_foreign(folder, entry)
                continue
            count += 1
            key = f"{folder}/{entry.name}"
            data = self.files.find(f"{key}/data")
            age = _age(self._started_ms(key, data[1] if data else now_ms), now_ms)
            detail = f"an upload of {data[0] if data else 0} bytes, begun {age} ago and never finished"
            self._tell(TreeFindingKind.UPLOAD, key, detail)
        return count

    def _started_ms(self, folder: str, otherwise_ms: int) -> int:
        found = self.files.read(f"{folder}/startedat", 64)
        try:
            return round(
                dt.datetime.fromisoformat((found.content if found else b"").decode("ascii")).timestamp() * 1000
            )
        except ValueError:  # empty, torn, or no time
            return otherwise_ms

    def tell_of_proxy(self) -> None:
        """Reports the file in which a pull-through cache keeps the expiry of its content."""
        if self.files.find(paths.SCHEDULER_STATE) is not None:
            detail = "the folder of a pull-through cache: its content is taken up, and expires no more"
            self._tell(TreeFindingKind.PROXY_STATE, paths.SCHEDULER_STATE, detail)

    def tell_foreign(self, folder: str, entry: Entry) -> None:
        """Reports something that does not belong where it stands."""
        key = f"{folder}/{entry.name}"
        if entry.kind is EntryKind.SYMLINK:
            self._tell(TreeFindingKind.SYMLINK, key, "a symbolic link, which is not followed", key)
        elif entry.name.endswith(".tmp"):
            self._tell(TreeFindingKind.LEFTOVER, key, "left behind by registry:3 when its machine died")
        else:
            self._tell(TreeFindingKind.FOREIGN, key, f"a {entry.kind.value} that does not belong here")

    def _tell(self, kind: TreeFindingKind, subject: str, detail: str, key: str = "") -> None:
        self._report(TreeFinding(kind, subject, detail, key))


def _is_name(text: str) -> bool:
    """Returns True if a folder may be a part of a repository's name."""
    try:
        RepositoryName.parse(text)
    except NameInvalidError:
        return False
    return True


def _in_order(history: Sequence[Link], current: Link) -> tuple[Link, ...]:
    """Returns the history in order of time, with the current link at its end."""
    before = sorted((link for link in history if link.digest != current.digest), key=lambda link: link.modified_ms)
    return (*before, current)


def _age(then_ms: int, now_ms: int) -> str:
    hours = max(now_ms - then_ms, 0) // 3_600_000
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours"  # noqa: PLR2004 - two days
