"""Two servers change secrets at once, their statements in every order with one switch: nothing becomes unreadable.

The same without locks must fail where they are what saves it, else the search would be too weak to find anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import pytest

from roadstead.database import Database
from roadstead.database.postgresql import PostgresqlDatabase
from roadstead.secrets import MasterKeyUnknownError, RotationSupersededError, SecretRecord, SigningKey, store
from roadstead.secrets.key_file import GivenKeys
from roadstead.secrets.keyring import Keyring, new_key
from roadstead.secrets.rotation import Rotated, rotate
from roadstead.secrets.service import SecretStore
from roadstead.secrets.state import find_secret_state
from roadstead.testing.clock import SettableClock
from roadstead.testing.interleaving import Gate, LocklessDatabase, SteppedDatabase, Switches, interleave
from tests.databases import empty

pytestmark = pytest.mark.needs("postgresql")

OLD, LEFT, RIGHT = (new_key() for _ in range(3))
MOST_STATEMENTS: Final = 32
"""More than any of the pieces below has."""


@dataclass
class Server:
    """A server with a keyring."""

    database: Database
    keys: tuple[str, ...] = (OLD,)

    @property
    def source(self) -> GivenKeys:
        """Its keys."""
        return GivenKeys("\n".join(self.keys))

    @property
    def secrets(self) -> SecretStore:
        """What it knows, which is nothing yet."""
        return SecretStore(self.database, SettableClock(), self.source)


Work = Callable[[Server], Awaitable[object]]


async def start(server: Server) -> None:
    await server.secrets.require_key()


async def put(server: Server) -> SecretRecord:
    return await server.secrets.put_credential("endpoint/new", b"value")


async def renew(server: Server) -> SecretRecord:
    return await server.secrets.renew("tokens")


async def revoke(server: Server) -> SecretRecord:
    return await server.secrets.renew("tokens", revokes=True)


async def sign(server: Server) -> SigningKey:
    return await server.secrets.signing_key("new")


async def turn(server: Server) -> Rotated:
    return await rotate(server.database, SettableClock(), server.source)


@dataclass(frozen=True)
class Case:
    """What two servers do at once, and the keys that they have; ``is_filled``: there are secrets before."""

    left: Work
    right: Work
    left_keys: tuple[str, ...] = (OLD,)
    right_keys: tuple[str, ...] = (OLD,)
    is_filled: bool = True
    allowed: type[Exception] | None = None
    """The error that one of them may meet."""
    needs_locks: bool = True


CASES: Final = {
    "first starts with different keys": Case(
        start, start, (LEFT,), (RIGHT,), is_filled=False, allowed=MasterKeyUnknownError
    ),
    "a credential is kept during a rotation": Case(turn, put, (LEFT, OLD), (LEFT, OLD)),
    "a credential is kept during a rotation by a server that has the old key alone": Case(
        turn, put, (LEFT, OLD), (OLD,), allowed=MasterKeyUnknownError
    ),
    "a key is renewed during a rotation": Case(turn, renew, (LEFT, OLD), (LEFT, OLD)),
    "rotations to different keys": Case(
        turn, turn, (LEFT, RIGHT, OLD), (RIGHT, LEFT, OLD), allowed=RotationSupersededError
    ),
    "renewals": Case(renew, renew, needs_locks=False),
    "a renewal and a revocation": Case(renew, revoke, needs_locks=False),
    "a key is first needed": Case(sign, sign, needs_locks=False),
    "a key is first needed, and none before": Case(sign, sign, is_filled=False, needs_locks=False),
}


class World:
    """Two servers on one catalogue."""

    def __init__(self, url: str, case: Case, wrap: type[SteppedDatabase]) -> None:
        self._url = url
        self._case = case
        self._wrap = wrap
        self._databases: list[SteppedDatabase] = []
        self._all: Server

    async def open(self) -> None:
        """Opens both."""
        self._databases = [self._wrap(await PostgresqlDatabase.open(self._url, connections=2)) for _ in range(2)]
        self._all = Server(self._databases[0], (OLD, LEFT, RIGHT))

    async def close(self) -> None:
        """Closes both."""
        for database in self._databases:
            await database.close()

    async def meet(self, order: Switches) -> None:
        """Prepares, lets the two meet, and looks."""
        await empty(self._databases[0])
        if self._case.is_filled:
            for number in range(3):
                await Server(self._databases[0]).secrets.put_credential(f"endpoint/{number}", b"value")
            await Server(self._databases[0]).secrets.signing_key("tokens")
        gates = [Gate("left"), Gate("right")]
        for database, gate in zip(self._databases, gates, strict=True):
            database.gate = gate
        works = (
            self._case.left(Server(self._databases[0], self._case.left_keys)),
            self._case.right(Server(self._databases[1], self._case.right_keys)),
        )
        outcomes = await interleave(dict(zip(gates, works, strict=True)), order)
        for database in self._databases:
            database.gate = None
        await self.look(outcomes)

    async def look(self, outcomes: list[object | BaseException]) -> None:
        """Every secret opens, one generation signs, and who was told that a rotation is done can forget the old key."""
        failed = [each for each in outcomes if isinstance(each, BaseException)]
        assert all(self._case.allowed and isinstance(each, self._case.allowed) for each in failed), failed
        if self._case.left is start:
            assert len(failed) == 1, "the second is refused"
        keys = [each for each in outcomes if isinstance(each, SigningKey)]
        assert len({key.id for key in keys}) <= 1
        records = await self._all.secrets.list_records()
        for name in {each.name for each in records}:
            signing = [each for each in records if each.name == name and each.verifies_until_ms is None]
            assert len(signing) == 1, name
        fresh = self._all.secrets
        if self._case.is_filled:
            assert (await fresh.signing_key("tokens")).verifies_until_ms is None
            assert [await fresh.find_credential(f"endpoint/{number}") for number in range(3)] == [b"value"] * 3
        if any(isinstance(each, SecretRecord) and each.kind == "credential" for each in outcomes):
            assert await fresh.find_credential("endpoint/new") == b"value"
        await self._look_at_keys(outcomes)

    async def _look_at_keys(self, outcomes: list[object | BaseException]) -> None:
        state = await find_secret_state(self._databases[0])
        assert state is not None
        sealed = set(await store.count_by_key(self._databases[0]))
        targets = {each.key_id for each in outcomes if isinstance(each, Rotated)}
        assert not targets or (state.key_id in targets and sealed == {state.key_id})
        assert sealed <= {Keyring.parse(key, "").newest.id for key in (OLD, LEFT, RIGHT)}


@contextmanager
def opened(url: str, case: Case, wrap: type[SteppedDatabase]) -> Iterator[Callable[[Switches], None]]:
    """Two servers, and what lets them meet in an order."""
    with asyncio.Runner() as runner:
        world = World(url, case, wrap)
        runner.run(world.open())
        try:
            yield lambda order: runner.run(world.meet(order))
        finally:
            runner.run(world.close())


def meet_with_one_switch(meet: Callable[[Switches], None]) -> None:
    for length in range(1, MOST_STATEMENTS):
        for first in (0, 1):
            meet(Switches(first, [length, MOST_STATEMENTS]))


@pytest.mark.parametrize("name", CASES)
def test_every_secret_opens_afterwards(catalogue_url: str, name: str) -> None:
    with opened(catalogue_url, CASES[name], SteppedDatabase) as meet:
        meet_with_one_switch(meet)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.needs_locks])
def test_without_locks_something_goes_wrong(catalogue_url: str, name: str) -> None:
    with opened(catalogue_url, CASES[name], LocklessDatabase) as meet, pytest.raises((AssertionError, ExceptionGroup)):
        meet_with_one_switch(meet)
