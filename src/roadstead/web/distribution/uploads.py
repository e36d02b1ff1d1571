"""``/v2/<name>/blobs/uploads/…``: pushing blobs in every way that the specification knows.

Source: distribution specification, sections "Pushing blobs", "Cancel a blob upload" and "Mounting a blob from another
repository".
"""

import re
from typing import Final

from roadstead.oci import Digest, RepositoryName, parse_algorithm
from roadstead.oci.errors import DigestInvalidError
from roadstead.registry import Registry
from roadstead.registry.errors import UploadOffsetError, UploadSizeMismatchError, UploadUnknownError
from roadstead.registry.model import UploadSession
from roadstead.web.distribution.endpoint import Methods, caller_of, context_of, digest_header, origin_of
from roadstead.web.distribution.permissions import pull_scope
from roadstead.web.distribution.routes import Route
from roadstead.web.errors import ContentRangeInvalidError, error_response
from roadstead.web.http import Headers, Request, Response

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
        """What this path answers."""
        return {"POST": self.post}

    async def post(self, request: Request, route: Route) -> Response:
        """One of: a mount, a whole blob, or the beginning of an upload."""
        mount = request.query("mount")
        if mount is not None:
            digest = Digest.parse(mount)
            if await self._mount(request, route.repository, digest):
                return _created(request, route.repository, digest)
            return await self._begin(request, route.repository, digest.algorithm)
        stated = request.query("digest")
        if stated is not None:
            digest = Digest.parse(stated)
            if request.content_length != 0 or digest == Digest.of(b"", digest.algorithm):
                return await self._push(request, route.repository, digest)
            return await self._begin(request, route.repository, digest.algorithm)
        algorithm = request.query("digest-algorithm")
        return await self._begin(request, route.repository, parse_algorithm(algorithm) if algorithm else "sha256")

    async def _mount(self, request: Request, repository: RepositoryName, digest: Digest) -> bool:
        """Only from where the caller may pull: else a digest would be enough to read any blob."""
        text = request.query("from")
        source = RepositoryName.parse(text) if text else None
        return await self._blobs.mount(
            repository, digest, source, scope=pull_scope(caller_of(request)), origin=origin_of(request)
        )

    async def _begin(self, request: Request, repository: RepositoryName, algorithm: str) -> Response:
        session = await self._uploads.start(repository, algorithm)
        return Response(202, [*_progress(request, session), (b"oci-chunk-min-length", b"%d" % CHUNK_BYTES)])

    async def _push(self, request: Request, repository: RepositoryName, digest: Digest) -> Response:
        """A whole blob in one request; nothing of it stays if it fails, since the client knows no session."""
        session = await self._uploads.start(repository, digest.algorithm)
        try:
            await self._uploads.finish(
                repository,
                session.id,
                request.upload_body(),
                digest,
                length=request.content_length,
                origin=origin_of(request),
            )
        except BaseException:
            await self._discard(session)
            raise
        return _created(request, repository, digest)

    async def _discard(self, session: UploadSession) -> None:
        try:
            await self._uploads.cancel(session.repository, session.id)
        except UploadUnknownError:
            return


class UploadChunkEndpoint:
    """Takes chunks, says where an upload stands, closes and cancels it."""

    def __init__(self, registry: Registry) -> None:
        self._uploads = registry.uploads

    def methods(self) -> Methods:
        """What this path answers."""
        return {"GET": self.get, "HEAD": self.get, "PATCH": self.patch, "PUT": self.put, "DELETE": self.delete}

    async def get(self, request: Request, route: Route) -> Response:
        """Where the upload stands."""
        return Response(204, _progress(request, await self._uploads.get(route.repository, route.reference)))

    async def patch(self, request: Request, route: Route) -> Response:
        """A chunk, or a stream of unknown length."""
        begin = _begin(request)
        try:
            session = await self._uploads.append(
                route.repository, route.reference, request.upload_body(), begin=begin, length=request.content_length
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
        begin = _begin(request)
        try:
            await self._uploads.finish(
                route.repository,
                route.reference,
                request.upload_body(),
                digest,
                begin=begin,
                length=request.content_length,
                origin=origin_of(request),
            )
        except UploadOffsetError as error:
            return await self._out_of_order(request, route, error)
        return _created(request, route.repository, digest)

    async def delete(self, _request: Request, route: Route) -> Response:
        """Cancels the upload."""
        await self._uploads.cancel(route.repository, route.reference)
        return Response(204)

    async def _out_of_order(self, request: Request, route: Route, error: UploadOffsetError) -> Response:
        """The error, with what the client needs to go on."""
        response = error_response(error)
        response.headers += _progress(request, await self._uploads.get(route.repository, route.reference))
        return response


def _begin(request: Request) -> int | None:
    """The offset at which the client says its chunk belongs; None where it says nothing."""
    header = request.header(b"content-range")
    if not header:
        return None
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None or int(match[2]) < int(match[1]):
        raise ContentRangeInvalidError
    begin, length = int(match[1]), int(match[2]) - int(match[1]) + 1
    stated = request.content_length
    if stated is not None and stated != length:
        raise UploadSizeMismatchError(length, stated)
    return begin


def _progress(request: Request, session: UploadSession) -> Headers:
    return [
        context_of(request).location(f"/v2/{session.repository}/blobs/uploads/{session.id}"),
        (b"range", b"0-%d" % max(0, session.offset - 1)),
        (b"docker-upload-uuid", session.id.encode("ascii")),
    ]


def _created(request: Request, repository: RepositoryName, digest: Digest) -> Response:
    location = context_of(request).location(f"/v2/{repository}/blobs/{digest}")
    return Response(201, [location, digest_header(digest)])
