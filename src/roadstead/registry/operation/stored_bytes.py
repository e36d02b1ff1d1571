"""The bytes that each project stores, noted once for each day (UTC), beside its traffic (``content.traffic``).

A blob counts once for each project that has it, however many of its repositories do; what is stored for the whole
registry is less than the sum. It is counted in short reads along an index, so nobody waits for it.
"""

from collections import Counter
from typing import Final

from sqlalchemy import or_, select

from roadstead.clock import Clock
from roadstead.database import Database, Statement, Transaction, parameter, upsert
from roadstead.jobs import find_state, save_state
from roadstead.registry.content.traffic import DAY_MS
from roadstead.registry.tables import blobs, project_days, projects, repositories, repository_blobs

INTERVAL_SECONDS: Final = 600
"""Between two looks whether a day has begun."""

BATCH: Final = 1000
"""Rows read at once, or written in one transaction."""

STATE: Final = "stored-bytes"
"""The state that has the last day that was noted."""

_LIST_STORED: Final = Statement(
    select(repository_blobs.c.blob_id, repositories.c.project_id, blobs.c.size_bytes)
    .distinct()
    .join(repositories, repositories.c.id == repository_blobs.c.repository_id)
    .join(blobs, blobs.c.id == repository_blobs.c.blob_id)
    .where(
        repository_blobs.c.blob_id >= parameter("blob_id"),
        or_(repository_blobs.c.blob_id > parameter("blob_id"), repositories.c.project_id > parameter("project_id")),
    )
    .order_by(repository_blobs.c.blob_id, repositories.c.project_id)
    .limit(parameter("limit"))
)
_LIST_PROJECTS: Final = Statement(
    select(projects.c.id, projects.c.name)
    .where(projects.c.id > parameter("after"))
    .order_by(projects.c.id)
    .limit(parameter("limit"))
)
_noted = upsert(project_days).values(
    {name: parameter(name) for name in ("project", "day", "stored_bytes")}
    | dict.fromkeys(("pulls", "pulled_bytes", "pushes", "pushed_bytes"), 0)
)
_NOTE: Final = Statement(
    _noted.on_conflict_do_update(index_elements=["project", "day"], set_={"stored_bytes": _noted.excluded.stored_bytes})
)


async def note_stored_bytes(database: Database, clock: Clock) -> bool:
    """Notes what every project stores, unless that was done today; True if it was done now.

    A project that stores nothing is noted too, so that a day without a note is one on which nobody looked.
    """
    day = clock.now_ms() // DAY_MS
    if await find_state(database, STATE) == str(day):
        return False
    stored = await _sum_stored(database)
    after = 0
    while rows := await database.fetch_all(_LIST_PROJECTS, after=after, limit=BATCH):
        notes: list[dict[str, object]] = [
            {"project": name, "day": day, "stored_bytes": stored[key]} for key, name in rows
        ]

        async def work(transaction: Transaction, notes: list[dict[str, object]] = notes) -> None:
            await transaction.execute_many(_NOTE, sorted(notes, key=lambda note: str(note["project"])))

        await database.write(work, durable=False)
        after = rows[-1][0]
    await database.write(lambda transaction: save_state(transaction, STATE, str(day)), durable=False)
    return True


async def _sum_stored(database: Database) -> Counter[int]:
    """The bytes of each project's blobs, by the project's key."""
    stored: Counter[int] = Counter()
    blob_id = project_id = 0
    while rows := await database.fetch_all(_LIST_STORED, blob_id=blob_id, project_id=project_id, limit=BATCH):
        for _, key, size_bytes in rows:
            stored[key] += size_bytes
        blob_id, project_id = rows[-1][:2]
    return stored
