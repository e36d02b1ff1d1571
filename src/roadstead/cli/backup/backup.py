"""``roadstead backup``: copies a registry while it is served."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import Column, Table, is_terminal, print_fields, print_json, print_line, style
from roadstead.cli.terminal.progress import ProgressBar
from roadstead.cli.terminal.refusal import CommandRefusedError

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.backup import BackupFolder, Extras, Pruned, SnapshotManifest

KEY_DIGITS: Final = 64
"""Of a master key, as text."""


@click.command(
    epilog="""\b
Examples:
  roadstead backup /mnt/backup                  another snapshot; copies only what is new
  roadstead backup /mnt/backup --keep 14        and forgets all but the latest 14
  roadstead backup /mnt/backup --prune --keep 7 only forgets; takes none, and needs no space
  roadstead backup /mnt/backup --list           what is there
  roadstead backup /mnt/backup --verify         reads all of it and compares every digest
  roadstead backup /mnt/backup --bytes-per-second 50000000

\b
Exit code 0 when the snapshot is whole; 4 when blobs were damaged in the registry, so that
the snapshot is without them, or when --list or --verify found damage, or when it kept --keep
from pruning; else there is no new snapshot."""
)
@click.argument("to", metavar="TO", type=click.Path(path_type=Path, file_okay=False))
@click.option("--keep", metavar="N", type=click.IntRange(1), help="Afterwards forget all but the latest N snapshots.")
@click.option("--prune", "prunes", is_flag=True, help="Only forget snapshots, as --keep says.")
@click.option("--with-secrets", is_flag=True, help="Also copy keys, passwords and the file that --config names.")
@click.option("--bytes-per-second", metavar="N", type=click.IntRange(1024), help="Read and write no faster than this.")
@click.option("--list", "lists", is_flag=True, help="Only list the snapshots.")
@click.option("--verify", is_flag=True, help="Only compare everything in the backup with its digest.")
@click.option("--snapshot", "name", metavar="NAME", default="", help="With --verify: only this one.")
@registry_options
@click.pass_context
def backup(
    context: click.Context,
    *,
    to: Path,
    keep: int | None,
    prunes: bool,
    with_secrets: bool,
    bytes_per_second: int | None,
    lists: bool,
    verify: bool,
    name: str,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Copy catalogue and blobs while the server goes on.

    TO is a folder, best on another disk or machine. Each run adds a snapshot: the catalogue as it is at that moment,
    and every blob that it names, of which only those are copied that TO does not have. Blobs are compared with their
    digests on the way. An interrupted run leaves the earlier snapshots whole; the next one goes on where it stopped.

    Keys and passwords are not copied unless --with-secrets asks for it; the master key never is: keep a copy of it
    elsewhere. `roadstead restore-backup` brings a snapshot up.
    """
    from roadstead.backup import BackupFolder  # noqa: PLC0415 - see cli.terminal.session

    if lists + verify + prunes > 1:
        raise click.UsageError("--list, --verify and --prune exclude each other")
    if name and not verify:
        raise click.UsageError("--snapshot goes with --verify")
    if prunes and keep is None:
        raise click.UsageError("--prune needs --keep")
    folder = BackupFolder(to)
    if lists:
        is_damaged = _list(folder, as_json=as_json)
    elif verify:
        is_damaged = _verify(folder, name, bytes_per_second, as_json=as_json) > 0
    elif prunes and keep is not None:
        is_damaged = False
        _prune(folder, keep, as_json=as_json)
    else:
        taken = _take(folder, data, config, keep, bytes_per_second, with_secrets=with_secrets, as_json=as_json)
        is_damaged = bool(taken.missing)
    context.exit(ExitCode.DAMAGED if is_damaged else ExitCode.DONE)


def _take(
    folder: "BackupFolder",
    data: Path | None,
    config: Path | None,
    keep: int | None,
    bytes_per_second: int | None,
    *,
    with_secrets: bool,
    as_json: bool,
) -> "SnapshotManifest":
    from roadstead.backup import BackupError, prune, take_backup  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry.pace import Pace  # noqa: PLC0415

    with ProgressBar() as bar:

        async def work(opened: session.Session) -> "SnapshotManifest":
            await _require_elsewhere(folder, opened)
            folder.prepare()
            with folder.locked():
                extras = _extras(opened, config) if with_secrets else None
                pace = Pace(bytes_per_second or 0, opened.registry.clock)
                return await take_backup(opened.registry, folder, bar, pace, extras)

        taken = session.run(data, config, work)
        pruned = refusal = None
        if keep is not None:
            try:
                with folder.locked():
                    pruned = prune(folder, keep, bar)
            except BackupError as error:
                refusal = error
    _print_taken(taken, pruned, as_json=as_json)
    if refusal is not None:  # only now: the snapshot is there in any case
        raise refusal
    return taken


def _prune(folder: "BackupFolder", keep: int, *, as_json: bool) -> None:
    from roadstead.backup import prune  # noqa: PLC0415 - see cli.terminal.session

    folder.require()
    with ProgressBar() as bar, folder.locked():
        pruned = prune(folder, keep, bar)
    if as_json:
        print_json({"pruned": _pruned_record(pruned)})
    else:
        print_fields([("Pruned", _describe_pruned(pruned))])


async def _require_elsewhere(folder: "BackupFolder", opened: session.Session) -> None:
    """Raises if the backup would be among the registry's own files: it would be lost with them, or taken for damage."""
    from roadstead.app import data_folder, with_known_storage  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.backup import BackupFolderUnusableError  # noqa: PLC0415

    own = data_folder(await with_known_storage(opened.settings))
    for protected in (own.path.resolve(), own.objects.resolve()):
        if folder.path.resolve().is_relative_to(protected):
            raise BackupFolderUnusableError(
                folder.path, f"is inside {protected}, which it is to protect: choose another folder"
            )


def _extras(opened: session.Session, config: Path | None) -> "Extras":
    from roadstead.app import master_key_files  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.backup import Extras  # noqa: PLC0415

    if config is not None and _has_master_key(config, opened.settings.secrets.master_key or ""):
        raise CommandRefusedError(
            f"{config} has the master key in it, which no backup may have: put it into a file of its own, and name that"
            " as secrets.master_key_file"
        )
    return Extras(
        secrets=opened.settings.secrets_folder, settings=config, master_key_files=master_key_files(opened.settings)
    )


def _has_master_key(config: Path, given: str) -> bool:
    """Returns True if the settings file itself has the master key, however it is broken into lines there."""
    content = config.read_bytes()
    return any(word.encode() in content for word in given.replace(",", " ").split() if len(word) >= KEY_DIGITS)


def _print_taken(taken: "SnapshotManifest", pruned: "Pruned | None", *, as_json: bool) -> None:
    if as_json:
        print_json({"snapshot": _record(taken), "pruned": _pruned_record(pruned) if pruned else None})
        return
    for blob in taken.missing:
        print_line(f"{style('damage', colour='red', bold=True)}\tblob-not-copied\t{blob.digest}\t{blob.reason}")
    new = f"{text.number(taken.copied_blobs)} ({text.size(taken.copied_bytes)}) new"
    fields = [
        ("Snapshot", taken.name),
        ("Blobs", f"{text.number(taken.blobs)} ({text.size(taken.blob_bytes)}), {new}"),
        ("Catalogue", text.size(taken.catalogue_bytes)),
        ("Secrets", _describe_secrets(taken)),
    ]
    if taken.missing:
        lost = text.plural(len(taken.missing), "blob")
        fields.append(("Missing", f"{lost}, damaged in the registry: see `roadstead check --deep`"))
    if pruned is not None:
        fields.append(("Pruned", _describe_pruned(pruned)))
    print_fields(fields)


def _pruned_record(pruned: "Pruned") -> dict[str, object]:
    return {"snapshots": pruned.snapshots, "blobs": pruned.blobs, "bytes": pruned.bytes}


def _describe_pruned(pruned: "Pruned") -> str:
    freed = f"{text.plural(pruned.blobs, 'blob')} ({text.size(pruned.bytes)})"
    return f"{text.plural(len(pruned.snapshots), 'snapshot')}, {freed}"


def _describe_secrets(taken: "SnapshotManifest") -> str:
    if not taken.has_secrets:
        return "not included (--with-secrets)"
    return f"included: {', '.join(taken.extras) or 'there are none'}"


def _list(folder: "BackupFolder", *, as_json: bool) -> bool:
    """Prints all snapshots; returns True if one of them is damaged."""
    from roadstead.backup import SnapshotDamagedError  # noqa: PLC0415 - see cli.terminal.session

    folder.require()
    whole: list[SnapshotManifest] = []
    damaged: list[tuple[str, str]] = []
    for name in folder.names():
        try:
            whole.append(folder.snapshot(name).manifest)
        except SnapshotDamagedError as error:
            damaged.append((name, error.reason))
    _print_snapshots(whole, as_json=as_json)
    for name, reason in damaged:
        _print_damage(name, reason, as_json=as_json)
    return bool(damaged)


def _print_damage(subject: str, detail: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"severity": "damage", "subject": subject, "detail": detail})
    else:
        print_line(f"{style('damage', colour='red', bold=True)}\t{subject}\t{detail}")


def _print_snapshots(snapshots: Sequence["SnapshotManifest"], *, as_json: bool) -> None:
    if as_json:
        for each in snapshots:
            print_json(_record(each))
        return
    columns: list[Column[SnapshotManifest]] = [
        Column("SNAPSHOT", lambda each: each.name),
        Column("BLOBS", lambda each: str(each.blobs), lambda each: text.number(each.blobs), is_number=True),
        Column("SIZE", lambda each: str(each.blob_bytes), lambda each: text.size(each.blob_bytes), is_number=True),
        Column("NEW", lambda each: str(each.copied_bytes), lambda each: text.size(each.copied_bytes), is_number=True),
        Column("SECRETS", lambda each: "yes" if each.has_secrets else "no", importance=1),
        Column("MISSING", lambda each: str(len(each.missing)), is_number=True, importance=2),
    ]
    if not is_terminal():
        for each in snapshots:
            print_line("\t".join(column.exact(each) for column in columns))
    elif snapshots:
        Table(columns).print(snapshots)
    else:
        print_line("no snapshots yet")


def _record(taken: "SnapshotManifest") -> dict[str, object]:
    from msgspec import to_builtins  # noqa: PLC0415 - see cli.terminal.session

    record: dict[str, object] = to_builtins(taken)
    return record


def _verify(folder: "BackupFolder", name: str, bytes_per_second: int | None, *, as_json: bool) -> int:
    """Prints what is damaged, and returns the number of damaged things."""
    from roadstead.backup import verify_backup  # noqa: PLC0415
    from roadstead.clock import SystemClock  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry.pace import Pace  # noqa: PLC0415

    folder.require()
    damaged = 0

    async def work(names: Sequence[str]) -> None:
        nonlocal damaged
        with ProgressBar() as bar:
            async for subject, problem in verify_backup(folder, names, bar, Pace(bytes_per_second or 0, SystemClock())):
                damaged += 1
                with bar.aside():
                    _print_damage(subject, problem, as_json=as_json)

    with folder.locked():
        names = [folder.snapshot(name).path.name] if name else folder.names()
        asyncio.run(work(names))
    _print_verified(len(names), damaged, as_json=as_json)
    return damaged


def _print_verified(snapshots: int, damaged: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"summary": {"snapshots": snapshots, "damage": damaged}})
    elif damaged:
        remedy = "the next backup copies damaged blobs anew if the registry still has them; a damaged snapshot is lost"
        print_line(f"Found damage in {text.plural(damaged, 'place')} of {text.plural(snapshots, 'snapshot')}: {remedy}")
    else:
        print_line(f"No damage found in {text.plural(snapshots, 'snapshot')}: every byte was read")
