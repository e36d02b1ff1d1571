"""Sends bytes of files inside the kernel, on a duplicate of the connection's socket.

Promises: the bytes come after everything that was written before them; a connection takes a bounded part of a turn of
the event loop, so that others are answered beside long pulls; the loop does not wait for a disk; a file that became
shorter ends the answer instead of being padded.

uvloop refuses to watch a descriptor that one of its transports has, hence the duplicate. It is made for the first file
and closed with the connection.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import sys
import termios
from typing import Final

from roadstead.web.transfer import FilePiece

TURN_BYTES: Final = 512 << 10
"""Bytes sent in one turn of the event loop: some 0.1 ms."""

AHEAD_BYTES: Final = 4 << 20
"""Bytes read ahead of what is sent, once something was not in memory."""

POLL_SECONDS: Final = 0.005
"""Time between two checks that earlier bytes have been taken; only a client that pipelines makes us wait."""

_GONE: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT, errno.EBADF})


class FileSender:
    """The sender of one connection's files, one after the other."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        self._piece: FilePiece | None = None
        self._file = -1
        self._head = b""
        self._timer: asyncio.TimerHandle | None = None
        self._is_watching = False
        self._is_in_thread = False
        self._is_closed = False

    @property
    def unsent_bytes(self) -> int:
        """Number of bytes that the client's machine has not acknowledged; 0 when no file is being sent.

        Those that wait in the kernel are counted, since it takes more only when a third of what it has is gone, which
        with a slow client is a long time.
        """
        if self._piece is None or self._is_closed:
            return 0
        waiting = bytearray(4)
        fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, waiting)
        return len(self._head) + self._piece.left + int.from_bytes(waiting, sys.byteorder)

    def send(self, piece: FilePiece, head: bytes) -> None:
        """Sends ``head`` and then ``piece``, which is told when that is done."""
        self._piece = piece
        self._file = os.dup(piece.descriptor)
        self._head = head
        piece.is_taken = True
        self._begin()

    def close(self) -> None:
        """Stops sending: the connection is lost, or is to be closed."""
        if self._is_closed:
            return
        self._is_closed = True
        self._stop_watching()
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_in_thread:
            self._give_back()

    def _give_back(self) -> None:
        self._end()
        self._socket.close()

    def _begin(self) -> None:
        self._timer = None
        if self._transport.get_write_buffer_size():
            self._timer = self._loop.call_later(POLL_SECONDS, self._begin)
        else:
            self._push()

    def _push(self) -> None:
        """Sends as much as the client's side takes now, up to one turn's share."""
        piece = self._piece
        if piece is None:
            return
        try:
            if self._head:
                self._head = self._head[self._socket.send(self._head, socket.MSG_DONTWAIT | socket.MSG_MORE) :]
            size = min(TURN_BYTES, piece.left)
            if not _is_in_memory(self._file, piece.offset, size):
                self._send_in_thread(size)
                return
            self._note(os.sendfile(self._socket.fileno(), self._file, piece.offset, size))
        except BlockingIOError:
            self._watch()
        except OSError as error:
            self._fail(error)

    def _note(self, sent: int) -> None:
        """Counts ``sent`` bytes of the file that are on their way."""
        piece = self._piece
        if piece is None:
            return
        if not sent:
            self._end(EOFError("a file became shorter while it was sent"))
            return
        piece.offset += sent
        piece.left -= sent
        if piece.left:
            self._watch()
        else:
            self._end()

    def _send_in_thread(self, size: int) -> None:
        """Sends bytes that are not in memory, in a thread that may wait for the disk but not for the socket."""
        piece = self._piece
        if piece is None:
            return
        self._stop_watching()
        self._is_in_thread = True
        job = self._loop.run_in_executor(None, _send_from_disk, self._socket.fileno(), self._file, piece.offset, size)
        job.add_done_callback(self._after_thread)

    def _after_thread(self, job: "asyncio.Future[int]") -> None:
        self._is_in_thread = False
        if self._is_closed:
            job.exception()
            self._give_back()
            return
        try:
            self._note(job.result())
        except BlockingIOError:
            self._watch()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Handles an error: the client has gone, which the transport reports too, or the file cannot be read."""
        if error.errno in _GONE:
            self._stop_watching()
            self._transport.abort()
        else:
            self._end(error)

    def _end(self, error: Exception | None = None) -> None:
        """Ends a piece, which was sent whole or will not be sent any further."""
        self._stop_watching()
        piece, self._piece = self._piece, None
        self._head = b""
        if piece is not None:
            os.close(self._file)
            piece.end(error)

    def _watch(self) -> None:
        if not self._is_watching and not self._is_closed:
            self._is_watching = True
            self._loop.add_writer(self._socket.fileno(), self._push)

    def _stop_watching(self) -> None:
        if self._is_watching:
            self._is_watching = False
            self._loop.remove_writer(self._socket.fileno())


def _is_in_memory(file: int, offset: int, size: int) -> bool:
    """Returns True if the page cache holds these bytes, as far as their ends tell."""
    byte = bytearray(1)
    try:
        os.preadv(file, [byte], offset, os.RWF_NOWAIT)
        os.preadv(file, [byte], offset + size - 1, os.RWF_NOWAIT)
    except OSError:
        return False  # not there, or a file system that does not tell
    return True


def _send_from_disk(receiver: int, file: int, offset: int, size: int) -> int:
    sent = os.sendfile(receiver, file, offset, size)
    with contextlib.suppress(OSError):
        os.posix_fadvise(file, offset + sent, AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
    return sent
