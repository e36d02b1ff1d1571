"""Rotation of the master key: every secret is sealed anew under the newest key that this server has.

1. The new key is made that of the installation: from now on every server seals under it.
2. Secrets that are sealed under other keys are sealed anew, some in each transaction.

Whoever has both keys can open every secret at any moment, so servers go on meanwhile. A rotation that was killed is
taken up by the next one: what is not sealed under the key in use says what is left. A rotation to yet another key ends
this one.
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from roadstead.clock import Clock
from roadstead.database import Database, Transaction
from roadstead.secrets import store
from roadstead.secrets.errors import MasterKeyUnknownError, RotationSupersededError
from roadstead.secrets.key_file import KeySource
from roadstead.secrets.keyring import Keyring, MasterKey
from roadstead.secrets.service import UNKNOWN_REMEDY
from roadstead.secrets.state import SecretState, find_secret_state, lock_secret_state, save_secret_state
from roadstead.secrets.store import SealedSecret

PAGE: Final = 100
"""Secrets that are sealed anew in one transaction."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """The outcome of a rotation: the ids of the keys before (empty if there was none) and now, and what was done.

    ``resealed`` is 0, and both ids are the same, where there was nothing to do.
    """

    before: str
    key_id: str
    resealed: int


async def rotate(
    database: Database, clock: Clock, source: KeySource, advance: Callable[[int], None] = lambda _: None
) -> Rotated:
    """Seals every secret under the newest master key; one that this server may make itself is made for it.

    ``advance`` is told of numbers of secrets that are done, once that is durable.

    Raises:
        MasterKeyError: a key cannot be had, among them those that the secrets are sealed under.
        SecretDamagedError: a secret cannot be opened; those before it are sealed anew.
        RotationSupersededError: another rotation, to another key, began meanwhile.
        DatabaseError: it is to be run again, and goes on where it stopped.
    """
    state = await find_secret_state(database)
    ring = await asyncio.to_thread(source.read if state else source.make)
    counted = await store.count_by_key(database)
    before = state.key_id if state else ""
    if not set(counted) - {ring.newest.id} and before == ring.newest.id:
        added = await asyncio.to_thread(source.add_key)
        ring = ring if added is None else added
    _require_keys({*counted, *([before] if before else [])}, ring, source)
    await database.write(lambda transaction: _begin(transaction, ring.newest, clock.now_ms(), uuid.uuid4().hex))
    resealed = 0
    while done := await database.write(lambda transaction: _reseal_page(transaction, ring, source)):
        resealed += done
        advance(done)
    await database.write(lambda transaction: _renew_version(transaction, ring.newest, uuid.uuid4().hex))
    return Rotated(before, ring.newest.id, resealed)


def _require_keys(needed: set[str], ring: Keyring, source: KeySource) -> None:
    missing = tuple(sorted(needed - set(ring.ids)))
    if missing:
        raise MasterKeyUnknownError(missing, source.name, UNKNOWN_REMEDY)


async def _begin(transaction: Transaction, key: MasterKey, now_ms: int, version: str) -> None:
    state = await lock_secret_state(transaction)
    since_ms = state.since_ms if state and state.key_id == key.id else now_ms
    await save_secret_state(transaction, SecretState(key.id, since_ms, version))


async def _reseal_page(transaction: Transaction, ring: Keyring, source: KeySource) -> int:
    target = ring.newest
    await _require_target(transaction, target)
    rows = await store.list_sealed_otherwise(transaction, target.id, PAGE)
    if rows:
        await store.reseal(transaction, [_resealed(row, ring, source) for row in rows], target.id)
    return len(rows)


async def _renew_version(transaction: Transaction, target: MasterKey, version: str) -> None:
    """Lets every server look again, so that one without the new key says so now and not when it is too late."""
    state = await _require_target(transaction, target)
    await save_secret_state(transaction, SecretState(state.key_id, state.since_ms, version))


async def _require_target(transaction: Transaction, target: MasterKey) -> SecretState:
    state = await lock_secret_state(transaction)
    if state is None or state.key_id != target.id:
        raise RotationSupersededError
    return state


def _resealed(row: SealedSecret, ring: Keyring, source: KeySource) -> SealedSecret:
    key = ring.find(row.record.key_id)
    if key is None:
        raise MasterKeyUnknownError((row.record.key_id,), source.name, UNKNOWN_REMEDY)
    return SealedSecret(row.record, ring.newest.seal(key.open(row.sealed, row.record), row.record))
