"""The specification's own conformance program against a real server: nothing fails, nothing is skipped."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import pytest
import yaml

from tests.conformance.program import TIMEOUT_SECONDS, run_program
from tests.system.faults.server import FaultyServer, serving

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from pathlib import Path

pytestmark = [pytest.mark.needs("oci-conformance"), pytest.mark.timeout(TIMEOUT_SECONDS + 60)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the program found."""

    tests: int
    failed: list[str]
    skipped: list[str]
    disabled: set[str]
    """What the version asked for, or the settings, leave out."""
    other: dict[str, str]
    """APIs and kinds of data that did not pass."""


class HasHost(Protocol):
    """A server, or what stands before it."""

    @property
    def host(self) -> str:
        """Its address with the port."""
        ...


def run(server: HasHost, results: Path, **settings: str) -> Outcome:
    """What became of each test."""
    unique = secrets.token_hex(4)
    all_settings = {
        "OCI_REGISTRY": server.host,
        "OCI_TLS": "disabled",
        "OCI_REPO1": f"conformance/one-{unique}",
        "OCI_REPO2": f"conformance/two-{unique}",
        "OCI_RESULTS_DIR": str(results),
        **settings,
    }
    return count(run_program("oci-conformance", results, all_settings, exit_codes=frozenset({0})), results)


def count(root: ET.Element, results: Path) -> Outcome:
    """The outcome of each test from `junit.xml`, of each API and kind of data from `results.yaml`."""
    cases = list(root.iter("testcase"))
    document = yaml.safe_load((results / "results.yaml").read_text())
    states = {**document["apis"], **document["data"]}
    disabled = {name for name, state in states.items() if state == "Disabled"}
    return Outcome(
        tests=int(root.get("tests", "0")),
        failed=[str(case.get("name")) for case in cases if _has(case, "failure") or _has(case, "error")],
        skipped=[str(case.get("name")) for case in cases if _has(case, "skipped")],
        disabled=disabled,
        other={name: state for name, state in states.items() if name not in disabled and state != "Pass"},
    )


def _has(case: ET.Element, tag: str) -> bool:
    return case.find(tag) is not None


def require(outcome: Outcome, *, tests: int, disabled: frozenset[str] = frozenset()) -> None:
    """Nothing failed and nothing was skipped but what this run is not about, and it was no empty run."""
    assert not outcome.failed
    assert not outcome.skipped
    assert not outcome.other
    assert outcome.disabled == disabled
    assert outcome.tests >= tests


NOT_IN_1_1: Final = frozenset({"Blob upload cancel", "Manifest put with tag params", "Tag Param", "Tag Param sha512"})


@pytest.mark.parametrize(
    ("version", "tests", "disabled"),
    [pytest.param("dev", 1000, frozenset[str](), id="dev"), pytest.param("1.1", 900, NOT_IN_1_1, id="1.1")],
)
def test_every_test_passes(scratch: Path, version: str, tests: int, disabled: frozenset[str]) -> None:
    """All APIs and all data; the program wants a manifest accepted whose layer is missing, see decision 0003."""
    folder = scratch / f"conformance-{secrets.token_hex(3)}"
    with serving(FaultyServer(folder, settings={"content.missing_blobs": "accept"})) as server:
        outcome = run(server, folder / "results", OCI_VERSION=version, OCI_DATA_SPARSE="true")
        server.check()
    require(outcome, tests=tests, disabled=disabled)


def test_nothing_fails_with_the_default_settings(scratch: Path) -> None:
    """As users run it: a manifest whose layer is missing is refused, which the specification allows."""
    folder = scratch / f"conformance-{secrets.token_hex(3)}"
    with serving(FaultyServer(folder)) as server:
        outcome = run(server, folder / "results", OCI_VERSION="dev", OCI_DATA_SPARSE="false")
        server.check()
    require(outcome, tests=950, disabled=frozenset({"Sparse Manifests"}))
