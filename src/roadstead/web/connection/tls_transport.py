"""A transport between ours and uvloop's TLS, which hands it long pieces slice by slice.

uvloop encrypts all that it is given at once into one buffer that OpenSSL grows by copying, and then copies that again.
With slices both stay in the processor's cache, and nothing is encrypted before the client has room for it. Measured
with pieces of 1 MiB: 1.1 instead of 0.35 GB/s, and 64 KiB of cipher text in memory instead of 1 MiB.
"""

import asyncio
import fcntl
import termios
from collections import deque
from typing import Any, Final

SLICE_BYTES: Final = 64 << 10
"""Four TLS records. Shorter ones cost more calls, longer ones fall out of the cache: at 256 KiB half the speed."""

LOW_WATER_BYTES: Final = 16 << 10
"""What may be left of a slice when the next one is encrypted."""


class SlicedTransport:
    """A transport around uvloop's TLS transport, which tells ``pause`` and ``resume`` when that is full."""

    __slots__ = (
        "_is_closing",
        "_is_full",
        "_transport",
        "_waiting",
        "_waiting_bytes",
        "get_extra_info",
        "pause_reading",
        "resume_reading",
    )

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._is_full = False
        self._is_closing = False
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        transport.set_write_buffer_limits(high=SLICE_BYTES, low=LOW_WATER_BYTES)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends ``data`` after what waits."""
        if self.is_closing():
            return
        if not self._waiting and len(data) <= SLICE_BYTES:
            self._transport.write(data)
            return
        self._waiting.append(memoryview(data))
        self._waiting_bytes += len(data)
        self._push()

    def writelines(self, pieces: list[bytes | bytearray | memoryview]) -> None:
        """Sends all of them."""
        for piece in pieces:
            self.write(piece)

    def pause(self) -> None:
        """The client takes no more for now; while anything waits here, this was the last that was told."""
        self._is_full = True

    def resume(self) -> bool:
        """The client takes more; returns whether there is room for more than waits here."""
        self._is_full = False
        self._push()
        return not self._is_full

    def flush(self) -> None:
        """Encrypts all that waits, whether the client has room for it or not: once its side has ended, nothing can."""
        while self._waiting:
            self._write_slice()

    def close(self) -> None:
        """Closes once everything has been sent, and the client has said that it is done too."""
        self._is_closing = True
        if not self._waiting:
            self._transport.close()

    def abort(self) -> None:
        """Drops the connection with all that was not sent."""
        self._is_closing = True
        self._drop()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing more will be sent than waits already."""
        return self._is_closing or self._transport.is_closing()

    def can_write_eof(self) -> bool:
        """No: uvloop's TLS cannot end one direction alone."""
        return False

    def get_write_buffer_size(self) -> int:
        """Bytes that the client has not taken yet, up to some that the socket's transport holds."""
        return self._waiting_bytes + self._transport.get_write_buffer_size()

    def has_arrived(self) -> bool:
        """Whether the client's machine has acknowledged all that was written."""
        if self.get_write_buffer_size():
            return False
        socket = self.get_extra_info("socket")
        if socket is None:
            return True  # it is closed: nobody is waited for
        return not any(fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))

    def _push(self) -> None:
        if self._waiting and self._transport.is_closing():
            self._drop()
        while self._waiting and not self._is_full:
            self._write_slice()
        if self._is_closing and not self._waiting:
            self._transport.close()

    def _write_slice(self) -> None:
        """Hands on a slice; the transport may tell ``pause`` before it returns."""
        piece = self._waiting[0]
        if len(piece) > SLICE_BYTES:
            self._waiting[0] = piece[SLICE_BYTES:]
            piece = piece[:SLICE_BYTES]
        else:
            self._waiting.popleft()
        self._waiting_bytes -= len(piece)
        self._transport.write(piece)

    def _drop(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else a transport has
        return getattr(self._transport, name)
