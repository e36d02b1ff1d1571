"""Adopting a volume takes a bounded amount of memory, however long its manifests are."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.bounds.measuring import MIB
from tests.system.faults.client import digest_of, manifest_of
from tests.system.faults.server import PROGRAM, environment
from tests.system.process import run

if TYPE_CHECKING:
    from pathlib import Path

MANIFESTS: Final = 60
LIMIT: Final = 4 * MIB
MOST_BYTES: Final = 200 * MIB
"""Of the whole process: without a bound it would hold all the manifests at once, 240 MiB besides."""

MEASURING: Final = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""Between the tests and what is measured: a process begins with the peak of the one that starts it."""

pytestmark = pytest.mark.xdist_group("bounds")


def write_volume(root: Path) -> None:
    """A volume of registry:2 with one repository of long manifests."""
    tree = root / "docker/registry/v2"
    repository = tree / "repositories/long"

    def write_blob(content: bytes, links: str) -> None:
        hexadecimal = digest_of(content).partition(":")[2]
        data = tree / "blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"
        link = repository / links / "sha256" / hexadecimal / "link"
        for path, bytes_of in ((data, content), (link, digest_of(content).encode())):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes_of)

    write_blob(b"{}", "_layers")
    document = json.loads(manifest_of(b"{}", []))
    for number in range(MANIFESTS):
        padding = secrets.token_hex(2) + "x" * (LIMIT - 1000)
        write_blob(
            json.dumps(document | {"annotations": {"n": str(number), "p": padding}}).encode(), "_manifests/revisions"
        )


def test_adoption_of_long_manifests(scratch: Path) -> None:
    folder = scratch / f"adoption-{secrets.token_hex(3)}"
    write_volume(folder / "registry")
    adopting: list[str | Path] = [PROGRAM, "adopt", folder / "registry", "--data", folder / "data"]
    text = run([sys.executable, "-c", MEASURING, *adopting], env=environment({})).text
    most_bytes = int(text.splitlines()[-1]) * 1024
    found = json.loads(run([PROGRAM, "stats", "--json", "--data", folder / "data"], env=environment({})).text)
    assert found["manifests"] == MANIFESTS
    assert most_bytes <= MOST_BYTES, f"{most_bytes / MIB:.0f} MiB"
    shutil.rmtree(folder)
