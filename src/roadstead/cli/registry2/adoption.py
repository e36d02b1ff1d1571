"""Runs an adoption for ``adopt`` and ``serve --adopt``, reporting to a person, a script, or the log."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from roadstead.cli.terminal.progress import ProgressBar
from roadstead.cli.terminal.refusal import CommandRefusedError

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.config import Settings
    from roadstead.registry import Registry
    from roadstead.registry2.adoption.adoption import AdoptionSummary
    from roadstead.registry2.links import TreeFinding
    from roadstead.storage import DataFolder


async def run_adoption(
    registry: "Registry", folder: "DataFolder", bar: ProgressBar, report: Callable[["TreeFinding"], None]
) -> "AdoptionSummary":
    """Adopts the tree in ``folder``: makes the catalogue's records equal to it.

    Raises:
        CommandRefusedError: there is no tree, or one that could not be served in place.
        StorageError, DatabaseError: it could not be finished.
    """
    from roadstead import app  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry2.adoption.adoption import Adoption  # noqa: PLC0415

    require_tree(folder)
    adoption = Adoption(
        registry.database,
        app.build_link_files(folder),
        registry.clock,
        registry.rules,
        progress=bar,
        report=report,
        storage=recorded_storage(folder),
    )
    return await adoption.run()


async def put_in_charge(registry: "Registry", folder: "DataFolder") -> None:
    """Makes the catalogue the truth about ``folder``, whose tree it has adopted.

    Raises:
        StorageError, DatabaseError: it is not; run it again.
    """
    from roadstead import app  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry.operation.adoption_state import AdoptionPhase, AdoptionState, save_adoption  # noqa: PLC0415
    from roadstead.registry2.adoption.aliases import name_aliases  # noqa: PLC0415

    await name_aliases(registry.database, app.build_link_files(folder), registry.clock, registry.rules)
    state = AdoptionState(AdoptionPhase.IN_CHARGE, registry.clock.now_ms(), recorded_storage(folder))
    await registry.database.write(lambda transaction: save_adoption(transaction, state))


def sentence(finding: "TreeFinding") -> str:
    """Returns a sentence that describes a finding, and names the tags that clients lose by it."""
    return f"{finding.detail} ({', '.join(finding.tags)})" if finding.tags else finding.detail


def recorded_storage(folder: "DataFolder") -> str:
    """Returns the storage URL that the catalogue records: empty for a data folder, which may be moved or copied."""
    return "" if folder.objects.is_relative_to(folder.path) else folder.objects.as_uri()


def require_tree(folder: "DataFolder") -> None:
    """Raises unless the folder has something to adopt, on one file system.

    Raises:
        CommandRefusedError: there is not; the message says what to name instead.
    """
    from roadstead.registry.layout import BLOBS  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry2.links import LINK_TREE  # noqa: PLC0415

    root = folder.objects
    if not (root / LINK_TREE).is_dir():
        for parent in root.parents:
            if (parent / LINK_TREE).is_dir():
                raise CommandRefusedError(f"{root} is a part of a registry's folder: name {parent} instead")
        raise CommandRefusedError(
            f"{root} has no folder {LINK_TREE}: name what registry:2's configuration calls `rootdirectory`,"
            " /var/lib/registry unless set"
        )
    blobs = root / BLOBS
    if blobs.exists() and blobs.stat().st_dev != root.stat().st_dev:
        raise CommandRefusedError(
            f"{blobs.resolve()} is on another file system than {root}: uploads could not be moved there in one step;"
            f" mount the disk at {root} itself, with {LINK_TREE} in it"
        )


def adopt_command(settings: "Settings", folder: "DataFolder", config: Path | None) -> str:
    """Returns the command that reads the tree of ``folder`` into the same catalogue."""
    words = ["roadstead adopt", shlex.quote(str(folder.objects)), *_config_words(config)]
    alone = _settings_alone(config)
    by_default = folder.objects if config is None else alone and alone.data.folder.absolute()
    if by_default != settings.data.folder.absolute():
        words += ["--data", shlex.quote(str(settings.data.folder))]
    return " ".join(words)


def serve_command(settings: "Settings", folder: "DataFolder", config: Path | None) -> str:
    """Returns the command that serves the adopted folder, with the settings file it was adopted with."""
    from roadstead import app  # noqa: PLC0415 - see cli.terminal.session

    data = settings.data.folder
    words = ["roadstead serve", *_config_words(config)]
    alone = _settings_alone(config)
    if alone is None or alone.data.folder != data:
        words += ["--data", shlex.quote(str(data))]
        alone = _settings_alone(config, {"data.folder": data})
    if alone is None or app.data_folder(alone).objects != folder.objects:
        words += ["--storage", shlex.quote(folder.objects.as_uri())]
    return " ".join([*words, "--adopt"])


def _config_words(config: Path | None) -> list[str]:
    return [] if config is None else ["--config", shlex.quote(str(config))]


def _settings_alone(config: Path | None, overrides: "Mapping[str, object] | None" = None) -> "Settings | None":
    """Returns the settings of a file, without options and environment; None if it is incomplete without them."""
    from roadstead.config import SettingsInvalidError, load_settings  # noqa: PLC0415 - see cli.terminal.session

    try:
        return load_settings(config, environment={}, overrides=overrides)
    except SettingsInvalidError:
        return None
