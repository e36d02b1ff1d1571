"""The registry as a process that tests hurt: settings in its environment, tracers on it, numbers read from /proc."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import httpx

from tests.system.process import STOP_SECONDS, CommandFailedError, run, until
from tests.system.servers import RegistryServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROGRAM: Final = Path(sys.executable).parent / "roadstead"
DAMAGED: Final = 4
"""What the command line exits with when it finds damaged data."""

_HEALTH_SECONDS: Final = 5.0


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """This process's environment, with settings such as `limits.header_timeout_seconds`, and no others of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROADSTEAD_")}
    named = {f"ROADSTEAD_{key.replace('.', '__')}".upper(): str(value) for key, value in settings.items()}
    return {**kept, **named}


class FaultyServer(RegistryServer):
    """A server of one test, with settings, perhaps behind a wrapper or on a data folder that exists already."""

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, object] | None = None,
        data: Path | None = None,
        wrapper: Sequence[str | Path] = (),
        single_threaded: bool = False,
    ) -> None:
        """`single_threaded`: one thread in each pool, see `single_threaded.py`; `wrapper` is put before the command."""
        super().__init__(folder, peer="")
        if single_threaded:
            self.command[:1] = [sys.executable, str(Path(__file__).with_name("single_threaded.py"))]
        if data is not None:
            self.command[self.command.index(str(self.data))] = str(data)
            self.data = data
        self.command = [*map(str, wrapper), *self.command]
        self._env = environment(settings or {})
        self.database_url = str((settings or {}).get("database.url", ""))
        """Where its catalogue is, if that is not a file in the data folder."""

    def is_healthy(self) -> bool:
        """Whether it answers on both listeners."""
        try:
            answers = [
                httpx.get(f"http://127.0.0.1:{port}{path}", timeout=_HEALTH_SECONDS, trust_env=False)
                for port, path in ((self.port, "/v2/"), (self.operations_port, "/healthz"))
            ]
        except httpx.TransportError:
            return False
        return all(answer.status_code == httpx.codes.OK for answer in answers)

    def wait_for_end(self, timeout_seconds: float = STOP_SECONDS) -> int:
        """The exit code of a server that ends by itself; `subprocess.TimeoutExpired` when it does not."""
        assert self._process is not None
        return self._process.wait(timeout_seconds)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        os.kill(self.pid, signal.SIGTERM)

    def spawn(self) -> None:
        """Start without waiting until it answers."""
        patient = self._is_ready
        self._is_ready = lambda: True
        try:
            self.start()
        finally:
            self._is_ready = patient

    def launch(self, timeout_seconds: float = STOP_SECONDS) -> tuple[int, str]:
        """Start a server that must refuse to: its exit code and what it printed."""
        before = len(self.log())
        self.spawn_quietly()
        try:
            return self.wait_for_end(timeout_seconds), self.log()[before:]
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it should have refused to start:\n{self.log()}") from None

    def spawn_quietly(self) -> None:
        """Start, and do not mind when it has ended at once."""
        with contextlib.suppress(AssertionError):
            self.spawn()

    def resident_bytes(self) -> int:
        """Memory that it uses now."""
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """The most memory that it has used since `forget_peak`, or since it was started."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Measure the peak from here on."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def open_files(self) -> int:
        """Descriptors that it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208 - counts, needs no paths

    def threads(self) -> dict[str, list[int]]:
        """The ids of its threads by their names, the oldest first."""
        found: dict[str, list[int]] = {}
        for task in sorted(Path(f"/proc/{self.pid}/task").iterdir(), key=lambda path: int(path.name)):
            with contextlib.suppress(OSError):
                found.setdefault((task / "comm").read_text().strip(), []).append(int(task.name))
        return found

    def check_data(self, *options: str, exit_code: int | None = 0) -> str:
        """What `roadstead check` prints of the data folder; fails unless it exits so."""
        command: list[str | Path] = [PROGRAM, "check", *options, "--data", self.data]
        settings = {"database.url": self.database_url} if self.database_url else {}
        return run(command, env=environment(settings), exit_code=exit_code).both

    def _status(self, key: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == key:
                return int(value.split()[0]) * 1024
        raise AssertionError(f"no {key}")


DIED: Final = "+++ killed by SIGKILL +++"
"""How strace's record of a thread ends whose call was answered with that signal."""


class Tracer:
    """strace on a running server: records what it does, or makes one of its calls fail."""

    def __init__(self, *options: str, threads: Sequence[int], log: Path) -> None:
        log.unlink(missing_ok=True)
        self._log = log
        attach = [word for thread in threads for word in ("-p", str(thread))]
        command = ["strace", "-o", str(log), *options, *attach]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._threads = threads

    def __enter__(self) -> Self:
        """Returns when every thread is being traced."""
        try:
            until(self._is_attached, what="strace is attached")
        except BaseException:
            self.detach()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        """Let the server go on untraced."""
        self.detach()

    def detach(self) -> None:
        """Stop tracing; what was traced has been written."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=STOP_SECONDS)

    def lines(self) -> list[str]:
        """What was recorded so far."""
        return self._log.read_text(errors="replace").splitlines() if self._log.exists() else []

    def _is_attached(self) -> bool:
        if self._process.poll() is not None:
            if any(DIED in line for line in self.lines()):
                return True  # background work made the call before we looked
            _, said = self._process.communicate()
            raise CommandFailedError(f"strace ended: {said.decode(errors='replace')}")
        return all(_tracer_of(thread) == self._process.pid for thread in self._threads)


def _tracer_of(thread: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{thread}/status").read_text().splitlines():
            if line.startswith("TracerPid:"):
                return int(line.split()[1])
    return 0


@contextlib.contextmanager
def serving(server: FaultyServer) -> Iterator[FaultyServer]:
    """A server that must end well, and whose folder is gone afterwards."""
    try:
        with server:
            yield server
            server.shut_down()
    finally:
        shutil.rmtree(server.folder, ignore_errors=True)
