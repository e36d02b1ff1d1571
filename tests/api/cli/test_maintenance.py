"""``roadstead maintenance``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roadstead.cli.care.maintenance import MODES
from roadstead.clock import SystemClock
from roadstead.registry.operation.maintenance import Maintenance, MaintenanceMode

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tests.api.cli.conftest import Command
from tests.databases import BOTH
from tests.factories.registries import on_registry

DATABASES = BOTH


def serving(folder: Path, work: Callable[[Maintenance], Coroutine[None, None, None]], **extra: MaintenanceMode) -> None:
    """Does ``work`` as a serving process would, on the same catalogue."""
    on_registry(folder, lambda registry: work(Maintenance(registry.database, SystemClock(), **extra)))


def test_it_knows_every_mode() -> None:
    assert tuple(MaintenanceMode) == MODES


def test_off_at_first(command: Command) -> None:
    result = command("maintenance")
    assert (result.exit_code, result.stdout) == (0, "Mode     off\nServers  0 processes\n")
    assert command.json("maintenance") == [{"mode": "off", "message": "", "since": None, "servers": []}]


@pytest.mark.parametrize("mode", ["read-only", "closed"])
def test_set_shown_and_unset(command: Command, mode: str) -> None:
    result = command("maintenance", mode, "--message", "back at 5", "--wait")
    assert result.exit_code == 0, result.output
    (shown,) = command.json("maintenance")
    assert (shown["mode"], shown["message"]) == (mode, "back at 5")
    assert shown["since"].endswith("Z")
    (unset,) = command.json("maintenance", "off")
    assert (unset["mode"], unset["message"]) == ("off", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["shut"],
        ["--message", "x"],
        ["off", "--message", "x"],
        ["closed", "--message", "a\nb"],
        ["closed", "--message", "x" * 501],
        ["closed", "--timeout", "1"],
        ["closed", "--wait", "--timeout", "-1"],
    ],
)
def test_what_makes_no_sense_is_refused(command: Command, arguments: list[str]) -> None:
    result = command("maintenance", *arguments)
    assert result.exit_code == 2, result.output
    assert command.json("maintenance")[0]["mode"] == "off"


def test_a_server_that_does_not_obey_is_waited_for_as_long_as_asked(command: Command) -> None:
    serving(command.folder, Maintenance.obey)
    result = command("maintenance", "read-only", "--wait", "--timeout", "0.3")
    assert result.exit_code == 1
    assert "still under way after 0.3 seconds" in result.stderr
    (shown,) = command.json("maintenance")
    assert shown["mode"] == "read-only", "it stays set"
    assert shown["servers"] == [{"mode": "off", "obeys": False, "changes": 0}]


def test_servers_are_shown(command: Command) -> None:
    serving(command.folder, Maintenance.obey)
    serving(command.folder, Maintenance.obey, floor=MaintenanceMode.CLOSED)
    assert "2 processes (1 stricter by its own settings)" in command("maintenance").stdout
    seen = command.terminal("maintenance", "closed", NO_COLOR="1")
    assert "2 processes (2 not yet there)" in seen
    assert "--wait returns when" in seen
