"""The bytes of an upload on their way from a client to the object.

They are hashed and written in one background job, while the next ones arrive.

A body comes in one of two ways: in pieces of its own, which are gathered, or received into buffers of ours, of which an
upload has two. All uploads together gather a bounded number of bytes, and as many again may be on their way to the
disk.
"""

import asyncio
import mmap
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from roadstead.registry.content.intake import BodyWriter
from roadstead.registry.errors import BlobTooLargeError
from roadstead.storage import Buffer

GATHER_BYTES: Final = 2 << 20
"""Bytes written and hashed in one background job: enough to make the hop to a thread cheap."""

GATHER_LEAST_BYTES: Final = 64 << 10
"""With very many uploads at once each gathers less, but never less than this."""

GATHER_BUDGET_BYTES: Final = 12 << 20
"""Bytes being gathered by all uploads together; as many again may be on their way to the disk."""


KEPT_BYTES: Final = 4 << 20
"""Buffers kept for the next uploads: each page of a new one costs the system more than it takes to fill it."""


class FilledBody(ABC):
    """A body that is received into buffers."""

    __slots__ = ()

    @abstractmethod
    async def fill(self, buffer: memoryview) -> bytes | memoryview:
        """The next piece, the beginning of ``buffer`` or not; empty after the end of the body."""


Body = AsyncIterator[bytes] | FilledBody


class Receiving:
    """Receives the bodies of all uploads of a process, within the memory and threads that they share."""

    def __init__(self, require_space: Callable[[], Awaitable[None]]) -> None:
        """``require_space`` raises when there is too little left to go on."""
        self._require_space = require_space
        self._buffers = _Buffers()
        self._uploads = 0

    async def receive(self, writer: BodyWriter, observe: Callable[[Buffer], None], body: Body) -> None:
        """Writes ``body`` and shows it to ``observe``; whatever ends it early is raised after what came is written."""
        line = _Line(writer, observe, self._require_space)
        self._uploads += 1
        try:
            if isinstance(body, FilledBody):
                await self._fill(line, body)
            else:
                await self._gather(line, body)
        finally:
            self._uploads -= 1

    async def _gather(self, line: "_Line", body: AsyncIterator[bytes]) -> None:
        gathered: list[bytes] = []
        size = 0
        try:
            async for piece in body:
                gathered.append(piece)
                size += len(piece)
                if size >= self._gather_bytes():
                    await line.write(gathered)
                    gathered, size = [], 0
        finally:
            await line.end(gathered)

    async def _fill(self, line: "_Line", body: FilledBody) -> None:
        filling, writing = self._buffers.take(self._buffer_bytes()) or _small_buffer(), None
        try:
            while piece := await body.fill(filling):
                await line.write([piece])
                is_short = writing is None and len(piece) < GATHER_LEAST_BYTES // 2
                filling, writing = _small_buffer() if is_short else self._next_buffer(writing), filling
        finally:
            await line.end(())
            self._buffers.give_back(filling, writing)

    def _next_buffer(self, used: memoryview | None) -> memoryview:
        """``used`` again, unless there is none or its length has become wrong."""
        size = self._buffer_bytes()
        if used is None or len(used) > size or len(used) == GATHER_LEAST_BYTES < size:
            self._buffers.give_back(used)
            return self._buffers.take(size) or _new_buffer(size)
        return used

    def _gather_bytes(self) -> int:
        return max(GATHER_LEAST_BYTES, min(GATHER_BYTES, GATHER_BUDGET_BYTES // max(1, self._uploads)))

    def _buffer_bytes(self) -> int:
        """A power of two, so that buffers are not exchanged for others of nearly the same length all the time."""
        return 1 << (self._gather_bytes().bit_length() - 1)


class _Buffers:
    """Those that nobody uses at the moment, the one used last on top."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []
        self._size = 0

    def take(self, size: int) -> memoryview | None:
        """One of ``size`` bytes, or of half as many; None where there is none."""
        for place in range(len(self._free) - 1, -1, -1):
            if size // 2 <= len(self._free[place]) <= size:
                found = self._free.pop(place)
                self._size -= len(found)
                return found
        return None

    def give_back(self, *buffers: memoryview | None) -> None:
        """Keeps what is large enough to be worth it, and no more than all uploads may share."""
        for buffer in buffers:
            if buffer is not None and GATHER_LEAST_BYTES < len(buffer) <= KEPT_BYTES - self._size:
                self._free.append(buffer)
                self._size += len(buffer)


class _Line:
    """The jobs of one upload: one in flight."""

    def __init__(
        self, writer: BodyWriter, observe: Callable[[Buffer], None], require_space: Callable[[], Awaitable[None]]
    ) -> None:
        self._writer = writer
        self._observe = observe
        self._require_space = require_space
        self._job: asyncio.Task[None] | None = None

    async def write(self, pieces: Sequence[Buffer]) -> None:
        """Begins to write ``pieces`` once those before are written; then the buffers of those are free."""
        if self._job is not None:
            await asyncio.shield(self._job)  # a job that is cancelled goes on in its thread, uncounted
            await self._require_space()
        self._job = asyncio.create_task(self._writer.append(pieces, self._observe))

    async def end(self, pieces: Sequence[Buffer]) -> None:
        """Returns when all is written, ``pieces`` last."""
        if self._job is not None:
            await self._job
        if pieces:
            await self._writer.append(pieces, self._observe)


async def within(body: AsyncIterator[bytes], room: int, limit_bytes: int) -> AsyncIterator[bytes]:
    """``body`` as long as it has no more than ``room`` bytes.

    Raises:
        BlobTooLargeError: it has more.
    """
    async for piece in body:
        room -= len(piece)
        if room < 0:
            raise BlobTooLargeError(limit_bytes)
        yield piece


class FilledWithin(FilledBody):
    """A body as long as it has no more than ``room`` bytes."""

    def __init__(self, body: FilledBody, room: int, limit_bytes: int) -> None:
        self._body = body
        self._room = room
        self._limit_bytes = limit_bytes

    async def fill(self, buffer: memoryview) -> bytes | memoryview:
        """The next piece.

        Raises:
            BlobTooLargeError: it is too much.
        """
        piece = await self._body.fill(buffer)
        self._room -= len(piece)
        if self._room < 0:
            raise BlobTooLargeError(self._limit_bytes)
        return piece


def _small_buffer() -> memoryview:
    """The buffer that most bodies end in, for which no page has to be asked of the system."""
    return memoryview(bytearray(GATHER_LEAST_BYTES))


def _new_buffer(size: int) -> memoryview:
    """Memory of the system's own, taken page by page as it is filled, and given back at once when it is dropped."""
    return memoryview(mmap.mmap(-1, size))
