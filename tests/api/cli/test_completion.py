"""Completion, as a shell asks for it: the script is loaded into bash and a key is pressed, so to say."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from roadstead.cli import program
from roadstead.cli.terminal.local_names import find_repositories, find_tags
from roadstead.oci import RepositoryName
from tests.api.cli.conftest import PROGRAM, Command
from tests.factories.access import ALL_VISIBLE
from tests.factories.registries import opened


def complete(line: str, folder: Path) -> list[str]:
    """What bash would offer at the end of a line."""
    script = CliRunner().invoke(program, ["completion", "bash"]).stdout
    script += """
        COMP_LINE="$1" COMP_POINT=${#1}
        IFS=" " read -ra COMP_WORDS <<< "$COMP_LINE"
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _roadstead_completion roadstead
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", line],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder.parent,
        env={"PATH": f"{PROGRAM.parent}:/usr/bin:/bin"},
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("roadstead ins", ["inspect"]),
        ("roadstead ls --l", ["--limit"]),
        ("roadstead ls ", ["library/app", "team/tool"]),
        ("roadstead ls te", ["team/tool"]),
        ("roadstead inspect library/app:", ["1.0", "latest", "multi"]),
        ("roadstead inspect library/app:l", ["latest"]),
        ("roadstead rm nothing:", []),
        ("roadstead completion z", ["zsh"]),
        ("roadstead access e", ["explain"]),
        ("roadstead access explain alice p", ["pull", "push"]),
        ("roadstead access explain alice pull te", ["team/tool"]),
        ("roadstead access explain --anonymous pull te", ["team/tool"]),
    ],
)
def test_bash(folder: Path, line: str, offered: list[str]) -> None:
    assert complete(line, folder) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(shell: str) -> None:
    result = CliRunner().invoke(program, ["completion", shell])
    assert result.exit_code == 0
    assert "_ROADSTEAD_COMPLETE" in result.stdout


def test_names_are_those_of_the_services(command: Command) -> None:
    async def names() -> tuple[list[str], list[str]]:
        async with opened(command.folder) as registry:
            repositories = await registry.repositories.list_names(limit=100, visible=ALL_VISIBLE)
            tags = await registry.tags.list_names(RepositoryName("library/app"), limit=100, visible=ALL_VISIBLE)
            return list(repositories.items), list(tags.items)

    repositories, tags = asyncio.run(names())
    assert find_repositories(command.folder, "") == repositories
    assert find_tags(command.folder, "library/app", "") == tags
    assert find_repositories(command.folder, "lib") == ["library/app"]


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 100])
def test_without_a_catalogue_nothing_is_proposed(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "roadstead.db").write_bytes(content)
    assert find_repositories(tmp_path, "") == []
    assert find_tags(tmp_path, "a", "") == []


def test_a_catalogue_on_a_server_is_not_asked(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADSTEAD_DATABASE__URL", "postgresql://roadstead@192.0.2.1/never-answers")
    assert find_repositories(command.folder, "") == []
    assert find_tags(command.folder, "library/app", "") == []
