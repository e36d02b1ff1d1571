"""``roadstead check``: looks for damage."""

import collections
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import is_terminal, print_json, print_line, print_wrapped, style
from roadstead.cli.terminal.progress import ProgressBar
from roadstead.oci import Digest

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry.integrity.findings import Finding


_RESTORE: Final = "restore roadstead.db from a backup, or run `roadstead rebuild`"
_QUARANTINE: Final = "run this with --quarantine, then push it again"  # until then clients are told that it is there
_PUSH: Final = "push it again"

REMEDIES: Final = {
    "catalogue-damaged": _RESTORE,
    "catalogue-unchecked": "run `pg_amcheck --install-missing --heapallindexed NAME` as a superuser of its server",
    "tag-dangling": "push the tag again, or delete it",
    "record-dangling": "harmless when it is a note; otherwise restore the latest backup, and report it",
    "garbage-forgotten": "harmless: takes space; delete the blob by API",
    "manifest-digest": _PUSH,
    "manifest-invalid": "push it again with a client that writes it rightly",
    "manifest-unreadable": _RESTORE,
    "manifest-blob-missing": "push the image again",
    "blob-missing": _QUARANTINE,
    "blob-length": _QUARANTINE,
    "blob-digest": _QUARANTINE,
    "blob-unreadable": f"look at the disk; {_QUARANTINE}",
    "blob-quarantined": _PUSH,
    "storage-unconfirmed": "see `roadstead gc --dry-run`, then run `roadstead gc --confirm`",
    "storage-unreadable": "check who owns the folder, and the disk",
    "name-twice": "harmless: no name is changed; to have one of them, copy its images and delete the other",
    "bytes-unrecorded": "harmless: takes space, and nothing else",
    "open-to-others": "run `chmod o=` on a folder, `chmod go=` on secrets and the catalogue's files",
}
"""Advice for each kind of finding on how to repair it."""


@click.command(
    epilog="""\b
Examples:
  roadstead check                           records against each other, and each blob's length
  roadstead check --deep                    also each blob's digest: reads every byte
  roadstead check --deep --quarantine       and stops serving what is damaged
  roadstead check --json | jq -r 'select(.severity == "damage") | .subject'
\b
Exit code 0 when nothing is damaged, 4 when something is. Notes change nothing."""
)
@click.option("--deep", is_flag=True, help="Read all bytes and compare their digests; check every index entry.")
@click.option("--quarantine", is_flag=True, help="Stop serving damaged blobs and put their bytes aside.")
@registry_options
@click.pass_context
def check(
    context: click.Context,
    *,
    deep: bool,
    quarantine: bool,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Look for damage in the stored data.

    Compares the catalogue with itself, manifests with their digests and with the blobs that they name, and blobs with
    their records. Safe beside a running server. Whatever is damaged is named, with what heals it; bytes that nothing
    refers to are a note, since they do no harm.

    A blob in quarantine is refused to clients until it is pushed again, which heals it.
    """
    from roadstead.database import DatabaseDamagedError  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry.integrity.findings import Finding, FindingKind  # noqa: PLC0415

    report = Report(as_json)
    try:
        session.run(data, config, lambda opened: _check(opened, report, deep=deep, quarantine=quarantine))
    except DatabaseDamagedError as error:
        detail = f"it cannot be opened: {error.detail}"
        report.add(Finding(FindingKind.CATALOGUE_DAMAGED, "catalogue", detail), is_put_aside=False)
    report.finish(deep=deep)
    context.exit(ExitCode.DAMAGED if report.counts["damage"] else ExitCode.DONE)


@dataclass(slots=True)
class Report:
    """The report of a check: prints findings as they come, and counts them."""

    as_json: bool
    counts: collections.Counter[str] = field(default_factory=collections.Counter[str])

    def add(self, finding: "Finding", *, is_put_aside: bool) -> None:
        """Prints a finding; ``is_put_aside`` if its blob has just been put into quarantine."""
        self.counts[finding.severity] += 1
        self.counts["quarantined"] += is_put_aside
        subject, detail = text.printable(finding.subject), text.printable(finding.detail)
        remedy = "put into quarantine now; push it again" if is_put_aside else REMEDIES[finding.kind]
        if self.as_json:
            print_json(
                {
                    "severity": finding.severity,
                    "kind": finding.kind,
                    "subject": finding.subject,
                    "detail": finding.detail,
                    "remedy": remedy,
                    "quarantined": is_put_aside,
                }
            )
        elif is_terminal():
            colour = "red" if finding.severity == "damage" else "yellow"
            print_line(
                f"{style(finding.severity, colour=colour, bold=True)} {finding.kind} {style(subject, bold=True)}"
            )
            print_wrapped(detail, indent=" " * 7)
            print_wrapped(f"-> {remedy}", indent=" " * 7)
        else:
            print_line(f"{finding.severity}\t{finding.kind}\t{subject}\t{detail}\t{remedy}")

    def finish(self, *, deep: bool) -> None:
        """Prints the summary; ``deep`` if every byte was read."""
        damage, notes = self.counts["damage"], self.counts["note"]
        if self.as_json:
            summary = {"damage": damage, "note": notes, "quarantined": self.counts["quarantined"], "deep": deep}
            print_json({"summary": summary})
        elif is_terminal() or not damage + notes:  # a log or a mail that stayed empty would say nothing
            print_line(self._sentence(damage, notes, deep=deep))

    def _sentence(self, damage: int, notes: int, *, deep: bool) -> str:
        noted = f" ({text.plural(notes, 'note')})" if notes else ""
        if damage:
            return style(f"Found damage in {text.plural(damage, 'place')}{noted}", colour="red", bold=True)
        extent = "every byte was read" if deep else "lengths only; --deep reads every byte"
        return f"{style('No damage found', colour='green', bold=True)}{noted}: {extent}"


async def _check(opened: session.Session, report: Report, *, deep: bool, quarantine: bool) -> None:
    from roadstead.registry.integrity.check import Checker  # noqa: PLC0415 - see cli.terminal.session

    if quarantine:
        await opened.registry.confirmation.require()
    with ProgressBar() as bar:
        accepts = opened.settings.content.missing_blobs == "accept"
        checker = Checker(opened.registry, bar, deep=deep, accepts_missing_blobs=accepts)
        async for finding in checker.run():
            put_aside = quarantine and finding.is_blob_damage
            if put_aside:
                put_aside = await _put_aside(opened, finding)
            with bar.aside():
                report.add(finding, is_put_aside=put_aside)
    for finding in (*_find_unchecked(opened), *_find_open(opened)):
        report.add(finding, is_put_aside=False)


def _find_unchecked(opened: session.Session) -> "Iterator[Finding]":
    """Yields a finding that says what only the catalogue's server can look through."""
    from roadstead.registry.integrity.findings import Finding, FindingKind, Severity  # noqa: PLC0415 - see cli.terminal.session

    if opened.settings.has_database_server:
        detail = "the records were compared; the pages and indexes in which PostgreSQL keeps them were not looked at"
        yield Finding(FindingKind.CATALOGUE_UNCHECKED, "catalogue", detail, Severity.NOTE)


def _find_open(opened: session.Session) -> "Iterator[Finding]":
    """Yields a finding for each file that other users of this machine can read, as earlier versions left them."""
    from roadstead.app import data_folder  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry.integrity.findings import Finding, FindingKind, Severity  # noqa: PLC0415

    for path, mode in data_folder(opened.settings).find_open():
        detail = f"its mode is {mode:03o}: other users of this machine can read it"
        yield Finding(FindingKind.OPEN_TO_OTHERS, str(path), detail, Severity.NOTE)


async def _put_aside(opened: session.Session, finding: "Finding") -> bool:
    """Puts a blob into quarantine, unless it was pushed again after it was found damaged."""
    from roadstead.registry.integrity.findings import FindingKind  # noqa: PLC0415 - see cli.terminal.session

    digest, blobs = Digest(finding.subject), opened.registry.blobs
    if finding.kind is FindingKind.BLOB_UNREADABLE:
        return await blobs.quarantine(digest, finding.detail)
    return await blobs.quarantine(digest, finding.detail, seen=finding.seen)
