"""``roadstead config check``: a settings file, key by key."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from roadstead.cli.terminal import text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.output import (
    Column,
    is_terminal,
    note,
    print_json,
    print_line,
    print_rows,
    print_wrapped,
    style,
)

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.config.inspection import FileInspection
    from roadstead.config.registry2 import Finding

_COLOURS: Final = {"refused": "red", "invalid": "red", "different": "yellow", "unknown": "yellow", "ignored": "yellow"}


@click.command(
    epilog="""\b
Examples:
  roadstead config check config.yml
  roadstead config check config.yml --json | jq -r 'select(.verdict != "honoured") | .key'
\b
Exit code 0 when a server starts with it, 1 when something is in the way."""
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line; errors too.")
@click.pass_context
def check(context: click.Context, *, file: Path, as_json: bool) -> None:
    """Say what becomes of every key of a settings file.

    FILE is ours, or registry:2's or registry:3's, whose REGISTRY_ variables in this shell count too. A key is honoured,
    honoured with a difference, ignored without harm, unknown, refused (the server does not start, since ignoring it
    would be unsafe) or invalid.
    """
    import asyncio  # noqa: PLC0415 - see cli.terminal.session

    from roadstead.config.inspection import inspect_file  # noqa: PLC0415 - see cli.terminal.session

    found = inspect_file(file)
    asyncio.run(_print(found, as_json=as_json))
    context.exit(ExitCode.DONE if found.is_fit else ExitCode.REFUSED)


async def _print(found: "FileInspection", *, as_json: bool) -> None:
    if is_terminal() and not as_json:
        _print_for_people(found)
    else:
        await print_rows(_each(found), _COLUMNS, _record, as_json=as_json)
        if found.problem and as_json:
            print_json({"problem": found.problem})
        elif found.problem:
            print_line(f"\t\tinvalid\t\t{text.printable(found.problem)}")


def _print_for_people(found: "FileInspection") -> None:
    """Prints a line for each key, and an explanation below each that is not simply honoured."""
    width = max((len(finding.key) for finding in found.findings), default=0)
    places = max((len(_place(finding)) for finding in found.findings), default=0)
    for finding in found.findings:
        verdict = str(finding.verdict)
        shown = style(verdict.ljust(9), colour=_COLOURS.get(verdict, "green"))
        targets = ", ".join(finding.targets)
        key, place = text.printable(finding.key).ljust(width), _place(finding).rjust(places)
        print_line(f"{style(place, dim=True)}  {key}  {shown}  {targets}".rstrip())
        if verdict != "honoured":
            print_wrapped(text.printable(finding.text), indent=" " * (places + 4))
    if found.problem:
        print_line()
        print_wrapped(text.printable(found.problem), indent="")
    note(_summary(found))


def _summary(found: "FileInspection") -> str:
    kind = "registry:2's" if found.is_registry2 else "ours"
    count = text.plural(len(found.findings), "key")
    outcome = "a server starts with it" if found.is_fit else "no server starts with it"
    return f"\n{count}, the file is {kind}: {outcome}"


def _place(finding: "Finding") -> str:
    """Returns the line of the file, or the variable, that a finding is about."""
    name, colon, line = finding.source.rpartition(":")
    return f"line {line}" if colon and line.isdecimal() and name else text.printable(finding.source)


async def _each(found: "FileInspection") -> "AsyncIterator[Finding]":
    for finding in found.findings:
        yield finding


def _record(finding: "Finding") -> dict[str, object]:
    _, _, line = finding.source.rpartition(":")
    return {
        "key": finding.key,
        "source": finding.source,
        "line": int(line) if line.isdecimal() else None,
        "verdict": str(finding.verdict),
        "settings": list(finding.targets),
        "meaning": finding.text,
    }


_COLUMNS: "Final[tuple[Column[Finding], ...]]" = (
    Column("Where", lambda finding: text.printable(finding.source)),
    Column("Key", lambda finding: text.printable(finding.key)),
    Column("Verdict", lambda finding: str(finding.verdict)),
    Column("Setting", lambda finding: ",".join(finding.targets)),
    Column("Meaning", lambda finding: text.printable(finding.text)),
)
