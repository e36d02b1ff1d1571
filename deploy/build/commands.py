"""Commands that a build runs, and how it fails: with a sentence that says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LAST_LINES: Final = 15
"""Of what a command that failed has printed: enough to see why, without the list of what it had done well."""


class BuildError(Exception):
    """The build cannot go on; the text says why and what to do."""


def run(
    command: Sequence[str | Path], *, folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> str:
    """Runs a command to its end and returns what it printed on standard output.

    Raises:
        BuildError: it is not there, or it failed; with the last lines that it printed.
    """
    words = [str(word) for word in command]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(variables or {})}
    try:
        done = subprocess.run(
            words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise BuildError(f"{words[0]} is not there") from None
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-LAST_LINES:])
        raise BuildError(f"{' '.join(words)}\nended with {done.returncode}:\n{said}")
    return done.stdout


def require(programs: Mapping[str, str]) -> None:
    """Sees that programs are there, and installs what is missing; ``programs`` names the Debian package of each.

    Raises:
        BuildError: one is not there and cannot be installed; the text has the command that would do it.
    """
    packages = sorted({package for program, package in programs.items() if shutil.which(program) is None})
    if packages:
        install(packages)


def install(packages: Sequence[str]) -> None:
    """Installs packages of the distribution, and says so first.

    Raises:
        BuildError: this machine does not let us.
    """
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") is None:
        raise BuildError(f"{', '.join(packages)}: this needs Debian or Ubuntu, or their apt-get and dpkg-deb")
    say(f"installing from Debian's packages: {' '.join(packages)}")
    try:
        run([*root, "apt-get", "update", "-q"])
        run([*root, *command.split()], variables={"DEBIAN_FRONTEND": "noninteractive"})
    except BuildError as error:
        raise BuildError(f"could not install {', '.join(packages)}; run: sudo {command}\n{error}") from error


def say(text: str) -> None:
    """Tells whoever waits what is being done."""
    print(text, flush=True)
