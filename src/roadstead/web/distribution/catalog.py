"""``GET /v2/_catalog``: the repositories. Source: registry:2's API; the OCI specification leaves it out."""

from roadstead.registry import Registry
from roadstead.web.distribution.endpoint import Methods, listing_headers, pullable_of
from roadstead.web.distribution.routes import Route
from roadstead.web.http import Request, Response, json_response
from roadstead.web.pagination import read_page_request


class CatalogEndpoint:
    """Lists repositories that hold something, in order, a page at a time."""

    def __init__(self, registry: Registry, page_maximum: int) -> None:
        self._repositories = registry.repositories
        self._page_maximum = page_maximum

    def methods(self) -> Methods:
        """Returns the methods that this path answers."""
        return {"GET": self.get, "HEAD": self.get}

    async def get(self, request: Request, _route: Route) -> Response:
        """A page of the names that the caller may pull."""
        wanted = read_page_request(request, self._page_maximum)
        if wanted.size == 0:
            return json_response(200, {"repositories": []})
        page = await self._repositories.list_names(visible=pullable_of(request), after=wanted.after, limit=wanted.size)
        headers = listing_headers(request, "/v2/_catalog", wanted, page.last)
        return json_response(200, {"repositories": page.items}, headers)
