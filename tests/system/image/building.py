"""Builds for tests: from a copy of the sources, kept as long as those stay the same."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deploy.build.debian import KEYRING, find_mirror
from deploy.build.source import BUILT_FROM, describe
from tests.system.process import run
from tests.system.tools import ROOT, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

DOWNLOADS: Final = ROOT / ".cache" / "build"
KEPT: Final = ROOT / ".cache" / "built"
ROOTS: Final = ROOT / ".cache" / "roots"
BUILDS_KEPT: Final = 3
"""Of each kind: for whoever goes to and fro between two branches."""
EPOCH: Final = 1_767_225_600
"""Of every build in tests: any time that is over."""
BUILD_SECONDS: Final = 900.0
"""Twenty times what it takes on two idle cores with everything downloaded: networks are slow and machines busy."""


@dataclass(frozen=True, slots=True)
class Built:
    """A folder of results."""

    folder: Path
    version: str

    def file(self, pattern: str) -> Path:
        """The one file of the folder that matches."""
        (found,) = self.folder.glob(pattern)
        return found


def build_once(what: str) -> Built:
    """The results for the sources as they are, built by the first process that asks."""
    KEPT.mkdir(parents=True, exist_ok=True)
    folder = KEPT / f"{what}-{_hash_of_sources()}"
    with _locked(KEPT / f"{what}.lock"):
        if not (folder / "complete").exists():
            for old in sorted(KEPT.glob(f"{what}-*"), key=lambda path: path.stat().st_mtime)[:-BUILDS_KEPT]:
                shutil.rmtree(old)
            shutil.rmtree(folder, ignore_errors=True)  # of a build that did not end
            build(what, folder, umask=0o022)
            (folder / "complete").touch()
    return Built(folder, describe(ROOT).version)


def build(what: str, folder: Path, *, umask: int) -> Path:
    """Builds from a copy of the sources in ``folder``, into it; returns it."""
    copy = folder / "sources"
    copy.mkdir(parents=True)
    for name in BUILT_FROM:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, copy / name)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-m", "deploy.build", what, "--no-load", "--out", folder, "--cache", DOWNLOADS],
        cwd=copy,
        env={**plain, "SOURCE_DATE_EPOCH": str(EPOCH), "GIT_CEILING_DIRECTORIES": str(folder)},
        umask=umask,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(copy)
    return folder


def bare_system(release: str, root: Path) -> None:
    """Makes the root of a Debian with Python at ``root``; its packages are fetched once for a checkout."""
    ROOTS.mkdir(parents=True, exist_ok=True)
    archive = ROOTS / f"{release}.tar"
    with _locked(ROOTS / f"{release}.lock"):
        if not archive.exists():
            partial = ROOTS / f"{release}.partial.tar"
            options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]
            options.append("--dpkgopt=force-unsafe-io")  # nobody needs it after a power cut
            source = f"deb [signed-by={KEYRING}] {find_mirror().main} {release} main"
            command = [path_of("mmdebstrap"), "--variant=minbase", "--include=python3", *options]
            run([*command, release, partial, source], timeout_seconds=BUILD_SECONDS)
            partial.replace(archive)
    root.mkdir()
    run(["tar", "--extract", "--file", archive, "--directory", root], timeout_seconds=BUILD_SECONDS)


def digest_of_file(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_of_sources() -> str:
    digest = hashlib.sha256()
    for name in BUILT_FROM:
        path = ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)}\0{file.stat().st_mode:o}\0{digest_of_file(file)}\n".encode())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
