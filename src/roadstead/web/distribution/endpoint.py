"""What the endpoints share: the shape of one, and the headers that several send."""

from collections.abc import Awaitable, Callable

from roadstead.events import Origin
from roadstead.oci import Digest
from roadstead.web.context import SCOPE_KEY, RequestContext
from roadstead.web.distribution.routes import Route
from roadstead.web.http import Headers, Request, Response, warning
from roadstead.web.pagination import PageRequest, next_link

Methods = dict[str, Callable[[Request, Route], Awaitable[Response]]]
"""A handler for each method that a path answers."""


def origin_of(request: Request) -> Origin:
    """Who asks for a change, for the events and the history that tell of it.

    The middleware has replaced scheme, host and client by what a trusted proxy says of them.
    """
    scope = request.scope
    context: RequestContext = scope[SCOPE_KEY]
    host = request.header(b"host")
    client = scope.get("client")
    return Origin(
        actor="" if context.actor == "-" else context.actor,
        request_id=context.request_id,
        client=_address(*client) if client else "",
        host=host,
        method=request.method,
        user_agent=request.header(b"user-agent"),
        base_url=f"{scope.get('scheme', 'http')}://{host}{scope.get('root_path', '')}" if host else "",
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
