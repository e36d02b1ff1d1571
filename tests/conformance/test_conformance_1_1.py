"""The conformance program that was released with version 1.1, a suite of Go tests, against a real server.

Registries are certified for 1.1 with it, and it asks for things that the program of today leaves open: that a malformed
tag is 404, for one.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.faults.server import FaultyServer, serving
from tests.system.tools import path_of

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_SECONDS: Final = 120
pytestmark = [pytest.mark.needs("oci-conformance-1.1"), pytest.mark.timeout(TIMEOUT_SECONDS + 60)]

WORKFLOWS: Final = ("PULL", "PUSH", "CONTENT_DISCOVERY", "CONTENT_MANAGEMENT")
TESTS: Final = 79
NOT_ASKED: Final = {
    "Pull Setup Get tag name from environment",  # for registries that cannot be pushed to
    "Content Discovery Setup Populate registry with test tags (no push)",  # likewise
    "Push Cross-Repository Blob Mount Cross-mounting of nonexistent blob should yield session id",
    (
        "Push Cross-Repository Blob Mount Cross-mounting without from, and automatic content discovery disabled should"
        " return a 202"
    ),
}
"""What the program leaves out of every run that gets the other of two allowed answers, or pushes its own images."""


def test_every_test_passes(scratch: Path) -> None:
    """All four workflows, with the default settings."""
    folder = scratch / f"conformance-{secrets.token_hex(3)}"
    with serving(FaultyServer(folder)) as server:
        cases = run_program(server, folder / "results")
        server.check()
    assert not [name for name, case in cases if case.find("failure") is not None or case.find("error") is not None]
    assert {name for name, case in cases if case.find("skipped") is not None} == NOT_ASKED
    assert len(cases) >= TESTS


def run_program(server: FaultyServer, results: Path) -> list[tuple[str, ET.Element]]:
    """Each test with its name, which several may have; the program's output goes to the terminal of a failing test."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCI_")}
    unique = secrets.token_hex(4)
    environment = {
        **inherited,
        **{f"OCI_TEST_{workflow}": "1" for workflow in WORKFLOWS},
        "OCI_ROOT_URL": f"http://{server.host}",
        "OCI_NAMESPACE": f"conformance/one-{unique}",
        "OCI_CROSSMOUNT_NAMESPACE": f"conformance/two-{unique}",
        "OCI_AUTOMATIC_CROSSMOUNT": "1",
        "OCI_REPORT_DIR": str(results),
    }
    results.mkdir()
    done = subprocess.run(
        [path_of("oci-conformance-1.1")],
        env=environment,
        cwd=results,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    print(done.stdout[-20_000:], done.stderr[-5_000:])
    assert done.returncode in {0, 1}, f"the program exited with {done.returncode}"
    prefix = "[It] OCI Distribution Conformance Tests "
    cases = ET.parse(results / "junit.xml").getroot().iter("testcase")
    named = [(str(case.get("name")), case) for case in cases]
    return [(name.removeprefix(prefix), case) for name, case in named if name.startswith(prefix)]
