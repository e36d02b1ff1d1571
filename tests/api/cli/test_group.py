"""The group of commands: help, lazy imports, and every way that a command can end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner

from roadstead import __version__
from roadstead.cli import program
from roadstead.cli.group import COMMANDS
from roadstead.cli.terminal.exit_code import MEANINGS, ExitCode
from tests.api.cli.conftest import PROGRAM, Command

HEAVY = {"sqlalchemy", "uvicorn", "rich", "structlog", "msgspec", "asyncio", "alembic"}


def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(program, arguments, env=environment)
    return result.exit_code, result.stdout, result.stderr


def test_version() -> None:
    assert run("--version") == (0, f"roadstead {__version__}\n", "")


def test_the_groups_help_names_every_command_and_exit_code() -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name, line in COMMANDS.items():
        assert f"{name} " in out
        assert line in out
    assert all(f"{code:<4} {meaning}" in out for code, meaning in MEANINGS.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_groups_line_is_the_commands_own_and_its_help_shows_examples(name: str) -> None:
    command = program.get_command(click.Context(program), name)
    assert command is not None
    assert (command.help or "").split("\n")[0] == COMMANDS[name]
    help_text = (command.help or "") + (command.epilog or "")
    assert f"roadstead {name}" in help_text
    assert all(isinstance(each, click.Argument) or getattr(each, "help", "") for each in command.params)


NOT_ON_DATA = {"serve", "completion", "config", "certs", "htpasswd"}
NEITHER = {"new-key"}
"""Commands beside such ones that are about no registry."""


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - NOT_ON_DATA))
def test_commands_on_data_share_their_options(name: str) -> None:
    command = program.get_command(click.Context(program), name)
    assert command is not None
    for one in command.commands.values() if isinstance(command, click.Group) else (command,):
        if one.name in NEITHER:
            continue
        assert {"--data", "--config", "--json"} <= {option for each in one.params for option in each.opts}, one.name


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["ls", "--help"], ["check", "--help"], ["nonsense"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom roadstead.cli import program\ntry: program.main(sys.argv[1:])\n"
        f"except SystemExit: print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_without_a_command_it_shows_help() -> None:
    code, out, err = run()
    assert (code, out) == (ExitCode.USAGE, "")
    assert "Commands:" in err
    assert "error:" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'; see `roadstead --help`"),
        (["sreve"], "No such command 'sreve'. Did you mean 'serve'? Otherwise see `roadstead --help`"),
        (["certs", "shw"], "Did you mean 'show'?"),
        (["serve", "--lisen", "x"], "'--listen'"),
        (["ls", "--limit", "0"], "see `roadstead ls --help`"),
        (["ls", "UPPER"], "components are lower-case"),
        (["inspect", "app:bad tag"], "a tag has 1 to 128 characters"),
        (["inspect", "app@sha256:12"], "needs 64 lower-case hexadecimal digits"),
        (["inspect", "app:1@sha256:12"], "name a tag or a digest, not both"),
        (["inspect", "localhost:5000/app:1"], "leave out the registry's address: app:1"),
        (["inspect"], "Missing argument 'REF'"),
        (["ls", "app:1"], "name a repository alone"),
        (["rm", "app"], "app:TAG, app@DIGEST or app --all"),
        (["rm", "app:1", "--all"], "app with --all"),
        (["rm", "app", "--all"], "add --yes"),
        (["check", "--config", "/nonexistent.yaml"], "/nonexistent.yaml"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(arguments: list[str], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (ExitCode.USAGE, "")
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1
    code, out, err = run(*arguments, "--json")
    assert (code, out) == (ExitCode.USAGE, "")
    assert set(json.loads(err)) == {"error"}


def test_no_registry_there(tmp_path: object) -> None:
    code, out, err = run("ls", "--data", str(tmp_path))
    assert (code, out) == (ExitCode.UNREACHABLE, "")
    assert "roadstead serve" in err


def test_a_catalogue_of_another_kind_is_damage(command: Command) -> None:
    (command.folder / "roadstead.db").write_bytes(b"not a database, and longer than a header of a hundred bytes" * 9)
    result = command("ls")
    assert result.exit_code == ExitCode.DAMAGED
    assert "file is not a database" in result.stderr


def test_an_unexpected_error_is_short(command: Command, raising: Callable[[BaseException], None]) -> None:
    raising(ZeroDivisionError("by nothing"))
    result = command("stats")
    assert result.exit_code == ExitCode.UNEXPECTED
    assert "ZeroDivisionError: by nothing" in result.stderr
    assert "report" in result.stderr
    assert "Traceback" not in result.output
    assert "Traceback" in command("stats", env={"ROADSTEAD_DEBUG": "1"}).stderr
    assert "by nothing" in json.loads(command("stats", "--json").stderr)["error"]


def test_interrupted(command: Command, raising: Callable[[BaseException], None]) -> None:
    raising(KeyboardInterrupt())
    result = command("stats")
    assert result.exit_code == ExitCode.INTERRUPTED
    assert result.output.strip() == ""


def test_a_closed_pipe_is_silent(command: Command) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        done = subprocess.run(
            [PROGRAM, "ls", "--data", command.folder], stdout=gone, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (ExitCode.PIPE_CLOSED, "")


def test_raw_bytes_are_not_json(command: Command) -> None:
    result = command("inspect", "app", "--raw", "--json")
    assert result.exit_code == ExitCode.USAGE
    assert "leave out --json" in json.loads(result.stderr)["error"]


def test_output_that_cannot_be_written_says_so(command: Command) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [PROGRAM, "ls", "--data", command.folder], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == ExitCode.UNREACHABLE
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("gone", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", ">&- 2>/dev/full"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [("ls", ExitCode.DONE), ("ls nobody/has/this", ExitCode.REFUSED), ("nonsense", ExitCode.USAGE),
     ("", ExitCode.USAGE)],
)  # fmt: skip
def test_a_stream_that_is_not_there_changes_no_exit_code(
    command: Command, arguments: str, code: ExitCode, gone: str
) -> None:
    """Closed by whoever started the program, or on a full disk: what is left says the same, and nothing else."""
    data = f"--data {command.folder}" if arguments.startswith("ls") else ""
    done = subprocess.run(
        ["sh", "-c", f"{PROGRAM} {arguments} {data} {gone}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if "2>" not in gone and code is ExitCode.REFUSED:
        assert "there is no repository nobody/has/this" in done.stderr


def test_names_that_the_locale_cannot_spell_are_escaped(command: Command) -> None:
    done = command.process("nonsense-…", env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == ExitCode.USAGE
    assert "error: No such command" in done.stderr
