"""``roadstead rebuild``: makes a new catalogue from the blobs and whatever else is left."""

import asyncio
import collections
import contextlib
import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from roadstead.cli.registry2.adoption import put_in_charge, run_adoption
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import is_terminal, print_fields, print_json, print_line, style
from roadstead.cli.terminal.progress import ProgressBar
from roadstead.cli.terminal.refusal import CommandRefusedError
from roadstead.registry2.links.paths import ROOT as LINK_TREE

if TYPE_CHECKING:  # see cli.terminal.session
    from collections.abc import Awaitable, Callable

    from roadstead.config import Settings
    from roadstead.database import Transaction
    from roadstead.registry import Registry
    from roadstead.registry2.adoption.adoption import AdoptionSummary
    from roadstead.registry2.adoption.rebuild import Salvaged
    from roadstead.storage import DataFolder

PARTS: Final = ("", "-wal", "-shm")
"""The files of one SQLite database."""


@click.command(
    epilog="""\b
Examples:
  roadstead rebuild
  roadstead rebuild --data /srv/registry --json
\b
Exit code 0 when nothing of what was rebuilt is damaged, 4 when something is; `roadstead check` names it."""
)
@click.option("--force", is_flag=True, help="Also where the catalogue is not damaged.")
@registry_options
@click.pass_context
def rebuild(context: click.Context, *, force: bool, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Make a new catalogue in place of a lost or damaged one.

    Takes repositories, tags, manifests and histories from the links that the server writes beside the blobs (setting
    links.mode), and from whatever the damaged file can still give; checks the result; keeps the old file beside the new
    one. The servers must be stopped. Restoring a backup is better where there is one: it also knows what was deleted.
    Afterwards nothing is removed from storage until `roadstead gc --confirm`.

    A catalogue on PostgreSQL is made in a file first, with whatever the one there can still give, and then put there;
    the tables of the old one are moved to a schema of their own.
    """
    from roadstead.cli.care.rebuild_on_server import rebuild_on_server  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.config import load_settings  # noqa: PLC0415

    session.silence_log()
    settings = load_settings(config, overrides={"data.folder": data})
    if settings.has_database_server:
        done = rebuild_on_server(settings, lambda file: _with_file(settings, file), is_forced=force)
    else:
        target = settings.database_file.absolute().with_name(f"{settings.database_file.name}.rebuilding")
        done = asyncio.run(_rebuild(settings, _with_file(settings, target), is_forced=force))
    if as_json:
        print_json({"summary": done.record})
    else:
        _print(done)
    context.exit(ExitCode.DAMAGED if done.damage else ExitCode.DONE)


@dataclass(slots=True)
class Done:
    """The outcome of a rebuild: the counts that are printed, and the place of the old catalogue."""

    summary: "AdoptionSummary"
    salvaged: "Salvaged"
    kept: str = ""
    findings: collections.Counter[str] = field(default_factory=collections.Counter[str])
    damage: int = 0
    is_taken_up: bool = False
    """True if an earlier run had made the catalogue, and this one only put it in place."""

    @classmethod
    def taken_up(cls) -> "Done":
        """Returns the outcome of a run that only had to put in place what an earlier one had made."""
        from roadstead.registry2.adoption.adoption import AdoptionSummary  # noqa: PLC0415 - see cli.terminal.session
        from roadstead.registry2.adoption.rebuild import Salvaged  # noqa: PLC0415

        return cls(AdoptionSummary(), Salvaged(), is_taken_up=True)

    @property
    def record(self) -> dict[str, object]:
        """Returns the outcome for scripts, as ``--json`` prints it."""
        from_links = {"tags": self.summary.tags, "manifests": self.summary.manifests}
        return {
            "from_links": from_links,
            "from_old_catalogue": dataclasses.asdict(self.salvaged),
            "left_alone": dict(self.findings),
            "kept": self.kept,
            "taken_up": self.is_taken_up,
            "damage": self.damage,
        }


def _print(done: Done) -> None:
    if done.is_taken_up:
        print_line(style("Put in place what an earlier run had rebuilt", colour="green", bold=True))
        return
    links, old = done.summary, done.salvaged
    print_line(style("Rebuilt the catalogue", colour="green", bold=True))
    print_fields(
        [
            ("From the links", f"{text.plural(links.tags, 'tag')}, {text.plural(links.manifests, 'manifest')}"),
            (
                "From the old file",
                f"{text.plural(old.tags, 'tag')}, {text.plural(old.manifests, 'manifest')} that the links did not have",
            ),
            ("Unreadable", text.plural(old.unreadable, "place") if old.unreadable else ""),
            ("Left alone", ", ".join(f"{count} {kind}" for kind, count in sorted(done.findings.items()))),
            ("Old file", done.kept),
        ],
        indent="  ",
    )
    if done.damage and is_terminal():
        print_line(style(f"Damaged: {text.plural(done.damage, 'place')}; `roadstead check` names them", colour="red"))


def _with_file(settings: "Settings", file: Path) -> "Settings":
    """Returns the settings with a catalogue in a file."""
    from roadstead.config import with_other_database  # noqa: PLC0415 - see cli.terminal.session

    return with_other_database(settings, f"sqlite://{file}", "rebuild")


async def _rebuild(settings: "Settings", new: "Settings", *, is_forced: bool) -> Done:
    """Makes a new catalogue where ``new`` says, then puts it in place of the old one."""
    from roadstead import __version__, app  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.database import migrate  # noqa: PLC0415
    from roadstead.telemetry import Metrics  # noqa: PLC0415

    installation = app.Installation(settings)
    folder = installation.folder
    require_blobs(folder)
    folder.prepare()
    folder.lock()
    try:
        folder.lock_objects()
        if not is_forced and folder.catalogue.exists():
            await _require_damage(folder.catalogue)
        target = app.data_folder(new).catalogue
        remove_files(target)
        migrate(target)
        registry = await app.build_registry(new, Metrics(__version__))
        try:
            done = await fill(registry, folder, folder.catalogue)
            await installation.own_storage(registry.database, takes_over=True)  # from the catalogue that is lost
        finally:
            await app.close_registry(registry)
        done.kept = _swap(folder.catalogue, target)
        return done
    finally:
        folder.unlock()


def require_blobs(folder: "DataFolder") -> None:
    """Raises unless there is something to rebuild from.

    Raises:
        CommandRefusedError: there is not.
    """
    if not (folder.objects / LINK_TREE).is_dir():
        raise CommandRefusedError(
            f"there are no blobs in {folder.objects}: name the storage in the settings, as storage.url"
        )


async def _require_damage(catalogue: Path) -> None:
    from roadstead.app import open_catalogue_file  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.database import DatabaseDamagedError  # noqa: PLC0415
    from roadstead.database.integrity import find_damage  # noqa: PLC0415
    from roadstead.database.salvage import is_cut  # noqa: PLC0415
    from roadstead.registry.operation.adoption_state import AdoptionPhase, find_adoption  # noqa: PLC0415

    if is_cut(catalogue):
        return
    with contextlib.suppress(DatabaseDamagedError):
        database = open_catalogue_file(catalogue)
        try:
            damage = await find_damage(database, deep=True)
            phase = (await find_adoption(database)).phase
        finally:
            await database.close()
        if not damage and phase is not AdoptionPhase.NONE:  # else a start has made an empty one in place of a lost one
            raise CommandRefusedError(f"{catalogue} is not damaged: --force makes a new one all the same")


async def fill(registry: "Registry", folder: "DataFolder", old: Path) -> Done:
    """Fills a new catalogue from the link tree and then from the old file, puts it in charge and checks it."""
    from roadstead import app  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.database.salvage import open_salvage  # noqa: PLC0415
    from roadstead.registry.integrity.check import Checker  # noqa: PLC0415
    from roadstead.registry.integrity.findings import Severity  # noqa: PLC0415
    from roadstead.registry2.adoption.rebuild import Rebuild  # noqa: PLC0415

    files = app.build_link_files(folder)
    with ProgressBar() as bar:
        summary = await run_adoption(registry, folder, bar, lambda _finding: None)
        with open_salvage(old) as salvage:
            rebuild = Rebuild(registry.database, files, registry.clock, registry.rules, salvage, progress=bar)
            salvaged = await rebuild.run()
        await registry.database.write(_await_confirmation(registry))
        await put_in_charge(registry, folder)
        findings = [finding async for finding in Checker(registry, bar).run()]
    done = Done(summary, salvaged)
    done.findings.update({str(kind): count for kind, count in summary.findings.items()})
    done.damage = sum(finding.severity is Severity.DAMAGE for finding in findings)
    return done


def _await_confirmation(registry: "Registry") -> "Callable[[Transaction], Awaitable[None]]":
    """Returns the work that has everything wait that removes bytes: the links may know less than the old catalogue."""
    from roadstead.registry.operation.confirmation import await_confirmation  # noqa: PLC0415 - see cli.terminal.session

    async def work(transaction: "Transaction") -> None:
        await await_confirmation(transaction, "the catalogue was rebuilt", registry.clock.now_ms())

    return work


def remove_files(catalogue: Path) -> None:
    """Removes the files of a catalogue, as an interrupted run has left them."""
    for part in PARTS:
        Path(f"{catalogue}{part}").unlink(missing_ok=True)


def _swap(catalogue: Path, target: Path) -> str:
    """Puts the new catalogue in place and keeps the old one; returns where, empty if there was none.

    The old one's log goes first: SQLite would lay it over the new file.
    """
    from roadstead.storage.plain_files import sync_folder  # noqa: PLC0415 - see cli.terminal.session

    number = 1
    while Path(f"{catalogue}.damaged-{number}").exists():
        number += 1
    kept = Path(f"{catalogue}.damaged-{number}")
    had_one = catalogue.exists()
    if had_one:
        os.link(catalogue, kept)
    for part in PARTS[1:]:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{catalogue}{part}").rename(f"{kept}{part}")
    target.rename(catalogue)
    sync_folder(str(catalogue.parent))
    return str(kept) if had_one else ""
