"""From a path of the content plane to what it names.

A path is percent-decoded once and then matched, as registry:2 does it: clients write ``sha256%3A…``, and some of them
``owner%2Fimage``. What an encoded character becomes counts like the character itself, for the endpoint, for the grammar
of names and for the rules of access, which see the decoded name alone; nothing is decoded twice. A doubled slash leads
to the path with a single one, which registry:2 says with the same 301. Dots are no way up: no name has such a part.
"""

import functools
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from roadstead.oci.reference import RepositoryName
from roadstead.web.errors import EndpointUnknownError

PREFIX: Final = "/v2/"

REMEMBERED: Final = 2048
"""Paths whose route is kept: a pull asks for the same few again and again, and matching costs as much as a query."""

_SLASHES: Final = re.compile("//+")
_SAFE: Final = "/:@!$&'()*+,;="
"""The characters that may stand in a path as they are (RFC 3986, section 3.3)."""

_UPLOADS: Final = "/blobs/uploads"
_UNDO: Final = "/_roadstead/undo"
_UNDO_HANDLERS: Final = {"history": "undo_history", "removed": "undo_removed", "restore": "undo_restore"}


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint family (registry:2's handler names, for metrics), a repository, and the last component."""

    handler: str
    repository: RepositoryName
    reference: str


_BASE: Final = Route("base", RepositoryName(""), "")
_CATALOG: Final = Route("catalog", RepositoryName(""), "")


class PathMovedError(Exception):
    """The path has slashes next to each other: the client is sent to ``path``, and hears of no error.

    That is the path without them, percent-encoded where it must be.
    """

    def __init__(self, path: str) -> None:
        super().__init__("the path has a doubled slash")
        self.path = path


@functools.lru_cache(maxsize=REMEMBERED)
def find_route(raw_path: bytes) -> Route:
    """Returns the route that ``raw_path`` names.

    Raises:
        EndpointUnknownError: no endpoint has such a path.
        NameInvalidError: one has, but the repository's name is malformed.
        PathMovedError: it has a doubled slash.
    """
    path = raw_path.decode("latin-1")
    if "%" in path:
        path = unquote(path, errors="replace")
    if "//" in path:
        raise PathMovedError(quote(_SLASHES.sub("/", path), safe=_SAFE))
    if not path.startswith(PREFIX):
        if path == "/v2":
            return _BASE
        raise EndpointUnknownError
    rest = path[len(PREFIX) :]
    if not rest:
        return _BASE
    if rest == "_catalog":
        return _CATALOG
    head, _, last = rest.rpartition("/")
    if head.endswith("/manifests"):
        return Route("manifest", RepositoryName.parse(head[:-10]), last)
    if head.endswith("/blobs") and last != "uploads":
        return Route("blob", RepositoryName.parse(head[:-6]), last)
    return _find_other(rest, head, last)


def _find_other(rest: str, head: str, last: str) -> Route:
    if head.endswith(_UPLOADS) and last:
        return Route("blob_upload_chunk", RepositoryName.parse(head[: -len(_UPLOADS)]), last)
    if rest.removesuffix("/").endswith(_UPLOADS):
        return Route("blob_upload", RepositoryName.parse(rest.removesuffix("/")[: -len(_UPLOADS)]), "")
    if rest.endswith("/tags/list"):
        return Route("tags", RepositoryName.parse(rest[:-10]), "")
    if head.endswith("/referrers"):
        return Route("referrers", RepositoryName.parse(head[:-10]), last)
    if head.endswith(_UNDO) and last in _UNDO_HANDLERS:
        return Route(_UNDO_HANDLERS[last], RepositoryName.parse(head[: -len(_UNDO)]), "")
    raise EndpointUnknownError
