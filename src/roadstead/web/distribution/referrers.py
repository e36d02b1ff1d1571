"""``GET /v2/<name>/referrers/<digest>``. Source: distribution specification, section "Listing Referrers"."""

import msgspec

from roadstead.oci import Descriptor, Digest
from roadstead.oci.media_type import OCI_INDEX
from roadstead.registry import Registry
from roadstead.registry.model import Referrer
from roadstead.web.distribution.endpoint import Methods, listing_headers, visible_of
from roadstead.web.distribution.routes import Route
from roadstead.web.http import Request, Response
from roadstead.web.memory import BodyMemory
from roadstead.web.pagination import read_page_request


class ReferrersEndpoint:
    """Lists the manifests that name another as their subject, as an index."""

    def __init__(self, registry: Registry, page_maximum: int, memory: BodyMemory) -> None:
        self._referrers = registry.referrers
        self._page_maximum = page_maximum
        self._memory = memory

    def methods(self) -> Methods:
        """Returns the methods that this path answers."""
        return {"GET": self.get, "HEAD": self.get}

    async def get(self, request: Request, route: Route) -> Response:
        """A page of descriptors; a subject that is not there has none."""
        subject = Digest.parse(route.reference)
        wanted = read_page_request(request, self._page_maximum)
        artifact_type = request.query("artifactType") or ""
        page = await self._referrers.list(
            route.repository,
            subject,
            visible=visible_of(request),
            artifact_type=artifact_type,
            after=wanted.after,
            limit=wanted.size,
        )
        descriptors = [_descriptor(item) for item in page.items]
        more = {"artifactType": artifact_type} if artifact_type else {}
        headers = listing_headers(request, f"/v2/{route.repository}/referrers/{subject}", wanted, page.last, **more)
        if artifact_type:
            headers.append((b"oci-filters-applied", b"artifactType"))
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}
        body = msgspec.json.encode(index) + b"\n"
        self._memory.hold_answer(request, body)
        return Response(200, [(b"content-type", OCI_INDEX.encode("ascii")), *headers], body)


def _descriptor(referrer: Referrer) -> dict[str, object]:
    """Its annotations pass as the text that they are stored as: there may be megabytes of them."""
    descriptor = Descriptor(
        media_type=referrer.media_type,
        digest=referrer.digest,
        size_bytes=referrer.size_bytes,
        artifact_type=referrer.artifact_type,
    ).as_json()
    if referrer.annotations:
        descriptor["annotations"] = msgspec.Raw(referrer.annotations.encode())
    return descriptor
