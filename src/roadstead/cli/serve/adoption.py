"""Decides before a server listens if tree or catalogue is the truth (``registry.operation.adoption_state``)."""

import asyncio
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import structlog

from roadstead import __version__, app
from roadstead.cli.registry2.adoption import adopt_command, put_in_charge, run_adoption, sentence
from roadstead.cli.terminal import text
from roadstead.cli.terminal.progress import ProgressBar
from roadstead.cli.terminal.refusal import CommandRefusedError
from roadstead.registry import Registry
from roadstead.registry.operation.adoption_state import AdoptionPhase, AdoptionState, find_adoption
from roadstead.registry2.links import LINK_TREE, LinkTree, TreeFinding
from roadstead.storage import DataFolder
from roadstead.telemetry import Metrics

MOST_FINDINGS = 100
"""Number of findings that are logged one by one at most; `roadstead adopt` names all."""

_log = structlog.get_logger("roadstead.adoption")


def settle_truth(installation: app.Installation, config: Path | None, *, adopts: bool, takes_over: bool) -> None:
    """Makes the catalogue the truth, after an adoption if one is due and wanted, and the blobs its own.

    The data folder is locked, and afterwards the blobs are. ``config`` is the settings file, for what a refusal says to
    do; ``takes_over``: also blobs that are another catalogue's, or that have lost their mark.

    Raises:
        StorageForeignError, StorageMissingError: the blobs are another catalogue's, or not there.
        DataFolderError: they cannot be written, or another server works on them.
        CommandRefusedError: the links of registry:2 are the truth, or may be, and nobody said to adopt them.
        StorageError, DatabaseError: the adoption could not be finished.
    """
    settings, folder = installation.settings, installation.folder

    async def work() -> None:
        registry = await app.build_registry(settings, Metrics(__version__))
        try:
            _require_same_storage(await find_adoption(registry.database), folder)
            await installation.lock_storage(registry.database, takes_over=takes_over)
            state = await find_adoption(registry.database)  # another replica may have been at it
            hint = functools.partial(adopt_command, settings, folder, config)
            await _take_charge(registry, state, folder, hint, adopts=adopts)
            await installation.own_storage(registry.database, takes_over=takes_over)
        finally:
            await app.close_registry(registry)

    asyncio.run(work())


async def _take_charge(
    registry: Registry, state: AdoptionState, folder: DataFolder, hint: Callable[[], str], *, adopts: bool
) -> None:
    if state.phase is AdoptionPhase.IN_CHARGE:
        if adopts and state.since_ms:
            _log.info("not adopted again: the catalogue is in charge")
        return
    if await _is_due(state.phase, folder, hint, adopts=adopts):
        await _adopt(registry, folder)
    await put_in_charge(registry, folder)


def _require_same_storage(state: AdoptionState, folder: DataFolder) -> None:
    """Raises if the blobs are elsewhere than before: each would be found missing and be put into quarantine."""
    known = Path(unquote(urlsplit(state.storage).path)) if state.storage else folder.objects
    if known != folder.objects and not (folder.objects / LINK_TREE).is_dir() and (known / LINK_TREE).is_dir():
        raise CommandRefusedError(
            f"the blobs of this catalogue are in {known}, not in {folder.objects}: add --storage {known.as_uri()}"
        )


async def _is_due(phase: AdoptionPhase, folder: DataFolder, hint: Callable[[], str], *, adopts: bool) -> bool:
    tree = LinkTree(app.build_link_files(folder), lambda _finding: None)
    has_tree = await asyncio.to_thread(tree.exists)
    if phase is AdoptionPhase.ADOPTED or (phase is AdoptionPhase.NONE and not has_tree):
        return has_tree  # what was pushed since the adoption would be lost
    if adopts:
        return True
    reason = {
        AdoptionPhase.NONE: f"{folder.objects} is the folder of a registry:2, and nothing of it is known here yet",
        AdoptionPhase.ADOPTING: f"an adoption of {folder.objects} was interrupted",
        AdoptionPhase.RELEASED: f"{folder.objects} was released, and registry:2 may have changed it since",
    }[phase]
    if sys.stdin.isatty() and sys.stderr.isatty():
        if click.confirm(f"{reason}. Adopt it now? registry:2 must have stopped", err=True):
            return True
        raise CommandRefusedError("nothing was changed")
    raise CommandRefusedError(f"{reason}: stop registry:2 and add --adopt, or look first with `{hint()}`")


async def _adopt(registry: Registry, folder: DataFolder) -> None:
    told = 0

    def tell(finding: TreeFinding) -> None:
        nonlocal told
        told += 1
        if told <= MOST_FINDINGS:
            with bar.aside():
                subject, detail = text.printable(finding.subject), text.printable(sentence(finding))
                _log.warning("left alone", severity=finding.severity, kind=finding.kind, subject=subject, detail=detail)

    with ProgressBar() as bar:
        summary = await run_adoption(registry, folder, bar, tell)
    _log.info(
        "adopted",
        repositories=summary.repositories,
        tags=summary.tags,
        manifests=summary.manifests,
        added=summary.added,
        removed=summary.removed,
        left_alone=told,
    )
