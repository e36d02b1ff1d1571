"""``GET /v2/<name>/tags/list``. Source: distribution specification, section "Listing Tags"."""

from roadstead.registry import Registry
from roadstead.web.distribution.endpoint import Methods, listing_headers, visible_of
from roadstead.web.distribution.routes import Route
from roadstead.web.http import Request, Response, json_response
from roadstead.web.pagination import read_page_request


class TagsEndpoint:
    """Lists a repository's tags in the order of their bytes, a page at a time."""

    def __init__(self, registry: Registry, page_maximum: int) -> None:
        self._tags = registry.tags
        self._page_maximum = page_maximum

    def methods(self) -> Methods:
        """Returns the methods that this path answers."""
        return {"GET": self.get, "HEAD": self.get}

    async def get(self, request: Request, route: Route) -> Response:
        """A page of tags; ``n=0`` asks whether the repository is there."""
        wanted = read_page_request(request, self._page_maximum)
        page = await self._tags.list_names(
            route.repository, visible=visible_of(request), after=wanted.after, limit=wanted.size
        )
        headers = listing_headers(request, f"/v2/{route.repository}/tags/list", wanted, page.last)
        return json_response(200, {"name": route.repository, "tags": page.items}, headers)
