"""Server processes: started on a port of this machine, watched, and always ended.

CPU time is that of the whole process tree: each live process by its CPU clock (nanoseconds), its ended children by
/proc/PID/stat. Memory is the proportional share (PSS) of the tree, which counts pages that workers share once.
What kernel threads do for a server (writing back pages) is in no process and so in no figure.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

STOP_SECONDS = 20.0
"""How long a server may take to end before it is killed."""

POLL_SECONDS = 0.002
"""How often a starting server is asked; also the resolution of the start row."""

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
CPUCLOCK_SCHED = 2
"""Linux: the clock id of another process's CPU time is (~pid << 3) | 2."""


class ServerDiedError(RuntimeError):
    """A server ended, or never answered; carries the end of its log."""


def free_port() -> int:
    """Return a TCP port of the loopback address that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with more variables, and Python free to keep what it compiles, as anywhere."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, **variables}


class ServerProcess:
    """One peer's process, in a session of its own, so that `stop` ends its children too."""

    def __init__(self, argv: Sequence[str], *, port: int, log: Path, environment: Mapping[str, str]) -> None:
        self.port = port
        self.operations_port = 0
        self.log = log
        self.started_at = time.perf_counter()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment_with(environment),
                cwd=log.parent,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id of the root of the tree."""
        return self._process.pid

    def wait_for_port(self, timeout_seconds: float = 120.0) -> None:
        """Return once the port accepts a connection; raise when the process ends or time is up."""
        until = time.perf_counter() + timeout_seconds
        while time.perf_counter() < until:
            self.raise_if_dead()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(POLL_SECONDS)
        raise ServerDiedError(f"no answer within {timeout_seconds:.0f} s\n{self.log_tail()}")

    def raise_if_dead(self) -> None:
        """Raise ServerDiedError with the end of the log when the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise ServerDiedError(f"exit code {code}\n{self.log_tail()}")

    def log_tail(self) -> str:
        """Return the end of what the server has printed."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def stop(self) -> None:
        """End the process group: SIGTERM, then SIGKILL for whatever is left."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the tree has used so far."""
        return cpu_seconds_of(self.pid)

    def resident_mb(self) -> float:
        """Return the resident memory of the tree in megabytes."""
        return sum(_status_kib(pid, "VmRSS") for pid in _tree(self.pid)) * 1024 / 1e6

    def reset_peak(self) -> None:
        """Make the kernel forget the highest resident memory of each process of the tree."""
        for pid in _tree(self.pid):
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_mb(self) -> float:
        """Return the highest resident memory since `reset_peak`, summed over the tree."""
        return sum(_status_kib(pid, "VmHWM") for pid in _tree(self.pid)) * 1024 / 1e6

    def memory_mb(self) -> float:
        """Return the proportional set size of the tree in megabytes (10^6 bytes)."""
        return sum(_pss_kib(pid) for pid in _tree(self.pid)) * 1024 / 1e6


def cpu_seconds_of(pid: int) -> float:
    """Return the CPU seconds that a process and its descendants have used so far."""
    return sum(_cpu_seconds(each) for each in _tree(pid))


def _tree(root: int) -> Iterator[int]:
    """Yield a process id and those of all its live descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            pid = int(entry.name)
            parent = _stat_field(pid, 1)
            if parent is not None:
                children.setdefault(parent, []).append(pid)
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting.extend(children.get(pid, []))


def _stat_field(pid: int, index: int) -> int | None:
    """Return a number of /proc/PID/stat, counted from the state (0) on; None when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text.rpartition(")")[2].split()[index])


def _cpu_seconds(pid: int) -> float:
    children_user, children_system = _stat_field(pid, 13), _stat_field(pid, 14)
    try:
        own = time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)
    except OSError:
        return 0.0
    return own + ((children_user or 0) + (children_system or 0)) / CLOCK_TICKS


def _pss_kib(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def _status_kib(pid: int, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:")), 0)


def machine_cpu_seconds() -> float:
    """Return the CPU seconds that all cores have spent on anything, also for other machines (steal)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, waiting = fields[3], fields[4]
    return (sum(fields) - idle - waiting) / CLOCK_TICKS


def own_cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its ended children."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
