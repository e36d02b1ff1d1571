"""How late the event loop is: what blocks it delays every request."""

import asyncio

from roadstead.telemetry.metrics import Observer


async def measure_loop_lag(observer: Observer, interval_seconds: float) -> None:
    """Tells ``observer`` every ``interval_seconds`` how late the loop woke it; runs until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval_seconds
        await asyncio.sleep(interval_seconds)
        observer.observe(max(0.0, loop.time() - due))
