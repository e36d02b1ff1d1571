"""Writes log lines to a descriptor that may be full, gone or read by nobody, without anybody waiting for it.

Promises: ``write`` neither blocks nor fails, in any thread. Lines are written in the order in which they came, by a
thread of the writer's own. What cannot be written (a full disk, a reader that went away) and what would make more than
``PENDING_BYTES`` wait (a reader that stopped) is lost, and counted by the line; the line that could be written next
begins on a line of its own. The end of the process waits ``END_SECONDS`` for what is still to be written, not longer.
"""

import collections
import contextlib
import io
import os
import select
import threading
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, BinaryIO, Final, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PENDING_BYTES: Final = 1 << 20
"""Bytes that wait for a reader that pauses, at most: some thousand lines; more are not worth the memory."""

PIECE_BYTES: Final = 64 << 10
"""Bytes written at once: as much as a pipe takes, so that the waiting bytes are known by the piece."""

END_SECONDS: Final = 1.0
"""Time to write the rest at the end; a terminal or a pipe that somebody reads takes everything sooner."""


class LogWriter(io.RawIOBase):
    """A stream of bytes above a descriptor, which stays open when the stream ends."""

    def __init__(self, descriptor: int) -> None:
        self.lost_lines = 0
        """Number of lines that were not written and will not be."""
        self._descriptor = descriptor
        self._changed = threading.Condition()  # its lock is reentrant: a finalizer may log while another line is added
        self._pending: collections.deque[bytes] = collections.deque()
        self._pending_bytes = 0
        self._is_ended = False
        self._is_torn = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, data: "ReadableBuffer", /) -> int:
        """Adds bytes, whole lines of them, or drops them; returns their number."""
        content = bytes(data)
        with self._changed:
            if self._is_ended or self._pending_bytes + len(content) > PENDING_BYTES:
                self.lost_lines += content.count(b"\n")
            else:
                self._pending.append(content)
                self._pending_bytes += len(content)
                self._changed.notify()
        return len(content)

    def writable(self) -> bool:
        """Returns True: the stream is for writing."""
        return True

    def isatty(self) -> bool:
        """Returns True if the descriptor is a terminal."""
        return os.isatty(self._descriptor)

    def columns(self) -> int:
        """Returns the current width of the terminal in columns; 0 if there is none."""
        try:
            return os.get_terminal_size(self._descriptor).columns
        except OSError:
            return 0

    def fileno(self) -> int:
        """Returns the descriptor."""
        return self._descriptor

    def end(self) -> None:
        """Writes as much as can be written in a moment; bytes that come later are lost."""
        with self._changed:
            self._is_ended = True
            self._changed.notify()
        self._thread.join(END_SECONDS)

    def _run(self) -> None:
        while pieces := self._take():
            for piece in pieces:
                self._write_out(piece)

    def _take(self) -> list[bytes]:
        """Waits for bytes and returns them; returns nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._is_ended)
            joined = b"".join(self._pending)
            self._pending.clear()
        return list(_pieces(joined))

    def _write_out(self, piece: bytes) -> None:
        before = b"\n" if self._is_torn else b""
        content = before + piece
        done = 0
        with contextlib.suppress(OSError):
            while done < len(content):
                done += self._write_some(content[done:])
        if done:
            self._is_torn = done < len(content) and not content.endswith(b"\n", 0, done)
        with self._changed:
            self.lost_lines += piece.count(b"\n", max(0, done - len(before)))
            self._pending_bytes -= len(piece)

    def _write_some(self, content: bytes) -> int:
        try:
            return os.write(self._descriptor, content)
        except BlockingIOError:  # somebody else made the terminal or pipe so, which is the same for all who have it
            waiting = select.poll()
            waiting.register(self._descriptor, select.POLLOUT)
            waiting.poll()
            return 0


def _pieces(content: bytes) -> Iterator[bytes]:
    """Splits ``content`` into pieces that end with a line, unless a line is longer than a piece."""
    start = 0
    while start < len(content):
        end = min(start + PIECE_BYTES, len(content))
        end = content.rfind(b"\n", start, end) + 1 or end
        yield content[start:end]
        start = end


@contextlib.contextmanager
def log_stream(descriptor: int) -> Generator[tuple[LogWriter, TextIO], None, None]:
    """Yields a writer, and the stream of text above it, which ends with the block; later lines are lost quietly."""
    writer = LogWriter(descriptor)
    try:
        yield writer, io.TextIOWrapper(cast("BinaryIO", writer), "utf-8", "backslashreplace", write_through=True)
    finally:
        writer.end()
