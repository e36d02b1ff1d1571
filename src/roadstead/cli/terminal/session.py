"""Opens the registry that a command works on.

Promises: safe beside a running server, whose lock it does not take; nothing is written by opening.
"""

import os
import pwd
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from roadstead.cli.terminal.refusal import CommandRefusedError

if TYPE_CHECKING:  # importing these costs half a second, which --help and completion should not
    from roadstead.config import Settings
    from roadstead.events import Cause
    from roadstead.registry import Registry

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Session:
    """An open registry, and the settings that led to it."""

    settings: "Settings"
    registry: "Registry"


def run(
    data: Path | None,
    config: Path | None,
    work: Callable[[Session], Awaitable[_T]],
    *,
    needs_storage: bool = True,
) -> _T:
    """Opens the registry in ``data`` (None: where ``config`` or the default says), runs ``work`` on it, and closes it.

    ``needs_storage``: it works on bytes, or on what decides about them; else it is done also while they are not there.

    Raises:
        StorageForeignError, StorageMissingError, DataFolderBusyError: the bytes are another's, or not there.
        SettingsInvalidError: the settings are wrong.
        CatalogueAbsentError, CatalogueOutdatedError, DatabaseError: the registry cannot be opened.
    """
    import asyncio  # noqa: PLC0415 - see above

    from roadstead.app import open_registry  # noqa: PLC0415

    silence_log()
    settings = load(data, config)

    async def opened() -> _T:
        async with open_registry(settings, needs_storage=needs_storage) as registry:
            return await work(Session(settings, registry))

    return asyncio.run(opened())


def load(data: Path | None, config: Path | None) -> "Settings":
    """Loads the settings that ``run`` would open a registry with.

    Raises:
        SettingsInvalidError: the settings are wrong.
    """
    from roadstead.config import load_settings  # noqa: PLC0415 - see above

    return load_settings(config, overrides={"data.folder": data})


async def require_changeable(registry: "Registry") -> None:
    """Raises if the registry is in maintenance, so that a command may not change what clients see.

    Raises:
        CommandRefusedError: a maintenance mode is on, or another program is in charge of the folder.
    """
    from roadstead.registry.operation.adoption_state import AdoptionPhase, find_adoption  # noqa: PLC0415 - see above
    from roadstead.registry.operation.maintenance import MaintenanceMode  # noqa: PLC0415

    phase = (await find_adoption(registry.database)).phase
    if phase is AdoptionPhase.RELEASED:
        raise CommandRefusedError("the registry was released to another program; `roadstead adopt` takes it back")
    if phase in {AdoptionPhase.ADOPTING, AdoptionPhase.ADOPTED}:
        raise CommandRefusedError("the folder was adopted and not served yet; `roadstead serve` takes charge of it")
    mode = (await registry.maintenance.find()).mode
    if mode is not MaintenanceMode.OFF:
        raise CommandRefusedError(f"the registry is {mode}; `roadstead maintenance off` ends that")
    mode = (await registry.maintenance.refresh()).mode
    if mode is not MaintenanceMode.OFF:
        raise CommandRefusedError(f"the registry is {mode} by its settings (maintenance.mode)")


def cause_of(command: str) -> "Cause":
    """The cause of what ``command`` changes: whoever runs it, as the machine knows them."""
    from roadstead.events import Cause  # noqa: PLC0415 - see above

    user_id = os.geteuid()
    try:
        return Cause.of_command(command, pwd.getpwuid(user_id).pw_name)
    except KeyError:  # in a container a number often is all there is
        return Cause.of_command(command, str(user_id))


def silence_log() -> None:
    """Silences the log: a command says itself what it did."""
    import structlog  # noqa: PLC0415 - see above
    from structlog.typing import EventDict, WrappedLogger  # noqa: PLC0415

    def drop(_logger: WrappedLogger, _method: str, _event: EventDict) -> NoReturn:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
