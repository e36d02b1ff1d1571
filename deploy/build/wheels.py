"""The locked wheels, and our own, unpacked by hand: pip would write paths of this machine into what it installs."""

from __future__ import annotations

import sys
import zipfile
from typing import TYPE_CHECKING, Final

from deploy.build.commands import BuildError, run, say
from deploy.build.source import ROOT, Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOCK: Final = ROOT / "requirements" / "runtime.lock"
OLDEST_GLIBC: Final = 17
"""Minor version below which no wheel of today is made for (manylinux2014)."""
MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's architectures for which every locked wheel exists, and what wheels call them."""
_METADATA: Final = (".dist-info/RECORD", ".dist-info/WHEEL")


def download(folder: Path, *, python: str, glibc_minor: int, architecture: str) -> list[Path]:
    """The locked wheels for a version of Python such as ``3.13`` on glibc 2.``glibc_minor``; sorted.

    Raises:
        BuildError: one of them does not exist for it, or is not the one that was locked.
    """
    say(f"fetching the locked wheels for Python {python}")
    folder.mkdir(parents=True, exist_ok=True)
    platforms = [f"manylinux_2_{minor}_{_machine(architecture)}" for minor in range(OLDEST_GLIBC, glibc_minor + 1)]
    platforms += [f"manylinux2014_{_machine(architecture)}"]
    tag = f"cp{python.replace('.', '')}"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
    pip += ["--require-hashes", "--only-binary=:all:", "--requirement", str(LOCK), "--dest", str(folder)]
    pip += ["--implementation=cp", f"--python-version={python}"]
    pip += [f"--abi={abi}" for abi in (tag, "abi3", "none")]
    before = set(folder.glob("*.whl"))
    run([*pip, *(f"--platform={platform}" for platform in platforms)])
    names = _locked_names()
    found = sorted(wheel for wheel in folder.glob("*.whl") if wheel.name.partition("-")[0].lower() in names)
    if len({wheel.name.partition("-")[0] for wheel in found}) < len(found):
        for wheel in before:  # of an older lock
            wheel.unlink()
        return download(folder, python=python, glibc_minor=glibc_minor, architecture=architecture)
    return found


def _locked_names() -> set[str]:
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return {line.partition("==")[0].lower().replace("-", "_") for line in lines if "==" in line and line[0] != " "}


def _machine(architecture: str) -> str:
    if architecture not in MACHINES:
        raise BuildError(f"there are no locked wheels for {architecture}, only for {', '.join(MACHINES)}")
    return MACHINES[architecture]


def build(folder: Path, source: Source) -> Path:
    """Our own wheel, made into ``folder``.

    Raises:
        BuildError: it could not be made.
    """
    say("building the wheel")
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-deps"]
    run([*pip, "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)], variables=source.variables)
    return folder / f"roadstead-{source.version}-py3-none-any.whl"


def unpack(wheels: Sequence[Path], target: Path) -> None:
    """Puts the contents of wheels below ``target``; wheels of one project for several Pythons may go to one folder.

    Raises:
        BuildError: two wheels have different files of the same name, or a wheel has files for places of its own.
    """
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for member in sorted(archive.namelist()):
                if ".data/headers/" in member:
                    continue  # for compilers
                if ".data/" in member:
                    raise BuildError(f"{wheel.name}: {member} wants a place that unpacking does not know")
                if not member.endswith("/"):
                    _place(archive.read(member), target / member, wheel.name)


def _place(content: bytes, path: Path, wheel: str) -> None:
    if path.exists() and path.read_bytes() != content and not str(path).endswith(_METADATA):
        raise BuildError(f"{wheel}: {path.name} differs from the one of another wheel")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
