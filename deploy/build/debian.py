"""Debian's packages, without root and without touching the machine's own: apt with a folder of its own.

apt resolves dependencies, checks signatures and hashes, and downloads; nothing is installed and no script of a package
is run. The mirror is the one that this machine already uses.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deploy.build.commands import BuildError, install, require, run, say

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LABELS: Final = {"debian": ("Debian", "Debian"), "debian-security": ("Debian", "Debian-Security")}
_ARCHIVES: Final = "cache/archives"


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where packages are taken from."""

    main: str
    security: str
    """Empty if there is none: then fixes arrive with the next point release only."""


def find_mirror() -> Mirror:
    """The mirror in DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR, or else the one this machine's apt uses.

    Raises:
        BuildError: neither is there, as on Ubuntu.
    """
    named = os.environ.get("DEBIAN_MIRROR", "")
    if named:
        return Mirror(named, os.environ.get("DEBIAN_SECURITY_MIRROR", ""))
    listing = run(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Identifier: Packages"])
    found: dict[str, str] = {}
    for line in listing.splitlines():
        origin, label, uri = line.split("|")
        if not origin:  # `apt-get update` has never run here: the end of the address says it as well
            origin, label = _LABELS.get(uri.rstrip("/").rpartition("/")[2], ("", ""))
        if origin == "Debian":
            found.setdefault(label, uri)
    if "Debian" not in found:
        raise BuildError(
            "this machine's apt knows no mirror of Debian: set DEBIAN_MIRROR, and DEBIAN_SECURITY_MIRROR if there is"
            " one"
        )
    return Mirror(found["Debian"], found.get("Debian-Security", ""))


def architecture() -> str:
    """Debian's name of this machine's, such as amd64."""
    return run(["dpkg", "--print-architecture"]).strip()


class PackageSource:
    """A release of Debian, read through a folder of its own."""

    def __init__(self, folder: Path, release: str, mirror: Mirror) -> None:
        self._folder = folder.absolute()
        self._release = release
        for name in ("state/lists/partial", f"{_ARCHIVES}/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").write_text("")
        suites = [(mirror.main, release), (mirror.main, f"{release}-updates")]
        suites += [(mirror.security, f"{release}-security")] if mirror.security else []
        lines = [f"deb [signed-by={KEYRING}] {uri} {suite} main\n" for uri, suite in suites]
        (self._folder / "sources.list").write_text("".join(lines))

    def download(self, packages: Sequence[str], *, without: Collection[str]) -> list[Path]:
        """Files of packages and of all that they depend on, except those named in ``without``; in order of their names.

        Raises:
            BuildError: a package is unknown, or the mirror did not give one with the right signature and hash.
        """
        say(f"fetching packages of Debian {self._release}")
        self._apt("update")
        listing = self._apt("install", "--print-uris", *packages)
        names = re.findall(r"^'[^']+' (\S+\.deb) ", listing, re.MULTILINE)
        self._apt("install", "--download-only", "-y", *packages)
        if not names:  # all of them are in the cache, which --print-uris passes over
            names = re.findall(
                r"^Inst (\S+) \((\S+) .*\[(\w+)\]\)", self._apt("install", "-s", *packages), re.MULTILINE
            )
            names = [f"{name}_{version.replace(':', '%3a')}_{kind}.deb" for name, version, kind in names]
        kept = sorted(name for name in names if name.partition("_")[0] not in without)
        return [self._folder / _ARCHIVES / name for name in kept]

    def _apt(self, action: str, *arguments: str) -> str:
        here = self._folder
        options = {
            "Dir::State": here / "state",
            "Dir::State::status": here / "status",
            "Dir::Cache": here / "cache",
            "Dir::Etc::sourcelist": here / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Acquire::Languages": "none",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",  # the folder is the builder's, not that of the user apt downloads as
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return run(["apt-get", "-q", *words, action, *arguments])


def require_tools() -> None:
    """Sees that apt, dpkg and Debian's keys are there.

    Raises:
        BuildError: they are not, and cannot be installed.
    """
    require({"apt-get": "apt", "dpkg-deb": "dpkg"})
    if not KEYRING.exists():
        install(["debian-archive-keyring"])


def unpack(package: Path, target: Path) -> None:
    """Puts the files of a package below ``target``, and its record where scanners of images look for it."""
    run(["dpkg-deb", "--extract", package, target])
    records = target / "var/lib/dpkg/status.d"  # dpkg itself is not in the image: distroless images do the same
    records.mkdir(parents=True, exist_ok=True)
    record = run(["dpkg-deb", "--field", package])
    (records / package.name.partition("_")[0]).write_text(record.rstrip() + "\n", encoding="utf-8")
