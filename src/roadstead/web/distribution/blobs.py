"""``/v2/<name>/blobs/<digest>``.

Source: distribution specification, sections "Pulling blobs", "Checking if content exists in the registry" and "Deleting
Blobs"; RFC 9110, section 14, for ranges.
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from roadstead.events import Event, EventAction
from roadstead.oci import Digest
from roadstead.registry import Registry, layout
from roadstead.registry.content.blob_records import OCTETS
from roadstead.registry.errors import BlobUnknownError, RepositoryUnknownError
from roadstead.storage import FileObject, ObjectReader
from roadstead.web.context import PROXIED_KEY
from roadstead.web.distribution.endpoint import Methods, cause_of, digest_header, etag, visible_of
from roadstead.web.distribution.routes import Route
from roadstead.web.http import ClientDisconnectedError, Headers, Request, Response, Send
from roadstead.web.ranges import ByteRange, allows_range, matches_etag, parse_range
from roadstead.web.transfer import FILES_KEY, FilePiece

READ_BYTES: Final = 256 << 10
"""Bytes read and handed to the connection at once.

They are still in the processor's cache when they are sent or encrypted: a tenth less CPU time with TLS than with 1 MiB.
"""

FILE_BYTES: Final = 128 << 10
"""Longer ranges of files are sent inside the kernel; shorter ones are read, and sent together with what is around."""

WATCHED_BYTES: Final = 4 << 20
"""Longer answers notice that the client has gone, instead of reading on for nobody."""

_WITH_BYTES: Final = frozenset({200, 206})
"""Answers whose bytes count as pulled."""

_RANGES: Final = (b"accept-ranges", b"bytes")
_OCTETS: Final = (b"content-type", b"application/octet-stream")


class BlobEndpoint:
    """Pulls and deletes blobs."""

    def __init__(self, registry: Registry, accel_location: str = "") -> None:
        """With ``accel_location``, a trusted proxy gets the name of the bytes below it instead of the bytes."""
        self._blobs = registry.blobs
        self._pulls = registry.pulls
        self._traffic = registry.traffic
        self._accel_location = accel_location

    def methods(self) -> Methods:
        """Returns the methods that this path answers."""
        return {"GET": self.get, "HEAD": self.head, "DELETE": self.delete}

    async def get(self, request: Request, route: Route) -> Response:
        """The blob, or the parts of it that are asked for."""
        digest = Digest.parse(route.reference)
        reader = await self._blobs.open(route.repository, digest, visible=visible_of(request))
        try:
            if self._accel_location and PROXIED_KEY in request.scope:
                response = _handed_over(request, digest, reader, self._accel_location)
            else:
                response = _answer(request, digest, reader)
            self._note_pull(request, route, digest, reader.size_bytes)
            if response.status in _WITH_BYTES:  # a proxy that sends them itself may send a part
                sent = reader.size_bytes if response.size_bytes is None else response.size_bytes
                self._traffic.sent(route.repository, sent)
        except BaseException:
            reader.close()
            raise
        return response

    async def head(self, request: Request, route: Route) -> Response:
        """The same without the body. The bytes are looked at too: who hears "yes" will not push them again."""
        digest = Digest.parse(route.reference)
        size_bytes = await self._blobs.confirm(route.repository, digest, visible=visible_of(request))
        self._note_pull(request, route, digest, size_bytes)
        if _is_known_to(request, digest):
            return Response(304, _headers(digest))
        headers = [_OCTETS, *_headers(digest)]
        return Response(200, headers, size_bytes=size_bytes)

    def _note_pull(self, request: Request, route: Route, digest: Digest, size_bytes: int) -> None:
        """An event, if anybody waits for it; as registry:2, for HEAD, for each range and for an answer of 304 too."""
        if self._pulls.is_wanted:
            event = Event(
                action=EventAction.PULL,
                repository=route.repository,
                digest=digest,
                media_type=OCTETS,
                size_bytes=size_bytes,
                cause=cause_of(request),
            )
            self._pulls.add(event)

    async def delete(self, request: Request, route: Route) -> Response:
        """Takes the blob out of the repository; of a repository that is not there, every blob is unknown."""
        digest = Digest.parse(route.reference)
        try:
            await self._blobs.delete(route.repository, digest, cause=cause_of(request))
        except RepositoryUnknownError:
            raise BlobUnknownError(digest) from None
        return Response(202)


def _answer(request: Request, digest: Digest, reader: ObjectReader) -> Response:
    headers = _headers(digest)
    if _is_known_to(request, digest):
        reader.close()
        return Response(304, headers)
    size_bytes = reader.size_bytes
    wanted = request.header(b"range")
    ranges: tuple[ByteRange, ...] = ()
    if wanted and allows_range(request.header(b"if-range"), etag(digest)):
        ranges = parse_range(wanted, size_bytes)
    if not ranges:
        return BlobResponse(request, 200, [_OCTETS, *headers], reader, [Part(b"", ByteRange(0, size_bytes - 1))])
    if len(ranges) == 1:
        headers = [_OCTETS, *headers, (b"content-range", ranges[0].content_range(size_bytes).encode("ascii"))]
        return BlobResponse(request, 206, headers, reader, [Part(b"", ranges[0])])
    return _multipart(request, headers, reader, ranges)


def _handed_over(request: Request, digest: Digest, reader: ObjectReader, location: str) -> Response:
    """The answer that makes nginx send the bytes from the disk: whether there are any, and which, was our decision.

    nginx looks at ``Range`` itself; only a range outside of the blob is refused here, in the specification's words.
    The name is made of a digest, which has no character that means anything in a path.
    Source: nginx, ``ngx_http_proxy_module`` and "X-Accel".
    """
    reader.close()
    headers = _headers(digest)
    if _is_known_to(request, digest):
        return Response(304, headers)
    if (wanted := request.header(b"range")) and allows_range(request.header(b"if-range"), etag(digest)):
        parse_range(wanted, reader.size_bytes)
    redirect = f"{location}{layout.blob_key(digest)}".encode("ascii")
    headers.remove(_RANGES)  # nginx says it too, and would have it twice
    return Response(200, [_OCTETS, *headers, (b"x-accel-redirect", redirect)])


def _multipart(request: Request, headers: Headers, reader: ObjectReader, ranges: Sequence[ByteRange]) -> Response:
    """Several ranges as ``multipart/byteranges`` (RFC 9110, section 14.6)."""
    boundary = uuid.uuid4().hex
    parts = [
        Part(
            (
                f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n"
                f"Content-Range: {part.content_range(reader.size_bytes)}\r\n\r\n"
            ).encode("ascii"),
            part,
        )
        for part in ranges
    ]
    parts.append(Part(f"\r\n--{boundary}--\r\n".encode("ascii"), None))
    content_type = f"multipart/byteranges; boundary={boundary}".encode("ascii")
    return BlobResponse(request, 206, [(b"content-type", content_type), *headers], reader, parts)


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of ours, then a range of the blob."""

    head: bytes
    range: ByteRange | None

    @property
    def length(self) -> int:
        """Bytes in it."""
        return len(self.head) + (self.range.length if self.range else 0)


class BlobResponse(Response):
    """An answer that reads its body from storage while it is sent."""

    def __init__(
        self, request: Request, status: int, headers: Headers, reader: ObjectReader, parts: Sequence[Part]
    ) -> None:
        length = sum(part.length for part in parts)
        super().__init__(status, headers, size_bytes=length)
        self._request = request
        self._reader = reader
        self._parts = parts
        self._length = length
        self._file = reader if FILES_KEY in request.scope and isinstance(reader, FileObject) else None

    async def send(self, send: Send) -> None:
        """Sends head and body; an error of storage after the head ends the connection."""
        watch = asyncio.create_task(_wait_for_end(self._request)) if self._is_watched() else None
        try:
            headers = [*self.headers, (b"content-length", b"%d" % self._length)]
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            for part in self._parts:
                if not await self._send_part(send, part, watch):
                    return
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._reader.close()
            if watch is not None:
                watch.cancel()

    def _is_watched(self) -> bool:
        return self._file is None and self._length > WATCHED_BYTES

    async def _send_part(self, send: Send, part: Part, watch: "asyncio.Task[None] | None") -> bool:
        """Sends a part; False if the client has gone."""
        if part.head:
            await send({"type": "http.response.body", "body": part.head, "more_body": True})
        if part.range is None:
            return True
        if self._file is not None and part.range.length > FILE_BYTES:
            return await _send_file(send, self._file, part.range)
        offset, end = part.range.first, part.range.last + 1
        while offset < end and not (watch is not None and watch.done()):
            piece = await self._reader.read(offset, min(READ_BYTES, end - offset))
            if not piece:
                raise EOFError("a blob became shorter while it was sent")
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            offset += len(piece)
        return True


async def _send_file(send: Send, file: FileObject, wanted: ByteRange) -> bool:
    piece = FilePiece(file.fileno(), wanted.first, wanted.length)
    await send({"type": "http.response.body", "body": piece, "more_body": True})
    await piece.sent()
    return not piece.left


async def _wait_for_end(request: Request) -> None:
    """Returns when the client has gone."""
    try:
        async for _ in request.iter_body():
            pass
        await request.wait_for_disconnect()
    except ClientDisconnectedError:
        return


def _headers(digest: Digest) -> Headers:
    return [
        digest_header(digest),
        (b"etag", etag(digest).encode("ascii")),
        _RANGES,
        (b"cache-control", b"max-age=31536000"),
    ]


def _is_known_to(request: Request, digest: Digest) -> bool:
    if_none_match = request.header(b"if-none-match")
    return bool(if_none_match) and matches_etag(if_none_match, etag(digest))
