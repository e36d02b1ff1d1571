"""`deploy/make-venv` and what make does with it: a moved clone, a Python that went away, one that only root may use."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests import skips
from tests.system.process import run
from tests.system.tools import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT: Final = ROOT / "deploy" / "make-venv"
PYTHON: Final = Path(getattr(sys, "_base_executable", sys.executable))
NEEDED: Final = ("Makefile", "pyproject.toml", "deploy", "requirements")


@pytest.fixture
def clone(scratch: Path) -> Iterator[Path]:
    """A clone with an environment, as `make setup` leaves it."""
    folder = scratch / f"clone {secrets.token_hex(3)}"
    folder.mkdir()
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    run([SCRIPT, folder / ".venv"], env={**os.environ, "PYTHON": str(PYTHON)})
    for stamp in (".runtime", ".dev"):
        (folder / ".venv" / stamp).touch()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def would_make(folder: Path) -> bool:
    """Whether `make serve` would make the environment again."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return "deploy/make-venv" in run(["make", "-n", "serve"], cwd=folder, env=clean).stdout


def test_an_environment_is_made_once_and_again_where_its_clone_was_moved(clone: Path) -> None:
    assert not would_make(clone)
    moved = clone.with_name(f"{clone.name} moved")
    clone.rename(moved)
    try:
        run([SCRIPT, "--is-usable", moved / ".venv"], exit_code=1)
        assert would_make(moved)
        run([SCRIPT, moved / ".venv"], env={**os.environ, "PYTHON": str(PYTHON)})
        run([SCRIPT, "--is-usable", moved / ".venv"])
        run([moved / ".venv" / "bin" / "pip", "--version"])
    finally:
        shutil.rmtree(moved)


def test_an_environment_is_made_again_where_its_python_went_away(clone: Path) -> None:
    python = clone / ".venv" / "bin" / "python"
    for link in python.parent.glob("python*"):
        link.unlink()
    python.symlink_to("/nonexistent/python3.11")
    run([SCRIPT, "--is-usable", clone / ".venv"], exit_code=1)
    assert would_make(clone)


def test_a_python_that_other_users_cannot_reach_is_not_taken_for_a_folder_that_they_can(tmp_path: Path) -> None:
    """A service that runs as a user of its own would not start with it; where the clone is as private, it is taken."""
    if os.geteuid() != 0:
        skips.skip("needs a folder that everybody may enter", enable_with="sudo make test")
    private, public = tmp_path / "private", Path("/usr/local/share")
    private.mkdir(mode=0o700)
    (private / "python3.11").symlink_to(PYTHON)
    environment = {**os.environ, "PATH": f"{private}:/bin"}
    environment.pop("PYTHON", None)
    private_python = str(private / "python3.11")
    assert run([SCRIPT, "--which", private / ".venv"], env=environment).text == private_python
    done = subprocess.run([SCRIPT, "--which", public], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        assert f"PYTHON={private_python}" in done.stderr, "how to take it all the same"
    else:
        assert done.stdout.strip() != private_python, "this machine has another for everybody"
    assert run([SCRIPT, "--which", public], env={**environment, "PYTHON": private_python}).text == private_python


def test_nothing_is_installed_without_saying_so(tmp_path: Path) -> None:
    """Debian keeps a part of Python apart: the command that installs it is shown before it runs, and if it fails."""
    programs = tmp_path / "bin"
    programs.mkdir()
    python = programs / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec {PYTHON} "$@"\n')
    for name in ("apt-get", "sudo"):
        (programs / name).write_text(f'#!/bin/sh\necho "ran: {name} $*"\nexit 1\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:/usr/bin:/bin", "PYTHON": str(python)}
    said = run([SCRIPT, tmp_path / "venv"], env=environment, exit_code=3)
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    lines = said.stdout.splitlines()
    assert any(f"apt-get install -y --no-install-recommends {package}" in line for line in lines[:2]), said.stdout
    assert lines[2].startswith("ran: "), "only then anything runs"
    assert f"sudo apt-get install {package}" in said.stderr
    assert not (tmp_path / "venv").exists()


def test_make_says_who_started_the_server(clone: Path) -> None:
    """So that the remedy for a port that is taken is one that its reader can use."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    assert "--started-by-make" in run(["make", "-n", "serve"], cwd=clone, env=clean).stdout
