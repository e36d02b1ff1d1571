"""What the endpoints share: the shape of one, and the headers that several send."""

from collections.abc import Awaitable, Callable

from roadstead.oci import Digest
from roadstead.web.distribution.routes import Route
from roadstead.web.http import Headers, Request, Response, warning
from roadstead.web.pagination import PageRequest, next_link

Methods = dict[str, Callable[[Request, Route], Awaitable[Response]]]
"""A handler for each method that a path answers."""


def digest_header(digest: Digest) -> tuple[bytes, bytes]:
    """``Docker-Content-Digest``: what the content is."""
    return b"docker-content-digest", digest.encode("ascii")


def etag(digest: Digest) -> str:
    """A strong entity tag: content that is named by its digest never changes."""
    return f'"{digest}"'


def listing_headers(path: str, wanted: PageRequest, last: str, **more: str) -> Headers:
    """The way to the next page, and a word where the page is smaller than the client asked for."""
    headers: Headers = []
    if last and wanted.size:
        headers.append(next_link(path, wanted.size, last, **more))
    if wanted.is_reduced:
        headers.append(warning(f"n was reduced to {wanted.size}, the most this registry lists at once"))
    return headers
