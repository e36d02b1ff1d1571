"""``/v2/<name>/blobs/uploads/…``: pushing blobs in every way that the specification knows.

Source: distribution specification, sections "Pushing blobs", "Cancel a blob upload" and "Mounting a blob from another
repository".
"""

import re
from collections.abc import AsyncIterator
from typing import Final

from roadstead.events import Cause
from roadstead.oci import Digest, RepositoryName, parse_algorithm
from roadstead.oci.errors import DigestInvalidError, NameInvalidError
from roadstead.registry import Registry
from roadstead.registry.content.receiving import Body
from roadstead.registry.errors import UploadOffsetError, UploadSizeMismatchError, UploadUnknownError
from roadstead.registry.model import UploadSession
from roadstead.web.distribution.endpoint import (
    Methods,
    cause_of,
    context_of,
    digest_header,
    pullable_of,
    visible_of,
)
from roadstead.web.distribution.routes import Route
from roadstead.web.errors import ContentRangeInvalidError, error_response
from roadstead.web.http import Headers, Request, Response

DEFAULT: Final = "sha256"
"""The algorithm of an upload whose client does not say which digest it will have."""

CHUNK_BYTES: Final = 1 << 20
"""Sent as ``OCI-Chunk-Min-Length``: each chunk costs a flush to disk, so smaller ones are accepted but slow."""

_CONTENT_RANGE: Final = re.compile(r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})(?:/[\d*]+)?", re.ASCII)
"""The specification's ``<start>-<end>``; some clients write it as RFC 9110 does."""


class UploadEndpoint:
    """Begins uploads, mounts blobs, takes whole blobs."""

    def __init__(self, registry: Registry) -> None:
        self._uploads = registry.uploads
        self._blobs = registry.blobs

    def methods(self) -> Methods:
        """Returns the methods that this path answers."""
        return {"POST": self.post}

    async def post(self, request: Request, route: Route) -> Response:
        """One of: a mount, a whole blob, or the beginning of an upload."""
        if request.query("mount") is not None:
            return await self._mount(request, route.repository)
        if request.query("digest") is not None:
            return await self._take_whole(request, route.repository)
        algorithm = request.query("digest-algorithm")
        return await self._begin(request, route.repository, parse_algorithm(algorithm) if algorithm else DEFAULT)

    async def _mount(self, request: Request, repository: RepositoryName) -> Response:
        """Mounts a blob, only from where the caller may pull: else a digest would be enough to read any blob.

        Whatever cannot be mounted becomes an upload, also what no digest or repository can be called: registry:2 and
        registry:3 do the same, and so does the specification ("or from a repository that does not exist …, 202").
        """
        try:
            digest = Digest.parse(request.query("mount") or "")
            text = request.query("from")
            source = RepositoryName.parse(text) if text else None
        except (DigestInvalidError, NameInvalidError):
            return await self._begin(request, repository, DEFAULT)
        is_mounted = await self._blobs.mount(
            repository, digest, source, visible=pullable_of(request), cause=cause_of(request)
        )
        if is_mounted:
            return _created(request, repository, digest)
        return await self._begin(request, repository, digest.algorithm)

    async def _take_whole(self, request: Request, repository: RepositoryName) -> Response:
        """The blob ``digest``; without a body the beginning of its upload, unless the blob is empty itself."""
        stated = request.query("digest")
        digest = Digest.parse(stated) if stated else None
        body = await _find_body(request)
        if digest is None:
            if body is not None:
                raise DigestInvalidError("", "a whole blob needs ?digest=")
            return await self._begin(request, repository, DEFAULT)
        if body is None and digest != Digest.of(b"", digest.algorithm):
            return await self._begin(request, repository, digest.algorithm)
        return await self._push(request, repository, digest, body or _nothing())

    async def _begin(self, request: Request, repository: RepositoryName, algorithm: str) -> Response:
        session = await self._uploads.start(repository, algorithm, cause=cause_of(request))
        return Response(202, [*_progress(request, session), (b"oci-chunk-min-length", b"%d" % CHUNK_BYTES)])

    async def _push(self, request: Request, repository: RepositoryName, digest: Digest, body: Body) -> Response:
        """A whole blob in one request; nothing of it stays if it fails, since the client knows no session."""
        cause = cause_of(request)
        session = await self._uploads.start(repository, digest.algorithm, cause=cause)
        try:
            await self._uploads.finish(
                repository,
                session.id,
                body,
                digest,
                length=request.content_length,
                cause=cause,
            )
        except BaseException:
            await self._discard(session, cause)
            raise
        return _created(request, repository, digest)

    async def _discard(self, session: UploadSession, cause: Cause) -> None:
        try:
            await self._uploads.cancel(session.repository, session.id, cause=cause)
        except UploadUnknownError:
            return


class UploadChunkEndpoint:
    """Takes chunks, says where an upload stands, closes and cancels it."""

    def __init__(self, registry: Registry) -> None:
        self._uploads = registry.uploads

    def methods(self) -> Methods:
        """Returns the methods that this path answers."""
        return {"GET": self.get, "HEAD": self.get, "PATCH": self.patch, "PUT": self.put, "DELETE": self.delete}

    async def get(self, request: Request, route: Route) -> Response:
        """Where the upload stands."""
        return Response(204, _progress(request, await self._get(request, route)))

    async def _get(self, request: Request, route: Route) -> UploadSession:
        return await self._uploads.get(
            route.repository, route.reference, visible=visible_of(request), cause=cause_of(request)
        )

    async def patch(self, request: Request, route: Route) -> Response:
        """A chunk, or a stream of unknown length."""
        try:
            begin = await self._begin(request, route)
            session = await self._uploads.append(
                route.repository,
                route.reference,
                request.upload_body(),
                begin=begin,
                length=request.content_length,
                cause=cause_of(request),
            )
        except UploadOffsetError as error:
            return await self._out_of_order(request, route, error)
        return Response(202, _progress(request, session))

    async def put(self, request: Request, route: Route) -> Response:
        """The end of the upload, with or without a last chunk."""
        stated = request.query("digest")
        if stated is None:
            raise DigestInvalidError("", "closing an upload needs ?digest=")
        digest = Digest.parse(stated)
        try:
            begin = await self._begin(request, route)
            await self._uploads.finish(
                route.repository,
                route.reference,
                request.upload_body(),
                digest,
                begin=begin,
                length=request.content_length,
                cause=cause_of(request),
            )
        except UploadOffsetError as error:
            return await self._out_of_order(request, route, error)
        return _created(request, route.repository, digest)

    async def delete(self, request: Request, route: Route) -> Response:
        """Cancels the upload."""
        await self._uploads.cancel(route.repository, route.reference, cause=cause_of(request))
        return Response(204)

    async def _begin(self, request: Request, route: Route) -> int | None:
        """The offset at which the client says its chunk belongs; None where it says nothing.

        Raises:
            ContentRangeInvalidError: what it says is malformed.
            UploadOffsetError, UploadUnknownError: the upload stands elsewhere, or is not there.
            UploadSizeMismatchError: the chunk belongs there, but has another length than the client says.
        """
        header = request.header(b"content-range")
        if not header:
            return None
        begin, length = _stated_range(header)
        stated = request.content_length
        if stated is not None and stated != length:
            session = await self._get(request, route)
            if begin != session.offset:
                raise UploadOffsetError(session.id, session.offset)
            raise UploadSizeMismatchError(length, stated)
        return begin

    async def _out_of_order(self, request: Request, route: Route, error: UploadOffsetError) -> Response:
        """The error, with what the client needs to go on."""
        response = error_response(error)
        response.headers += _progress(request, await self._get(request, route))
        return response


async def _find_body(request: Request) -> Body | None:
    """The body, None where it is empty: of one without a stated length this shows only when its first bytes arrive."""
    if (stated := request.content_length) is not None:
        return request.upload_body() if stated else None
    body = request.iter_body()
    first = await anext(body, None)
    return None if first is None else _joined(first, body)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _nothing() -> AsyncIterator[bytes]:
    no_pieces: tuple[bytes, ...] = ()
    for piece in no_pieces:
        yield piece


def _stated_range(header: str) -> tuple[int, int]:
    """Offset and length of a chunk."""
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None or int(match[2]) < int(match[1]):
        raise ContentRangeInvalidError
    return int(match[1]), int(match[2]) - int(match[1]) + 1


def _progress(request: Request, session: UploadSession) -> Headers:
    return [
        context_of(request).location(f"/v2/{session.repository}/blobs/uploads/{session.id}"),
        (b"range", b"0-%d" % max(0, session.offset - 1)),
        (b"docker-upload-uuid", session.id.encode("ascii")),
    ]


def _created(request: Request, repository: RepositoryName, digest: Digest) -> Response:
    location = context_of(request).location(f"/v2/{repository}/blobs/{digest}")
    return Response(201, [location, digest_header(digest)])
