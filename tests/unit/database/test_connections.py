"""Connections are bounded, go round in turn, and are replaced when they are lost; on a real server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from roadstead.database import connections as module
from roadstead.database.connections import Connections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roadstead.database.connections import Connection

pytestmark = pytest.mark.anyio
MOST = 2


@pytest.fixture
async def pool(catalogue_url: str) -> AsyncIterator[Connections]:
    pool = Connections(catalogue_url, MOST, cached_statements=0, wait_seconds=5)
    yield pool
    await pool.close()


async def ask(connection: Connection) -> int:
    found: int = await connection.fetchval("SELECT pg_backend_pid()")
    return found


async def test_there_are_never_more_and_those_that_are_back_are_used_again(pool: Connections) -> None:
    seen: set[int] = set()
    at_once: list[int] = []
    busy = 0

    async def use() -> None:
        nonlocal busy
        connection = await pool.take()
        busy += 1
        at_once.append(busy)
        seen.add(await ask(connection))
        busy -= 1
        pool.give_back(connection)

    await asyncio.gather(*(use() for _ in range(30)))
    assert len(seen) <= MOST
    assert max(at_once) <= MOST


async def test_who_waits_first_is_first(pool: Connections) -> None:
    held = [await pool.take() for _ in range(MOST)]
    order: list[int] = []

    async def wait(number: int) -> None:
        pool.give_back(await pool.take())
        order.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(4)]
    await asyncio.sleep(0.01)
    pool.give_back(held[0])
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3]
    pool.give_back(held[1])


@pytest.mark.parametrize("is_given", [False, True])
async def test_who_gives_up_waiting_keeps_nothing(pool: Connections, *, is_given: bool) -> None:
    """Also where it was given one, or the room for one, at the same moment."""
    for end in (pool.give_back, pool.drop):
        held = [await pool.take() for _ in range(MOST)]
        waiting = asyncio.create_task(pool.take())
        await asyncio.sleep(0.01)
        if is_given:
            end(held.pop())
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        for connection in held:
            end(connection)
        again = [await pool.take() for _ in range(MOST)]
        for connection in again:
            pool.give_back(connection)


async def test_all_in_use_for_too_long(catalogue_url: str) -> None:
    pool = Connections(catalogue_url, 1, cached_statements=0, wait_seconds=0.5)
    held = await pool.take()
    with pytest.raises(TimeoutError):
        await pool.take()
    pool.give_back(held)
    assert await pool.take() is held
    pool.give_back(held)
    await pool.close()


async def test_one_that_the_server_ended_is_replaced(pool: Connections) -> None:
    one, other = await pool.take(), await pool.take()
    ended = await ask(one)
    pool.give_back(one)
    await other.execute("SELECT pg_terminate_backend($1)", ended)
    await asyncio.sleep(0.1)
    again = await pool.take()
    assert await ask(again) != ended
    pool.give_back(again)
    pool.drop(other)
    for connection in [await pool.take() for _ in range(MOST)]:
        pool.give_back(connection)


async def test_one_that_was_idle_for_long_is_not_trusted(pool: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await pool.take()
    pool.give_back(one)
    monkeypatch.setattr(module, "IDLE_SECONDS", -1.0)
    other = await pool.take()
    assert one.is_closed()
    assert not other.is_closed()
    pool.give_back(other)


async def test_a_server_that_takes_no_connection_costs_no_place(catalogue_url: str) -> None:
    pool = Connections(f"{catalogue_url}-absent", 1, cached_statements=0, wait_seconds=5)
    for _ in range(3):
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await pool.take()
    await pool.close()
