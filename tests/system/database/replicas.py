"""Replicas of a registry as real processes: a database, a folder of blobs, and as many servers as a test wants."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.system.faults.server import environment
from tests.system.process import run
from tests.system.servers import RegistryServer

if TYPE_CHECKING:
    from collections.abc import Mapping

ROADSTEAD: Final = Path(sys.executable).parent / "roadstead"


class Installation:
    """A database, a folder of blobs, and as many servers on them as a test wants."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.blobs = folder / "shared" / "blobs"
        self.blobs.parent.mkdir(parents=True)
        self._stack = contextlib.ExitStack()

    @property
    def arguments(self) -> list[str]:
        """Flags that all servers have in common."""
        return ["--database", self.url, "--storage", self.blobs.as_uri()]

    def replica(self, name: str, *more: str) -> RegistryServer:
        """Another server, not started yet."""
        return RegistryServer(self.folder / name, arguments=[*self.arguments, *more], peer="")

    def started(self, name: str, *more: str) -> RegistryServer:
        """Another server, which ends with the test."""
        return self._stack.enter_context(self.replica(name, *more))

    def command(self, *words: str, exit_code: int | None = 0, env: Mapping[str, str] | None = None) -> str:
        """What a command printed that was told of the database alone."""
        told = environment({"database.url": self.url, "data.folder": self.folder / "nowhere"})
        answer = run([ROADSTEAD, *words], env={**told, **(env or {})}, exit_code=exit_code, cwd=self.folder)
        return answer.stdout if exit_code == 0 else answer.both

    def close(self) -> None:
        """Stop the servers, each of which must have been well."""
        self._stack.close()
