"""The reference pages of the command line name every command, option, exit code and finding, and nothing else."""

import re
from pathlib import Path

import click
import pytest

from roadstead.cli import program
from roadstead.cli.group import COMMANDS
from roadstead.cli.terminal.exit_code import MEANINGS
from roadstead.registry.integrity.findings import FindingKind

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {language: DOCS / language / "reference" / "command-line.md" for language in ("en", "zh")}
ENTRY = re.compile(r"^\| `([^|]+?)` \|", re.MULTILINE)


def sections(language: str) -> dict[str, str]:
    """The text below the heading of each command."""
    pieces = re.split(r"^## `roadstead ([a-z-]+)`\n", PAGES[language].read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def options(name: str) -> set[str]:
    """The options of a command, or of those below it, with their metavariables, as ``--help`` shows them."""
    command = program.get_command(click.Context(program), name)
    assert command is not None
    return _options(command)


def _options(command: click.Command) -> set[str]:
    context = click.Context(command, info_name=command.name)
    records = [each.get_help_record(context) for each in command.get_params(context) if isinstance(each, click.Option)]
    found = {record[0] for record in records if record and "--help" not in record[0]}
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return found.union(*map(_options, below))


@pytest.mark.parametrize("language", PAGES)
def test_every_command_has_its_section_and_no_other_is_there(language: str) -> None:
    assert list(sections(language)) == list(COMMANDS), f"add or remove the section in {PAGES[language]}"


@pytest.mark.parametrize("language", PAGES)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_its_entry_and_no_other_is_there(language: str, name: str) -> None:
    documented = {entry for entry in ENTRY.findall(sections(language)[name]) if entry.startswith("-")}
    assert documented == options(name), (
        f"write `roadstead {name}`'s options into {PAGES[language]} as --help shows them"
    )


@pytest.mark.parametrize("language", PAGES)
def test_every_exit_code_has_its_entry(language: str) -> None:
    page = PAGES[language].read_text(encoding="utf-8")
    assert {int(entry) for entry in ENTRY.findall(page) if entry.isdecimal()} == set(MEANINGS)


@pytest.mark.parametrize("language", PAGES)
def test_every_finding_has_its_entry(language: str) -> None:
    entries = {entry for entry in ENTRY.findall(sections(language)["check"]) if not entry.startswith("-")}
    assert entries == {str(kind) for kind in FindingKind}
