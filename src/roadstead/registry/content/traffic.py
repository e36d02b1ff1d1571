"""Traffic: pulls of each manifest, and what each project was asked for on each day, as counts.

A pull costs no write: counts are gathered in memory and added to the catalogue's every few seconds, by each process its
own, so any number of replicas may do it. A crash loses those few seconds; a connection that is lost in the middle of a
commit may count them twice. Memory is bounded: beyond ``MOST_MANIFESTS`` or ``MOST_REPOSITORIES`` different ones
between two writes, further ones are not counted, which ``dropped`` says.

A pull is a GET of a manifest that is answered with it: an image of several platforms counts once for its index and once
for its manifest. HEAD, and an answer of 304, are none.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import structlog
from sqlalchemy import BigInteger, delete, func, select, tuple_

from roadstead.clock import Clock
from roadstead.database import TEXT, Database, Reader, Statement, Transaction, parameter, upsert
from roadstead.errors import RoadsteadError
from roadstead.registry.content.repositories import project_of
from roadstead.registry.tables import manifests, project_days, pulls, repositories

MOST_MANIFESTS: Final = 50_000
"""Different manifests between two writes: about 15 MB, and more than a process can serve in that time."""

MOST_REPOSITORIES: Final = 50_000

INTERVAL_SECONDS: Final = 5.0

BATCH: Final = 500
"""Rows written in one transaction, which then keeps other writers waiting for a few milliseconds."""

DAY_MS: Final = 24 * 3600 * 1000

DAYS_KEPT: Final = 800
"""Days for which a project's traffic is known: two years and the month to compare with."""

_pulled = upsert(pulls).from_select(
    ["repository_id", "manifest_id", "pulls", "last_ms"],
    select(
        repositories.c.id,
        manifests.c.id,
        parameter("pulls", BigInteger()),
        parameter("now_ms", BigInteger()),
    ).where(repositories.c.name == parameter("repository"), manifests.c.digest == parameter("digest")),
)
ADD_PULLS: Final = Statement(
    _pulled.on_conflict_do_update(
        index_elements=["repository_id", "manifest_id"],
        set_={"pulls": pulls.c.pulls + _pulled.excluded.pulls, "last_ms": _pulled.excluded.last_ms},
    )
)
_COUNTS: Final = ("pulls", "pulled_bytes", "pushes", "pushed_bytes")
_passed = upsert(project_days).values({name: parameter(name) for name in ("project", "day", *_COUNTS)})
ADD_TO_DAY: Final = Statement(
    _passed.on_conflict_do_update(
        index_elements=["project", "day"],
        set_={name: project_days.c[name] + _passed.excluded[name] for name in _COUNTS},
    )
)
_old = select(project_days.c.project, project_days.c.day).where(project_days.c.day < parameter("day")).limit(BATCH)
FIND_OLD_DAY: Final = Statement(_old)
FORGET_OLD_DAYS: Final = Statement(
    delete(project_days).where(tuple_(project_days.c.project, project_days.c.day).in_(_old))
)
SUM_PULLS_SINCE: Final = Statement(
    select(func.coalesce(func.sum(project_days.c.pulls), 0)).where(project_days.c.day >= parameter("day"))
)
GET_PULLS: Final = Statement(
    select(pulls.c.pulls, pulls.c.last_ms)
    .join(repositories, repositories.c.id == pulls.c.repository_id)
    .join(manifests, manifests.c.id == pulls.c.manifest_id)
    .where(repositories.c.name == parameter("repository", TEXT), manifests.c.digest == parameter("digest", TEXT))
)

_K = TypeVar("_K")

_log = structlog.get_logger("roadstead.traffic")


class Traffic:
    """Counts of one process that are not yet in the catalogue."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._manifests: dict[tuple[str, str], int] = {}
        self._repositories: dict[str, list[int]] = {}
        self.dropped = 0
        """Pulls, answers and pushes that found no room."""

    def pulled(self, repository: str, digest: str, size_bytes: int) -> None:
        """Counts the pull of a manifest."""
        key = (repository, digest)
        known = self._manifests.get(key)
        if known is not None:
            self._manifests[key] = known + 1
        elif len(self._manifests) < MOST_MANIFESTS:
            self._manifests[key] = 1
        else:
            self.dropped += 1
        counts = self._repositories.get(repository) or self._new(repository)
        counts[0] += 1
        counts[1] += size_bytes

    def sent(self, repository: str, size_bytes: int) -> None:
        """Counts bytes of a blob with which a GET is answered, whether the client takes them all or not."""
        counts = self._repositories.get(repository) or self._new(repository)
        counts[1] += size_bytes

    def pushed(self, repository: str, size_bytes: int, *, is_manifest: bool) -> None:
        """Counts a manifest or blob that was pushed; only manifests count as pushes."""
        counts = self._repositories.get(repository) or self._new(repository)
        counts[2] += is_manifest
        counts[3] += size_bytes

    def _new(self, repository: str) -> list[int]:
        counts = [0, 0, 0, 0]
        if len(self._repositories) < MOST_REPOSITORIES:
            self._repositories[repository] = counts
        else:
            self.dropped += 1
        return counts

    async def flush(self, database: Database) -> None:
        """Adds what was counted to the catalogue's counts, without waiting for the disk.

        Raises:
            DatabaseError: the rest is counted at the next flush.
        """
        now_ms = self._clock.now_ms()
        found, self._manifests = self._manifests, {}
        passed, self._repositories = self._repositories, {}
        try:
            for keys in _batches(sorted(found)):
                rows = [{"repository": key[0], "digest": key[1], "pulls": found[key], "now_ms": now_ms} for key in keys]
                await _write(database, ADD_PULLS, rows)
                for key in keys:
                    del found[key]
            await _add_days(database, passed, now_ms // DAY_MS)
        finally:
            for key, count in found.items():
                self._manifests[key] = self._manifests.get(key, 0) + count
            for repository, counts in passed.items():
                now = self._repositories.setdefault(repository, [0, 0, 0, 0])
                now[:] = [one + other for one, other in zip(now, counts, strict=True)]

    async def round(self, database: Database) -> bool:
        """Writes what was counted, and removes what is old; False, since nothing more waits.

        Raises:
            DatabaseError: the rest is counted at the next round.
        """
        await self.flush(database)
        await forget_old_days(database, self._clock)
        return False

    async def keep_flushing(self, work: Callable[[], Awaitable[bool]]) -> None:
        """Does ``work``, which is ``round`` where the catalogue may change, again and again, and when cancelled."""
        told = 0
        try:
            while True:
                await asyncio.sleep(INTERVAL_SECONDS)
                try:
                    await work()
                except RoadsteadError as error:
                    _log.error("traffic not written", reason=str(error))
                if self.dropped > told:
                    _log.warning("traffic not counted: too many repositories at once", requests=self.dropped - told)
                    told = self.dropped
        finally:
            with contextlib.suppress(RoadsteadError):
                await asyncio.shield(work())


async def sum_pulls(reader: Reader, clock: Clock, days: int) -> int:
    """Returns the pulls of the last ``days`` days, today's among them; days are those of UTC."""
    row = await reader.fetch_one(SUM_PULLS_SINCE, day=clock.now_ms() // DAY_MS - days + 1)
    return int(row[0]) if row else 0


async def forget_old_days(database: Database, clock: Clock) -> None:
    """Removes some of what is older than ``DAYS_KEPT``; costs a look at an index where there is nothing."""
    day = clock.now_ms() // DAY_MS - DAYS_KEPT
    if await database.fetch_one(FIND_OLD_DAY, day=day) is not None:
        await _write(database, FORGET_OLD_DAYS, [{"day": day}])


async def _add_days(database: Database, passed: dict[str, list[int]], day: int) -> None:
    """Adds the counts of repositories to their projects', a project as a whole, and takes them out of ``passed``."""
    projects: dict[str, list[str]] = {}
    for repository in passed:
        projects.setdefault(project_of(repository), []).append(repository)
    for names in _batches(sorted(projects)):
        rows: list[Mapping[str, object]] = []
        for name in names:
            sums = [sum(counts) for counts in zip(*(passed[each] for each in projects[name]), strict=True)]
            rows.append({"project": name, "day": day, **dict(zip(_COUNTS, sums, strict=True))})
        await _write(database, ADD_TO_DAY, rows)
        for name in names:
            for repository in projects[name]:
                del passed[repository]


async def _write(database: Database, statement: Statement, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows in the order of their keys, in which all replicas lock them, so that none waits for another's."""

    async def work(transaction: Transaction) -> None:
        await transaction.execute_many(statement, rows)

    await database.write(work, durable=False)


def _batches(keys: Sequence[_K]) -> list[Sequence[_K]]:
    return [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
