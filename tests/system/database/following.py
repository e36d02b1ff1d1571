"""A process that signs with a key again and again, as a server does, and says when the key, or what is wrong, changes.

It lives until it is killed. A line for each change: the moment by the machine's monotonic clock, the generation, what
is wrong, such as that it does not verify what earlier generations have signed.
"""

from __future__ import annotations

import asyncio
import json
import time

from roadstead.app import build_secrets, open_registry
from roadstead.config import load_settings
from roadstead.errors import RoadsteadError

NAME = "tokens"


async def follow() -> None:
    """Signs a hundred times in a second."""
    settings = load_settings(None)
    async with open_registry(settings, needs_storage=False) as registry:
        secrets = build_secrets(registry.database, registry.clock, settings)
        told: tuple[int, str] | None = None
        seen: set[str] = set()
        while True:
            generation, problem = 0, ""
            try:
                key = await secrets.signing_key(NAME)
                generation = key.generation
                seen.add(key.id)
                unverified = [each for each in seen if await secrets.find_verifying_key(NAME, each) is None]
                problem = f"not verified: {len(unverified)}" if unverified else ""
            except RoadsteadError as error:
                problem = str(error)
            if told != (generation, problem):
                told = (generation, problem)
                print(json.dumps({"at": time.monotonic(), "generation": generation, "problem": problem}), flush=True)
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(follow())
