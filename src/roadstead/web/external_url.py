"""Makes URLs as clients see them: below a path, under a URL from the settings, and as a proxy says.

By default ``Location`` is a path only, which is right behind every proxy: whatever scheme, name and port the client
asked for, it asks there again. registry:2 writes whole URLs unless ``relativeurls`` says otherwise; an external URL
(registry:2's ``http.host``) and ``relative_urls: false`` do that here.
"""

from collections.abc import Awaitable
from urllib.parse import urlsplit

from roadstead.config import HttpSettings
from roadstead.web.context import SCOPE_KEY, RequestContext
from roadstead.web.errors import EndpointUnknownError, error_response
from roadstead.web.forwarding import is_host
from roadstead.web.http import Application, Receive, Scope, Send

OUTSIDE: frozenset[str] = frozenset({"/", "/healthz"})
"""Paths that are answered without the prefix too, as registry:2's ``/`` is: health checks know no prefix."""


def needs_locations(http: HttpSettings) -> bool:
    """Returns True if the settings ask for anything but paths as they are."""
    is_plain = http.prefix == "/" and http.external_url is None and http.relative_urls
    return not is_plain or bool(http.trusted_proxies)


class Locations:
    """An ASGI application around another one, which it puts below a prefix; used inside ``RequestMiddleware``."""

    def __init__(self, application: Application, http: HttpSettings) -> None:
        self._application = application
        self._prefix = http.prefix
        self._raw_prefix = http.prefix.encode("ascii")
        self._cut = len(http.prefix) - 1
        self._is_relative = http.relative_urls
        url = urlsplit(http.external_url or "")
        self._origin = f"{url.scheme}://{url.netloc}" if url.netloc else ""
        self._external_root = url.path.rstrip("/")

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Passes one request on; one that is not below the prefix finds no endpoint."""
        context: RequestContext = scope[SCOPE_KEY]
        context.root = self._external_root or scope.get("root_path", "") + self._prefix[:-1]
        context.origin = self._origin or ("" if self._is_relative else _origin(scope))
        if not self._cut:
            return self._application(scope, receive, send)
        if scope["raw_path"].startswith(self._raw_prefix):
            path, raw_path = scope["path"][self._cut :], scope["raw_path"][self._cut :]
            return self._application({**scope, "path": path, "raw_path": raw_path}, receive, send)
        if scope["path"] in OUTSIDE:
            return self._application(scope, receive, send)
        return error_response(EndpointUnknownError()).send(send)


def _origin(scope: Scope) -> str:
    """Returns scheme and host that the client asked for, as registry:2 takes them; empty if it named no host."""
    for name, value in scope["headers"]:
        if name == b"host" and is_host(value):
            return f"{scope['scheme']}://{value.decode('ascii')}"
    return ""
