"""What is built: the version, the commit, and the one time that stands in everything that is made of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from deploy.build.commands import BuildError, run

ROOT: Final = Path(__file__).resolve().parents[2]
BUILT_FROM: Final = ("src", "deploy", "requirements", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md")
"""What goes into what is built; a change of anything else leaves it the same."""


@dataclass(frozen=True, slots=True)
class Source:
    """A state of the project."""

    version: str
    epoch: int
    """Seconds since 1970 of the commit, or SOURCE_DATE_EPOCH."""
    revision: str
    """The commit, with ``-dirty`` if files differ from it; empty outside of a checkout."""

    @property
    def created(self) -> str:
        """The time as RFC 3339 has it."""
        return datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def variables(self) -> dict[str, str]:
        """What tools that write times want to know."""
        return {"SOURCE_DATE_EPOCH": str(self.epoch)}


def describe(root: Path = ROOT) -> Source:
    """The state of the project in ``root``.

    Raises:
        BuildError: there is no time to give it: no git, and no SOURCE_DATE_EPOCH.
    """
    package = (root / "src" / "roadstead" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__.*= "(.+)"', package)
    if version is None:
        raise BuildError("src/roadstead/__init__.py has no __version__")
    try:
        revision = _git(root, "rev-parse", "HEAD")
        committed = _git(root, "log", "-1", "--format=%ct")
        is_changed = bool(_git(root, "status", "--porcelain", "--", *BUILT_FROM))
    except BuildError:
        revision, committed, is_changed = "", "", False
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or committed
    if not epoch.isdecimal():
        raise BuildError("this is no git checkout: set SOURCE_DATE_EPOCH to the seconds since 1970 of the release")
    return Source(version[1], int(epoch), f"{revision}-dirty" if is_changed else revision)


def _git(root: Path, *arguments: str) -> str:
    return run(["git", "-C", root, *arguments]).strip()
