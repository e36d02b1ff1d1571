"""The secrets of an installation, and where its master keys come from."""

import stat
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from roadstead.clock import Clock
from roadstead.config import Settings
from roadstead.database import Database
from roadstead.secrets.state import find_secret_state

if TYPE_CHECKING:  # these bring cryptography, which a server without secrets does not need
    from roadstead.secrets.key_file import KeySource
    from roadstead.secrets.service import SecretStore

_log = structlog.get_logger("roadstead.app")


def key_source(settings: Settings) -> "KeySource":
    """Where the master keys come from: a setting, a file that it names, or the data folder of a catalogue in a file."""
    from roadstead.secrets.key_file import OWN_NAME, GivenKeys, KeyFile, NoKeys, OwnKeyFile  # noqa: PLC0415 - see above

    given = settings.secrets
    if given.master_key is not None:
        return GivenKeys(given.master_key)
    if given.master_key_file is not None:
        return KeyFile(given.master_key_file)
    if settings.has_database_server:
        return NoKeys()
    return OwnKeyFile(settings.secrets_folder / OWN_NAME)


def master_key_files(settings: Settings) -> frozenset[Path]:
    """The files that have a master key, or may have; resolved."""
    from roadstead.secrets.key_file import OWN_NAME  # noqa: PLC0415 - see above

    files = [settings.secrets_folder / OWN_NAME, *filter(None, [settings.secrets.master_key_file])]
    return frozenset(file.resolve() for file in files)


def build_secrets(database: Database, clock: Clock, settings: Settings) -> "SecretStore":
    """The secrets that this catalogue has; the master key is read, or made, at the first need."""
    from roadstead.secrets.service import SecretStore  # noqa: PLC0415 - see above

    return SecretStore(database, clock, key_source(settings))


async def require_master_key(database: Database, clock: Clock, settings: Settings) -> None:
    """Refuses a server that could not open the secrets of its catalogue; one that has none needs no key.

    Raises:
        MasterKeyError: it has another key than the others, or none.
        SecretStateInvalidError: a newer version wrote which key is in use.
    """
    given = settings.secrets
    is_given = given.master_key is not None or given.master_key_file is not None
    if not is_given and await find_secret_state(database) is None:
        return
    await build_secrets(database, clock, settings).require_key()
    file = given.master_key_file
    if file is not None and file.stat().st_mode & stat.S_IRWXO:  # as mounted secrets are: no reason not to start
        _log.warning("every user of this machine may read the master key", file=str(file), remedy=f"chmod o= {file}")
