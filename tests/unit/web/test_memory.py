"""The budget for bodies: who gives way, who is refused, and that nothing stays counted."""

from collections.abc import Callable
from typing import Any

import pytest

from roadstead.testing.clock import SettableClock
from roadstead.web.context import GIVE_WAY_KEY
from roadstead.web.http import Message, Request
from roadstead.web.memory import (
    FREE_ANSWER_BYTES,
    FREE_REQUEST_BYTES,
    PATIENCE_SECONDS,
    BodyMemory,
    BodyMemoryExhaustedError,
)

pytestmark = pytest.mark.anyio

MIB = 1 << 20
LIMIT = 10 * MIB


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def memory(clock: SettableClock) -> BodyMemory:
    return BodyMemory(LIMIT, clock.monotonic_seconds)


def request(pieces: int = 0, piece: bytes = bytes(MIB), give_way: Callable[[], None] | None = None) -> Request:
    """A request with a body; ``give_way`` is what ends it."""
    left = [piece] * pieces

    async def receive() -> Message:
        body = left.pop() if left else b""
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    scope: dict[str, Any] = {"method": "PUT", "headers": []}
    if give_way is not None:
        scope[GIVE_WAY_KEY] = give_way
    return Request(scope, receive)


async def test_a_body_is_held_until_its_request_is_answered(memory: BodyMemory) -> None:
    asking = request(4)
    assert len(await memory.read_body(asking, LIMIT)) == 4 * MIB
    assert memory.held_bytes == 4 * MIB
    asking.end()
    assert memory.held_bytes == 0


async def test_short_bodies_are_free(memory: BodyMemory) -> None:
    await memory.read_body(request(1, bytes(FREE_REQUEST_BYTES)), LIMIT)
    memory.hold_answer(request(), bytes(FREE_ANSWER_BYTES))
    assert memory.held_bytes == 0


async def test_the_oldest_that_waits_for_its_client_gives_way(memory: BodyMemory, clock: SettableClock) -> None:
    gone: list[str] = []
    done = request(4, give_way=lambda: gone.append("done"))
    await memory.read_body(done, LIMIT)
    for name in ("first", "second"):
        memory.hold_answer(request(give_way=lambda name=name: gone.append(name)), bytes(3 * MIB))  # type: ignore[misc]
    with pytest.raises(BodyMemoryExhaustedError):
        await memory.read_body(request(2), LIMIT)
    assert not gone, "nobody has taken long yet"
    clock.advance(PATIENCE_SECONDS)
    await memory.read_body(request(3), LIMIT)
    assert gone == ["first"]
    assert memory.held_bytes == LIMIT


async def test_a_body_that_had_to_give_way_gets_no_further(memory: BodyMemory, clock: SettableClock) -> None:
    slow = request(LIMIT // MIB, give_way=lambda: None)
    fast = request(LIMIT // MIB)
    reading = memory.read_body(slow, LIMIT)
    original = slow._receive

    async def receive() -> Message:
        message = await original()
        if memory.held_bytes == 5 * MIB:
            clock.advance(PATIENCE_SECONDS)
            await memory.read_body(fast, LIMIT)
        return message

    slow._receive = receive
    with pytest.raises(BodyMemoryExhaustedError):
        await reading
    assert memory.held_bytes == LIMIT
    for each in (slow, fast):
        each.end()
    assert memory.held_bytes == 0


async def test_one_answer_for_many_counts_once(memory: BodyMemory) -> None:
    body = bytes(6 * MIB)
    asking = [request() for _ in range(50)]
    for each in asking:
        assert memory.find_answer("digest") in {None, body}
        memory.hold_answer(each, memory.find_answer("digest") or body, "digest")
    assert memory.held_bytes == 6 * MIB
    for each in asking[1:]:
        each.end()
    assert memory.find_answer("digest") is body
    asking[0].end()
    assert (memory.find_answer("digest"), memory.held_bytes) == (None, 0)


async def test_an_answer_for_which_there_is_no_room_is_not_counted(memory: BodyMemory) -> None:
    memory.hold_answer(request(), bytes(9 * MIB))
    refused = request()
    with pytest.raises(BodyMemoryExhaustedError):
        memory.hold_answer(refused, bytes(2 * MIB), "digest")
    refused.end()
    assert (memory.find_answer("digest"), memory.held_bytes) == (None, 9 * MIB)
