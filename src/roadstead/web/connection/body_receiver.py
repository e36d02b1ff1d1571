"""Receives the body of a push into the application's buffers, past the HTTP parser.

The parser makes an object of every piece that arrives, and the application would copy these together again. Here the
transport reads from the socket straight into a buffer that the application offers. The chunks of a chunked body are
moved together there, which costs less than to hash and write each by itself.

The life of a body:

1. The parser has been fed exactly the head of the request. What comes behind it is held back as it is, up to a limit,
   until the application asks for it.
2. It asks without a buffer, or answers without asking: the parser is given what was held and goes on as ever.
3. It asks with a buffer: this is the transport's protocol from now on. Nothing is read while no buffer is offered,
   which is how a client is slowed down. When the answer is complete before the body, the rest is read and dropped.
4. The body ends. One whose length was stated is never read beyond its end, and a new parser waits for the next request.
   In a chunked body, whatever is not a plain chunk (the last one, trailers, extensions, an error) is for the parser,
   which stands where it expects a chunk: what a request is, one program alone decides.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from roadstead.web.http import Message
from roadstead.web.transfer import BufferOffer

RECEIVED_BYTES: Final = 64 << 10
"""Length up to which bodies are left to the parser: changing the transport's protocol twice costs more than it
saves."""

PARSED_BYTES: Final = 64 << 10
"""Bytes read at once for an application that offers a buffer once and then does not."""

PAGE_BYTES: Final = 4096
"""Size of a file's page; a write that begins and ends with one costs two thirds of one that does not."""

SCRATCH: Final = memoryview(bytearray(64 << 10))
"""Buffer for bytes that nobody wants; shared, since nobody reads it."""

_FIRST_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_NEXT_CHUNK: Final = re.compile(rb"\r\n([0-9A-Fa-f]{1,15})\r\n")
_PART_OF_FIRST: Final = re.compile(rb"[0-9A-Fa-f]{0,15}\r?")
_PART_OF_NEXT: Final = re.compile(rb"(?:\r(?:\n[0-9A-Fa-f]{0,15}\r?)?)?")
_CHUNK_END: Final = b"\r\n"


class ReceivingConnection(Protocol):
    """The methods of a connection that the receiver needs."""

    transport: asyncio.Transport
    flow: FlowControl

    @property
    def is_refused(self) -> bool:
        """True if the client was refused, so that nobody reads what it still sends."""
        ...

    def note_received(self, size_bytes: int) -> None:
        """Records that bytes of the body arrived."""
        ...

    def end_body(self, rest: bytes, *, is_complete: bool) -> None:
        """Gives the body back to the parser with ``rest``, which comes after the body if that ``is_complete``."""
        ...

    def refuse_body(self) -> None:
        """Refuses the body, which is not HTTP."""
        ...


class _Held:
    """Bytes that arrived and wait for a buffer; taking some of them copies no others."""

    __slots__ = ("_bytes", "_start")

    def __init__(self) -> None:
        self._bytes = b""
        self._start = 0

    def __len__(self) -> int:
        return len(self._bytes) - self._start

    def add(self, data: bytes) -> None:
        """Adds bytes at the end."""
        self._bytes = self.take_all() + data

    def put_back(self, *pieces: bytes) -> None:
        """Puts bytes back before those that are there."""
        self._bytes = b"".join((*pieces, self.take_all()))

    def move_into(self, buffer: memoryview) -> int:
        """Fills ``buffer`` as far as the bytes suffice; returns their number."""
        size = min(len(self), len(buffer))
        buffer[:size] = memoryview(self._bytes)[self._start : self._start + size]
        self._start += size
        if not self:
            self.take_all()
        return size

    def take_all(self) -> bytes:
        """Takes all bytes."""
        taken = self._bytes[self._start :] if self._start else self._bytes
        self._bytes, self._start = b"", 0
        return taken


class BodyReceiver(asyncio.BufferedProtocol):
    """The receiver of one request's body, and the transport's protocol while that arrives."""

    def __init__(self, connection: ReceivingConnection, cycle: RequestResponseCycle, length: int | None) -> None:
        """Keeps its arguments; ``length`` is stated by the client, and None if the body is chunked."""
        self._connection = connection
        self._cycle = cycle
        self._receive_parsed = cast("Callable[[], Awaitable[Message]]", cycle.receive)
        self._is_chunked = length is None
        self._left = length or 0
        """Number of bytes to come: of the body, or of the chunk that is being received."""
        self._is_first = True
        self._usual_head = b""
        """The head of the last chunk, empty if that was the first: most further chunks have the same."""
        self._usual_bytes = 0
        self._held = _Held()
        self._is_over = False
        self._buffer: memoryview | None = None
        self._filled = 0
        self._parsed = 0
        self._joined = 0
        """Number of the body's bytes at the beginning of the buffer."""
        self.offer = BufferOffer()
        self.is_active = False
        """True if the transport reads for this body."""

    # Called by the connection

    def hold(self, data: bytes) -> None:
        """Keeps bytes that came behind the head."""
        self._held.add(data)
        if len(self._held) > HIGH_WATER_LIMIT:
            self._connection.flow.pause_reading()

    def answered(self) -> None:
        """Reads and drops the rest of the body: the answer is complete."""
        if not self.is_active:
            self._release()
            return
        while not self._is_over and self._held:
            before = len(self._held)
            self._begin(SCRATCH)
            self._drop()
            if len(self._held) >= before:
                return

    # Called by the application

    async def receive(self) -> Message:
        """Receives the next message: ASGI's ``receive``."""
        buffer = self.offer.take()
        if self._is_over:
            return await self._receive_parsed()
        if buffer is not None:
            return await self._fill(buffer)
        if not self.is_active:
            self._release()
            return await self._receive_parsed()
        message = await self._fill(memoryview(bytearray(PARSED_BYTES)))
        return {**message, "body": bytes(message.get("body", b""))}

    async def _fill(self, buffer: memoryview) -> Message:
        cycle = self._cycle
        self._send_continue()
        if not self.is_active:
            self.is_active = True
            self._connection.transport.set_protocol(self)
        self._begin(buffer)
        try:
            while not self._is_filled() and not self._is_gone():
                self._connection.flow.resume_reading()
                await cycle.message_event.wait()
                cycle.message_event.clear()
        finally:
            received = self._take(buffer)
            if not self._is_over and not self._is_gone():
                self._connection.flow.pause_reading()
        if self._is_over:
            cycle.message_event.set()  # what the parser has found since is to be asked for
        if received:
            has_more = not self._is_over or cycle.more_body or len(cycle.body) > 0
            return {"type": "http.request", "body": received, "more_body": has_more}
        if self._is_over:
            return await self._receive_parsed()
        return {"type": "http.disconnect"}

    def _is_gone(self) -> bool:
        return self._cycle.disconnected or self._cycle.response_complete

    def _is_filled(self) -> bool:
        return self._is_over or self._buffer is None or self._filled == len(self._buffer)

    def _send_continue(self) -> None:
        transport, cycle = self._connection.transport, self._cycle
        if cycle.waiting_for_100_continue and not transport.is_closing():
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False

    def _release(self) -> None:
        self._is_over = True
        self._connection.end_body(self._held.take_all(), is_complete=False)

    # The buffer

    def _begin(self, buffer: memoryview) -> None:
        """Begins to receive into ``buffer``, first the bytes that were held."""
        self._buffer = buffer
        self._parsed = self._filled = self._joined = 0
        if self._held:
            self._advance(self._held.move_into(buffer))

    def _take(self, buffer: memoryview) -> memoryview:
        """Returns the part of the body in ``buffer``, which is the application's again; other bytes are held.

        Whole pages, as long as the body goes on.
        """
        size = self._joined
        if self._buffer is not None and not self._is_over:
            if self._is_chunked and size > PAGE_BYTES and not self._is_gone():
                size -= size % PAGE_BYTES
            rest = bytes(buffer[size : self._joined]), bytes(buffer[self._parsed : self._filled])
            self._left += len(rest[0])
            self._held.put_back(*rest)
        self._buffer = None
        return buffer[:size]

    def _drop(self) -> None:
        if self._buffer is not None:
            self._take(self._buffer)

    def _advance(self, size: int) -> None:
        """Counts ``size`` further bytes in the buffer."""
        self._filled += size
        if self._is_chunked:
            self._decode()
            return
        taken = min(self._left, size)
        self._join(taken)
        if not self._left:
            rest = self._bytes_from(self._parsed) + self._held.take_all()
            self._end(rest, is_complete=True)

    def _join(self, size: int) -> None:
        """Marks the next ``size`` bytes in the buffer as the body's."""
        start, end = self._parsed, self._parsed + size
        if start != self._joined and self._buffer is not None:
            self._buffer[self._joined : self._joined + size] = self._buffer[start:end]
        self._joined += size
        self._parsed = end
        self._left -= size

    def _decode(self) -> None:
        """Finds the chunks (RFC 9112, section 7.1)."""
        while True:
            self._join(min(self._left, self._filled - self._parsed))
            if self._left:
                return
            self._join_alike()
            head, part = (_FIRST_CHUNK, _PART_OF_FIRST) if self._is_first else (_NEXT_CHUNK, _PART_OF_NEXT)
            buffer = cast("Any", self._buffer)
            match = head.match(buffer, self._parsed, self._filled)
            if match is None and part.fullmatch(buffer, self._parsed, self._filled):
                return
            if match is None or not (length := int(match[1], 16)):
                self._hand_over()
                return
            self._parsed = match.end()
            self._left = self._usual_bytes = length
            self._usual_head = b"" if self._is_first else match[0]
            self._is_first = False

    def _join_alike(self) -> None:
        """Takes whole chunks whose heads are like the last one's, as most of a client's are, without searching each."""
        buffer, head, size = self._buffer, self._usual_head, self._usual_bytes
        if not head or buffer is None:
            return
        joined, parsed = self._joined, self._parsed
        start = parsed + len(head)
        while (end := start + size) <= self._filled and bytes(buffer[parsed:start]) == head:
            buffer[joined : joined + size] = buffer[start:end]
            joined, parsed, start = joined + size, end, end + len(head)
        self._joined, self._parsed = joined, parsed

    def _hand_over(self) -> None:
        """Gives further bytes to the parser, which knows nothing of the chunks that came before."""
        rest = self._bytes_from(self._parsed) + self._held.take_all()
        if not self._is_first:
            if not rest.startswith(_CHUNK_END):
                self._end(b"", is_complete=False)
                self._connection.refuse_body()
                return
            rest = rest.removeprefix(_CHUNK_END)
        self._end(rest, is_complete=False)

    def _bytes_from(self, start: int) -> bytes:
        return b"" if self._buffer is None else bytes(self._buffer[start : self._filled])

    def _end(self, rest: bytes, *, is_complete: bool) -> None:
        self._is_over = True
        if self.is_active:
            self.is_active = False
            self._connection.transport.set_protocol(cast("asyncio.BaseProtocol", self._connection))
        self._connection.end_body(rest, is_complete=is_complete)
        self._cycle.message_event.set()

    # Called by the transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - what asyncio calls it with
        """Returns the buffer to receive into, which never goes beyond the end of a body whose length is known.

        Raises:
            RuntimeError: there is nowhere; the transport then ends the connection.
        """
        if self._buffer is None:
            if not self._is_unwanted():
                raise RuntimeError("something arrived that nobody has asked for")
            self._begin(SCRATCH)
        buffer = cast("memoryview", self._buffer)
        end = len(buffer) if self._is_chunked else min(len(buffer), self._filled + self._left)
        return buffer[self._filled : end]

    def buffer_updated(self, nbytes: int) -> None:
        """Handles ``nbytes`` that were received."""
        self._connection.note_received(nbytes)
        self._advance(nbytes)
        if self._is_over:
            return
        if self._is_unwanted():
            self._drop()
        elif self._is_filled():
            self._connection.flow.pause_reading()
            self._cycle.message_event.set()

    def _is_unwanted(self) -> bool:
        return self._cycle.response_complete or self._connection.is_refused

    def eof_received(self) -> bool | None:
        """Does what the connection does."""
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Does what the connection does."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Does what the connection does."""
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Does what the connection does."""
        self._protocol.connection_lost(exc)

    @property
    def _protocol(self) -> asyncio.Protocol:
        return cast("asyncio.Protocol", self._connection)
