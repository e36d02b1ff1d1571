"""Limits the memory that bodies of requests and answers take, all together.

A manifest is received whole before it is read, and sent from memory; so is a page of a listing. One is at most some
megabytes, but a slow client may keep it for hours, and a thousand slow clients a thousand of them. So they share a
budget: what is being read or written beyond it is refused with 503, and of those that are there already the one whose
client has taken longest gives way. An answer that several clients are sent at once counts once, and is there once.

Used from the event loop only; every process has its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from roadstead.errors import RoadsteadError
from roadstead.web.context import GIVE_WAY_KEY
from roadstead.web.http import Request

FREE_REQUEST_BYTES: Final = 16 << 10
"""Length up to which bodies are not counted: most manifests, and no more than a request's head may take."""

FREE_ANSWER_BYTES: Final = 64 << 10
"""Length up to which answers are not counted: as much as a connection's buffer takes."""

PATIENCE_SECONDS: Final = 2.0
"""Time for which nobody has to give way: enough for megabytes on any usual network."""


class BodyMemoryExhaustedError(RoadsteadError):
    """Bodies take as much memory as they may; the same request may succeed a moment later."""

    def __init__(self) -> None:
        super().__init__("the server holds as many large bodies as it may: try again")


class Holding:
    """The memory that one request holds."""

    __slots__ = ("_give_way", "_is_over", "_memory", "answer", "since", "size_bytes")

    def __init__(self, memory: "BodyMemory", since: float, give_way: Callable[[], None] | None) -> None:
        self._memory = memory
        self._give_way = give_way
        self._is_over = False
        self.since = since
        self.size_bytes = 0
        self.answer = ""
        """Name of the answer that the request shares with others."""

    @property
    def can_give_way(self) -> bool:
        """True if the request can still be ended without losing work that is done."""
        return self._give_way is not None

    def add(self, size_bytes: int) -> None:
        """Holds a number of bytes more.

        Raises:
            BodyMemoryExhaustedError: there is no room for them, or its request had to give way already.
        """
        if self._is_over:
            raise BodyMemoryExhaustedError
        self._memory.make_room(size_bytes, self)
        self.size_bytes += size_bytes

    def settle(self) -> None:
        """Marks the body as complete: the request does not wait for its client any more, and gives way no longer."""
        self._give_way = None

    def give_way(self) -> None:
        """Ends the request and frees its memory."""
        give_way, self._give_way = self._give_way, None
        self.release()
        if give_way is not None:
            give_way()

    def release(self) -> None:
        """Frees all that the request holds."""
        if not self._is_over:
            self._is_over = True
            self._memory.free(self)


@dataclass(slots=True)
class _SharedAnswer:
    body: bytes
    users: int = 0


class BodyMemory:
    """The memory budget of one process for bodies."""

    def __init__(self, limit_bytes: int, now: Callable[[], float]) -> None:
        """Keeps its arguments; ``now`` returns seconds that only go forward."""
        self._limit_bytes = limit_bytes
        self._now = now
        self._holdings: dict[Holding, None] = {}
        self._answers: dict[str, _SharedAnswer] = {}
        self.held_bytes = 0

    async def read_body(self, request: Request, limit_bytes: int) -> bytes:
        """Reads the whole body of a request, which is held until the request is answered.

        Raises:
            BodyMemoryExhaustedError: there is no room for it.
            BodyTooLargeError, ClientDisconnectedError: as ``Request.read_body``.
        """
        holding: Holding | None = None

        def hold(size_bytes: int) -> None:
            nonlocal holding
            if size_bytes > FREE_REQUEST_BYTES:
                holding = holding or self._hold(request)
                holding.add(size_bytes - holding.size_bytes)

        body = await request.read_body(limit_bytes, hold)
        if holding is not None:
            holding.settle()
        return body

    def find_answer(self, name: str) -> bytes | None:
        """Returns an answer that is being sent to somebody, by its name, or None."""
        found = self._answers.get(name)
        return found.body if found else None

    def hold_answer(self, request: Request, body: bytes, name: str = "") -> None:
        """Holds an answer's body until it is sent; all answers of the same ``name`` share the same bytes.

        Raises:
            BodyMemoryExhaustedError: there is no room for it.
        """
        if len(body) <= FREE_ANSWER_BYTES:
            return
        holding = self._hold(request)
        if not name:
            holding.add(len(body))
            return
        shared = self._answers.get(name)
        if shared is None:
            self.make_room(len(body), holding)
            shared = self._answers[name] = _SharedAnswer(body)
        shared.users += 1
        holding.answer = name

    def make_room(self, size_bytes: int, asking: Holding) -> None:
        """Counts ``size_bytes`` more, and makes others give way if need be.

        Raises:
            BodyMemoryExhaustedError: there is no room, and nobody who has taken long enough to give way.
        """
        while self.held_bytes + size_bytes > self._limit_bytes:
            oldest = next((each for each in self._holdings if each.can_give_way and each is not asking), None)
            if oldest is None or self._now() - oldest.since < PATIENCE_SECONDS:
                raise BodyMemoryExhaustedError
            oldest.give_way()
        self.held_bytes += size_bytes

    def free(self, holding: Holding) -> None:
        """Forgets a holding; a shared answer is freed with the last request that is sent it."""
        self._holdings.pop(holding, None)
        self.held_bytes -= holding.size_bytes
        if holding.answer:
            shared = self._answers[holding.answer]
            shared.users -= 1
            if not shared.users:
                del self._answers[holding.answer]
                self.held_bytes -= len(shared.body)

    def _hold(self, request: Request) -> Holding:
        holding = Holding(self, self._now(), request.scope.get(GIVE_WAY_KEY))
        self._holdings[holding] = None
        request.at_end(holding.release)
        return holding
