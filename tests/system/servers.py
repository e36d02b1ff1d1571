"""The registry under test as a process of its own, started as a user starts it.

`RegistryServer` runs the installed `roadstead serve` on free ports over a data folder of its own. With
`ROADSTEAD_TEST_PEER=docker-registry` in the environment the same tests run against Debian's registry instead, which
tells a fault of the server from a fault of a test.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from tests.system.process import Daemon
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Sequence

PEER_VARIABLE: Final = "ROADSTEAD_TEST_PEER"
PEER: Final = os.environ.get(PEER_VARIABLE, "")
_PROGRAM: Final = Path(sys.executable).parent / "roadstead"
_BAD_SIGNS: Final = ("Traceback (most recent call last)", "Exception in ASGI application", "Task exception was never")


# Below the ports that the kernel gives to outgoing connections, which would otherwise take one between its choice
# and the server's start.
_PORTS: Final = range(12_000, 32_000)


def free_port() -> int:
    """A port of the loopback address that nothing listens on."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RegistryServer(Daemon):
    """`roadstead serve` over `folder/data`, ready once `/v2/` answers 200; may be killed and started again."""

    def __init__(self, folder: Path, *, arguments: Sequence[str] = (), peer: str = PEER) -> None:
        self.port = free_port()
        self.operations_port = free_port()
        self.data = folder / "data"
        self._read_log = 0
        self.is_peer = bool(peer)
        command = self._peer_command(folder) if peer else self._command(arguments)
        super().__init__(command, folder=folder, is_ready=self._answers)

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"127.0.0.1:{self.port}"

    @property
    def localhost(self) -> str:
        """`localhost:PORT`, as people write it."""
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.host}"

    @property
    def has_referrers(self) -> bool:
        """Whether it answers for referrers itself; ours does, for the peer clients keep them in a tag."""
        return not self.is_peer

    def check(self) -> None:
        """Fail when the server died, or when its log has, since the last check, a sign of an error of its own."""
        assert self.exit_code is None, f"the server exited with {self.exit_code}:\n{self.log()}"
        new = self.log()[self._read_log :]
        self._read_log += len(new)
        lines = [line for line in new.splitlines() if any(sign in line for sign in _BAD_SIGNS)]
        assert not lines, "the server's log has an error of its own:\n" + "\n".join(lines).replace("\\n", "\n")

    def shut_down(self) -> None:
        """SIGTERM, and fail unless the server ends by itself, and well."""
        self.check()
        code = self.stop()
        well = {0, -signal.SIGTERM, 2} if self.is_peer else {0}
        assert code in well, f"SIGTERM ended the server with {code}:\n{self.log()}"

    def _command(self, arguments: Sequence[str]) -> list[str]:
        listen = ["--listen", self.host, "--ops-listen", f"127.0.0.1:{self.operations_port}"]
        return [str(_PROGRAM), "serve", *listen, "--data", str(self.data), *arguments]

    def _peer_command(self, folder: Path) -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "config.yml"
        storage = f"storage: {{filesystem: {{rootdirectory: '{self.data}'}}, delete: {{enabled: true}}}}"
        config.write_text(f"version: 0.1\n{storage}\nhttp: {{addr: '{self.host}'}}\n")
        return [path_of("docker-registry"), "serve", str(config)]

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/", timeout=1, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
