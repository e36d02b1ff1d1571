"""Container engines of this machine: one that runs is given the image, and the command that starts it is shown."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from deploy.build.commands import BuildError, run, say

if TYPE_CHECKING:
    from pathlib import Path

ENGINES: Final = ("docker", "podman")
ANSWER_SECONDS: Final = 20
"""Time in which an engine that runs says so; a daemon that hangs is none."""


def find_engine() -> str | None:
    """The first engine that is there and answers, or None."""
    return next((name for name in ENGINES if shutil.which(name) and _answers(name)), None)


def _answers(name: str) -> bool:
    try:
        done = subprocess.run([name, "info"], capture_output=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def load(archive: Path, name: str, tag: str) -> None:
    """Loads the image where an engine runs, and says how to run it."""
    engine = find_engine()
    if engine is None:
        say(f"no docker or podman runs here; elsewhere: docker load --input {archive.name}")
        engine = "docker"
    else:
        try:
            run([engine, "load", "--input", archive])
        except BuildError as error:
            say(f"{engine} did not load it: {error}")
        else:
            say(f"loaded into {engine}")
    say(
        f"\nRun it, open to this machine only, its data in the volume registry:\n\n"
        f"  {engine} run -d --name registry -p 127.0.0.1:5000:5000 -v registry:/var/lib/registry \\\n"
        f"    -e ROADSTEAD_AUTHENTICATION__MODE=none {name}:{tag}\n\n"
        "With users, HTTPS, compose, Kubernetes: docs/en/how-to/container.md"
    )
