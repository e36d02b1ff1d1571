"""A server that takes any upload and keeps nothing: `python -m benchmarks.sink PORT`.

It answers what a registry would, with no work done, so that a push to it shows what the load generator and the
loopback device can do. A process a connection; chunked bodies are known to end by their last chunk.
"""

from __future__ import annotations

import os
import socket
import sys

LAST_CHUNK = b"0\r\n\r\n"
RECEIVE_BYTES = 1024 * 1024
LOCATION = b"Location: /v2/bench/blobs/uploads/1\r\n"
ANSWERS = {
    b"HEAD": b"HTTP/1.1 404 Not Found\r\n",
    b"POST": b"HTTP/1.1 202 Accepted\r\n" + LOCATION,
    b"PATCH": b"HTTP/1.1 202 Accepted\r\n" + LOCATION,
    b"PUT": b"HTTP/1.1 201 Created\r\n" + LOCATION,
}


def swallow_length(connection: socket.socket, length: int) -> None:
    """Throw away `length` bytes inside the kernel."""
    scratch = bytearray(RECEIVE_BYTES)
    while length > 0:
        count = connection.recv_into(scratch, min(length, RECEIVE_BYTES), socket.MSG_TRUNC)
        if not count:
            return
        length -= count


def swallow_chunks(connection: socket.socket, begun: bytes) -> None:
    """Read a chunked body up to its end, looking only at how what was received ends."""
    scratch = bytearray(RECEIVE_BYTES)
    view = memoryview(scratch)
    tail = begun[-len(LAST_CHUNK) :]
    while tail != LAST_CHUNK:
        count = connection.recv_into(view)
        if not count:
            return
        tail = (tail + bytes(view[max(0, count - len(LAST_CHUNK)) : count]))[-len(LAST_CHUNK) :]


def serve_connection(connection: socket.socket) -> None:
    """Answer requests until the client closes."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    rest = b""
    while True:
        while b"\r\n\r\n" not in rest:
            data = connection.recv(65536)
            if not data:
                return
            rest += data
        head, _, rest = rest.partition(b"\r\n\r\n")
        rest = _swallow_body(connection, head.lower(), rest)
        connection.sendall(ANSWERS[head.split(b" ", 1)[0]] + b"Content-Length: 0\r\n\r\n")


def _swallow_body(connection: socket.socket, head: bytes, rest: bytes) -> bytes:
    """Read the body that belongs to a head; return what came after it (always nothing: clients wait)."""
    if b"transfer-encoding: chunked" in head:
        swallow_chunks(connection, rest)
    elif b"content-length:" in head:
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        swallow_length(connection, length - len(rest))
    return b""


def main() -> None:
    """Accept connections for ever, a child process for each."""
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            try:
                serve_connection(connection)
            finally:
                os._exit(0)
        connection.close()
        _reap()


def _reap() -> None:
    """Collect children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    main()
