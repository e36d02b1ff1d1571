"""From a path of the content plane to what it names.

Paths are matched as they were sent, before percent-decoding, so that an encoded slash or dot can never become a part of
a repository's name; only the last component, a tag or digest, may be encoded (clients write ``sha256%3A…``).
"""

import functools
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from roadstead.oci.errors import NameInvalidError
from roadstead.oci.reference import RepositoryName
from roadstead.web.errors import EndpointUnknownError

PREFIX: Final = "/v2/"

REMEMBERED: Final = 2048
"""Paths whose route is kept: a pull asks for the same few again and again, and matching costs as much as a query."""

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


@functools.lru_cache(maxsize=REMEMBERED)
def find_route(raw_path: bytes) -> Route:
    """What ``raw_path`` names.

    Raises:
        EndpointUnknownError: no endpoint has such a path.
        NameInvalidError: one has, but the repository's name is malformed.
    """
    path = raw_path.decode("latin-1")
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
        return Route("manifest", _name(head[:-10]), _decoded(last))
    if head.endswith("/blobs") and last != "uploads":
        return Route("blob", _name(head[:-6]), _decoded(last))
    return _find_other(rest, head, last)


def _find_other(rest: str, head: str, last: str) -> Route:
    if head.endswith(_UPLOADS) and last:
        return Route("blob_upload_chunk", _name(head[: -len(_UPLOADS)]), last)
    if rest.removesuffix("/").endswith(_UPLOADS):
        return Route("blob_upload", _name(rest.removesuffix("/")[: -len(_UPLOADS)]), "")
    if rest.endswith("/tags/list"):
        return Route("tags", _name(rest[:-10]), "")
    if head.endswith("/referrers"):
        return Route("referrers", _name(head[:-10]), _decoded(last))
    if head.endswith(_UNDO) and last in _UNDO_HANDLERS:
        return Route(_UNDO_HANDLERS[last], _name(head[: -len(_UNDO)]), "")
    raise EndpointUnknownError


def _name(text: str) -> RepositoryName:
    if "%" in text:
        raise NameInvalidError(text[:255], "it must not be percent-encoded")
    return RepositoryName.parse(text)


def _decoded(text: str) -> str:
    return unquote(text, errors="replace") if "%" in text else text
