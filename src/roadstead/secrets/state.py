"""Which master key is in use, and a version that each change of secrets renews: one row of ``states``."""

import uuid
from typing import Final

from msgspec import MsgspecError, Struct, json

from roadstead.database import Reader, Transaction
from roadstead.jobs import delete_state, find_state, lock_state, save_state
from roadstead.secrets.errors import SecretStateInvalidError

STATE: Final = "secrets"
"""Its name."""


class SecretState(Struct, frozen=True):
    """The id of the master key that secrets are sealed under from now on, since when, and the version.

    Versions are chance: one of a restored catalogue is none that a process has seen before.
    """

    key_id: str
    since_ms: int
    version: str


async def find_secret_state(reader: Reader) -> SecretState | None:
    """The row, None where there has never been a secret.

    Raises:
        SecretStateInvalidError: it cannot be read.
    """
    return _decoded(await find_state(reader, STATE))


async def lock_secret_state(transaction: Transaction) -> SecretState | None:
    """The row, for work that changes secrets: nobody else does until the transaction ends.

    Raises:
        SecretStateInvalidError: it cannot be read.
    """
    return _decoded(await lock_state(transaction, STATE))


async def save_secret_state(transaction: Transaction, state: SecretState) -> None:
    """Writes the row."""
    await save_state(transaction, STATE, json.encode(state).decode())


async def delete_secret_state(transaction: Transaction) -> None:
    """Forgets which master key was in use, whatever the row says, and keeps others from changing secrets meanwhile.

    The next secret is sealed under whatever key is the newest then.
    """
    await lock_state(transaction, STATE)
    await delete_state(transaction, STATE)


def replaced_version(state: SecretState) -> SecretState:
    """The same state with a new version, which makes every server look again."""
    return SecretState(state.key_id, state.since_ms, uuid.uuid4().hex)


def _decoded(value: str | None) -> SecretState | None:
    if value is None:
        return None
    try:
        return json.decode(value, type=SecretState)
    except MsgspecError:
        raise SecretStateInvalidError from None
