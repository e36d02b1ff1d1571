"""``roadstead restore-backup``: brings a backup up in an empty data folder."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.care.check import Report
from roadstead.cli.terminal import text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import is_terminal, print_fields, print_json, print_line, style
from roadstead.cli.terminal.progress import ProgressBar

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.backup import BackupFolder, Restored, StoredSnapshot
    from roadstead.config import Settings
    from roadstead.storage import DataFolder


@click.command(
    "restore-backup",
    epilog="""\b
Examples:
  roadstead backup /mnt/backup --list                        what there is
  roadstead restore-backup /mnt/backup --data DIR            the latest snapshot
  roadstead restore-backup /mnt/backup --data DIR --snapshot 2026-03-02T03-00-00Z

\b
Exit code 0 when all is there and whole, 1 when the folder is not empty, 4 when something
is damaged: nothing is put into service then unless --skip-damaged is given.""",
)
@click.argument("source", metavar="FROM", type=click.Path(path_type=Path, file_okay=False))
@click.option("--snapshot", "name", metavar="NAME", default="", help="Which one.  [default: the latest]")
@click.option("--force", is_flag=True, help="Move aside what is in the data folder.")
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
    skip_damaged: bool,
    bytes_per_second: int | None,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Bring a backup up in an empty data folder.

    Copies catalogue and blobs of a snapshot, compares every blob with its digest, and looks for damage as `roadstead
    check` does. Stop the server before. What was interrupted goes on where it stopped when it is run again; until it
    has ended no server starts on the folder. Signing keys are made anew, so whoever was logged in logs in again.
    """
    import structlog  # noqa: PLC0415 - see cli.terminal.session

    from roadstead.app import Installation, data_folder  # noqa: PLC0415
    from roadstead.backup import BackupFolder, claim, explained, release, require_own_objects  # noqa: PLC0415
    from roadstead.clock import SystemClock  # noqa: PLC0415
    from roadstead.config import load_settings  # noqa: PLC0415
    from roadstead.database import require_known  # noqa: PLC0415

    structlog.configure(processors=[_drop])  # a command says itself what it did
    settings = load_settings(config, overrides={"data.folder": data})
    Installation(settings).require_file(
        "a backup brings up only one that is a file",
        "bring the database back with `pg_restore`, and the blobs with the tool that copied them; leave out"
        " database.url to restore this backup with a catalogue in the data folder",
    )
    backup, folder = BackupFolder(source), data_folder(settings)
    backup.require()
    _require_elsewhere(backup, folder)
    report = Report(as_json)
    with backup.read():
        snapshot = backup.snapshot(name)
        snapshot.verify()
        require_known(snapshot.catalogue)  # before anything is moved aside for it
        folder.prepare(makes_parents=False)
        folder.lock()
        try:
            require_own_objects(folder)
            folder.prepare_objects()
            folder.lock_objects()
            with explained(folder):
                moved = claim(folder, snapshot, SystemClock(), force=force)
                folder.lock_objects()  # those that are there now
                _tell_moved(moved, as_json=as_json)
                job = _Job(backup, snapshot, settings, bytes_per_second, skip_damaged=skip_damaged)
                restored, secrets = job.run(data_folder(settings))
                job.own()
                release(folder)
            job.check(report)
        finally:
            folder.unlock()
    _print_restored(snapshot, restored, moved, secrets, _look_at_sealed(settings), as_json=as_json)
    report.finish(deep=True)
    context.exit(ExitCode.DAMAGED if report.counts["damage"] or restored.damaged else ExitCode.DONE)


def _require_elsewhere(backup: "BackupFolder", folder: "DataFolder") -> None:
    """Raises if the data folder is inside the backup: the registry would be lost with it."""
    from roadstead.backup import BackupFolderUnusableError  # noqa: PLC0415 - see cli.terminal.session

    for path in (folder.path, folder.objects, folder.catalogue):
        if path.resolve().is_relative_to(backup.path.resolve()):
            raise BackupFolderUnusableError(path, "is inside the backup: choose another folder with --data")


def _tell_moved(moved: list[Path], *, as_json: bool) -> None:
    """Prints at once, on stderr, where files were moved to: that must be known also if the restoration fails."""
    if moved and as_json:
        click.echo(json.dumps({"moved_aside": [str(path) for path in moved]}), err=True)
    elif moved:
        click.echo("\n".join(f"moved aside: {path}" for path in moved), err=True)


@dataclass(frozen=True, slots=True)
class _Job:
    backup: "BackupFolder"
    snapshot: "StoredSnapshot"
    settings: "Settings"
    bytes_per_second: int | None
    skip_damaged: bool

    def run(self, folder: "DataFolder") -> "tuple[Restored, int]":
        """Restores everything into ``folder``; returns the outcome and the number of secrets."""
        from roadstead.app import build_storage, open_catalogue_file  # noqa: PLC0415 - see cli.terminal.session
        from roadstead.backup import Restoration  # noqa: PLC0415
        from roadstead.clock import SystemClock  # noqa: PLC0415
        from roadstead.registry.pace import Pace  # noqa: PLC0415

        clock = SystemClock()

        async def work() -> "tuple[Restored, int]":
            storage = build_storage(folder)
            try:
                with ProgressBar() as bar:
                    pace = Pace(self.bytes_per_second or 0, clock)
                    restoration = Restoration(
                        self.backup, self.snapshot, storage, clock, bar, pace, open_catalogue_file
                    )
                    restored = await restoration.bring_blobs(skip_damaged=self.skip_damaged)
                    secrets = restoration.restore_secrets(folder.path / "secrets")
                    await restoration.bring_catalogue(folder.catalogue, [digest for digest, _ in restored.damaged])
                    return restored, secrets
            finally:
                await storage.close()

        return asyncio.run(work())

    def own(self) -> None:
        """Marks the blobs as belonging to the catalogue that was restored with them."""
        from roadstead import __version__, app  # noqa: PLC0415 - see cli.terminal.session
        from roadstead.telemetry import Metrics  # noqa: PLC0415

        async def work() -> None:
            registry = await app.build_registry(self.settings, Metrics(__version__))
            try:
                await app.Installation(self.settings).own_storage(registry.database, takes_over=True)
            finally:
                await app.close_registry(registry)

        asyncio.run(work())

    def check(self, report: Report) -> None:
        """Checks the restored registry for damage; digests were compared while copying."""
        from roadstead.app import open_registry  # noqa: PLC0415 - see cli.terminal.session
        from roadstead.registry.integrity.check import Checker  # noqa: PLC0415

        async def work() -> None:
            async with open_registry(self.settings) as registry:
                with ProgressBar() as bar:
                    accepts = self.settings.content.missing_blobs == "accept"
                    async for finding in Checker(registry, bar, accepts_missing_blobs=accepts).run():
                        with bar.aside():
                            report.add(finding, is_put_aside=False)

        asyncio.run(work())


def _print_restored(
    snapshot: "StoredSnapshot",
    restored: "Restored",
    moved: list[Path],
    secrets: int,
    sealed: "_Sealed",
    *,
    as_json: bool,
) -> None:
    manifest = snapshot.manifest
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
                    "secrets": secrets,
                    "credentials": sealed.credentials,
                    "missing_master_keys": sealed.missing,
                    "moved_aside": [str(path) for path in moved],
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
        ("Secrets", text.plural(secrets, "file") if manifest.has_secrets else "none in this backup"),
        ("Credentials", text.number(sealed.credentials) if sealed.credentials else ""),
        ("Master key", needed),
        ("Signing keys", "new ones: what was signed before is not accepted any more"),
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


def _drop(_logger: object, _method: str, _event: object) -> str:
    import structlog  # noqa: PLC0415 - see cli.terminal.session

    raise structlog.DropEvent
