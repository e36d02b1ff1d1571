"""A skip is never silent: tests name the tools that they need, and the run ends with what would enable each skip.

`@pytest.mark.needs("skopeo", "umoci")` skips a test when a tool of `tests/system/tools.py` is absent, with a reason
that carries the command which would install it. The end of every run, parallel or not, lists each test that was
skipped for whatever cause, why, and that command. Enabled by `pytest_plugins = ["tests.skips"]` in `tests/conftest.py`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.system.tools import BY_NAME, ENABLE_WITH, reason_to_skip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _pytest.terminal import TerminalReporter


def require(*names: str) -> None:
    """Skip the test that is running when one of the tools is absent; for fixtures."""
    for name in names:
        reason = reason_to_skip(name)
        if reason is not None:
            pytest.skip(reason)


def skip(why: str, *, enable_with: str) -> NoReturn:
    """Skip the test that is running for a cause that no tool would cure, and say what would."""
    pytest.skip(f"{why}{ENABLE_WITH}{enable_with}")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "needs(*tools): real clients or servers, by their names in tests/system/tools.py"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip before any fixture is made; a name that the table does not have is an error, not a skip."""
    for marker in item.iter_markers("needs"):
        unknown = [name for name in marker.args if name not in BY_NAME]
        if unknown:
            pytest.fail(f"needs({', '.join(unknown)}): no such tool in tests/system/tools.py", pytrace=False)
        require(*marker.args)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """List every skip under what would enable it."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section("skipped, and what would enable it")
    for reason, nodes in sorted(_by_reason(skipped).items()):
        why, _, command = reason.partition(ENABLE_WITH)
        terminalreporter.write_line(f"{why}")
        terminalreporter.write_line(f"    enable with: {command or '(no command is known: see the reason)'}")
        for node in sorted(nodes):
            terminalreporter.write_line(f"    {node}")


def _by_reason(reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> dict[str, set[str]]:
    grouped: defaultdict[str, set[str]] = defaultdict(set)
    for report in reports:
        grouped[_reason(report)].add(report.nodeid)
    return grouped


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The text given to `skip`; the report carries it as (file, line, text), or as text after an xdist worker."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
