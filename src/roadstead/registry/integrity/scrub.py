"""The scrub: reads every blob and manifest again and again, slowly, and finds what has rotted before a client does.

A pass goes through the blobs in the order of their digests, then through the manifests. How far it is stands in the
catalogue (``states``), so a restart, or another process of the fleet, goes on there. What it finds:

- bytes that differ from their digest, or are of the wrong length: into quarantine, unless they were replaced meanwhile;
- missing bytes: the same, but only while other blobs are there: a storage that is not mounted has rotted nothing;
- a blob in quarantine whose bytes are there again, and right: it is served again;
- bytes that the storage cannot read just now: said, and left alone until the next pass;
- a manifest whose body is damaged: said; healed where an upstream has it. A push of it heals it too.
"""

import asyncio
import enum
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from msgspec import MsgspecError, Struct, json, structs

from roadstead.clock import Clock
from roadstead.database import Reader, Transaction
from roadstead.jobs import find_state, save_state
from roadstead.oci import Digest
from roadstead.oci.errors import DigestInvalidError
from roadstead.registry import layout
from roadstead.registry.content import store
from roadstead.registry.model import Blob
from roadstead.registry.pace import Pace
from roadstead.registry.service import Registry
from roadstead.storage import ObjectReader, ObjectUnknownError, StorageAbsentError, StorageError, StoredObject

STATE: Final = "scrub"
"""Where the catalogue keeps how far the scrub is."""

ROUND_SECONDS: Final = 5.0
"""After so long a round saves where it is: well below half of a lease."""

PIECE_BYTES: Final = 1 << 20

LEAST_BYTES: Final = 4096
"""Bytes for which a blob counts at least: a million tiny ones must not make a storm."""

POLL_SECONDS: Final = 30.0
"""Between two looks at whether the next pass is due."""

_log = structlog.get_logger("roadstead.scrub")


class Damage(enum.StrEnum):
    """The kinds of damage that a scrub finds."""

    BLOB = "blob"
    """Put into quarantine."""
    MANIFEST = "manifest"
    UNREADABLE = "unreadable"
    """Left alone: the storage gave an error, or nothing at all."""


class ScrubState(Struct, frozen=True, kw_only=True):
    """The progress of the scrub, and the result of the last whole pass. Times in milliseconds, 0 for never."""

    is_running: bool = False
    stage: str = "blobs"
    after: str = ""
    """The last digest of ``stage`` that is done."""
    started_ms: int = 0
    bytes: int = 0
    """Of blobs."""
    blobs: int = 0
    manifests: int = 0
    damage: int = 0
    completed_ms: int = 0
    completed_started_ms: int = 0
    completed_bytes: int = 0
    completed_blobs: int = 0
    completed_damage: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubObserver:
    """Takes each finding; called from the event loop."""

    read: Callable[[int], None]
    """So many bytes were read and compared."""
    found: Callable[[Damage, str, str], None]
    """Something is damaged: what it is, its digest, what is wrong with it."""


class _RunningHash(Protocol):
    def update(self, content: bytes | bytearray | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(slots=True)
class _Reading:
    """A blob that is being read, over several rounds if it is large."""

    digest: Digest
    size_bytes: int
    seen: StoredObject
    reader: ObjectReader
    running: _RunningHash
    offset: int = 0
    is_second: bool = False
    is_quarantined: bool = False


Healing = Callable[[Digest], Awaitable[bool]]
"""Tries to fetch a damaged manifest from elsewhere; whether that worked."""


class Scrubber:
    """Scrubs one registry, a round at a time; see ``run_alone``."""

    def __init__(
        self,
        registry: Registry,
        pace: Pace,
        observer: ScrubObserver,
        *,
        interval_ms: int = 0,
        heal_manifest: Healing | None = None,
    ) -> None:
        """``interval_ms`` lies at least between the starts of two passes."""
        self._registry = registry
        self._clock: Clock = registry.clock
        self._pace = pace
        self._observer = observer
        self._interval_ms = interval_ms
        self._heal_manifest = heal_manifest
        self._state = ScrubState()
        self._reading: _Reading | None = None

    async def round(self) -> bool:
        """Goes on with the pass, or begins one that is due; whether there is more to do at once.

        Raises:
            DatabaseError: the catalogue cannot be read or written.
        """
        state = await find_scrub(self._registry.database)
        if state != self._state:  # another process was at it
            self._forget_reading()
            self._state = state
        if not state.is_running:
            if state.started_ms <= self._clock.now_ms() < state.started_ms + self._interval_ms:
                return False
            self.begin()
        is_done = await self._work()
        await self._save()
        return not is_done

    async def run_pass(self) -> ScrubState:
        """A whole pass from the start, at once, beside what the server does; returns how it ended."""
        self.begin()
        while not await self._work():
            pass
        await self._save()
        return self._state

    def begin(self) -> None:
        """The next pass starts."""
        self._state = structs.replace(
            self._state,
            is_running=True,
            stage="blobs",
            after="",
            started_ms=self._clock.now_ms(),
            bytes=0,
            blobs=0,
            manifests=0,
            damage=0,
        )

    def close(self) -> None:
        """Gives back what a blob that is not read to its end holds."""
        self._forget_reading()

    async def _work(self) -> bool:
        """Some seconds of it; whether the pass has ended."""
        deadline = self._clock.monotonic_seconds() + ROUND_SECONDS
        while self._clock.monotonic_seconds() < deadline:
            if self._reading is not None:
                await self._go_on(self._reading)
            elif not await self._take_next():
                self._complete()
                return True
            await asyncio.sleep(0)  # requests go first: what is skipped, or small, waits for nothing else
        return False

    async def _take_next(self) -> bool:
        """Begins with the next blob or does the next manifest; False at the end of the pass."""
        listing = store.LIST_BLOB_DIGESTS if self._state.stage == "blobs" else store.LIST_MANIFEST_DIGESTS
        row = await self._registry.database.fetch_one(listing, after=self._state.after, limit=1)
        if row is None:
            if self._state.stage == "manifests":
                return False
            self._state = structs.replace(self._state, stage="manifests", after="")
            return True
        try:
            digest = Digest.parse(row[0])
        except DigestInvalidError:  # `check` says so
            self._state = structs.replace(self._state, after=row[0])
            return True
        if self._state.stage == "blobs":
            await self._begin_blob(digest)
        else:
            await self._check_manifest(digest)
        return True

    async def _begin_blob(self, digest: Digest, *, is_second: bool = False) -> None:
        row = await self._registry.database.fetch_one(store.FIND_BLOB_RECORD, digest=digest)
        if row is None or row[3] is not None:  # gone, or going
            self._advance(digest, 0)
            return
        is_quarantined = row[2] is not None
        blob = Blob(digest, row[1], row[4])
        try:
            seen = await self._registry.places.find(digest, blob.object_key)
            reader = await self._registry.places.open(blob) if seen is not None else None
        except ObjectUnknownError:
            seen = reader = None
        except StorageAbsentError:
            raise  # the pass goes on when it is there again
        except StorageError as error:
            self._leave(digest, str(error))
            return
        if seen is None or reader is None:
            await self._miss(digest)
            return
        running = hashlib.new(digest.algorithm)
        self._reading = _Reading(
            digest, row[1], seen, reader, running, is_second=is_second, is_quarantined=is_quarantined
        )
        if reader.size_bytes != row[1]:
            await self._found_rotten(f"it has {reader.size_bytes} bytes instead of {row[1]}")

    async def _go_on(self, reading: _Reading) -> None:
        """Reads another piece of a blob."""
        rest = reading.size_bytes - reading.offset
        try:
            piece = await reading.reader.read_once(reading.offset, min(self._pace.piece_bytes(PIECE_BYTES), rest))
        except StorageError as error:
            self._leave(reading.digest, str(error))
            return
        await asyncio.to_thread(reading.running.update, piece)
        reading.offset += len(piece)
        self._observer.read(len(piece))
        await self._pace.spend(max(len(piece), LEAST_BYTES))
        if piece and reading.offset < reading.size_bytes:
            return
        if reading.running.hexdigest() != reading.digest.encoded:
            await self._found_rotten("its bytes are not those that its digest stands for")
            return
        if reading.is_quarantined and await self._registry.blobs.take_back(reading.digest, seen=reading.seen):
            _log.info("taken out of quarantine", digest=reading.digest)
        self._advance(reading.digest, reading.size_bytes)

    async def _found_rotten(self, reason: str) -> None:
        """Reads it a second time before it is believed: memory and cables err too; then puts it aside."""
        reading = self._reading
        if reading is None:
            return
        self._forget_reading()
        if reading.is_quarantined:
            self._advance(reading.digest, reading.offset)
            return
        if not reading.is_second:
            await self._begin_blob(reading.digest, is_second=True)
            return
        if await self._registry.blobs.quarantine(reading.digest, reason, seen=reading.seen):
            self._count(Damage.BLOB, reading.digest, reason)
        self._advance(reading.digest, reading.offset)

    async def _miss(self, digest: Digest) -> None:
        reason = "its bytes are missing"
        row = await self._registry.database.fetch_one(store.FIND_BLOB_RECORD, digest=digest)
        if row is None or row[2] is not None or row[3] is not None:  # it was deleted just now
            self._advance(digest, 0)
            return
        if not await self._has_any_blob():
            self._leave(digest, f"{reason}, and so are all others: is the storage mounted?")
            return
        if await self._registry.blobs.quarantine(digest, reason, seen=None):
            self._count(Damage.BLOB, digest, reason)
        self._advance(digest, 0)

    async def _has_any_blob(self) -> bool:
        try:
            for folder in (layout.BLOBS, layout.OBJECTS):
                async for _ in self._registry.storage.iter_objects(folder):
                    return True
        except StorageError:
            return False
        return False

    async def _check_manifest(self, digest: Digest) -> None:
        row = await self._registry.database.fetch_one(store.GET_MANIFEST_BODY, digest=digest)
        body = row[0] if row else b""
        is_whole = row is None or (isinstance(body, bytes) and Digest.of(body, digest.algorithm) == digest)
        size_bytes = len(body) if isinstance(body, bytes) else 0
        self._observer.read(size_bytes)
        await self._pace.spend(max(size_bytes, LEAST_BYTES))
        if not is_whole:
            self._count(Damage.MANIFEST, digest, "its bytes are not those that its digest stands for")
            if self._heal_manifest is not None:
                await self._heal_manifest(digest)
        self._advance(digest, size_bytes)

    def _leave(self, digest: Digest, reason: str) -> None:
        self._count(Damage.UNREADABLE, digest, reason)
        self._advance(digest, 0)

    def _count(self, damage: Damage, digest: Digest, reason: str) -> None:
        self._state = structs.replace(self._state, damage=self._state.damage + 1)
        self._observer.found(damage, digest, reason)

    def _advance(self, digest: Digest, size_bytes: int) -> None:
        """A blob or manifest is done."""
        self._forget_reading()
        state = self._state
        is_blob = state.stage == "blobs"
        self._state = structs.replace(
            state,
            after=str(digest),
            bytes=state.bytes + (size_bytes if is_blob else 0),
            blobs=state.blobs + is_blob,
            manifests=state.manifests + (not is_blob),
        )

    def _complete(self) -> None:
        state = self._state
        self._state = structs.replace(
            state,
            is_running=False,
            after="",
            completed_ms=self._clock.now_ms(),
            completed_started_ms=state.started_ms,
            completed_bytes=state.bytes,
            completed_blobs=state.blobs,
            completed_damage=state.damage,
        )
        _log.info("scrub pass complete", blobs=state.blobs, bytes=state.bytes, damage=state.damage)

    def _forget_reading(self) -> None:
        if self._reading is not None:
            self._reading.reader.close()
            self._reading = None

    async def _save(self) -> None:
        state = self._state

        async def work(transaction: Transaction) -> None:
            await save_state(transaction, STATE, json.encode(state).decode())

        await self._registry.database.write(work, durable=False)


async def find_scrub(reader: Reader) -> ScrubState:
    """The progress of the scrub; as if there had been none where that cannot be read."""
    value = await find_state(reader, STATE)
    try:
        return ScrubState() if value is None else json.decode(value, type=ScrubState)
    except MsgspecError:
        return ScrubState()
