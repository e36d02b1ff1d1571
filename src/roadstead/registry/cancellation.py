"""Work that a cancellation must not cut short.

A job in a thread cannot be stopped: whoever is cancelled while it runs, and lets a lock go, leaves a removal that
happens after the lock has gone, perhaps of what somebody else has stored meanwhile.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


async def uninterrupted(work: Coroutine[Any, Any, _T]) -> _T:
    """Awaits ``work`` and returns its result; a cancellation is raised only when it has ended."""
    job = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait([job])
        raise
