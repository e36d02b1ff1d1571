"""Bytes that bypass the application: bodies received into its buffers, and files that the kernel sends.

The connection and the application agree on both through the scope and the messages of ASGI, so that whatever stands
between them (the middleware, the gates) sees each message and how many bytes it stands for.
"""

import asyncio
from typing import Final

OFFER_KEY: Final = "roadstead.offer"
"""Key of the scope for a ``BufferOffer``, if the request's body can be received into a buffer."""

FILES_KEY: Final = "roadstead.files"
"""Key of the scope that says that the body of an answer may be a ``FilePiece``; absent if it may not."""


class BufferOffer:
    """A place in which the application offers a buffer before it asks for the next message.

    The message's body is then the part of the buffer that was filled, or bytes where the body had to be parsed.
    """

    __slots__ = ("buffer",)

    def __init__(self) -> None:
        self.buffer: memoryview | None = None

    def take(self) -> memoryview | None:
        """Returns the offered buffer and withdraws it."""
        buffer, self.buffer = self.buffer, None
        return buffer


class FilePiece:
    """A range of an open file, as the body of a message; longer than what a connection gathers.

    The file may be closed once ``send`` has returned: the connection has a descriptor of its own.
    """

    __slots__ = ("_error", "_waiter", "descriptor", "is_taken", "left", "length", "offset")

    def __init__(self, descriptor: int, offset: int, length: int) -> None:
        self.descriptor = descriptor
        self.offset = offset
        self.length = length
        self.left = length
        """Number of bytes that the client's side has not taken; not 0 after the end if the client has gone."""
        self.is_taken = False
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    def __len__(self) -> int:
        return self.length

    async def sent(self) -> None:
        """Waits until the last byte was handed to the kernel, or the client has gone.

        Raises:
            EOFError: the file is shorter than it was.
            OSError: the file could not be read.
        """
        if self.is_taken:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise self._error

    def end(self, error: Exception | None = None) -> None:
        """Records that no more of the piece will be sent."""
        self.is_taken = False
        self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
