"""Caches in memory of manifests that were asked for: by reference, and their bytes.

Neither says anything about who may read what.
"""

from collections import OrderedDict
from typing import Final

from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry.model import StoredManifest

CACHE_BYTES: Final = 8 << 20
"""Bodies kept in memory: some thousand manifests of usual size, a small part of the 100 MB a server may use."""

FOUND_ENTRIES: Final = 4096
"""Answers kept until the next commit: a megabyte; more are asked for only where nobody asks twice."""

CACHED_BODY_BYTES: Final = 256 << 10
"""Larger bodies are not kept: a few of them would push out all others."""


class FoundCache:
    """The manifests that tags and digests stood for when last asked, for as long as the catalogue has not changed."""

    def __init__(self) -> None:
        self._version: bytes | None = None
        self._found: dict[tuple[RepositoryName, Tag | Digest], StoredManifest] = {}

    def find(self, asked: tuple[RepositoryName, Tag | Digest], version: bytes | None) -> StoredManifest | None:
        """The manifest that was found as of this ``version`` of the catalogue; None where it has to be asked for."""
        return self._found.get(asked) if version is not None and version == self._version else None

    def add(self, asked: tuple[RepositoryName, Tag | Digest], version: bytes | None, stored: StoredManifest) -> None:
        """``version`` is the catalogue's from before it was asked."""
        if version is None or version != self._version or len(self._found) >= FOUND_ENTRIES:
            self._version, self._found = version, {}
        self._found[asked] = stored


class BodyCache:
    """The bodies used last, by digest, which cannot change."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[Digest, bytes] = OrderedDict()
        self._size = 0

    def find(self, digest: Digest) -> bytes | None:
        """The body, if it is here."""
        body = self._bodies.get(digest)
        if body is not None:
            self._bodies.move_to_end(digest)
        return body

    def add(self, digest: Digest, body: bytes) -> None:
        """Keeps a body that is not too large, in place of those that were not used for longest."""
        if len(body) > CACHED_BODY_BYTES or digest in self._bodies:
            return
        self._bodies[digest] = body
        self._size += len(body)
        while self._size > CACHE_BYTES:
            _, dropped = self._bodies.popitem(last=False)
            self._size -= len(dropped)
