"""Maintenance: times in which clients change nothing, or find the registry closed.

The mode stands in one row of the catalogue (``states``), which every serving process reads twice a second and obeys
from then on. ``Settings.maintenance`` is the least that a process obeys, whatever the row says.

What ``wait_until_obeyed`` promises: when it returns, every live process has read that row, and no change that had begun
before is still under way in any of them. For that each process keeps a row of its own that says which setting it obeys.
It says so only once the changes under way have ended, which it hurries: a body that is still arriving is ended at once
(its upload can be continued later). A process that died is not waited for longer than ``LEASE_MS``. One that was frozen
for longer reads the row again before it begins anything or takes in more of a body.
"""

import asyncio
import contextlib
import enum
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Final

import structlog
from msgspec import MsgspecError, Struct, json

from roadstead.clock import Clock
from roadstead.database import Database, Reader, Transaction
from roadstead.errors import RoadsteadError
from roadstead.jobs import delete_state, find_state, list_states, lock_state, save_state
from roadstead.registry.errors import RegistryClosedError, RegistryReadOnlyError
from roadstead.registry.operation.adoption_state import AdoptionPhase, find_adoption

STATE: Final = "maintenance"
"""Where the catalogue keeps the mode that was set."""

SERVING: Final = "serving/"
"""Begins the names of the serving processes' rows."""

RELEASED: Final = "the registry was released to another program"
"""Told to clients by a server that is still running then."""

FOLLOW_SECONDS: Final = 0.5
"""Between two looks at the row: everybody obeys within a second."""

STALE_SECONDS: Final = 3.0
"""A process that has not looked for this long was frozen, and looks before it changes anything."""

BEAT_MS: Final = 5_000
LEASE_MS: Final = 15_000
"""Time for which a process that says nothing counts as alive: some beats, since a busy disk may delay one."""

_log = structlog.get_logger("roadstead.maintenance")


class MaintenanceMode(enum.StrEnum):
    """The modes, by what they let clients do."""

    OFF = "off"
    READ_ONLY = "read-only"
    CLOSED = "closed"

    @property
    def strictness(self) -> int:
        """Greater where less is allowed."""
        return list(MaintenanceMode).index(self)


@dataclass(frozen=True, slots=True)
class MaintenanceState:
    """A mode, what refused clients are told, and which setting of it this is (they are counted)."""

    mode: MaintenanceMode
    message: str
    generation: int = 0
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class ServingProcess:
    """A serving process as it describes itself: the setting and the mode it obeys, and the changes it has under way."""

    id: str
    generation: int
    mode: MaintenanceMode
    changes: int


class _StateRow(Struct, frozen=True):
    mode: MaintenanceMode
    message: str
    generation: int
    since_ms: int


class _ServingRow(Struct, frozen=True):
    generation: int
    mode: MaintenanceMode
    changes: int
    expires_ms: int


Interrupt = Callable[[], None]
"""Told, in the event loop, that a change under way should end soon."""


class Maintenance:
    """The registry's mode, as this process knows it; and the changes that it has under way."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        floor: MaintenanceMode = MaintenanceMode.OFF,
        message: str = "the registry is under maintenance",
    ) -> None:
        """``floor`` is the least strict mode, ``message`` what is said where the row says nothing."""
        self._database = database
        self._clock = clock
        self._floor = MaintenanceState(floor, message)
        self._id = uuid.uuid4().hex
        self._read_at: float | None = None
        self._changes: dict[object, Interrupt] = {}
        self._obeyed = 0
        self._said = _ServingRow(-1, floor, 0, 0)
        self.state = self._floor
        """The state that was read last; for pulls, which need not know better than within a second."""

    @property
    def is_still(self) -> bool:
        """True if nothing should change: background work that changes records or bytes pauses."""
        return self.state.mode is not MaintenanceMode.OFF

    async def refresh(self) -> MaintenanceState:
        """Reads the row, and asks the changes under way to end where it allows none."""
        before, self.state = self.state, self._combined(await self.find())
        self._read_at = self._clock.monotonic_seconds()
        if self.state.mode is not before.mode:
            _log.warning("maintenance mode changed", mode=self.state.mode, message=self.state.message)
        if self.is_still:
            for interrupt in list(self._changes.values()):
                interrupt()
        return self.state

    def _combined(self, found: MaintenanceState) -> MaintenanceState:
        if found.mode.strictness > self._floor.mode.strictness:
            return MaintenanceState(found.mode, found.message or self._floor.message, found.generation, found.since_ms)
        return MaintenanceState(self._floor.mode, self._floor.message, found.generation, found.since_ms)

    async def find(self) -> MaintenanceState:
        """The state that was set for all processes; off where none ever was."""
        return await find_maintenance(self._database) or MaintenanceState(MaintenanceMode.OFF, "")

    async def set(self, mode: MaintenanceMode, message: str = "") -> MaintenanceState:
        """Sets the mode for all processes; returns the new setting, durably recorded."""

        async def work(transaction: Transaction) -> MaintenanceState:
            await lock_state(transaction, STATE)
            before = await find_maintenance(transaction)
            state = MaintenanceState(mode, message, (before.generation if before else 0) + 1, self._clock.now_ms())
            row = _StateRow(state.mode, state.message, state.generation, state.since_ms)
            await save_state(transaction, STATE, json.encode(row).decode())
            return state

        state = await self._database.write(work)
        await self.refresh()
        return state

    def find_refusal(self) -> RegistryReadOnlyError | RegistryClosedError | None:
        """The message for a client whose change is not allowed now; None when it is."""
        match self.state.mode:
            case MaintenanceMode.CLOSED:
                return RegistryClosedError(self.state.message)
            case MaintenanceMode.READ_ONLY:
                return RegistryReadOnlyError(self.state.message)
            case MaintenanceMode.OFF:
                return None

    @contextlib.asynccontextmanager
    async def change(self, interrupt: Interrupt | None = None) -> AsyncGenerator[None, None]:
        """Around each change of records or bytes that is not the administrator's own.

        Raises:
            RegistryReadOnlyError, RegistryClosedError: no change is allowed now.
        """
        await self.refresh_if_stale()
        refusal = self.find_refusal()
        if refusal is not None:
            raise refusal
        with self.under_way(interrupt):
            yield

    @contextlib.contextmanager
    def under_way(self, interrupt: Interrupt | None = None) -> Generator[None, None, None]:
        """Counts a change that was found to be allowed just now.

        ``interrupt`` is called once or more when the mode changes meanwhile.
        """
        token = object()
        self._changes[token] = interrupt or _go_on
        try:
            yield
        finally:
            del self._changes[token]

    def paused(self, work: Callable[[], Awaitable[bool]]) -> Callable[[], Coroutine[None, None, bool]]:
        """Rounds of background work (see ``roadstead.jobs.run_alone``) that count as changes and wait for the end.

        While no change is allowed a round does nothing and says that nothing more is waiting.
        """

        async def work_unless_still() -> bool:
            await self.refresh_if_stale()
            if self.is_still:
                return False
            with self.under_way():
                return await work()

        return work_unless_still

    async def refresh_if_stale(self) -> None:
        """Reads the row unless that was done a moment ago."""
        if self.is_stale:
            await self.refresh()

    @property
    def is_stale(self) -> bool:
        """True if ``state`` was read too long ago to rely on it for a change."""
        return self._read_at is None or self._clock.monotonic_seconds() - self._read_at > STALE_SECONDS

    async def follow(self) -> None:
        """Keeps ``state`` up to date and says what this process obeys, until cancelled."""
        try:
            while True:
                try:
                    await self.obey()
                except RoadsteadError as error:  # what is known stays in force; requests report the same error
                    _log.debug("maintenance mode not read", reason=str(error))
                await asyncio.sleep(FOLLOW_SECONDS)
        finally:
            with contextlib.suppress(RoadsteadError):
                await asyncio.shield(self._database.write(self._leave, durable=False))

    async def obey(self) -> None:
        """One round of it: looks, and writes this process's row when that says something new or gets old."""
        await self.refresh()
        if not self.is_still or not self._changes:
            self._obeyed = self.state.generation
        changes = len(self._changes) if self._obeyed != self.state.generation else 0
        now_ms = self._clock.grace_ms()
        row = _ServingRow(self._obeyed, self.state.mode, changes, now_ms + LEASE_MS)
        said = self._said
        is_new = (row.generation, row.mode, row.changes) != (said.generation, said.mode, said.changes)
        if not is_new and abs(row.expires_ms - said.expires_ms) < BEAT_MS:
            return

        async def work(transaction: Transaction) -> None:
            await save_state(transaction, SERVING + self._id, json.encode(row).decode())

        await self._database.write(work, durable=False)
        self._said = row

    async def _leave(self, transaction: Transaction) -> None:
        await delete_state(transaction, SERVING + self._id)

    async def list_serving(self) -> tuple[ServingProcess, ...]:
        """The processes that serve this registry now; rows of those that died long ago are removed."""
        now_ms = self._clock.grace_ms()
        alive: list[ServingProcess] = []
        dead: list[str] = []
        for name, value in (await list_states(self._database, SERVING)).items():
            row = _decoded_serving(value)
            if row is None or row.expires_ms < now_ms:
                dead.append(name)
            else:
                alive.append(ServingProcess(name.removeprefix(SERVING), row.generation, row.mode, row.changes))
        if dead:
            await self._database.write(lambda transaction: _forget(transaction, dead), durable=False)
        return tuple(alive)

    async def wait_until_obeyed(
        self,
        generation: int,
        *,
        interval_seconds: float = 0.2,
        on_wait: Callable[[tuple[ServingProcess, ...]], None] | None = None,
    ) -> tuple[ServingProcess, ...]:
        """Returns the serving processes once all obey that setting or a later one; see the module's docstring.

        ``on_wait`` is shown those that do not yet.
        """
        while True:
            serving = await self.list_serving()
            waiting = tuple(process for process in serving if process.generation < generation)
            if not waiting:
                return serving
            if on_wait is not None:
                on_wait(waiting)
            await asyncio.sleep(interval_seconds)


async def find_maintenance(reader: Reader) -> MaintenanceState | None:
    """The mode that was set, None if none ever was; a reader of two rows, for transactions too.

    A row that cannot be read (a later version's) allows no changes; neither does a registry that was released.
    """
    value = await find_state(reader, STATE)
    found = None if value is None else _decoded_state(value)
    if found is None or found.mode is MaintenanceMode.OFF:
        generation, since_ms = (found.generation, found.since_ms) if found else (0, 0)
        if (await find_adoption(reader)).phase is AdoptionPhase.RELEASED:
            return MaintenanceState(MaintenanceMode.READ_ONLY, RELEASED, generation, since_ms)
    return found


def _decoded_state(value: str) -> MaintenanceState:
    try:
        row = json.decode(value, type=_StateRow)
    except MsgspecError:
        return MaintenanceState(MaintenanceMode.READ_ONLY, "")
    return MaintenanceState(row.mode, row.message, row.generation, row.since_ms)


def _decoded_serving(value: str) -> _ServingRow | None:
    try:
        return json.decode(value, type=_ServingRow)
    except MsgspecError:
        return None


async def _forget(transaction: Transaction, names: list[str]) -> None:
    for name in names:
        await delete_state(transaction, name)


def _go_on() -> None:
    """The interrupt of a change that is short anyway."""
