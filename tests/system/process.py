"""Processes of the system tests: commands with a time limit, daemons that leave nothing behind.

Whatever fails shows the command, its exit code and all that it printed. A daemon dies with the test run, however
that ends, and stopping one also ends the processes and mounts that it left below its folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

COMMAND_SECONDS: Final = 60.0  # no client needs a tenth of it for the small images that tests push
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.02


class CommandFailedError(AssertionError):
    """A command exited otherwise than expected, or did not exit in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed."""

    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """Standard output without the blank around it."""
        return self.stdout.strip()

    @property
    def both(self) -> str:
        """Everything, for clients that do not keep the two apart."""
        return self.stdout + self.stderr


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | bytes = b"",
    exit_code: int | None = 0,
    timeout_seconds: float = COMMAND_SECONDS,
) -> Answer:
    """Run a command to its end; raises `CommandFailedError` unless it exits with `exit_code` (None: any but 0)."""
    words = [str(word) for word in command]
    given = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        done = subprocess.run(
            words, env=env, cwd=cwd, input=given, capture_output=True, timeout=timeout_seconds, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise CommandFailedError(_describe(words, "no end in time", late.stdout, late.stderr)) from late
    as_expected = done.returncode == exit_code if exit_code is not None else done.returncode != 0
    if not as_expected:
        raise CommandFailedError(_describe(words, f"exit code {done.returncode}", done.stdout, done.stderr))
    return Answer(done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def _describe(words: Sequence[str], what: str, stdout: bytes | None, stderr: bytes | None) -> str:
    parts = [f"$ {' '.join(words)}", f"{what}"]
    for name, data in (("stdout", stdout), ("stderr", stderr)):
        text = (data or b"").decode(errors="replace").strip()
        parts.append(f"--- {name}\n{text}" if text else f"--- no {name}")
    return "\n".join(parts)


def until(condition: Callable[[], bool], *, what: str, timeout_seconds: float = START_SECONDS) -> None:
    """Wait until the condition holds; `AssertionError` when it does not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_seconds:.0f} s: {what}")
        time.sleep(_POLL_SECONDS)


class Daemon:
    """A server process with a folder of its own and a log in it.

    A context manager: entering starts it and waits for `is_ready`, leaving ends it with SIGTERM (SIGKILL when that
    is ignored), then what it left running or mounted below its folder.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        folder: Path,
        is_ready: Callable[[], bool],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.command = [str(word) for word in command]
        self.folder = folder
        self.log_path = folder / "log"
        self._is_ready = is_ready
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start, and clean up at once when the start fails."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def pid(self) -> int:
        """The process's id; raises when it was never started."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll() if self._process else None

    def log(self) -> str:
        """All that it printed so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self) -> None:
        """Start the process and return once it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*_dies_with_us(), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )
        try:
            until(lambda: self.exit_code is not None or self._is_ready(), what=f"{self.command[0]} answers")
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.log()}") from late
        if self.exit_code is not None:
            raise AssertionError(f"{' '.join(self.command)}\nexited with {self.exit_code} at once\n{self.log()}")

    def stop(self) -> int | None:
        """End the process and what it left; the exit code, None when it was not started."""
        if self._process is None:
            return None
        if self.exit_code is None:
            self._process.terminate()
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait(STOP_SECONDS)
        clean(self.folder)
        return code

    def kill(self) -> None:
        """SIGKILL to the process and its group, as a power cut would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)


def _dies_with_us() -> list[str]:
    """A prefix that makes the kernel end the process when the test run is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


def clean(folder: Path) -> None:
    """End the processes and undo the mounts that were left below the folder."""
    for pid in list(processes_below(folder)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    for mount in sorted(mounts_below(folder), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True, timeout=STOP_SECONDS)


def mounts_below(folder: Path) -> list[str]:
    """The mount points below the folder."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].replace("\\040", " ") for line in lines]
    return [point for point in points if point.startswith(f"{folder}/")]


def processes_below(folder: Path) -> Iterator[int]:
    """Processes that name the folder in their command line: shims, conmon, a daemon's own containerd."""
    wanted = f"{folder}/".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (entry / "cmdline").read_bytes():
                    yield int(entry.name)
