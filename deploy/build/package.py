"""The Debian package: the locked wheels in an environment of its own, a hardened unit, a user and a folder.

It installs without a network. It holds the wheels of several versions of Python side by side (compiled modules carry
the version in their names), so that one package serves Debian 12 and 13 and Ubuntu 24.04.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Final

from deploy.build import debian, wheels
from deploy.build.commands import run, say
from deploy.build.files import FOLDER_MODE, mode_of, remove
from deploy.build.source import ROOT, Source

if TYPE_CHECKING:
    from pathlib import Path

PYTHONS: Final = ("3.11", "3.12", "3.13")
ABOVE: Final = "3.14"
"""The first version of Python for which nothing is in the package."""
GLIBC_MINOR: Final = 36
"""Of Debian 12, the oldest release that has one of these."""

XZ_LEVEL: Final = 2  # of 9: a tenth larger than the default's 6, in a third of its time

HOME: Final = "usr/lib/roadstead"
_FILES: Final = ROOT / "deploy" / "debian"
_PLACES: Final = {
    "program": f"{HOME}/bin/roadstead",
    "roadstead.service": "usr/lib/systemd/system/roadstead.service",
    "roadstead.yaml": "etc/roadstead/roadstead.yaml",
    "copyright": "usr/share/doc/roadstead/copyright",
}
_LINKS: Final = {
    f"{HOME}/bin/python3": "/usr/bin/python3",
    "usr/bin/roadstead": "../lib/roadstead/bin/roadstead",
    **{f"{HOME}/lib/python{version}/site-packages": "../../site" for version in PYTHONS},
}
_SCRIPTS: Final = ("postinst", "prerm", "postrm")
_UNUSED: Final = ("**/*.c", "**/*.h", "**/*.pxd", "**/*.pyx", "roadstead/testing")


def build(out: Path, work: Path, cache: Path, own_wheel: Path, source: Source) -> Path:
    """The package, made into ``out``; ``work`` is an empty folder.

    Raises:
        BuildError: something that goes into it cannot be had.
    """
    architecture = debian.architecture()
    tree = work / "tree"
    site = tree / HOME / "site"
    for python in PYTHONS:
        folder = cache / f"wheels-{python}"
        found = wheels.download(folder, python=python, glibc_minor=GLIBC_MINOR, architecture=architecture)
        wheels.unpack(found, site)
    wheels.unpack([own_wheel], site)
    remove(site, _UNUSED)
    _place_files(tree, source)
    _write_control(tree, architecture, source)
    _normalise(tree, source.epoch)
    target = out / f"roadstead_{source.version}_{architecture}.deb"
    say(f"packing {target.name}")
    pack: list[str | Path] = [
        "dpkg-deb",
        "--root-owner-group",
        "-Zxz",
        f"-z{XZ_LEVEL}",
        "--threads-max=1",
        "--build",
        tree,
        target,
    ]
    run(pack, variables=source.variables)
    return target


def _place_files(tree: Path, source: Source) -> None:
    for name, place in _PLACES.items():
        path = tree / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_FILES / name, path)
    for place, target in _LINKS.items():
        path = tree / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    (tree / HOME / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    changes = (ROOT / "CHANGELOG.md").read_bytes()
    (tree / "usr/share/doc/roadstead/changelog.gz").write_bytes(gzip.compress(changes, mtime=source.epoch))


def _write_control(tree: Path, architecture: str, source: Source) -> None:
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    installed_kib = sum(-(-path.stat().st_size // 1024) for path in files)
    control = {
        "Package": "roadstead",
        "Version": source.version,
        "Architecture": architecture,
        "Maintainer": "The roadstead authors <roadstead@example.com>",
        "Installed-Size": str(installed_kib),
        "Depends": f"python3 (>= {PYTHONS[0]}), python3 (<< {ABOVE}), libc6 (>= 2.{GLIBC_MINOR}), passwd",
        "Recommends": "ca-certificates",
        "Section": "net",
        "Priority": "optional",
        "Description": "private container registry that is complete on its own\n"
        " Stores container images, charts and other artifacts for docker, podman,\n"
        " Kubernetes and everything else that speaks the OCI distribution protocol.",
    }
    folder = tree / "DEBIAN"
    folder.mkdir()
    (folder / "control").write_text("".join(f"{name}: {value}\n" for name, value in control.items()))
    (folder / "conffiles").write_text(f"/{_PLACES['roadstead.yaml']}\n")
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files]  # noqa: S324 - dpkg's format
    (folder / "md5sums").write_text("".join(sums))
    for name in _SCRIPTS:
        shutil.copy(_FILES / name, folder)


def _normalise(tree: Path, epoch: int) -> None:
    """Modes must not depend on the builder's umask, nor times on when it was built."""
    tree.chmod(FOLDER_MODE)
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(FOLDER_MODE if path.is_dir() else mode_of(path))
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (epoch, epoch), follow_symlinks=False)
