"""Runs a conformance program, and reads which of its tests passed."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Final

from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TIMEOUT_SECONDS: Final = 120


def run_program(tool: str, results: Path, settings: Mapping[str, str], *, exit_codes: frozenset[int]) -> ET.Element:
    """The program's `junit.xml`; what it prints goes to the terminal of a failing test.

    `tool` is a name of `tests/system/tools.py`, `settings` are the only variables of the program's that it sees.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCI_")}
    results.mkdir()
    done = subprocess.run(
        [path_of(tool)],
        env={**inherited, **settings},
        cwd=results,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    print(done.stdout[-20_000:], done.stderr[-5_000:])
    assert done.returncode in exit_codes, f"the program exited with {done.returncode}"
    return ET.parse(results / "junit.xml").getroot()
