"""Parts that the endpoints share: the shape of one, and the headers that several send."""

from collections.abc import Awaitable, Callable

from roadstead.access import Caller, VisibleRepositories
from roadstead.events import Cause
from roadstead.oci import Digest
from roadstead.web.context import SCOPE_KEY, RequestContext
from roadstead.web.distribution.requirements import PULLABLE
from roadstead.web.distribution.routes import Route
from roadstead.web.http import Headers, Request, Response, warning
from roadstead.web.pagination import PageRequest, next_link

Methods = dict[str, Callable[[Request, Route], Awaitable[Response]]]
"""A handler for each method that a path answers."""


def cause_of(request: Request) -> Cause:
    """Returns the cause of a change, for the events and the history that tell of it.

    The middleware has replaced scheme, host and client by what a trusted proxy says of them.
    """
    scope = request.scope
    context = context_of(request)
    host = request.header(b"host")
    client = scope.get("client")
    return Cause(
        actor=context.actor,
        request_id=context.request_id,
        client=_address(*client) if client else "",
        host=host,
        method=request.method,
        user_agent=request.header(b"user-agent"),
        base_url=_base_url(request, context, host),
    )


def _base_url(request: Request, context: RequestContext, host: str) -> str:
    """Where clients see the registry, as far as anybody said; empty where nobody did."""
    if context.origin:
        return f"{context.origin}{context.root}"
    return f"{request.scope.get('scheme', 'http')}://{host}{context.root}" if host else ""


def _address(host: str, port: int) -> str:
    """Proxies do not tell the port from which their client asked."""
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def digest_header(digest: Digest) -> tuple[bytes, bytes]:
    """``Docker-Content-Digest``: what the content is."""
    return b"docker-content-digest", digest.encode("ascii")


def etag(digest: Digest) -> str:
    """A strong entity tag: content that is named by its digest never changes."""
    return f'"{digest}"'


def context_of(request: Request) -> RequestContext:
    """Returns what is known about a request besides its bytes."""
    context: RequestContext = request.scope[SCOPE_KEY]
    return context


def caller_of(request: Request) -> Caller:
    """Returns the caller: known, since nobody gets to an endpoint who was not authorised.

    Raises:
        RuntimeError: an endpoint was called past the gate.
    """
    caller = context_of(request).caller
    if caller is None:
        raise RuntimeError("a request came to an endpoint before anybody knew who asks")
    return caller


def visible_of(request: Request) -> VisibleRepositories:
    """The repositories into which a request's queries may look.

    Raises:
        RuntimeError: an endpoint was called past the gate.
    """
    context: RequestContext = request.scope[SCOPE_KEY]  # no call more than needed: on the way of every pull
    visible = context.visible
    if visible is None:
        raise RuntimeError("a request came to an endpoint before anybody knew what it may see")
    return visible


def pullable_of(request: Request) -> VisibleRepositories:
    """The repositories from which who asks may pull."""
    return caller_of(request).visible_for(PULLABLE)


def listing_headers(request: Request, path: str, wanted: PageRequest, last: str, **more: str) -> Headers:
    """The way to the next page of ``path``, and a word where the page is smaller than the client asked for.

    The link has no host, as registry:2's has none: it leads to where the client is already.
    """
    headers: Headers = []
    if last and wanted.size:
        headers.append(next_link(f"{context_of(request).root}{path}", wanted.size, last, **more))
    if wanted.is_reduced:
        headers.append(warning(f"n was reduced to {wanted.size}, the most this registry lists at once"))
    return headers
