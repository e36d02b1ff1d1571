"""Two replicas on PostgreSQL, whose statements meet in every order that a search comes up with: nothing is lost.

Each pair of pieces of work that can meet has a test. Afterwards what was acknowledged is there, a check finds nothing,
and once everything is deleted and its time is over, nothing is left. The same with the locks taken out must fail, for
each pair where they are what saves it: else the search would be too weak to find anything.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from roadstead.access import Action, Policy, Rule, visible_to_operator
from roadstead.database import Database, metadata
from roadstead.errors import RoadsteadError
from roadstead.events import Cause
from roadstead.oci import Digest, RepositoryName
from roadstead.registry import layout
from roadstead.registry.garbage.collection import Collector
from roadstead.registry.garbage.object_sweep import OLD_MS, ObjectSweep
from roadstead.registry.garbage.repository_removal import remove_repository
from roadstead.registry.integrity.check import Checker
from roadstead.registry.progress import Silence
from roadstead.registry.removal.rules import DAY_MS, GarbageRules
from roadstead.storage.bucket import BucketStore
from roadstead.testing.clock import SettableClock
from roadstead.testing.images import ManifestContent, digest_of, image, index
from roadstead.testing.instance import Instance
from roadstead.testing.interleaving import Gate, LocklessDatabase, SteppedDatabase, Switches, interleave
from tests.profiles import scaled

BY = Cause(actor="test")
CONTENT = b"a blob of its own"
BLOB = digest_of(CONTENT)
IMAGE = image(b"one", b"two")
OTHER = image(b"two", b"three")
LIST = index(IMAGE, OTHER)
MOST_STATEMENTS = 40
"""More than any of the pieces below has."""

UNTAGGED = GarbageRules(collects_untagged=True)

Work = Callable[[Instance], Awaitable[object]]


# --- pieces of work; each returns the status of its answer, or nothing


def put_blob(repository: str) -> Work:
    async def work(instance: Instance) -> int:
        target = f"/v2/{repository}/blobs/uploads/?digest={BLOB}"
        return (await instance.client.request("POST", target, body=CONTENT)).status

    return work


def put_manifest(repository: str, manifest: ManifestContent, *tags: str) -> Work:
    async def work(instance: Instance) -> int:
        query = "&".join(f"tag={tag}" for tag in tags)
        target = f"/v2/{repository}/manifests/{manifest.digest}?{query}"
        headers = {"content-type": manifest.media_type}
        return (await instance.client.request("PUT", target, headers=headers, body=manifest.content)).status

    return work


def push_blobs(repository: str, manifest: ManifestContent) -> Work:
    async def work(instance: Instance) -> None:
        for blob in manifest.blobs:
            await instance.push_blob(repository, blob.content)

    return work


def push(repository: str, manifest: ManifestContent, *tags: str) -> Work:
    """Everything that a client does for an image: it pushes what a HEAD does not find."""

    async def work(instance: Instance) -> int:
        for blob in manifest.blobs:
            found = await instance.client.request("HEAD", f"/v2/{repository}/blobs/{blob.digest}")
            if found.status == 404:
                await instance.push_blob(repository, blob.content)
        return int(str(await put_manifest(repository, manifest, *tags)(instance)))

    return work


def mount(repository: str, source: str = "") -> Work:
    async def work(instance: Instance) -> int:
        target = f"/v2/{repository}/blobs/uploads/?mount={BLOB}" + (f"&from={source}" if source else "")
        return (await instance.client.request("POST", target)).status

    return work


def mount_for(repository: str, rule: str) -> Work:
    """A mount from anywhere, by somebody who may pull only from what a rule names."""

    async def work(instance: Instance) -> int:
        caller = Policy([Rule.parse(["anonymous"], [rule], ["pull"])]).anonymous
        is_mounted = await instance.registry.blobs.mount(
            RepositoryName(repository), Digest(BLOB), None, visible=caller.visible_for((Action.PULL,)), cause=BY
        )
        return 201 if is_mounted else 202

    return work


def delete(path: str) -> Work:
    async def work(instance: Instance) -> int:
        return (await instance.client.request("DELETE", f"/v2/{path}")).status

    return work


def restore(repository: str, digest: str) -> Work:
    async def work(instance: Instance) -> object:
        try:
            return await instance.registry.undo.restore_manifest(RepositoryName(repository), Digest(digest), cause=BY)
        except RoadsteadError:
            return None

    return work


def remove(repository: str) -> Work:
    async def work(instance: Instance) -> None:
        try:
            await remove_repository(instance.registry, RepositoryName(repository), cause=BY)
        except RoadsteadError:
            return

    return work


async def collect(instance: Instance) -> None:
    await Collector(instance.registry).step()


def wait(days: float) -> Work:
    async def work(instance: Instance) -> None:
        instance.clock.advance(days * DAY_MS / 1000)

    return work


GONE = (push("a", IMAGE), delete(f"a/manifests/{IMAGE.digest}"))

# --- what is expected


@dataclass
class Case:
    """What is there before, what then happens at once, and what must be there if the first was acknowledged."""

    before: Sequence[Work] = ()
    left: Work = collect
    right: Work = collect
    blobs: Sequence[tuple[str, str]] = ()
    manifests: Sequence[tuple[str, ManifestContent]] = ()
    rules: GarbageRules = field(default_factory=GarbageRules)
    needs_locks: bool = True
    """Whether something goes wrong without locks; false where the statements themselves are enough."""


CASES = {
    "an upload commits a blob that is being marked": Case(
        before=[put_blob("a"), delete(f"a/blobs/{BLOB}")], left=put_blob("b"), blobs=[("b", BLOB)]
    ),
    "a blob comes back while its record is removed": Case(
        before=[put_blob("a"), delete(f"a/blobs/{BLOB}")], left=put_blob("a"), blobs=[("a", BLOB)]
    ),
    "a mount takes a blob that nothing links to any more": Case(
        before=[put_blob("a"), wait(1.1)], left=mount("b", "a"), blobs=[("b", BLOB)]
    ),
    "a mount from anywhere": Case(before=[put_blob("a"), wait(1.1)], left=mount("b"), blobs=[("b", BLOB)]),
    "a mount from what a rule names": Case(
        before=[put_blob("a"), wait(1.1)], left=mount_for("b", "a"), blobs=[("b", BLOB)]
    ),
    "a mount from the project library": Case(
        before=[put_blob("a"), wait(1.1)], left=mount_for("b", "project:library"), blobs=[("b", BLOB)]
    ),
    "a mount while its source is deleted": Case(
        before=[put_blob("a")],
        left=mount("b", "a"),
        right=delete(f"a/blobs/{BLOB}"),
        blobs=[("b", BLOB)],
        needs_locks=False,
    ),
    "a manifest relies on links whose time is over": Case(
        before=[*GONE, wait(7.1), collect, wait(0.1)],
        left=put_manifest("a", IMAGE, "v1"),
        manifests=[("a", IMAGE)],
    ),
    "an image is pushed while all it consists of goes": Case(
        before=[*GONE, wait(7.1), collect, wait(0.1)],
        left=push("a", IMAGE, "v1"),
        manifests=[("a", IMAGE)],
    ),
    "a restoration meets the end of its time": Case(
        before=[push("a", IMAGE, "v1"), delete(f"a/manifests/{IMAGE.digest}"), wait(7.1)],
        left=restore("a", IMAGE.digest),
        manifests=[("a", IMAGE)],
        needs_locks=False,
    ),
    "a push into a repository that is removed": Case(
        before=[push("a", IMAGE, "v1")], left=push("a", OTHER, "v2"), right=remove("a")
    ),
    "a push of a manifest that is deleted": Case(
        before=[push("a", IMAGE, "v1")],
        left=put_manifest("a", IMAGE, "v2"),
        right=delete(f"a/manifests/{IMAGE.digest}"),
        needs_locks=False,
    ),
    "a blob is deleted while a manifest begins to name it": Case(
        before=[push_blobs("a", IMAGE)],
        left=put_manifest("a", IMAGE),
        right=delete(f"a/blobs/{IMAGE.blobs[0].digest}"),
        manifests=[("a", IMAGE)],
    ),
    "two pushes of one new image": Case(
        left=push("a", IMAGE, "v1"), right=push("b", IMAGE, "v1"), needs_locks=False, manifests=[("a", IMAGE)]
    ),
    "two pushes of one new image into one new repository": Case(
        left=push("a", IMAGE, "v1"), right=push("a", IMAGE, "v1"), manifests=[("a", IMAGE)], needs_locks=False
    ),
    "two pushes to one tag, where the untagged goes": Case(
        before=[push("a", IMAGE), push("a", OTHER)],
        left=put_manifest("a", IMAGE, "v1"),
        right=put_manifest("a", OTHER, "v1"),
        manifests=[("a", IMAGE), ("a", OTHER)],
        rules=UNTAGGED,
        needs_locks=False,
    ),
    "a tag is set on what is about to go because it has none": Case(
        before=[push("a", IMAGE), wait(7.1)],
        left=put_manifest("a", IMAGE, "v1"),
        manifests=[("a", IMAGE)],
        rules=UNTAGGED,
    ),
    "a tag is deleted and set": Case(
        before=[push("a", IMAGE, "v1")],
        left=put_manifest("a", IMAGE, "v1"),
        right=delete("a/manifests/v1"),
        manifests=[("a", IMAGE)],
        needs_locks=False,
    ),
    "two collectors": Case(before=[*GONE, wait(30)], needs_locks=False),
    "an index and its child that goes": Case(
        before=[push("a", IMAGE), push("a", OTHER), delete(f"a/manifests/{OTHER.digest}"), wait(7.1)],
        left=restore("a", OTHER.digest),
        manifests=[("a", OTHER)],
        needs_locks=False,
    ),
}


class LateSweep(ObjectSweep):
    """A sweep to which everything is old."""

    async def _storage_ms(self) -> int:
        return await super()._storage_ms() + 2 * OLD_MS


class World:
    """Two replicas on one catalogue and one folder, or one bucket."""

    def __init__(self, url: str, case: Case, wrap: type[SteppedDatabase], *, in_bucket: bool) -> None:
        self.bucket = BucketStore(MemoryStore()) if in_bucket else None
        self.folder = Path(tempfile.mkdtemp(prefix="roadstead-interleavings-"))
        self.url = url
        self.case = case
        self.clock = SettableClock()
        self.replicas = [Instance(self.folder, database_url=url, rules=case.rules) for _ in range(2)]
        self.databases: list[SteppedDatabase] = []
        for replica in self.replicas:
            replica.clock = self.clock
            replica.bucket = self.bucket
            replica.wrap_database = self._wrapper(wrap)

    def _wrapper(self, wrap: type[SteppedDatabase]) -> Callable[[Database], Database]:
        def wrapped(database: Database) -> Database:
            stepped = wrap(database)
            self.databases.append(stepped)
            return stepped

        return wrapped

    async def open(self) -> None:
        """Opens both."""
        for replica in self.replicas:
            await replica.open()

    async def close(self) -> None:
        """Closes both, and leaves nothing."""
        for replica in self.replicas:
            await replica.close()
        shutil.rmtree(self.folder)

    async def meet(self, order: Switches) -> None:
        """Prepares, lets the two meet, and looks."""
        await empty(self.url)
        for work in self.case.before:
            await work(self.replicas[0])
        gates = [Gate("left"), Gate("right")]
        for database, gate in zip(self.databases, gates, strict=True):
            database.gate = gate
        works = (self.case.left(self.replicas[0]), self.case.right(self.replicas[1]))
        outcomes = await interleave(dict(zip(gates, works, strict=True)), order)
        for database in self.databases:
            database.gate = None
        await self.look(outcomes)

    def pass_days(self, days: float) -> None:
        """Moves the clock of both."""
        self.clock.advance(days * DAY_MS / 1000)

    async def look(self, outcomes: Sequence[object]) -> None:
        """Looks whether anything was lost, or kept for ever."""
        for outcome in outcomes:
            assert not isinstance(outcome, BaseException), repr(outcome)
            assert not isinstance(outcome, int) or outcome < 500
        if outcomes[0] in {201, None} or not isinstance(outcomes[0], int):
            await self.look_for_what_was_acknowledged(is_acknowledged=outcomes[0] is not None)
        registry = self.replicas[0].registry
        findings = [each async for each in Checker(registry, Silence()).run()]
        assert not findings
        await self.look_for_leaks()

    async def look_for_what_was_acknowledged(self, *, is_acknowledged: bool) -> None:
        """What the first piece was told is stored can be pulled."""
        if not is_acknowledged:
            return
        client = self.replicas[1].client
        for repository, digest in self.case.blobs:
            assert (await client.request("GET", f"/v2/{repository}/blobs/{digest}")).status == 200
        for repository, manifest in self.case.manifests:
            assert (await client.request("GET", f"/v2/{repository}/manifests/{manifest.digest}")).status == 200
            for blob in manifest.blobs:
                assert (await client.request("GET", f"/v2/{repository}/blobs/{blob.digest}")).body == blob.content

    async def look_for_leaks(self) -> None:
        """Everything is deleted, and goes in the end: no review was lost on the way."""
        instance = self.replicas[0]
        names = await instance.registry.repositories.list_names(limit=100, visible=visible_to_operator())
        for repository in {*names.items, "a", "b"}:
            await remove(repository)(instance)
        self.pass_days(30)
        collector = Collector(instance.registry)
        for _ in range(8):
            while (await collector.step()).looked_at:
                pass
            if not any((await counts(self.url)).values()):
                break
            self.pass_days(8)
        if self.bucket is not None:  # objects in whose place a push has put others
            await LateSweep(instance.registry).round()
        storage = instance.registry.storage
        assert not [
            found.key for folder in (layout.BLOBS, layout.OBJECTS) async for found in storage.iter_objects(folder)
        ]
        assert await counts(self.url) == {"blobs": 0, "manifests": 0, "reviews": 0}


async def empty(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"TRUNCATE {', '.join(table.name for table in metadata.sorted_tables)}")
    await connection.close()


async def counts(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    found = {
        name: int(await connection.fetchval(f"SELECT count(*) FROM {name}"))
        for name in ("blobs", "manifests", "reviews")
    }
    await connection.close()
    return found


def worlds(
    url: str, case: Case, wrap: type[SteppedDatabase], *, in_bucket: bool = False
) -> Iterator[Callable[[Switches], None]]:
    """Two replicas, and what lets them meet in an order."""
    runner = asyncio.Runner()
    world = World(url, case, wrap, in_bucket=in_bucket)
    runner.run(world.open())
    try:
        yield lambda order: runner.run(world.meet(order))
    finally:
        runner.run(world.close())
        runner.close()


opened = contextmanager(worlds)


@pytest.mark.parametrize("in_bucket", [False, True], ids=["folder", "bucket"])
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost_in_any_order(catalogue_url: str, name: str, *, in_bucket: bool) -> None:
    with opened(catalogue_url, CASES[name], SteppedDatabase, in_bucket=in_bucket) as meet:

        @settings(
            max_examples=scaled(6),
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(first=st.integers(0, 1), lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4))
        @example(first=1, lengths=[29, 6])  # the collector comes to its end just before the push
        def search(first: int, lengths: list[int]) -> None:
            meet(Switches(first, lengths))

        search()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.needs_locks])
def test_without_locks_something_is_lost(catalogue_url: str, name: str) -> None:
    """One switch to the other, after each number of statements in turn, is enough to see it."""
    with opened(catalogue_url, CASES[name], LocklessDatabase) as meet, pytest.raises((AssertionError, ExceptionGroup)):
        meet_with_one_switch(meet)


def meet_with_one_switch(meet: Callable[[Switches], None]) -> None:
    for length in range(1, MOST_STATEMENTS):
        for first in (0, 1):
            meet(Switches(first, [length, MOST_STATEMENTS]))
