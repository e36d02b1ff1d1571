"""``roadstead adopt``: takes over a folder of registry:2."""

import asyncio
import collections
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from roadstead.cli.registry2.adoption import require_tree, run_adoption, sentence, serve_command
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import is_terminal, print_json, print_line, print_wrapped, style
from roadstead.cli.terminal.progress import ProgressBar
from roadstead.cli.terminal.refusal import CommandRefusedError

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.app import Installation
    from roadstead.config import Settings
    from roadstead.database import Database
    from roadstead.registry2.adoption.adoption import AdoptionSummary
    from roadstead.registry2.links import TreeFinding

_CONFIG_HINT: Final = (
    "With --config FILE, which may be registry:2's own, passwords, rules and addresses stay as they are; without,"
    " everybody on this machine may do everything."
)

MOST_FINDINGS: Final = 100
"""Number of findings of one kind that a terminal shows at most; a pipe and --json get all."""


@click.command(
    epilog="""\b
Examples:
  roadstead adopt /var/lib/registry                  the catalogue goes into the same folder
  roadstead adopt /var/lib/registry --data /srv/rs   the catalogue goes elsewhere
  roadstead adopt /var/lib/registry --json | jq -r 'select(.severity == "damage") | .subject'
\b
Exit code 0 when all could be taken up, 4 when something damaged was left alone. Notes change nothing."""
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--force", is_flag=True, help="Also where roadstead served since: what it was told then is lost.")
@registry_options
@click.pass_context
def adopt(
    context: click.Context,
    *,
    folder: Path,
    force: bool,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Take over a folder of registry:2 or registry:3.

    Reads DIR, which that calls `rootdirectory`, into a catalogue, without copying or changing anything in it. Tags come
    with their history. May be interrupted, and run again and again: also while registry:2 still runs, and once more
    when it has stopped. What is damaged is named and left alone.

    As soon as `roadstead serve` has served the folder the catalogue is the truth; see `roadstead release` for the way
    back.
    """
    from roadstead.config import load_settings  # noqa: PLC0415 - see cli.terminal.session

    session.silence_log()
    root = folder.absolute()
    elsewhere = data is not None or config is not None
    settings = load_settings(
        config,
        overrides={
            "data.folder": data if elsewhere else root,
            "storage.url": root.as_uri() if elsewhere and root != (data or root).absolute() else None,
        },
    )
    if settings.has_database_server and not elsewhere:  # the folder is not that of the catalogue then
        settings = load_settings(overrides={"storage.url": root.as_uri()})
    report = _Report(as_json)
    summary, served = asyncio.run(_adopt(settings, report, config, is_forced=force))
    report.finish(summary, served)
    context.exit(ExitCode.DAMAGED if report.counts["damage"] else ExitCode.DONE)


async def _adopt(
    settings: "Settings", report: "_Report", config: Path | None, *, is_forced: bool
) -> "tuple[AdoptionSummary, str]":
    from roadstead import __version__, app  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.telemetry import Metrics  # noqa: PLC0415

    installation = app.Installation(settings)
    folder = installation.folder
    require_tree(folder)
    try:
        if installation.is_shared:
            folder.lock_objects(makes=False)
        else:
            installation.lock()
        await asyncio.to_thread(installation.migrate)
        registry = await app.build_registry(settings, Metrics(__version__))
        try:
            if is_forced:
                folder.require_no_other_server()
            else:
                await installation.require_storage(registry.database)
                await _require_tree_in_charge(registry.database, installation)
            with ProgressBar() as bar:

                def tell(finding: "TreeFinding") -> None:
                    with bar.aside():
                        report.add(finding)

                return await run_adoption(registry, folder, bar, tell), serve_command(settings, folder, config)
        finally:
            await app.close_registry(registry)
    finally:
        folder.unlock()


async def _require_tree_in_charge(database: "Database", installation: "Installation") -> None:
    from roadstead.registry.operation.adoption_state import AdoptionPhase, find_adoption  # noqa: PLC0415

    if (await find_adoption(database)).phase is AdoptionPhase.IN_CHARGE:
        raise CommandRefusedError(
            f"the catalogue {installation.catalogue} is in charge of {installation.folder.objects} since roadstead"
            " served it, and knows more than its links: nothing was changed. `roadstead release` writes the links;"
            " --force takes them as they are"
        )


@dataclass(slots=True)
class _Report:
    """The report of an adoption: prints findings as they come, and counts them."""

    as_json: bool
    counts: collections.Counter[str] = field(default_factory=collections.Counter[str])

    def add(self, finding: "TreeFinding") -> None:
        self.counts[finding.severity] += 1
        self.counts[finding.kind] += 1
        subject, detail = text.printable(finding.subject), text.printable(sentence(finding))
        if self.as_json:
            fields = (("severity", finding.severity), ("kind", finding.kind))
            print_json(dict(fields) | {"subject": finding.subject, "detail": finding.detail, "tags": finding.tags})
        elif not is_terminal():
            print_line(f"{finding.severity}\t{finding.kind}\t{subject}\t{detail}")
        elif self.counts[finding.kind] <= MOST_FINDINGS:
            colour = "red" if finding.severity == "damage" else "yellow"
            print_line(
                f"{style(finding.severity, colour=colour, bold=True)} {finding.kind} {style(subject, bold=True)}"
            )
            print_wrapped(detail, indent=" " * 7)

    def finish(self, summary: "AdoptionSummary", served: str) -> None:
        damage, notes = self.counts["damage"], self.counts["note"]
        if self.as_json:
            print_json({"summary": _record(summary) | {"damage": damage, "note": notes, "serve": served}})
            return
        if not is_terminal():
            return
        hidden = sum(
            count - MOST_FINDINGS
            for kind, count in self.counts.items()
            if kind not in {"damage", "note"} and count > MOST_FINDINGS
        )
        if hidden:
            print_line(f"… and {text.number(hidden)} more like these; --json names all")
        print_line(_sentence(summary))
        if damage:
            print_line(style(f"Left alone: {text.plural(damage, 'damaged thing')}", colour="red", bold=True))
        print_line(f"Next, with registry:2 stopped:\n\n  {served}\n")
        if "--config" not in served:
            print_wrapped(_CONFIG_HINT, indent="")


def _sentence(summary: "AdoptionSummary") -> str:
    counts = ", ".join(
        text.plural(count, noun)
        for count, noun in (
            (summary.repositories, "repository"),
            (summary.tags, "tag"),
            (summary.manifests, "manifest"),
            (summary.blobs, "blob link"),
        )
    )
    news = f" ({text.number(summary.added)} new, {text.number(summary.removed)} gone)"
    return f"{style('Adopted', colour='green', bold=True)} {counts}{news}"


def _record(summary: "AdoptionSummary") -> dict[str, object]:
    return {
        "repositories": summary.repositories,
        "tags": summary.tags,
        "manifests": summary.manifests,
        "blob_links": summary.blobs,
        "added": summary.added,
        "removed": summary.removed,
        "uploads": summary.uploads,
        "unlinked_files": summary.unlinked_files,
        "unlinked_bytes": summary.unlinked_bytes,
    }
