"""Ends what was signed when a catalogue is brought back as it was at an earlier time.

Its signing keys may be in whatever hands the backup was in, and what they have signed says things of a time that is
undone. So they go, and new ones are made when they are needed: nothing that was signed before is accepted any more.
"""

from roadstead.database import Transaction
from roadstead.secrets import store
from roadstead.secrets.errors import SecretStateInvalidError
from roadstead.secrets.state import delete_secret_state, lock_secret_state, replaced_version, save_secret_state


async def end_signatures(transaction: Transaction, *, keeps_credentials: bool) -> None:
    """Removes the signing keys; without ``keeps_credentials`` every secret, and which master key was in use."""
    if not keeps_credentials:
        await delete_secret_state(transaction)
        await store.delete_all(transaction)
        return
    await store.delete_signing_keys(transaction)
    try:
        state = await lock_secret_state(transaction)
    except SecretStateInvalidError:
        return  # the next start says so
    if state is not None:
        await save_secret_state(transaction, replaced_version(state))
