"""Each statement of each change fails once, in each way that a server or a network has; nothing comes of it.

Who asked is told that it was done, or 503 with a time after which to ask again, and asking again does it. What was
answered with success is in the catalogue exactly once: every table has as many more rows as without a failure. A
COMMIT whose answer is lost is the one case in which 503 may mean that it was done.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

from roadstead.database import metadata
from roadstead.errors import RoadsteadError
from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry.content.traffic import GET_PULLS
from roadstead.registry.errors import NothingToRestoreError, RepositoryUnknownError
from roadstead.registry.garbage.collection import Collector
from roadstead.registry.garbage.repository_removal import remove_repository
from roadstead.registry.integrity.check import Checker
from roadstead.registry.operation.maintenance import MaintenanceMode
from roadstead.registry.progress import Silence
from roadstead.testing.images import ManifestContent, artifact, digest_of, image, index
from roadstead.testing.instance import Instance
from roadstead.testing.interleaving import SteppedDatabase
from roadstead.web.errors import error_response
from tests.factories.access import BY_TEST
from tests.profiles import scaled
from tests.system.database.faulty_wire import Fault, FaultyWire, Order, nothing_fails

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from roadstead.testing.asgi import Answer, Body

pytestmark = pytest.mark.anyio

ERRORS: Final = (Fault.SERIALIZATION, Fault.DEADLOCK, Fault.UNIQUE, Fault.FOREIGN_KEY)
LAPSE_SECONDS: Final = 0.3
"""After which what a lost connection could not give up is free again."""
TRIED: Final = 30
"""Statements of one change that fail in the normal run, spread over all that it has; in the long form each does."""
MANY: Final = 10_000
MONTH_SECONDS: Final = 31 * 86400.0
PART: Final = b"0123456789"


class RefusedError(Exception):
    """The registry has answered 503, and when to come again."""


@dataclass(slots=True)
class Attempt:
    """A change in a repository of its own, with contents of its own."""

    instance: Instance
    name: str
    may_be_done: bool = False
    """Whether an answer was lost by which it was done already."""
    location: str = ""

    @property
    def content(self) -> bytes:
        """Bytes that nobody else has."""
        return b"content of " + self.name.encode()

    @property
    def image(self) -> ManifestContent:
        """An image that nobody else has."""
        return image(self.content, b"another " + self.content, annotations={"of": self.name})

    @property
    def index(self) -> ManifestContent:
        """Of the image and another."""
        return index(self.image, image(b"arm " + self.content))

    @property
    def signature(self) -> ManifestContent:
        """Of the image."""
        return artifact(b"signature " + self.content, artifact_type="a/signature", subject=self.image)

    @property
    def repository(self) -> RepositoryName:
        """Its name."""
        return RepositoryName(self.name)

    async def ask(self, method: str, target: str, *statuses: int, body: Body = b"", media_type: str = "") -> Answer:
        """A request to the repository that must be answered with one of these, or be refused."""
        headers = {"content-type": media_type} if media_type else {}
        url = target if target.startswith("/v2/") else f"/v2/{self.name}/{target}"
        answer = await self.instance.client.request(method, url, headers=headers, body=body)
        self._see(answer.status, answer.header("retry-after"))
        assert answer.status in statuses, (method, url, answer)
        return answer

    async def do(self, work: Awaitable[object], done: type[RoadsteadError] | None = None) -> None:
        """What no client does; ``done`` is the error that says that there is nothing to do any more."""
        try:
            await work
        except RoadsteadError as error:
            if self.may_be_done and done is not None and isinstance(error, done):
                return
            response = error_response(error)
            headers = {name.decode(): value.decode() for name, value in response.headers}
            self._see(response.status, headers.get("retry-after", ""))
            raise

    def _see(self, status: int, retry_after: str) -> None:
        if status == 503:
            assert int(retry_after) > 0
            raise RefusedError

    def gone(self, *statuses: int) -> tuple[int, ...]:
        """``statuses``, and 404 where the thing may have been removed by what was answered with 503."""
        return (*statuses, 404) if self.may_be_done else statuses

    async def push(self, manifest: ManifestContent, *tags: str) -> None:
        """A whole push, in which nothing fails."""
        await self.instance.push(self.name, manifest, *tags)

    async def put(self, manifest: ManifestContent, reference: str) -> None:
        """Push a manifest whose blobs are there."""
        media_type = manifest.media_type
        await self.ask("PUT", f"manifests/{reference}", 201, body=manifest.content, media_type=media_type)

    async def has(self, manifest: ManifestContent, reference: str) -> None:
        """A client gets the manifest, and all that it names."""
        answer = await self.ask("GET", f"manifests/{reference}", 200)
        assert answer.body == manifest.content
        for blob in manifest.blobs:
            assert (await self.ask("GET", f"blobs/{blob.digest}", 200)).body == blob.content
        for child in manifest.children:
            await self.has(child, child.digest)


async def nothing(_attempt: Attempt) -> None:
    """Nothing has to be there."""


async def has_content(attempt: Attempt) -> None:
    """A client gets the blob."""
    assert (await attempt.ask("GET", f"blobs/{digest_of(attempt.content)}", 200)).body == attempt.content


async def has_image(attempt: Attempt) -> None:
    await attempt.has(attempt.image, "1")


# ── Blobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def push_blob(attempt: Attempt) -> None:
    await attempt.ask("POST", f"blobs/uploads/?digest={digest_of(attempt.content)}", 201, body=attempt.content)


async def push_to_source(attempt: Attempt) -> None:
    """Another repository has the blob."""
    await attempt.instance.push_blob(f"{attempt.name}/source", attempt.content)


async def put_blob(attempt: Attempt) -> None:
    location = (await attempt.ask("POST", "blobs/uploads/", 202)).header("location")
    await attempt.ask("PUT", f"{location}?digest={digest_of(attempt.content)}", 201, body=attempt.content)


async def push_chunks(attempt: Attempt) -> None:
    """Goes on where the session stands, and begins again where there is none any more, as clients do."""
    offset = await find_offset(attempt) if attempt.location else None
    if offset is not None:
        answer = await send_rest(attempt, offset)
        if answer.status == 201:
            return
    attempt.location = (await attempt.ask("POST", "blobs/uploads/", 202)).header("location")
    assert (await send_rest(attempt, 0)).status == 201


async def find_offset(attempt: Attempt) -> int | None:
    answer = await attempt.ask("GET", attempt.location, *attempt.gone(204))
    last = answer.header("range").partition("-")[2]
    return None if answer.status == 404 else int(last) + 1 if last != "0" else 0


async def send_rest(attempt: Attempt, offset: int) -> Answer:
    for start in range(offset, len(attempt.content), len(PART)):
        part = attempt.content[start : start + len(PART)]
        answer = await attempt.ask("PATCH", attempt.location, *attempt.gone(202), body=part)
        if answer.status == 404:
            return answer
    return await attempt.ask("PUT", f"{attempt.location}?digest={digest_of(attempt.content)}", *attempt.gone(201))


async def mount(attempt: Attempt) -> None:
    digest = digest_of(attempt.content)
    await attempt.ask("POST", f"blobs/uploads/?mount={digest}&from={attempt.name}/source", 201)


async def begin_upload(attempt: Attempt) -> None:
    attempt.location = (await attempt.ask("POST", "blobs/uploads/", 202)).header("location")
    await attempt.ask("PATCH", attempt.location, 202, body=attempt.content)


async def cancel_upload(attempt: Attempt) -> None:
    await attempt.ask("DELETE", attempt.location, *attempt.gone(204))


async def has_no_upload(attempt: Attempt) -> None:
    await attempt.ask("GET", attempt.location, 404)


async def push_content(attempt: Attempt) -> None:
    await attempt.instance.push_blob(attempt.name, attempt.content)


async def delete_blob(attempt: Attempt) -> None:
    await attempt.ask("DELETE", f"blobs/{digest_of(attempt.content)}", *attempt.gone(202))


async def has_no_content(attempt: Attempt) -> None:
    await attempt.ask("GET", f"blobs/{digest_of(attempt.content)}", 404)


# ── Manifests and tags ────────────────────────────────────────────────────────────────────────────────────────────


async def push_blobs(attempt: Attempt) -> None:
    for blob in attempt.image.blobs:
        await attempt.instance.push_blob(attempt.name, blob.content)


async def push_manifest(attempt: Attempt) -> None:
    await attempt.put(attempt.image, "1")


async def push_children(attempt: Attempt) -> None:
    """The images of the index, of which one has a tag that is to move."""
    for child in attempt.index.children:
        await attempt.push(child, "1")


async def push_index(attempt: Attempt) -> None:
    """By digest with two tags."""
    await attempt.put(attempt.index, f"{attempt.index.digest}?tag=1&tag=2")


async def has_index(attempt: Attempt) -> None:
    for reference in ("1", "2", attempt.index.digest):
        await attempt.has(attempt.index, reference)


async def push_subject(attempt: Attempt) -> None:
    """The image, and the blobs of its signature."""
    await attempt.push(attempt.image, "1")
    for blob in attempt.signature.blobs:
        await attempt.instance.push_blob(attempt.name, blob.content)


async def push_signature(attempt: Attempt) -> None:
    await attempt.put(attempt.signature, attempt.signature.digest)


async def has_signature(attempt: Attempt) -> None:
    await attempt.has(attempt.signature, attempt.signature.digest)
    answer = await attempt.ask("GET", f"referrers/{attempt.image.digest}", 200)
    assert [entry["digest"] for entry in answer.json()["manifests"]] == [attempt.signature.digest]


async def push_two_tags(attempt: Attempt) -> None:
    await attempt.push(attempt.image, "1", "2")


async def delete_tag(attempt: Attempt) -> None:
    await attempt.ask("DELETE", "manifests/1", *attempt.gone(202))


async def has_other_tag(attempt: Attempt) -> None:
    await attempt.ask("GET", "manifests/1", 404)
    await attempt.has(attempt.image, "2")


async def delete_manifest(attempt: Attempt) -> None:
    await attempt.ask("DELETE", f"manifests/{attempt.image.digest}", *attempt.gone(202))


async def delete_repository(attempt: Attempt) -> None:
    removing = remove_repository(attempt.instance.registry, attempt.repository, cause=BY_TEST)
    await attempt.do(removing, RepositoryUnknownError)


async def has_no_image(attempt: Attempt) -> None:
    for reference in ("1", "2", attempt.image.digest):
        await attempt.ask("GET", f"manifests/{reference}", 404)


# ── The way back ──────────────────────────────────────────────────────────────────────────────────────────────────


async def remove_index(attempt: Attempt) -> None:
    """The index goes to the trash, then its children."""
    await attempt.push(attempt.index, "1", "2")
    for manifest in (attempt.index, *attempt.index.children):
        await attempt.ask("DELETE", f"manifests/{manifest.digest}", 202)


async def restore_manifest(attempt: Attempt) -> None:
    undo, digest = attempt.instance.registry.undo, Digest(attempt.index.digest)
    await attempt.do(undo.restore_manifest(attempt.repository, digest, cause=BY_TEST), NothingToRestoreError)


async def move_tag(attempt: Attempt) -> None:
    await attempt.push(attempt.image, "1")
    await attempt.push(image(b"later " + attempt.content), "1")


async def restore_tag(attempt: Attempt) -> None:
    undo, digest = attempt.instance.registry.undo, Digest(attempt.image.digest)
    await attempt.do(undo.restore_tag(attempt.repository, Tag("1"), to=digest, cause=BY_TEST))


async def push_and_delete_repository(attempt: Attempt) -> None:
    await attempt.push(attempt.index, "1", "2")
    await remove_repository(attempt.instance.registry, attempt.repository, cause=BY_TEST)


async def restore_repository(attempt: Attempt) -> None:
    undo = attempt.instance.registry.undo
    await attempt.do(undo.restore_repository(attempt.repository, cause=BY_TEST), NothingToRestoreError)


# ── Beside requests ───────────────────────────────────────────────────────────────────────────────────────────────


async def delete_some(attempt: Attempt) -> None:
    """An image that stays, one that goes and shares a blob with it, a blob that nothing names."""
    await attempt.push(attempt.image, "1")
    other = image(attempt.content, b"gone " + attempt.content)
    await attempt.push(other, "2")
    await attempt.instance.push_blob(attempt.name, b"lonely " + attempt.content)
    await attempt.ask("DELETE", f"manifests/{other.digest}", 202)


async def collect(attempt: Attempt) -> None:
    collector = Collector(attempt.instance.registry)

    async def until_done() -> None:
        for _ in range(3):  # the trash, then what it named, then what waited for that
            attempt.instance.clock.advance(MONTH_SECONDS)
            while (await collector.step()).looked_at:
                pass
        assert collector.failure is None

    await attempt.do(until_done())


async def has_been_collected(attempt: Attempt) -> None:
    """To the last byte; what was not deleted is there."""
    await has_image(attempt)
    files = "\n".join(attempt.instance.files())
    for content in (b"gone " + attempt.content, b"lonely " + attempt.content):
        assert digest_of(content).partition(":")[2] not in files


async def pull(attempt: Attempt) -> None:
    await attempt.push(attempt.image, "1")
    await attempt.instance.registry.traffic.flush(attempt.instance.registry.database)
    for _ in range(3):
        await attempt.ask("GET", "manifests/1", 200)


async def count_traffic(attempt: Attempt) -> None:
    registry = attempt.instance.registry
    await attempt.do(registry.traffic.flush(registry.database))


async def has_counted(attempt: Attempt) -> None:
    """Once; or twice where an answer was lost, as the module says."""
    database, digest = attempt.instance.registry.database, attempt.image.digest
    row = await database.fetch_one(GET_PULLS, repository=attempt.name, digest=digest)
    assert row is not None
    assert row[0] == 3 or (attempt.may_be_done and row[0] == 6)


async def maintain(attempt: Attempt) -> None:
    maintenance = attempt.instance.registry.maintenance
    await attempt.do(maintenance.set(MaintenanceMode.READ_ONLY, attempt.name))


async def has_maintenance(attempt: Attempt) -> None:
    maintenance = attempt.instance.registry.maintenance
    assert (await maintenance.find()).message == attempt.name
    await maintenance.set(MaintenanceMode.OFF)


@dataclass(frozen=True, slots=True)
class Operation:
    """A change: what must be there before, the change itself, what is there after it."""

    prepare: Callable[[Attempt], Awaitable[None]]
    """In which nothing fails."""
    run: Callable[[Attempt], Awaitable[None]]
    """Raises ``RefusedError``: as ``Attempt.ask``."""
    check: Callable[[Attempt], Awaitable[None]]


OPERATIONS: Final = {
    "push-blob": Operation(nothing, push_blob, has_content),
    "push-known-blob": Operation(push_to_source, push_blob, has_content),
    "put-blob": Operation(nothing, put_blob, has_content),
    "push-chunks": Operation(nothing, push_chunks, has_content),
    "mount": Operation(push_to_source, mount, has_content),
    "cancel-upload": Operation(begin_upload, cancel_upload, has_no_upload),
    "delete-blob": Operation(push_content, delete_blob, has_no_content),
    "push-manifest": Operation(push_blobs, push_manifest, has_image),
    "push-index": Operation(push_children, push_index, has_index),
    "push-referrer": Operation(push_subject, push_signature, has_signature),
    "delete-tag": Operation(push_two_tags, delete_tag, has_other_tag),
    "delete-manifest": Operation(push_two_tags, delete_manifest, has_no_image),
    "delete-repository": Operation(push_two_tags, delete_repository, has_no_image),
    "restore-manifest": Operation(remove_index, restore_manifest, has_index),
    "restore-tag": Operation(move_tag, restore_tag, has_image),
    "restore-repository": Operation(push_and_delete_repository, restore_repository, has_index),
    "collect": Operation(delete_some, collect, has_been_collected),
    "count-traffic": Operation(pull, count_traffic, has_counted),
    "maintain": Operation(nothing, maintain, has_maintenance),
}

COUNTED: Final = sorted(table.name for table in metadata.sorted_tables if table.name != "leases")
"""A lease that could not be given up lapses; all other rows are counted."""


class Bench:
    """A registry behind a wire, and a look past the wire."""

    def __init__(self, instance: Instance, wire: FaultyWire, beside: asyncpg.Connection[asyncpg.Record]) -> None:
        self.instance = instance
        self.wire = wire
        self._beside = beside

    async def counts(self) -> dict[str, int]:
        """Rows of each table."""
        columns = ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in COUNTED)
        row = await self._beside.fetchrow(f"SELECT {columns}")
        assert row is not None
        return dict(row)

    async def added(self, operation: Operation, attempt: Attempt, order: Order) -> dict[str, int] | None:
        """Rows that the change has added to each table, if it was done; None where it was refused."""
        await operation.prepare(attempt)
        before = await self.counts()
        self.wire.order = order
        try:
            await operation.run(attempt)
        except RefusedError:
            assert order.failed, "nothing had failed"
            return None
        finally:
            self.wire.order = nothing_fails()
        after = await self.counts()
        return {table: after[table] - before[table] for table in COUNTED if after[table] != before[table]}

    async def measured(self, operation: Operation, *, commits_alone: bool) -> tuple[dict[str, int], int]:
        """Rows that the change adds to each table, and its statements, or its commits alone."""
        for name in ("first", "second"):  # the first of a registry may make rows for all that come
            attempt, order = Attempt(self.instance, name), nothing_fails(commits_alone=commits_alone)
            added = await self.added(operation, attempt, order)
            await operation.check(attempt)
        assert added is not None
        return added, order.seen

    async def findings(self) -> list[str]:
        """All that a thorough check finds."""
        found = [finding async for finding in Checker(self.instance.registry, Silence(), deep=True).run()]
        return [f"{each.kind} {each.subject}: {each.detail}" for each in found]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@contextlib.asynccontextmanager
async def opened(url: str, folder: Path, *, in_steps: bool) -> AsyncGenerator[Bench, None]:
    beside = await asyncpg.connect(url)
    async with FaultyWire(url) as wire:
        instance = Instance(folder, database_url=wire.url)
        instance.lapse_seconds = LAPSE_SECONDS
        if in_steps:
            instance.wrap_database = SteppedDatabase
        await instance.open()
        yield Bench(instance, wire, beside)
        await instance.close()
    await beside.close()


@pytest.fixture
async def bench(catalogue_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(catalogue_url, tmp_path, in_steps=False) as bench:
        yield bench


@pytest.fixture
async def bench_in_steps(catalogue_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    """Commits take step after step, as where no functions may be made."""
    async with opened(catalogue_url, tmp_path, in_steps=True) as bench:
        yield bench


def in_turn(shift: int) -> Callable[[int], Fault]:
    """The errors, one after the other; to the driver they are alike."""
    return lambda step: ERRORS[(step + shift) % len(ERRORS)]


WAYS: Final[dict[str, Callable[[int], Fault]]] = {
    **{f"errors-{shift}": in_turn(shift) for shift in range(len(ERRORS))},
    "cut-before": lambda _step: Fault.CUT_BEFORE,
    "cut-after": lambda _step: Fault.CUT_AFTER,
}
"""The fault of each statement."""

SHORT: Final = ("errors-0", "cut-before", "cut-after")


@pytest.mark.parametrize("way", WAYS if scaled(1) > 1 else SHORT)
@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_statement_that_fails_leaves_nothing_half_done(bench: Bench, name: str, way: str) -> None:
    await each_fails(bench, name, way)


@pytest.mark.parametrize("way", WAYS if scaled(1) > 1 else SHORT)
@pytest.mark.parametrize("name", ["put-blob", "push-chunks", "push-index", "push-referrer"])
async def test_a_step_of_a_script_that_fails_leaves_nothing_half_done(
    bench_in_steps: Bench, name: str, way: str
) -> None:
    await each_fails(bench_in_steps, name, way)


async def each_fails(bench: Bench, name: str, way: str) -> None:
    operation, commits_alone = OPERATIONS[name], way == "cut-after"
    expected, statements = await bench.measured(operation, commits_alone=commits_alone)
    stride = math.ceil(statements / scaled(TRIED))
    for step in itertools.count(random.randint(1, stride), stride):
        attempt = Attempt(bench.instance, f"step-{step}")
        order = Order(WAYS[way](step), step, commits_alone=commits_alone)
        added = await bench.added(operation, attempt, order)
        if not order.failed:
            break
        if added is None:
            assert order.fault.is_cut, f"statement {step}: an error of one statement is never told"
            assert order.at_commit, f"statement {step}: nothing was committed, so it could have been tried again"
            attempt.may_be_done = order.fault is Fault.CUT_AFTER
            await operation.run(attempt)
        else:
            assert added == expected, f"statement {step}, {order.fault}"
        await operation.check(attempt)
    assert step > stride, "at least one has failed"
    assert await bench.findings() == []


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_database_that_cannot_be_reached_refuses(bench: Bench, name: str) -> None:
    """As long as each connection is cut at once; then asking again does it."""
    operation = OPERATIONS[name]
    attempt = Attempt(bench.instance, "refused")
    order = Order(Fault.CUT_BEFORE, step=1, times=MANY)
    assert await bench.added(operation, attempt, order) is None
    await operation.run(attempt)
    await operation.check(attempt)
    assert await bench.findings() == []


async def test_who_is_always_in_the_way_is_told_of_in_the_end(bench: Bench) -> None:
    """After some seconds of trying again."""
    operation, attempt = OPERATIONS["push-manifest"], Attempt(bench.instance, "a")
    order = Order(Fault.DEADLOCK, step=1, times=MANY)
    assert await bench.added(operation, attempt, order) is None
    assert order.failed > 1
    await attempt.ask("GET", "manifests/1", 404)
    await operation.run(attempt)
    await operation.check(attempt)
