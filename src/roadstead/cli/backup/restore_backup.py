"""``roadstead restore-backup``: brings a backup up in an empty data folder, or in an empty database."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from roadstead.cli.care.check import Report
from roadstead.cli.registry2.adoption import recorded_storage
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import is_terminal, print_fields, print_json, print_line, style
from roadstead.cli.terminal.progress import ProgressBar

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.app import Installation, Standing
    from roadstead.backup import BackupFolder, Restored, StoredSnapshot
    from roadstead.config import Settings
    from roadstead.storage import DataFolder


_MADE_IN: Final = "roadstead.restoring.db"
"""The file in the data folder from which a catalogue on a server gets its rows."""


@click.command(
    "restore-backup",
    epilog="""\b
Examples:
  roadstead backup /mnt/backup --list                        what there is
  roadstead restore-backup /mnt/backup --data DIR            the latest snapshot
  roadstead restore-backup /mnt/backup --data DIR --snapshot 2026-03-02T03-00-00Z
  roadstead restore-backup /mnt/backup --config FILE --keep-blobs
                                                             where only the catalogue was lost

\b
Exit code 0 when all is there and whole, 1 when the place is not empty, 4 when something
is damaged: nothing is put into service then unless --skip-damaged is given.""",
)
@click.argument("source", metavar="FROM", type=click.Path(path_type=Path, file_okay=False))
@click.option("--snapshot", "name", metavar="NAME", default="", help="Which one.  [default: the latest]")
@click.option("--force", is_flag=True, help="Move aside what is in the place, folder or database.")
@click.option("--keep-blobs", is_flag=True, help="Leave the blobs that are there, and bring only what is missing.")
@click.option("--skip-damaged", is_flag=True, help="Restore without the blobs that are damaged in the backup.")
@click.option("--bytes-per-second", metavar="N", type=click.IntRange(1024), help="Read and write no faster than this.")
@registry_options
@click.pass_context
def restore_backup(
    context: click.Context,
    *,
    source: Path,
    name: str,
    force: bool,
    keep_blobs: bool,
    skip_damaged: bool,
    bytes_per_second: int | None,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Bring a backup up in an empty folder or database.

    Copies catalogue and blobs of a snapshot, compares every blob with its digest, and looks for damage as `roadstead
    check` does. Stop the servers before. What was interrupted goes on where it stopped when it is run again; until it
    has ended no server starts on it. The catalogue goes where database.url says, wherever it was when the backup was
    taken. Signing keys are made anew, so whoever was logged in logs in again. Nothing is removed from storage until
    `roadstead gc --confirm`.
    """
    from roadstead.config import load_settings  # noqa: PLC0415 - see cli.terminal.session

    session.silence_log()
    settings = load_settings(config, overrides={"data.folder": data})
    report = Report(as_json)
    wish = _Wish(name, is_forced=force, keeps_blobs=keep_blobs, skips_damaged=skip_damaged)
    outcome = _restore(settings, source, wish, bytes_per_second, report)
    _print_restored(outcome, _look_at_sealed(settings), as_json=as_json)
    report.finish(deep=True)
    context.exit(ExitCode.DAMAGED if report.counts["damage"] or outcome.restored.damaged else ExitCode.DONE)


@dataclass(frozen=True, slots=True)
class _Wish:
    name: str
    is_forced: bool
    keeps_blobs: bool
    skips_damaged: bool


@dataclass(frozen=True, slots=True)
class _Outcome:
    snapshot: "StoredSnapshot"
    restored: "Restored"
    moved: list[str]
    secrets: int


def _restore(settings: "Settings", source: Path, wish: _Wish, bytes_per_second: int | None, report: Report) -> _Outcome:
    from roadstead.app import Installation, data_folder  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.backup import BackupFolder, Kept, claim, explained, release, require_own_objects  # noqa: PLC0415
    from roadstead.clock import SystemClock  # noqa: PLC0415
    from roadstead.database import require_known  # noqa: PLC0415

    installation = Installation(settings)
    backup, folder = BackupFolder(source), installation.folder
    backup.require()
    _require_elsewhere(backup, folder)
    with backup.read():
        snapshot = backup.snapshot(wish.name)
        snapshot.verify()
        require_known(snapshot.catalogue)  # before anything is moved aside for it
        place = _Place(installation, snapshot)
        standing = place.require_free(is_forced=wish.is_forced)
        folder.prepare(makes_parents=False)
        folder.lock()
        try:
            require_own_objects(folder, installation.catalogue)
            folder.prepare_objects()
            folder.lock_objects()
            with explained(folder):
                kept = Kept(objects=wish.keeps_blobs, catalogue=installation.is_shared)
                moved = [str(path) for path in claim(folder, snapshot, SystemClock(), force=wish.is_forced, kept=kept)]
                folder.lock_objects()  # those that are there now
                moved += place.make_ready(standing)
                _tell_moved(moved, as_json=report.as_json)
                job = _Job(backup, snapshot, settings, bytes_per_second, skip_damaged=wish.skips_damaged)
                restored, secrets = job.run(data_folder(settings), place.file)
                place.put()
                job.own(installation)
                place.tidy_up()
                release(folder)
            job.check(report)
        finally:
            folder.unlock()
    return _Outcome(snapshot, restored, moved, secrets)


class _Place:
    """The place of the catalogue: a file in the data folder, or a database on a server.

    One on a server is made in a file first, which stays until the end, so that an interrupted restoration goes on with
    the very same rows.
    """

    def __init__(self, installation: "Installation", snapshot: "StoredSnapshot") -> None:
        from roadstead import app, backup  # noqa: PLC0415 - see cli.terminal.session

        self._installation = installation
        self._is_begun = backup.is_begun(installation.folder, snapshot)
        self._is_complete = False
        self._snapshot = snapshot
        self._server = (
            app.ServerCatalogue(installation, f"the backup {snapshot.path}") if installation.is_shared else None
        )
        folder = installation.folder
        self.file = folder.path / _MADE_IN if installation.is_shared else folder.catalogue

    def require_free(self, *, is_forced: bool) -> "Standing":
        """Looks at the place, and refuses one that is occupied unless it may be moved aside.

        Raises:
            CatalogueOccupiedError: another catalogue is there.
        """
        from roadstead.app import CatalogueOccupiedError, Standing  # noqa: PLC0415 - see cli.terminal.session

        if self._server is None:
            return Standing.FREE
        standing = asyncio.run(self._server.find_standing())
        if standing is Standing.OCCUPIED and self._is_begun:
            self._is_complete = asyncio.run(self._is_ours())
        if standing is Standing.OCCUPIED and not self._is_complete and not is_forced:
            raise CatalogueOccupiedError(self._installation.catalogue)
        return standing

    async def _is_ours(self) -> bool:
        """Returns True if what is there came from the snapshot, and only what follows that was interrupted."""
        from roadstead.backup import is_of  # noqa: PLC0415 - see cli.terminal.session
        from roadstead.database.migrate import HEAD  # noqa: PLC0415

        if await self._installation.find_revision() != HEAD:
            return False
        database = await self._installation.open_database()
        try:
            return await is_of(database, self._snapshot)
        finally:
            await database.close()

    def make_ready(self, standing: "Standing") -> list[str]:
        """Keeps servers from the place until the catalogue is there; returns where an earlier one was moved to."""
        from roadstead.app import Standing  # noqa: PLC0415 - see cli.terminal.session
        from roadstead.clock import SystemClock  # noqa: PLC0415

        if not self._is_begun:
            self._installation.folder.path.joinpath(_MADE_IN).unlink(missing_ok=True)
        if self._server is None or self._is_complete:
            return []
        moved: list[str] = []
        if standing is Standing.OCCUPIED:
            schema = asyncio.run(self._server.move_aside(SystemClock()))
            moved.append(f"schema {schema} of {self._installation.catalogue}")
        self._installation.migrate()
        asyncio.run(self._server.begin())
        return moved

    def put(self) -> None:
        """Copies the catalogue from the file to the server."""
        from roadstead.database.copying import CopyObserver  # noqa: PLC0415 - see cli.terminal.session

        if self._server is None or self._is_complete:
            return
        with ProgressBar() as bar:
            observer = CopyObserver(
                begin=lambda stage, total: bar.begin(stage, total, is_bytes=False), advance=bar.advance
            )
            asyncio.run(self._server.put(self.file, observer))

    def tidy_up(self) -> None:
        """Removes the file from which the rows came."""
        if self._server is not None:
            for file in self.file.parent.glob(f"{self.file.name}*"):
                file.unlink()


def _require_elsewhere(backup: "BackupFolder", folder: "DataFolder") -> None:
    """Raises if the data folder is inside the backup: the registry would be lost with it."""
    from roadstead.backup import BackupFolderUnusableError  # noqa: PLC0415 - see cli.terminal.session

    for path in (folder.path, folder.objects, folder.catalogue):
        if path.resolve().is_relative_to(backup.path.resolve()):
            raise BackupFolderUnusableError(path, "is inside the backup: choose another folder with --data")


def _tell_moved(moved: list[str], *, as_json: bool) -> None:
    """Prints at once, on stderr, where files were moved to: that must be known also if the restoration fails."""
    if moved and as_json:
        click.echo(json.dumps({"moved_aside": moved}), err=True)
    elif moved:
        click.echo("\n".join(f"moved aside: {each}" for each in moved), err=True)


@dataclass(frozen=True, slots=True)
class _Job:
    backup: "BackupFolder"
    snapshot: "StoredSnapshot"
    settings: "Settings"
    bytes_per_second: int | None
    skip_damaged: bool

    def run(self, folder: "DataFolder", catalogue: Path) -> "tuple[Restored, int]":
        """Restores all into ``folder``, the catalogue into a file; returns the outcome and the number of secrets."""
        from roadstead.app import build_storage, open_catalogue_file  # noqa: PLC0415 - see cli.terminal.session
        from roadstead.backup import Restoration  # noqa: PLC0415
        from roadstead.clock import SystemClock  # noqa: PLC0415
        from roadstead.registry.pace import Pace  # noqa: PLC0415

        clock = SystemClock()
        is_made = self.settings.has_database_server and catalogue.exists()  # by an earlier run, see _Place

        async def work() -> "tuple[Restored, int]":
            storage = build_storage(folder)
            try:
                with ProgressBar() as bar:
                    pace = Pace(self.bytes_per_second or 0, clock)
                    restoration = Restoration(
                        self.backup,
                        self.snapshot,
                        storage,
                        clock,
                        bar,
                        pace,
                        open_catalogue_file,
                        recorded_storage=recorded_storage(folder),
                    )
                    restored = await restoration.bring_blobs(skip_damaged=self.skip_damaged)
                    secrets = restoration.restore_secrets(folder.path / "secrets")
                    if not is_made:
                        await restoration.bring_catalogue(catalogue, [digest for digest, _ in restored.damaged])
                    return restored, secrets
            finally:
                await storage.close()

        return asyncio.run(work())

    def own(self, installation: "Installation") -> None:
        """Marks the blobs, which ``installation`` has locked, as belonging to the catalogue restored with them."""
        from roadstead import __version__, app  # noqa: PLC0415 - see cli.terminal.session
        from roadstead.telemetry import Metrics  # noqa: PLC0415

        async def work() -> None:
            registry = await app.build_registry(self.settings, Metrics(__version__))
            try:
                await installation.own_storage(registry.database, takes_over=True)
            finally:
                await app.close_registry(registry)

        asyncio.run(work())

    def check(self, report: Report) -> None:
        """Checks the restored registry for damage; digests were compared while copying."""
        from roadstead.app import open_registry  # noqa: PLC0415 - see cli.terminal.session
        from roadstead.registry.integrity.check import Checker  # noqa: PLC0415
        from roadstead.registry.integrity.findings import FindingKind  # noqa: PLC0415

        async def work() -> None:
            async with open_registry(self.settings) as registry:
                with ProgressBar() as bar:
                    accepts = self.settings.content.missing_blobs == "accept"
                    async for finding in Checker(registry, bar, accepts_missing_blobs=accepts).run():
                        if finding.kind is FindingKind.STORAGE_UNCONFIRMED:
                            continue  # it is, and the last line says so
                        with bar.aside():
                            report.add(finding, is_put_aside=False)

        asyncio.run(work())


def _print_restored(outcome: _Outcome, sealed: "_Sealed", *, as_json: bool) -> None:
    manifest, restored = outcome.snapshot.manifest, outcome.restored
    if as_json:
        print_json(
            {
                "restored": {
                    "snapshot": manifest.name,
                    "taken_ms": manifest.taken_ms,
                    "blobs": restored.blobs,
                    "blob_bytes": restored.bytes,
                    "kept_blobs": restored.kept_blobs,
                    "skipped": [digest for digest, _ in restored.damaged],
                    "missing": [blob.digest for blob in manifest.missing],
                    "secrets": outcome.secrets,
                    "credentials": sealed.credentials,
                    "missing_master_keys": sealed.missing,
                    "moved_aside": outcome.moved,
                }
            }
        )
        return
    for digest, reason in restored.damaged:
        print_line(f"{style('damage', colour='red', bold=True)}\tblob-not-restored\t{digest}\t{reason}")
    kept = f", {text.number(restored.kept_blobs)} of them by an earlier run" if restored.kept_blobs else ""
    taken = text.utc(manifest.taken_ms)
    needed = f"{', '.join(sealed.missing)} is needed in {sealed.source}; no backup has it" if sealed.missing else ""
    fields = [
        ("Snapshot", f"{manifest.name} (roadstead {manifest.version})"),
        ("As of", f"{text.local_time(manifest.taken_ms)} ({taken})" if is_terminal() else taken),
        ("Blobs", f"{text.number(restored.blobs)} ({text.size(restored.bytes)}){kept}"),
        ("Secrets", text.plural(outcome.secrets, "file") if manifest.has_secrets else "none in this backup"),
        ("Credentials", text.number(sealed.credentials) if sealed.credentials else ""),
        ("Master key", needed),
        ("Signing keys", "new ones: what was signed before is not accepted any more"),
        ("Next", "nothing is removed from storage until `roadstead gc --confirm`"),
    ]
    print_fields(fields)


@dataclass(frozen=True, slots=True)
class _Sealed:
    """The secrets that the restored catalogue has, and the ids of their master keys that are not in ``source``."""

    credentials: int
    missing: list[str]
    source: str


def _look_at_sealed(settings: "Settings") -> _Sealed:
    from roadstead.app import key_source, open_registry  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.secrets import MasterKeyError  # noqa: PLC0415
    from roadstead.secrets.store import count_by_key  # noqa: PLC0415

    async def work() -> dict[str, int]:
        async with open_registry(settings) as registry:
            return await count_by_key(registry.database)

    sealed, source = asyncio.run(work()), key_source(settings)
    try:
        known = source.read().ids
    except MasterKeyError:
        known = ()
    return _Sealed(sum(sealed.values()), [key_id for key_id in sealed if key_id not in known], source.name)
