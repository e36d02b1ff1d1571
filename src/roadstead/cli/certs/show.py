"""``roadstead certs show``: prints what a certificate says, in a file or as a server shows it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.terminal import text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.output import print_fields, print_json, print_line, style

if TYPE_CHECKING:  # it brings cryptography, which --help and completion do not need
    from roadstead.certificates.inspection import Shown


@click.command(
    epilog="""\b
Examples:
  roadstead certs show certs/server.crt
  roadstead certs show registry.example.com:5000
  roadstead certs show registry.example.com:5000 --ca certs/ca.crt"""
)
@click.argument("source", metavar="FILE|HOST:PORT")
@click.option(
    "--ca",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Authorities to check against.  [default: the system's]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line; errors too.")
def show(source: str, ca: Path | None, *, as_json: bool) -> None:
    """Show the certificates in a file, or the one that a server shows, and whether clients would accept it.

    Exit code 1 says that a server's certificate is not accepted, or that a certificate in a file is not valid now.
    """
    from roadstead.certificates.inspection import inspect_file, inspect_server  # noqa: PLC0415 - see above
    from roadstead.clock import SystemClock  # noqa: PLC0415

    now_ms = SystemClock().now_ms()
    is_file = Path(source).exists() or ":" not in source
    found = inspect_file(Path(source), now_ms) if is_file else inspect_server(source, ca, now_ms)
    for number, shown in enumerate(found):
        if as_json:
            print_json(_record(shown))
        else:
            if number:
                print_line()
            _print(shown, now_ms)
    if any(shown.problem for shown in found):
        click.get_current_context().exit(ExitCode.REFUSED)


def _print(shown: "Shown", now_ms: int) -> None:
    facts = shown.facts
    days = facts.days_left(now_ms)
    left = f"{days:.0f} days left" if days >= 0 else f"ended {-days:.0f} days ago"
    verdict = style(shown.problem, colour="red") if shown.problem else style(shown.verdict, colour="green")
    kind = "authority" if facts.is_authority else "certificate"
    print_fields(
        [
            ("Subject", text.printable(facts.subject) or "-"),
            ("Kind", f"{kind}, {facts.key}"),
            ("For", "\n".join(text.printable(name) for name in facts.names)),
            ("Issuer", "itself" if facts.is_self_signed else text.printable(facts.issuer)),
            ("Valid", f"{text.utc(facts.not_before_ms)} to {text.utc(facts.not_after_ms)}, {left}"),
            ("Serial", facts.serial),
            ("SHA-256", facts.fingerprint),
            ("Verdict", verdict),
        ]
    )


def _record(shown: "Shown") -> dict[str, object]:
    facts = shown.facts
    return {
        "subject": facts.subject,
        "issuer": facts.issuer,
        "names": list(facts.names),
        "not_before": text.utc(facts.not_before_ms),
        "not_after": text.utc(facts.not_after_ms),
        "serial": facts.serial,
        "fingerprint": facts.fingerprint,
        "key": facts.key,
        "is_authority": facts.is_authority,
        "problem": shown.problem,
    }
