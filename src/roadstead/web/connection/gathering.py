"""A transport that sends the head of an answer together with the beginning of its body.

uvicorn hands them over one after the other, and each would be a system call and a packet of its own; for a manifest
that is a third of all that the request costs.
"""

import asyncio
from typing import Any, Final

GATHERED_BYTES: Final = 64 << 10
"""Longer pieces are handed on as they are: joining them would cost more than another system call."""


class GatheringTransport:
    """A transport around another one. Whatever is held back is sent in the same turn of the event loop."""

    __slots__ = (
        "_held",
        "_is_ended",
        "_loop",
        "_transport",
        "get_extra_info",
        "is_closing",
        "pause_reading",
        "resume_reading",
    )

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self._is_ended = False
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends ``data`` after what is held back; the first small piece is held back until the next."""
        if self._is_ended:
            return  # the client was refused while its answer was on the way
        if self._held:
            held, self._held = self._held, b""
            if len(data) <= GATHERED_BYTES:
                self._transport.write(held + data)
            else:
                self._transport.writelines([held, data])
        elif len(data) <= GATHERED_BYTES:
            self._held = bytes(data)
            self._loop.call_soon(self.flush)
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Sends what is held back."""
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def close(self) -> None:
        """Closes once everything has been sent."""
        self.flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Tells the client that nothing follows what has been sent."""
        self.flush()
        self._is_ended = True
        self._transport.write_eof()

    def abort(self) -> None:
        """Drops the connection with all that was not sent."""
        self._held = b""
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that the client has not taken yet."""
        return len(self._held) + self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else a transport has
        return getattr(self._transport, name)
