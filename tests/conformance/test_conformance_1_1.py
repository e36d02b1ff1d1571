"""The conformance program that was released with version 1.1, a suite of Go tests, against a real server.

Registries are certified for 1.1 with it, and it asks for things that the program of today leaves open: that a malformed
tag is 404, for one.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import pytest

from tests.conformance.program import TIMEOUT_SECONDS, run_program
from tests.system.faults.server import FaultyServer, serving

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from pathlib import Path

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
        cases = run(server, folder / "results")
        server.check()
    assert not [name for name, case in cases if case.find("failure") is not None or case.find("error") is not None]
    assert {name for name, case in cases if case.find("skipped") is not None} == NOT_ASKED
    assert len(cases) >= TESTS


def run(server: FaultyServer, results: Path) -> list[tuple[str, ET.Element]]:
    """Each test with its name, which several may have."""
    unique = secrets.token_hex(4)
    settings = {
        **{f"OCI_TEST_{workflow}": "1" for workflow in WORKFLOWS},
        "OCI_ROOT_URL": f"http://{server.host}",
        "OCI_NAMESPACE": f"conformance/one-{unique}",
        "OCI_CROSSMOUNT_NAMESPACE": f"conformance/two-{unique}",
        "OCI_AUTOMATIC_CROSSMOUNT": "1",
        "OCI_REPORT_DIR": str(results),
    }
    cases = run_program("oci-conformance-1.1", results, settings, exit_codes=frozenset({0, 1})).iter("testcase")
    prefix = "[It] OCI Distribution Conformance Tests "
    named = [(str(case.get("name")), case) for case in cases]
    return [(name.removeprefix(prefix), case) for name, case in named if name.startswith(prefix)]
