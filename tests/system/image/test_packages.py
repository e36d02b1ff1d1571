"""The wheel and the Debian package: the same bytes each time, and a service on a machine that has no network."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.image.building import digest_of_file
from tests.system.process import Answer, run
from tests.system.tools import ROOT, path_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.image.building import Built

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("packages")]

UNIT: Final = ROOT / "deploy" / "debian" / "roadstead.service"
HIGHEST_EXPOSURE: Final = 1.5
"""Of ten, as systemd counts it: the unit has 1.4, most services of Debian have 9.6."""

SERVE: Final = """
import subprocess, sys, time, urllib.request
command = ["/usr/bin/roadstead", "serve", "--config", "/etc/roadstead/roadstead.yaml"]
server = subprocess.Popen(command, user="roadstead", cwd="/var/lib/roadstead", umask=0o077)
for _ in range(600):
    try:
        assert urllib.request.urlopen("http://127.0.0.1:5001/readyz").status == 200
        assert urllib.request.urlopen("http://127.0.0.1:5000/v2/").status == 200
        break
    except OSError:
        assert server.poll() is None
        time.sleep(0.1)
server.terminate()
sys.exit(server.wait())
"""
"""Serves as the unit does, asks, and ends with the exit code that SIGTERM led to."""


def inside(root: Path, script: str, *, exit_code: int | None = 0) -> Answer:
    """Runs a shell script in a root of its own with no network but its own loopback."""
    prepared = f"ip link set lo up && exec chroot {root} sh -ec '{script}'"
    return run(["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-ec", prepared], exit_code=exit_code,
               timeout_seconds=600)  # fmt: skip


def test_built_twice_the_bytes_are_equal(packages: Built, build_again: Callable[[str], Path]) -> None:
    again = build_again("packages")

    for pattern in ("*.whl", "*.deb"):
        (other,) = again.glob(pattern)
        assert digest_of_file(other) == digest_of_file(packages.file(pattern))


def test_the_wheel_is_the_program(packages: Built, tmp_path: Path) -> None:
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        tmp_path,
    ]
    run([*pip, packages.file("*.whl")])

    said = run([tmp_path / "bin" / "roadstead", "--version"], env={"PYTHONPATH": str(tmp_path)})

    assert said.text == f"roadstead {packages.version}"


@pytest.mark.needs("mmdebstrap", "iproute2")
@pytest.mark.parametrize("bare_root", ["bookworm", "trixie"], indirect=True)
def test_it_installs_without_a_network_serves_and_goes(packages: Built, bare_root: Path) -> None:
    config = bare_root / "etc/roadstead/roadstead.yaml"
    inside(bare_root, "dpkg --force-unsafe-io -i /root/roadstead.deb")
    assert inside(bare_root, "roadstead --version").text == f"roadstead {packages.version}"
    differing = inside(bare_root, "dpkg --verify roadstead").text.splitlines()
    assert not [line for line in differing if "/usr/share/doc" not in line]  # those a bare system leaves out
    assert inside(bare_root, "stat -c %U:%a /var/lib/roadstead").text == "roadstead:700"
    shown = inside(bare_root, "roadstead config show --json --config /etc/roadstead/roadstead.yaml").text.splitlines()
    values = {entry["key"]: entry["value"] for entry in map(json.loads, shown)}
    assert values["listen.main"] == "127.0.0.1:5000", "it must not be open to the world"
    (bare_root / "root/serve.py").write_text(SERVE)
    inside(bare_root, "exec python3 /root/serve.py")

    config.write_text(config.read_text() + "# changed here\n")
    inside(bare_root, "dpkg --force-unsafe-io -i /root/roadstead.deb")  # an upgrade, for all that dpkg knows
    assert config.read_text().endswith("# changed here\n")

    inside(bare_root, "dpkg --remove roadstead")
    assert not (bare_root / "usr/lib/roadstead").exists(), "compiled modules were left"
    assert config.exists()
    said = inside(bare_root, "dpkg --purge roadstead").both
    assert not config.parent.exists()
    assert (bare_root / "var/lib/roadstead/roadstead.db").exists(), "a purge must not delete what was pushed"
    assert "rm -rf /var/lib/roadstead" in said


@pytest.mark.needs("systemd-analyze")
def test_the_unit_allows_little() -> None:
    analyze = path_of("systemd-analyze")
    listing = run([analyze, "security", "--offline=true", "--no-pager", UNIT]).text
    exposure = float(listing.rpartition("Overall exposure level for")[2].split(":", 1)[1].split()[0])

    assert exposure <= HIGHEST_EXPOSURE, listing
