"""Asks a server for something small, again and again, and prints the longest that it waited, in seconds.

Run as a program of its own: `prober.py PORT PID TARGET`, until its standard input ends. Time in which the machine had
given no processor to a thread of the server, or to this program, is not counted: what is left is what the server made
itself wait for, which is the same on an idle machine and on a busy one.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
from pathlib import Path

PAUSE_SECONDS = 0.003


def main(port: int, pid: int, target: str) -> None:
    """Measure until standard input ends."""
    request = f"HEAD {target} HTTP/1.1\r\nHost: registry.test\r\n\r\n".encode()
    longest = longest_by_clock = 0.0
    count = 0
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
            before, began = delays(pid), time.monotonic()
            connection.sendall(request)
            read_head(connection)
            waited = time.monotonic() - began
            after = delays(pid)
            kept_waiting = sum(delay - before.get(task, 0) for task, delay in after.items())
            longest = max(longest, waited - kept_waiting)
            longest_by_clock = max(longest_by_clock, waited)
            count += 1
    print(json.dumps({"longest": longest, "longest_by_clock": longest_by_clock, "count": count}), flush=True)


def read_head(connection: socket.socket) -> None:
    """An answer to HEAD, which must be a good one."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise SystemExit(f"the server closed the connection after {data!r}")
        data += piece
    if not data.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"not a good answer: {data!r}")


def delays(pid: int) -> dict[str, float]:
    """For how long each thread of the server, and this program, has waited for a processor so far, in seconds."""
    found = {}
    for task in (*(f"{pid}/task/{name}" for name in os.listdir(f"/proc/{pid}/task")), "self"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            found[task] = int(Path(f"/proc/{task}/schedstat").read_bytes().split()[1]) / 1e9
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
