"""The table of tools is sound, provisioning is quick and changes nothing when all is there, and no skip is silent."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.system import provision, tools
from tests.system.process import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PROVISION: Final = tools.ROOT / "tests" / "system" / "provision.py"
QUICK_SECONDS: Final = 2.0


def _absent_tool() -> tools.Tool:
    return tools.Tool("no-such-tool", "nothing", ("no-such-program",), tools.Debian(("no-such-package",)))


@pytest.mark.parametrize("tool", tools.TOOLS, ids=lambda tool: tool.name)
def test_each_tool_names_what_it_runs_and_what_enables_it(tool: tools.Tool) -> None:
    assert tool.name in tool.command() or isinstance(tool.source, tools.Debian | tools.PythonModule)
    assert tool.programs or isinstance(tool.source, tools.PythonModule)
    assert "://" not in tool.command()


def test_names_are_unique() -> None:
    assert len(tools.BY_NAME) == len(tools.TOOLS)


def test_a_tool_in_the_cache_is_old_when_its_pin_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "BIN", tmp_path / "bin")
    monkeypatch.setattr(tools, "CACHE", tmp_path)
    monkeypatch.setattr(provision, "BIN", tmp_path / "bin")
    old, new = (tools.Tool("x", "", ("x-of-test",), tools.GoProgram("example.org/x", ".", v)) for v in ("v1", "v2"))
    assert not old.is_current()

    provision._place(old, b"#!/bin/sh\n")

    assert old.is_current()
    assert new.find() == tmp_path / "bin" / "x-of-test"
    assert not new.is_current()


def test_a_second_run_is_quick_and_silent() -> None:
    installed = [tool.name for tool in tools.TOOLS if tool.is_current()]
    started = time.monotonic()

    answer = run([sys.executable, PROVISION, *installed])

    assert answer.both == ""
    assert time.monotonic() - started < QUICK_SECONDS


def test_an_unknown_name_is_refused_and_the_list_tells_all() -> None:
    refused = run([sys.executable, PROVISION, "no-such-tool"], exit_code=2)
    listed = run([sys.executable, PROVISION, "--list"])

    assert "unknown: no-such-tool" in refused.stderr
    assert [line.split()[0] for line in listed.text.splitlines()] == [tool.name for tool in tools.TOOLS]


def test_what_cannot_be_installed_is_said_and_does_not_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuses(command: Sequence[str], *_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(list(command), 100, "", "no such package")

    monkeypatch.setattr(provision, "_run", refuses)

    provision.provision([_absent_tool()])

    told = capsys.readouterr().out
    assert "no-such-tool is not installed, its tests will be skipped" in told
    assert _absent_tool().command() in told


_CONFTEST: Final = """
    from tests.system import tools
    tools.BY_NAME["absent"] = tools.Tool("absent", "to be missed", ("no-such-program",), tools.Debian(("a-package",)))
"""
_TESTS: Final = """
    import pytest
    from tests import skips

    @pytest.mark.needs("absent")
    def test_of_a_missing_tool(): raise AssertionError

    @pytest.fixture
    def fixture_of_a_missing_tool(): skips.require("absent")

    def test_of_a_fixture(fixture_of_a_missing_tool): raise AssertionError

    def test_of_something_else(): skips.skip("the moon is up", enable_with="wait")

    def test_without_a_remedy(): pytest.skip("just so")

    @pytest.mark.needs("mistyped")
    def test_of_a_tool_that_nobody_knows(): pass
"""


@pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["alone", "parallel"])
def test_every_skip_is_listed_with_what_would_enable_it(tmp_path: Path, parallel: tuple[str, ...]) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    (tmp_path / "conftest.py").write_text(textwrap.dedent(_CONFTEST))
    (tmp_path / "test_it.py").write_text(textwrap.dedent(_TESTS))
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**outside, "PYTHONPATH": str(tools.ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "-p", "no:cacheprovider", *parallel, "test_it.py"]

    told = run(command, cwd=tmp_path, env=environment, exit_code=1).stdout

    _, _, summary = told.partition("skipped, and what would enable it")
    assert "needs absent (to be missed)\n    enable with: " in summary
    assert "apt-get install -y --no-install-recommends a-package\n" in summary
    assert "the moon is up\n    enable with: wait\n    test_it.py::test_of_something_else\n" in summary
    assert "just so\n    enable with: (no command is known: see the reason)\n" in summary
    for name in ("test_of_a_missing_tool", "test_of_a_fixture", "test_without_a_remedy"):
        assert f"    test_it.py::{name}\n" in summary
    assert "no such tool in tests/system/tools.py" in told
    assert "4 skipped, 1 error" in told
