"""Work that a cancellation waits for, so that whoever is cancelled knows that it was done."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")


async def finished(work: Awaitable[_T]) -> _T:
    """Runs ``work`` to its end and returns what it returns; a cancellation is raised where its caller awaits next."""
    job = asyncio.ensure_future(work)
    is_cancelled = False
    while not job.done():
        try:
            await asyncio.wait([job])
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        defer_cancellation()
    return job.result()


def defer_cancellation() -> None:
    """Has a cancellation that was just caught raised again where the current task awaits next."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()  # once less, since the next line counts it again
        task.cancel()
