"""Secrets that all servers of an installation share: signing keys and credentials of other systems.

They are rows of the catalogue, sealed under a master key that is not in it. Each is sealed, and each change made, in a
transaction that holds the row of ``roadstead.secrets.state`` alone: it says which master key is in use, and its version
changes with every change, so that what one server renews the others know within ``FRESH_SECONDS``.

**Signing keys.** Of each name the greatest generation signs. Older ones verify what was signed before until their time
is over. One that is asked for and not there is made, by whichever server is first. A server may meet a signature of a
generation that it has not heard of yet: it looks again before it says no.

**Master keys.** The keyring is read at the first need, and again when something is sealed under a key that it does not
have: so a new key file takes effect without a restart. Signing keys that were opened once stay in use where their new
seal cannot be opened: a server that does not have the new file yet goes on with what it knows, and says so in its log.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from secrets import token_bytes
from typing import Final, TypeVar

import structlog

from roadstead.clock import Clock
from roadstead.database import Database, Transaction
from roadstead.secrets import store
from roadstead.secrets.errors import (
    MasterKeyError,
    MasterKeyUnknownError,
    SecretError,
    SecretKindError,
    SecretsExceededError,
    SecretUnknownError,
)
from roadstead.secrets.key_file import KeySource
from roadstead.secrets.keyring import KEY_BYTES, Keyring, MasterKey, signing_key_id
from roadstead.secrets.model import SecretKind, SecretRecord, SigningKey, require_name
from roadstead.secrets.state import (
    SecretState,
    delete_secret_state,
    find_secret_state,
    lock_secret_state,
    replaced_version,
    save_secret_state,
)

FRESH_SECONDS: Final = 0.5
"""Time for which what was read is used without another look at the version, which is one row."""

OVERLAP_MS: Final = 24 * 3600 * 1000
"""Time for which a replaced signing key verifies: longer than what is signed with one is good for."""

MOST_GENERATIONS: Final = 100
"""Generations of one signing key that verify at once: each is a renewal of the last day."""

CREDENTIAL_BYTES: Final = 64 * 1024
"""Size of a credential at most: a private key with a chain of certificates has less."""

UNKNOWN_REMEDY: Final = (
    "give this server the key file that the others have; while a rotation is under way, or to bring up a backup, the"
    " older key belongs on a line below; if that key is lost for good, `roadstead secrets reset` forgets what was"
    " sealed"
)

_T = TypeVar("_T")

_log = structlog.get_logger("roadstead.secrets")


@dataclass(frozen=True, slots=True)
class _Known:
    """The signing keys as they were read last; ``asked`` is a moment before the reading began."""

    asked: float = float("-inf")
    version: str = ""
    keys: dict[str, tuple[SigningKey, ...]] = field(default_factory=dict[str, tuple[SigningKey, ...]])
    """By name, the one that signs first."""
    opened: dict[SecretRecord, SigningKey] = field(default_factory=dict[SecretRecord, SigningKey])
    """By record, as if it were sealed under no key."""
    unopened: dict[str, SecretError] = field(default_factory=dict[str, SecretError])
    """Names of which a generation could not be opened, with the reason."""


class SecretStore:
    """The secrets of an installation, as one process sees them."""

    def __init__(self, database: Database, clock: Clock, source: KeySource) -> None:
        """Reads nothing yet; ``source`` is where the master keys come from."""
        self._database = database
        self._clock = clock
        self._source = source
        self._ring: Keyring | None = None
        self._turn = asyncio.Lock()
        self._known = _Known()

    # ── Signing keys ──────────────────────────────────────────────────────────────────────────────────────────

    async def signing_key(self, name: str) -> SigningKey:
        """Returns the generation of ``name`` that signs; the first one is made if there is none.

        Raises:
            MasterKeyError: it cannot be opened, or sealed, with the keys that this server has.
            SecretDamagedError: its row is damaged.
            SecretNameInvalidError, SecretKindError: the name is none, or that of a credential.
            DatabaseError: the catalogue cannot be asked.
        """
        known = await self._fresh()
        if name not in known.keys and name not in known.unopened:
            await self._make_signing_key(name)
            known = await self._look(self._clock.monotonic_seconds())
        signing = known.keys.get(name, ())[:1]
        if not signing or signing[0].verifies_until_ms is not None:  # the one that signs could not be opened
            raise known.unopened[name]
        return signing[0]

    async def find_verifying_key(self, name: str, key_id: str) -> SigningKey | None:
        """Returns the generation that has signed what names ``key_id``; None if there is none, or its time is over.

        Raises:
            MasterKeyError, SecretDamagedError, DatabaseError: as ``signing_key``.
        """
        asked = self._clock.monotonic_seconds()
        found = _find(await self._fresh(), name, key_id)
        if found is None:  # perhaps another server has renewed it a moment ago
            known = await self._look(asked)
            found = _find(known, name, key_id)
            if found is None and name in known.unopened:
                raise known.unopened[name]
        if found is None or (found.verifies_until_ms is not None and found.verifies_until_ms <= self._clock.grace_ms()):
            return None
        return found

    async def renew(self, name: str, *, revokes: bool = False) -> SecretRecord:
        """Makes a new generation of a signing key, which signs from now on, and returns it.

        With ``revokes`` what older ones have signed is worth nothing any more; else they verify for ``OVERLAP_MS``.

        Raises:
            SecretUnknownError: there is no signing key of that name.
            SecretsExceededError: too many older ones still verify.
            MasterKeyError, DatabaseError: as ``signing_key``.
        """
        value = token_bytes(KEY_BYTES)

        async def work(transaction: Transaction, key: MasterKey) -> SecretRecord:
            before = await store.list_generations(transaction, name)
            if not before:
                raise SecretUnknownError(name, "is no secret of this registry")
            if before[0].record.kind is not SecretKind.SIGNING_KEY:
                raise SecretUnknownError(name, "is a credential, which only its owner can renew")
            return await self._add_generation(transaction, key, before[0].record, value, revokes=revokes)

        return await self._change(work)

    async def _add_generation(
        self, transaction: Transaction, key: MasterKey, before: SecretRecord, value: bytes, *, revokes: bool
    ) -> SecretRecord:
        name, now_ms = before.name, self._clock.grace_ms()
        if revokes:
            await store.delete_name(transaction, name)
        else:
            await store.end_signing(transaction, name, now_ms + OVERLAP_MS)
        await store.delete_lapsed(transaction, now_ms)
        if len(await store.list_generations(transaction, name)) >= MOST_GENERATIONS:
            raise SecretsExceededError(MOST_GENERATIONS)
        return await self._add(transaction, key, before.kind, name, before.generation + 1, value)

    async def _make_signing_key(self, name: str) -> None:
        require_name(name)
        value = token_bytes(KEY_BYTES)

        async def work(transaction: Transaction, key: MasterKey) -> None:
            before = await store.list_generations(transaction, name)
            if before and before[0].record.kind is not SecretKind.SIGNING_KEY:
                raise SecretKindError(name, before[0].record.kind)
            if not before:  # else another server was faster
                await self._add(transaction, key, SecretKind.SIGNING_KEY, name, 1, value)

        await self._change(work)

    # ── Credentials ───────────────────────────────────────────────────────────────────────────────────────────

    async def put_credential(self, name: str, value: bytes) -> SecretRecord:
        """Keeps what another system gave or was given, in place of what was kept under the name before.

        Raises:
            ValueError: it is longer than ``CREDENTIAL_BYTES``.
            SecretNameInvalidError, SecretKindError: the name is none, or that of a signing key.
            SecretsExceededError: there are as many secrets as may be.
            MasterKeyError, DatabaseError: it was not kept.
        """
        require_name(name)
        if len(value) > CREDENTIAL_BYTES:
            raise ValueError(f"a credential has at most {CREDENTIAL_BYTES} bytes")

        async def work(transaction: Transaction, key: MasterKey) -> SecretRecord:
            before = await store.list_generations(transaction, name)
            if before and before[0].record.kind is not SecretKind.CREDENTIAL:
                raise SecretKindError(name, before[0].record.kind)
            await store.delete_name(transaction, name)
            generation = before[0].record.generation + 1 if before else 1
            return await self._add(transaction, key, SecretKind.CREDENTIAL, name, generation, value)

        return await self._change(work)

    async def find_credential(self, name: str) -> bytes | None:
        """Returns the credential of that name as it is now; None if there is none.

        Raises:
            MasterKeyError, SecretDamagedError, DatabaseError: it cannot be opened.
        """
        rows = await store.list_generations(self._database, name)
        if not rows or rows[0].record.kind is not SecretKind.CREDENTIAL:
            return None
        key = await self._key_of(rows[0].record.key_id)
        return key.open(rows[0].sealed, rows[0].record)

    async def delete_credential(self, name: str) -> bool:
        """Forgets a credential; False if there was none."""

        async def work(transaction: Transaction) -> bool:
            state = await lock_secret_state(transaction)
            rows = await store.list_generations(transaction, name)
            if state is None or not rows or rows[0].record.kind is not SecretKind.CREDENTIAL:
                return False
            await store.delete_name(transaction, name)
            await save_secret_state(transaction, replaced_version(state))
            return True

        return await self._database.write(work)

    # ── All of them ───────────────────────────────────────────────────────────────────────────────────────────

    async def list_records(self) -> list[SecretRecord]:
        """The secrets without their values, in the order of names, the newest generation first."""
        return await store.list_records(self._database)

    async def require_key(self) -> None:
        """Sees at a start that this server can open every secret, and seal new ones.

        Where there is none yet, a master key that the administrator has given becomes that of the installation, so that
        a server with another one is refused from then on.

        Raises:
            MasterKeyError: it cannot.
        """
        state = await find_secret_state(self._database)
        if state is None:
            if self._source.is_given:
                await self._change(_nothing)
            return
        counted = await store.count_by_key(self._database)
        for key_id in dict.fromkeys([state.key_id, *counted]):
            await self._key_of(key_id)

    async def reset(self) -> int:
        """Forgets every secret and which master key was in use; returns the number of rows that were there."""

        async def work(transaction: Transaction) -> int:
            await delete_secret_state(transaction)
            return await store.delete_all(transaction)

        return await self._database.write(work)

    # ── What is known ─────────────────────────────────────────────────────────────────────────────────────────

    async def _fresh(self) -> _Known:
        now = self._clock.monotonic_seconds()
        if now - self._known.asked < FRESH_SECONDS:
            return self._known
        return await self._look(now)

    async def _look(self, asked: float) -> _Known:
        """Returns the outcome of a look that began at ``asked`` or later; those who wait meanwhile share it."""
        async with self._turn:
            if self._known.asked <= asked:
                self._known = await self._read(self._known)
            return self._known

    async def _read(self, before: _Known) -> _Known:
        asked = self._clock.monotonic_seconds()
        state = await find_secret_state(self._database)
        version = state.version if state else ""
        if version == before.version and not before.unopened:
            return replace(before, asked=asked)
        return await self._open_all(before, asked, version)

    async def _open_all(self, before: _Known, asked: float, version: str) -> _Known:
        """Opens all signing keys, which are read after the version: a change in between is seen by the next look."""
        known = _Known(asked, version)
        rows = await store.list_signing_keys(self._database)
        problem = await self._read_ring_for({row.record.key_id for row in rows})
        for row in rows:
            record = row.record
            seen = replace(record, key_id="", verifies_until_ms=None)
            opened = before.opened.get(seen)
            try:
                opened = self._open(row, problem)
            except SecretError as error:
                known.unopened[record.name] = error
                if record.name not in before.unopened:
                    _tell_unopened(record, error)
            if opened is not None:
                known.opened[seen] = opened
                key = replace(opened, verifies_until_ms=record.verifies_until_ms)
                known.keys[record.name] = (*known.keys.get(record.name, ()), key)
        return known

    def _open(self, row: store.SealedSecret, problem: SecretError | None) -> SigningKey:
        key = self._ring.find(row.record.key_id) if self._ring else None
        if key is None:
            raise problem or self._unknown(row.record.key_id)
        value = key.open(row.sealed, row.record)
        return SigningKey(signing_key_id(value), row.record.generation, value)

    async def _read_ring_for(self, key_ids: set[str]) -> SecretError | None:
        """Reads the keyring again if it lacks one of these; returns why it could not be read."""
        if not key_ids or (self._ring is not None and key_ids <= set(self._ring.ids)):
            return None
        try:
            await self._read_ring()
        except SecretError as error:
            return error
        return None

    async def _key_of(self, key_id: str) -> MasterKey:
        """The master key of that id, for which the keyring is read again if it is not in it.

        Raises:
            MasterKeyError: it is not there either.
        """
        found = self._ring.find(key_id) if self._ring else None
        found = found or (await self._read_ring()).find(key_id)
        if found is None:
            raise self._unknown(key_id)
        return found

    def _unknown(self, key_id: str) -> MasterKeyUnknownError:
        return MasterKeyUnknownError((key_id,), self._source.name, UNKNOWN_REMEDY)

    async def _read_ring(self, *, makes: bool = False) -> Keyring:
        self._ring = await asyncio.to_thread(self._source.make if makes else self._source.read)
        return self._ring

    # ── Changes ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _change(self, work: Callable[[Transaction, MasterKey], Awaitable[_T]]) -> _T:
        """Runs ``work`` with the master key in use while nobody else changes secrets, and renews the version."""
        state = await find_secret_state(self._database)
        if state is None:
            await self._read_ring(makes=True)
        version = uuid.uuid4().hex

        async def whole(transaction: Transaction) -> _T:
            state = await lock_secret_state(transaction)
            key = self._sealing_key(state)
            since_ms = state.since_ms if state else self._clock.now_ms()
            result = await work(transaction, key)
            await save_secret_state(transaction, SecretState(key.id, since_ms, version))
            return result

        if state is not None:
            await self._key_of(state.key_id)
        try:
            return await self._database.write(whole)
        except MasterKeyUnknownError as error:  # another server was the first, or began a rotation, just now
            await self._key_of(error.needed[0])
            return await self._database.write(whole)

    def _sealing_key(self, state: SecretState | None) -> MasterKey:
        if self._ring is None:
            raise AssertionError("the keyring is read before")
        if state is None:
            return self._ring.newest
        key = self._ring.find(state.key_id)
        if key is None:
            raise self._unknown(state.key_id)
        return key

    async def _add(
        self, transaction: Transaction, key: MasterKey, kind: SecretKind, name: str, generation: int, value: bytes
    ) -> SecretRecord:
        if sum((await store.count_by_key(transaction)).values()) >= store.MOST:
            raise SecretsExceededError(store.MOST)
        record = SecretRecord(name, generation, kind, key.id, self._clock.now_ms())
        await store.add(transaction, record, key.seal(value, record))
        return record


def _tell_unopened(record: SecretRecord, error: SecretError) -> None:
    remedy = error.remedy if isinstance(error, MasterKeyError) else ""
    _log.error("secret not opened", name=record.name, generation=record.generation, reason=str(error), remedy=remedy)


def _find(known: _Known, name: str, key_id: str) -> SigningKey | None:
    return next((key for key in known.keys.get(name, ()) if key.id == key_id), None)


async def _nothing(_transaction: Transaction, _key: MasterKey) -> None:
    """Only says which master key is in use."""
