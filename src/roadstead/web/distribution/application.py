"""The content plane as an ASGI application: path to endpoint to answer, a few calls deep."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from roadstead.config import LimitSettings
from roadstead.errors import RoadsteadError
from roadstead.oci import ErrorCode
from roadstead.registry import Registry
from roadstead.web.authentication import Authentication
from roadstead.web.context import RequestContext
from roadstead.web.distribution.blobs import BlobEndpoint
from roadstead.web.distribution.catalog import CatalogEndpoint
from roadstead.web.distribution.manifests import ManifestEndpoint
from roadstead.web.distribution.referrers import ReferrersEndpoint
from roadstead.web.distribution.requirements import REQUIREMENTS, authorise, identify
from roadstead.web.distribution.routes import PathMovedError, Route, find_route
from roadstead.web.distribution.tags import TagsEndpoint
from roadstead.web.distribution.undo import UndoEndpoint
from roadstead.web.distribution.uploads import UploadChunkEndpoint, UploadEndpoint
from roadstead.web.errors import (
    DeletionDisabledError,
    MethodUnsupportedError,
    TooManyRequestsError,
    error_response,
    problem_of,
)
from roadstead.web.http import ClientDisconnectedError, Receive, Request, Response, Scope, Send, json_response
from roadstead.web.memory import BodyMemory
from roadstead.web.rates import ClientRates
from roadstead.web.requirement import RateClass

Endpoint = Callable[[Request, Route], Awaitable[Response]]

INTERNAL: Final = 500
"""From this status on it is our fault, and the log says more than the client hears."""

CANCELLING: Final = "blob_upload_chunk"
"""The one handler whose DELETE deletes nothing that was ever promised to be kept."""

_log = structlog.get_logger("roadstead.distribution")


class Distribution:
    """Answers everything below ``/v2/``."""

    def __init__(
        self,
        registry: Registry,
        limits: LimitSettings,
        authentication: Authentication,
        *,
        accel_location: str = "",
        deletion: bool = True,
        rates: ClientRates | None = None,
    ) -> None:
        """With ``deletion`` off, no path but that of an upload under way answers DELETE."""
        self._rates = rates
        self._authentication = authentication
        page = limits.page_maximum
        memory = BodyMemory(max(limits.body_memory_bytes, limits.manifest_bytes), registry.clock.monotonic_seconds)
        undo = UndoEndpoint(registry, page)
        self._endpoints: dict[str, dict[str, Endpoint]] = {
            "base": {"GET": _base, "HEAD": _base},
            "catalog": CatalogEndpoint(registry, limits.catalog_page_maximum).methods(),
            "tags": TagsEndpoint(registry, page).methods(),
            "manifest": ManifestEndpoint(registry, limits.manifest_bytes, memory).methods(),
            "blob": BlobEndpoint(registry, accel_location).methods(),
            "blob_upload": UploadEndpoint(registry).methods(),
            "blob_upload_chunk": UploadChunkEndpoint(registry).methods(),
            "referrers": ReferrersEndpoint(registry, page, memory).methods(),
            "undo_history": undo.history_methods(),
            "undo_removed": undo.removed_methods(),
            "undo_restore": undo.restore_methods(),
        }
        if not deletion:
            self._refuse_deletion()

    def _refuse_deletion(self) -> None:
        """For every path there is and will be (CVE-2026-41888: registry:3 forgot that tags can be deleted too)."""
        for handler, methods in self._endpoints.items():
            if "DELETE" in methods and handler != CANCELLING:
                methods["DELETE"] = _no_deletion(tuple(method for method in methods if method != "DELETE"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Errors that the code foresaw become answers; others pass to the middleware."""
        request = Request(scope, receive)
        try:
            try:
                response = await self._answer(request, scope)
            except RoadsteadError as error:
                _report(error)
                response = error_response(error)
            await response.send(send)
        finally:
            request.end()

    async def _answer(self, request: Request, scope: Scope) -> Response:
        context: RequestContext = scope["roadstead"]
        try:
            route = find_route(scope["raw_path"])
            context.handler = route.handler
            context.repository = str(route.repository)  # logs take no subclass of str
            endpoints = self._endpoints[route.handler]
            endpoint = endpoints.get(request.method)
            if endpoint is None:
                if request.method == "OPTIONS":
                    self._admit(scope, "")
                    return _options(endpoints)
                raise MethodUnsupportedError(request.method, tuple(endpoints))
            requirement = REQUIREMENTS[route.handler, request.method]
            caller = self._authentication.recall(scope)
            if caller is None:
                caller = await identify(self._authentication, scope, requirement, route.repository)
        except PathMovedError as error:
            self._admit(scope, "")
            return _moved(context, error.path, scope["query_string"])
        except TooManyRequestsError:
            raise
        except RoadsteadError:
            self._admit(scope, "")  # what is refused before it is known who asks is paid for by its address
            raise
        context.caller = caller
        context.actor = caller.name
        if requirement.rate is RateClass.CLIENT:
            self._admit(scope, caller.name)
        context.visible = authorise(self._authentication, caller, requirement, route.repository)
        return await endpoint(request, route)

    def _admit(self, scope: Scope, user: str) -> None:
        if self._rates is not None:
            self._rates.admit(scope, user)


def _report(error: RoadsteadError) -> None:
    problem = problem_of(error)
    if problem.status >= INTERNAL or problem.code is ErrorCode.UNKNOWN:
        details: dict[str, str] = {key: str(value) for key, value in vars(error).items() if value is not None}
        if error.__cause__ is not None:
            details["cause"] = repr(error.__cause__)
        _log.error("request failed", **{**details, "reason": str(error)})
    elif isinstance(error, ClientDisconnectedError):
        _log.info("client went away before the end of its request")


def _moved(context: RequestContext, path: str, query: bytes) -> Response:
    """Where a path with doubled slashes leads, as registry:2 says it: before it asks who wants to know."""
    name, location = context.location(path)
    return Response(301, [(name, location + b"?" + query if query else location)])


def _options(methods: Iterable[str]) -> Response:
    """Returns the methods that a path answers, which is said to whoever asks, since it tells nothing of what is there.

    A browser asks so, without credentials, before it lets a page of another site talk to the registry. registry:2
    wants a password even then, so that such pages need a proxy that lets the question through.
    """
    return Response(200, [(b"allow", ", ".join(methods).encode("ascii"))])


def _no_deletion(allowed: tuple[str, ...]) -> Endpoint:
    async def refuse(_request: Request, _route: Route) -> Response:
        raise DeletionDisabledError(allowed)

    return refuse


async def _base(_request: Request, _route: Route) -> Response:
    """Says that the API is spoken here (distribution specification, section "Determining Support")."""
    return json_response(200, {})
