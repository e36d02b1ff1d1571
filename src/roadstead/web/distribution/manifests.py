"""``/v2/<name>/manifests/<reference>``.

Source: distribution specification, sections "Pulling manifests", "Pushing Manifests", "Deleting tags" and "Deleting
Manifests".
"""

import asyncio
from typing import Final

from roadstead.events import Event, EventAction
from roadstead.oci import Digest, Tag, parse_reference
from roadstead.oci.errors import TagInvalidError
from roadstead.registry import Registry
from roadstead.registry.errors import ManifestUnknownError, RepositoryUnknownError
from roadstead.registry.model import PushedManifest, StoredManifest
from roadstead.web.distribution.endpoint import Methods, cause_of, context_of, digest_header, etag, visible_of
from roadstead.web.distribution.routes import Route
from roadstead.web.http import Headers, QueryInvalidError, Request, Response, warning
from roadstead.web.memory import FREE_ANSWER_BYTES, BodyMemory
from roadstead.web.ranges import matches_etag

MAXIMUM_TAGS: Final = 100
"""Tags set by one push; the specification asks for at least 10."""

SHOWN_CHARACTERS: Final = 256
"""Of what is no tag: twice as many as one may have."""


class ManifestEndpoint:
    """Pulls, pushes and deletes manifests and tags."""

    def __init__(self, registry: Registry, limit_bytes: int, memory: BodyMemory) -> None:
        self._manifests = registry.manifests
        self._tags = registry.tags
        self._pulls = registry.pulls
        self._traffic = registry.traffic
        self._limit_bytes = limit_bytes
        self._memory = memory
        self._fetching = asyncio.Semaphore(1)

    def methods(self) -> Methods:
        """Returns the methods that this path answers."""
        return {"GET": self.get, "HEAD": self.head, "PUT": self.put, "DELETE": self.delete}

    async def get(self, request: Request, route: Route) -> Response:
        """The manifest, byte for byte as it was pushed, whatever ``Accept`` says: its digest is its identity."""
        reference, stored = await self._get(request, route)
        headers = _headers(stored)
        if _is_known_to(request, stored.digest):
            return Response(304, headers)
        if stored.size_bytes > FREE_ANSWER_BYTES:
            body = await self._fetch(request, stored.digest)
        else:
            body = await self._manifests.get_body(stored.digest)
        self._note_pull(request, route, reference, stored)
        self._traffic.pulled(route.repository, stored.digest, stored.size_bytes)
        return Response(200, headers, body)

    async def _fetch(self, request: Request, digest: Digest) -> bytes:
        """A large body, held; one after the other, so that all who ask for the same are sent the same."""
        async with self._fetching:
            body = self._memory.find_answer(digest) or await self._manifests.get_body(digest)
            self._memory.hold_answer(request, body, digest)
            return body

    async def head(self, request: Request, route: Route) -> Response:
        """The same without the body."""
        reference, stored = await self._get(request, route)
        if _is_known_to(request, stored.digest):
            return Response(304, _headers(stored))
        self._note_pull(request, route, reference, stored)
        return Response(200, _headers(stored), size_bytes=stored.size_bytes)

    async def _get(self, request: Request, route: Route) -> tuple[Tag | Digest, StoredManifest]:
        """Finds what the path names. What cannot be a tag, or would be in a repository that is not there, is unknown.

        Clients ask for what may not be there, and tell by the code; registry:2 answers the same.

        Raises:
            ManifestUnknownError: there is none.
            DigestInvalidError: the path has a digest that cannot be one.
        """
        try:
            reference = parse_reference(route.reference)
            stored = await self._manifests.get(route.repository, reference, visible=visible_of(request))
        except (TagInvalidError, RepositoryUnknownError):
            raise _unknown(route) from None
        return reference, stored

    def _note_pull(self, request: Request, route: Route, reference: Tag | Digest, stored: StoredManifest) -> None:
        """An event, if anybody waits for it; as registry:2, for HEAD too, but not for an answer of 304."""
        if self._pulls.is_wanted:
            event = Event(
                action=EventAction.PULL,
                repository=route.repository,
                digest=stored.digest,
                media_type=stored.media_type,
                size_bytes=stored.size_bytes,
                tag=reference if isinstance(reference, Tag) else "",
                cause=cause_of(request),
            )
            self._pulls.add(event)

    async def put(self, request: Request, route: Route) -> Response:
        """Accepts a manifest and sets tags."""
        reference = parse_reference(route.reference)
        tags = _tags(request, reference)
        body = await self._memory.read_body(request, self._limit_bytes)
        pushed = await self._manifests.push(
            route.repository,
            body,
            request.header(b"content-type"),
            digest=reference if isinstance(reference, Digest) else None,
            tags=tags,
            cause=cause_of(request),
        )
        location = context_of(request).location(f"/v2/{route.repository}/manifests/{pushed.digest}")
        headers: Headers = [location, digest_header(pushed.digest)]
        return Response(201, headers + _consequences(pushed, named=isinstance(reference, Digest)))

    async def delete(self, request: Request, route: Route) -> Response:
        """Deletes a tag, or a manifest with its tags."""
        try:
            reference = parse_reference(route.reference)
            if isinstance(reference, Tag):
                await self._tags.delete(route.repository, reference, cause=cause_of(request))
            else:
                await self._manifests.delete(route.repository, reference, cause=cause_of(request))
        except (TagInvalidError, RepositoryUnknownError):
            raise _unknown(route) from None
        return Response(202)


def _unknown(route: Route) -> ManifestUnknownError:
    return ManifestUnknownError(route.repository, route.reference[:SHOWN_CHARACTERS])


def _headers(stored: StoredManifest) -> Headers:
    return [
        (b"content-type", stored.media_type.encode("ascii")),
        digest_header(stored.digest),
        (b"etag", etag(stored.digest).encode("ascii")),
    ]


def _is_known_to(request: Request, digest: Digest) -> bool:
    if_none_match = request.header(b"if-none-match")
    return bool(if_none_match) and matches_etag(if_none_match, etag(digest))


def _tags(request: Request, reference: Tag | Digest) -> list[Tag]:
    """The tags that a push sets: the one in the path, or those in the query beside a digest."""
    more = [Tag.parse(text) for text in request.query_values("tag")]
    if isinstance(reference, Tag):
        if more:
            raise QueryInvalidError("tag= needs a digest in the path")
        return [reference]
    if len(more) > MAXIMUM_TAGS:
        raise QueryInvalidError(f"more than {MAXIMUM_TAGS} tags in one push")
    return list(dict.fromkeys(more))


def _consequences(pushed: PushedManifest, *, named: bool) -> Headers:
    headers: Headers = []
    if pushed.subject is not None:
        headers.append((b"oci-subject", pushed.subject.encode("ascii")))
    if named:
        headers += [(b"oci-tag", tag.encode("ascii")) for tag in pushed.tags]
    if pushed.missing:
        headers.append(warning(f"{pushed.missing} of what this manifest names are not in this repository"))
    if pushed.wrong_sizes:
        text = f"{pushed.wrong_sizes} of the sizes that this manifest states are not those of its blobs"
        headers.append(warning(text))
    return headers
