"""The command line on real registries: called in this process, as a process of its own, or on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
from click.testing import CliRunner, Result

from roadstead.cli import program
from roadstead.registry import Registry
from tests.factories.images import image, index, layer
from tests.factories.registries import DATABASE_VARIABLE, make_folder, on_registry, push_image, push_referrer

PROGRAM: Final = Path(sys.executable).parent / "roadstead"
APP: Final = image([layer({"etc/greeting": b"hello"}), layer({"etc/name": b"roadstead"})])
PLATFORMS: Final = index(
    [image([layer({"etc/platform": name.encode()})], architecture=name) for name in ("amd64", "arm64")]
)


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Commands silence the logs of services; other tests want them."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue of what is made from here on is where the environment says, for commands too."""
    if database_url:
        monkeypatch.setenv(DATABASE_VARIABLE, database_url)


@pytest.fixture
def folder(tmp_path: Path, database: None) -> Path:
    """A registry with an image under two tags, an index, a referrer, and another repository."""
    folder = make_folder(tmp_path / "data")

    async def fill(registry: Registry) -> None:
        await push_image(registry, "library/app", APP, "1.0", "latest")
        await push_image(registry, "library/app", PLATFORMS, "multi")
        await push_referrer(registry, "library/app", APP, note="two\nlines \x1b[31mred")
        await push_image(registry, "team/tool", APP, "1.0")

    on_registry(folder, fill)
    return folder


@dataclass(frozen=True, slots=True)
class Command:
    """Runs commands on one registry."""

    folder: Path

    def __call__(self, *arguments: str, **extra: Any) -> Result:
        """The outcome of a command, whose output goes to a pipe."""
        return CliRunner().invoke(program, [*arguments, "--data", str(self.folder)], **extra)

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        """The objects that a successful command prints."""
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    def process(self, *arguments: str, **extra: Any) -> subprocess.CompletedProcess[str]:
        """The outcome of a real process."""
        return subprocess.run(
            [PROGRAM, *arguments, "--data", self.folder], capture_output=True, text=True, check=False, **extra
        )

    def terminal(self, *arguments: str, columns: int = 100, keys: bytes = b"", **environment: str) -> str:
        """What a person sees who runs a command in a terminal of so many columns."""
        child, terminal = pty.fork()
        if child == 0:
            os.environ.update({"COLUMNS": str(columns), "TERM": "xterm", **environment})
            os.execv(PROGRAM, [str(PROGRAM), *arguments, "--data", str(self.folder)])
        if keys:
            os.write(terminal, keys)
        seen = b"".join(_read_all(terminal))
        os.close(terminal)
        os.waitpid(child, 0)
        return seen.decode().replace("\r\n", "\n")


def _read_all(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # Linux's way to say that the other end was closed
            return
        if not piece:
            return
        yield piece


@pytest.fixture
def command(folder: Path) -> Command:
    """Runs commands on the registry in ``folder``."""
    return Command(folder)


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Lets every command on a registry fail with an error."""

    def install(error: BaseException) -> None:
        def fail(*_: object, **_options: object) -> None:
            raise error

        monkeypatch.setattr("roadstead.cli.terminal.session.run", fail)

    return install
