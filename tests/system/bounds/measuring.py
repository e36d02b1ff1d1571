"""What is measured beside a load: how long a small request waits, and how much more memory the server takes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.system.process import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.faults.server import FaultyServer

STALL_SECONDS: Final = 0.05
"""The longest that the event loop may be kept from others."""

LEAST_ASKED: Final = 20
"""Small requests beside a load: with fewer, nothing was measured."""

MIB: Final = 1 << 20
_PROBER: Final = Path(__file__).with_name("prober.py")


@dataclass(slots=True)
class Measured:
    """Filled in when the load is over."""

    wait_seconds: float = 0.0
    clock_seconds: float = 0.0
    asked: int = 0
    grown_bytes: int = 0

    def require(self, *, grown_bytes: int) -> None:
        """Fail where a small request waited too long, or the server's peak grew by more than `grown_bytes`."""
        print(self, f"{self.grown_bytes / MIB:.0f} MiB")
        assert self.asked >= LEAST_ASKED, self
        assert self.wait_seconds <= STALL_SECONDS, self
        assert self.grown_bytes <= grown_bytes, f"{self.grown_bytes / MIB:.0f} MiB more: {self}"


@contextlib.contextmanager
def measured(server: FaultyServer, target: str = "/v2/") -> Iterator[Measured]:
    """Measures what happens in the block."""
    result = Measured()
    before = server.resident_bytes()
    server.forget_peak()
    command = [sys.executable, str(_PROBER), str(server.port), str(server.pid), target]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as prober:
        assert prober.stdin is not None
        assert prober.stdout is not None
        assert prober.stdout.readline() == "ready\n"
        try:
            yield result
        finally:
            prober.stdin.close()
            words = prober.stdout.readline()
    assert words, "the prober failed"
    found = json.loads(words)
    result.wait_seconds, result.clock_seconds = found["longest"], found["longest_by_clock"]
    result.asked = found["count"]
    result.grown_bytes = server.peak_bytes() - before
    until(server.is_healthy, what="the server answers")
