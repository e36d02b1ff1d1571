"""Asks a server for something small, again and again, and prints the longest that it waited, in seconds.

Run as a program of its own: `prober.py PORT PID TARGET`, until its standard input ends. Of a request's time counts only
that in which the server worked at something else: not the time in which the machine had given no processor to its event
loop or to this program, and no more than all its threads have used of the processors meanwhile. So the figure is about
the same on an idle machine and on a busy one.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
from dataclasses import dataclass
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
            before, began = used(pid), time.monotonic()
            connection.sendall(request)
            read_head(connection)
            waited = time.monotonic() - began
            after = used(pid)
            longest = max(longest, min(waited - (after.delay - before.delay), after.work - before.work))
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


@dataclass
class Used:
    """In seconds so far: what all threads of the server have used of the processors, and what its loop had to wait."""

    work: float = 0.0
    delay: float = 0.0


def used(pid: int) -> Used:
    """What the kernel says; the loop's delay with that of this program."""
    found = Used()
    for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            work, delay, _ = Path(f"/proc/{pid}/task/{task}/schedstat").read_bytes().split()
            found.work += int(work) / 1e9
            if int(task) == pid:
                found.delay += int(delay) / 1e9
    found.delay += int(Path("/proc/self/schedstat").read_bytes().split()[1]) / 1e9
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
