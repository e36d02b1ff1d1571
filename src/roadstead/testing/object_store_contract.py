"""The contract of every object store, as a suite that each of them runs (see ``roadstead.storage.protocol``).

Subclass ``ObjectStoreContract`` in a test module of asynchronous tests and give it a fixture ``store``, whose teardown
compares the ``Footprint`` with the one taken before, and, where objects are files, calls ``assert_no_files``.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from roadstead.storage import Buffer, FolderStore, ObjectBarredError, ObjectBusyError, ObjectUnknownError, StorageError


def ignore(_buffer: Buffer) -> None:
    """Observes nothing."""


@contextlib.contextmanager
def refused(kind: type[StorageError]) -> Generator[None, None, None]:
    """Asserts that the block raises ``kind``."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


async def write(store: FolderStore, key: str, content: bytes) -> None:
    """Makes an object."""
    writer = await store.open_writer(key)
    try:
        await writer.append([content], ignore)
    finally:
        writer.close()


async def publish(store: FolderStore, key: str, content: bytes) -> None:
    """Makes an object and publishes it."""
    writer = await store.open_writer("uploads/of-publish")
    try:
        await writer.append([content], ignore)
        await writer.publish(key)
    finally:
        writer.close()


async def read(store: FolderStore, key: str) -> bytes:
    """Reads all bytes of an object."""
    reader = await store.open_reader(key)
    try:
        return bytes(await reader.read(0, reader.size_bytes))
    finally:
        reader.close()


async def keys(store: FolderStore, prefix: str) -> list[str]:
    """Returns the keys below ``prefix``, sorted."""
    return sorted([found.key async for found in store.iter_objects(prefix)])


def assert_no_files(folder: Path) -> None:
    """Fails when there is a file at any depth of ``folder``."""
    stray = [str(path) for path in folder.rglob("*") if path.is_file()]
    assert not stray, f"stray files: {stray}"


@dataclass(frozen=True, slots=True)
class Footprint:
    """The open files and threads of this process at a moment."""

    files: frozenset[str]
    threads: frozenset[str]

    @classmethod
    def take(cls) -> "Footprint":
        """Returns the footprint now: open regular files, and threads except those of the event loop's own pool."""
        files: set[str] = set()
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                files.add(str(descriptor.readlink()))
        threads = {thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}
        return cls(frozenset(file for file in files if file.startswith("/")), frozenset(threads))

    def assert_nothing_new_open(self, below: str) -> None:
        """Fails when, since then, a file under the folder ``below`` was opened and left open."""
        files = {file for file in Footprint.take().files - self.files if file.startswith(below)}
        assert not files, f"files left open: {sorted(files)}"

    def assert_nothing_new(self, below: str) -> None:
        """Fails when, since then, a thread was started or a file under the folder ``below`` opened, and left."""
        self.assert_nothing_new_open(below)
        threads = Footprint.take().threads - self.threads
        assert not threads, f"threads left running: {sorted(threads)}"


class ObjectStoreContract:
    """The suite of tests of an object store; each test begins with an empty store."""

    async def test_bytes_come_back(self, store: FolderStore) -> None:
        """Bytes that were appended are read, in order, whole and in part."""
        seen: list[bytes] = []
        writer = await store.open_writer("a/b/object")
        await writer.append([b"one", bytearray(b"two")], lambda buffer: seen.append(bytes(buffer)))
        await writer.append([b"three"], lambda buffer: seen.append(bytes(buffer)))
        assert writer.offset == len(b"onetwothree")
        writer.close()
        assert seen == [b"one", b"two", b"three"]
        assert await read(store, "a/b/object") == b"onetwothree"

    async def test_large_content_comes_back(self, store: FolderStore) -> None:
        """Several megabytes in uneven pieces are read as they were written."""
        pieces = [os.urandom(size) for size in (1, 1 << 20, 65_537, 3 << 20)]
        writer = await store.open_writer("large")
        for piece in pieces:
            await writer.append([piece[:100], piece[100:]], ignore)
        writer.close()
        assert await read(store, "large") == b"".join(pieces)

    async def test_reading_parts(self, store: FolderStore) -> None:
        """A read gives fewer bytes than asked for only at the end."""
        await write(store, "object", b"0123456789")
        reader = await store.open_reader("object")
        assert reader.size_bytes == 10
        assert bytes(await reader.read(0, 4)) == b"0123"
        assert bytes(await reader.read(7, 3)) == b"789"
        assert bytes(await reader.read(7, 100)) == b"789"
        assert bytes(await reader.read(10, 1)) == b""
        assert bytes(await reader.read(99, 1)) == b""
        reader.close()
        reader.close()

    async def test_reading_once(self, store: FolderStore) -> None:
        """The same bytes come, whether or not somebody has read them before."""
        content = bytes(range(256)) * 8192
        await write(store, "folder/object", content)
        reader = await store.open_reader("folder/object")
        try:
            for _ in range(2):
                assert bytes(await reader.read_once(0, reader.size_bytes)) == content
                assert bytes(await reader.read_once(5000, 100_000)) == content[5000:105_000]
            assert bytes(await reader.read_once(reader.size_bytes - 3, 100)) == content[-3:]
        finally:
            reader.close()

    async def test_empty_object(self, store: FolderStore) -> None:
        """An object may have no bytes."""
        (await store.open_writer("empty")).close()
        found = await store.find("empty")
        assert found is not None
        assert found.size_bytes == 0
        assert await read(store, "empty") == b""

    async def test_nothing_to_append(self, store: FolderStore) -> None:
        """No buffers and empty buffers change nothing."""
        await write(store, "object", b"content")
        writer = await store.open_writer("object", 7)
        await writer.append([], ignore)
        await writer.append([b""], ignore)
        assert writer.offset == 7
        writer.close()
        assert await read(store, "object") == b"content"

    async def test_taking_up_drops_what_comes_after(self, store: FolderStore) -> None:
        """A writer goes on at an offset; what lay behind it is gone."""
        await write(store, "object", b"0123456789")
        writer = await store.open_writer("object", 4)
        assert writer.offset == 4
        await writer.append([b"xy"], ignore)
        writer.close()
        assert await read(store, "object") == b"0123xy"

    async def test_beginning_again(self, store: FolderStore) -> None:
        """A writer at offset 0 drops everything."""
        await write(store, "object", b"0123456789")
        writer = await store.open_writer("object")
        await writer.append([b"x"], ignore)
        writer.close()
        assert await read(store, "object") == b"x"

    async def test_opening_changes_nothing(self, store: FolderStore) -> None:
        """Opening an object without writing leaves it as it was."""
        await write(store, "object", b"0123456789")
        (await store.open_writer("object", 4)).close()
        (await store.open_writer("object")).close()
        assert await read(store, "object") == b"0123456789"

    async def test_taking_up_what_is_not_there(self, store: FolderStore) -> None:
        """An object that is missing or too short cannot be gone on with, and is not made or changed by the try."""
        with refused(ObjectUnknownError):
            await store.open_writer("missing", 1)
        assert await store.find("missing") is None
        await write(store, "short", b"123")
        with refused(ObjectUnknownError):
            await store.open_writer("short", 4)
        assert await read(store, "short") == b"123"
        (await store.open_writer("short", 3)).close()

    async def test_what_is_barred_stays(self, store: FolderStore) -> None:
        """A bar is for one token and one key, for good."""
        for name in ("a", "b", "c"):
            await publish(store, f"blobs/{name}/data", b"bytes")
        await store.bar("dead", "blobs/a/data")
        await store.bar("dead", "blobs/a/data")
        with refused(ObjectBarredError):
            await store.move_as("dead", "blobs/a/data", "moved/a")
        outcomes = await store.remove_as("dead", ["blobs/a/data", "blobs/b/data", "blobs/none/data"])
        assert isinstance(outcomes[0], ObjectBarredError)
        assert list(outcomes[1:]) == [True, False]
        assert await keys(store, "blobs") == ["blobs/a/data", "blobs/c/data"]
        await store.move_as("alive", "blobs/c/data", "moved/c")
        with refused(ObjectUnknownError):
            await store.move_as("third", "blobs/c/data", "moved/c")
        assert list(await store.remove_as("alive", ["blobs/a/data"])) == [True]
        assert await keys(store, "blobs") == []
        assert await read(store, "moved/c") == b"bytes"

    async def test_a_copy_is_published(self, store: FolderStore) -> None:
        """Where nothing is, over another, and again; the object keeps its key until it is deleted."""
        await publish(store, "there", b"older")
        writer = await store.open_writer("uploads/a")
        await writer.append([b"bytes"], ignore)
        for target in ("there", "folder/new", "folder/new"):
            await writer.publish_copy(target)
            assert await read(store, target) == b"bytes"
        writer.close()
        assert await keys(store, "uploads") == ["uploads/a"]
        assert await store.delete("uploads/a")
        assert await read(store, "there") == b"bytes"

    async def test_exclusive(self, store: FolderStore) -> None:
        """A name has one holder at a time; the next one enters when it has left, for whatever reason."""
        inside: list[str] = []

        async def visit(name: str) -> None:
            async with store.exclusive("name"):
                inside.append(name)
                assert len(inside) == 1
                await asyncio.sleep(0.005)
                inside.remove(name)

        await asyncio.gather(*(visit(str(number)) for number in range(5)))
        with contextlib.suppress(ZeroDivisionError):
            async with store.exclusive("name"):
                raise ZeroDivisionError
        async with asyncio.timeout(5), store.exclusive("name"):
            pass

    async def test_exclusive_with_several_names(self, store: FolderStore) -> None:
        """Sets of names overlap, in any order and with repetitions, and nobody waits for ever."""
        inside: list[str] = []
        names = [str(number) for number in range(3000)]  # more than a store has locks

        async def visit(wanted: list[str]) -> None:
            async with store.exclusive(*wanted):
                assert not inside
                inside.append(wanted[0])
                await asyncio.sleep(0.002)
                inside.clear()

        async with asyncio.timeout(30):
            await asyncio.gather(*(visit(wanted) for wanted in (names, names[::-1], names[1500:] * 2, ["2000"])))
        async with asyncio.timeout(5), store.exclusive("0", "2999"):
            pass

    async def test_one_writer(self, store: FolderStore) -> None:
        """A second writer is refused and changes nothing, until the first is closed."""
        await write(store, "object", b"123")
        first = await store.open_writer("object", 3)
        for offset in (0, 3):
            with refused(ObjectBusyError):
                await store.open_writer("object", offset)
        await first.append([b"45"], ignore)
        first.close()
        first.close()
        (await store.open_writer("object", 5)).close()
        assert await read(store, "object") == b"12345"

    async def test_reading_outlives_deletion(self, store: FolderStore) -> None:
        """An open reader answers after its object is deleted, or replaced by a move."""
        await write(store, "object", b"old")
        await write(store, "new", b"fresh")
        reader = await store.open_reader("object")
        await store.move("new", "object")
        assert await read(store, "object") == b"fresh"
        assert await store.delete("object")
        assert bytes(await reader.read(0, 3)) == b"old"
        reader.close()

    async def test_unknown_objects(self, store: FolderStore) -> None:
        """An object that was never made cannot be read, moved or found; deleting it does nothing."""
        with refused(ObjectUnknownError):
            await store.open_reader("a/missing")
        with refused(ObjectUnknownError):
            await store.move("a/missing", "b/elsewhere")
        assert await store.find("a/missing") is None
        assert await store.find("b/elsewhere") is None
        assert not await store.delete("a/missing")

    async def test_many_are_deleted_at_once(self, store: FolderStore) -> None:
        """Many objects are deleted as if one after the other; missing ones delay nothing."""
        keys = [f"folder/{number}/object" for number in range(20)]
        for key in keys[::2]:
            await write(store, key, b"1")
        await write(store, "folder/other", b"1")
        assert list(await store.delete_all(keys)) == [True, False] * 10
        assert list(await store.delete_all([])) == []
        assert [found.key async for found in store.iter_objects("")] == ["folder/other"]

    async def test_a_key_below_an_object_is_unknown(self, store: FolderStore) -> None:
        """An object is not a folder."""
        await write(store, "object", b"1")
        assert await store.find("object/below") is None
        assert not await store.delete("object/below")
        with refused(ObjectUnknownError):
            await store.open_reader("object/below")

    async def test_a_folder_is_no_object(self, store: FolderStore) -> None:
        """Only whole keys name objects."""
        await write(store, "folder/object", b"1")
        assert await store.find("folder") is None
        with refused(ObjectUnknownError):
            await store.open_reader("folder")

    async def test_publishing(self, store: FolderStore) -> None:
        """A writer gives its object the final key, which replaces what was there; the first key is free again."""
        for content in (b"first", b"second", b""):
            writer = await store.open_writer("uploads/1")
            await writer.append([content], ignore)
            await writer.publish("blobs/ab/cd/data")
            writer.close()
            assert await keys(store, "") == ["blobs/ab/cd/data"]
            assert await read(store, "blobs/ab/cd/data") == content

    async def test_sweeping_takes_nothing_that_is_in_place(self, store: FolderStore) -> None:
        """Sweeping leaves what stands in its place and what bars somebody; a removal that has ended left nothing."""
        for name in ("a", "b", "c"):
            await write(store, f"blobs/{name}/data", name.encode())
        await store.bar("dead", "blobs/a/data")
        await store.remove_as("alive", ["blobs/b/data"])
        assert await store.sweep_aside(older_than_ms=0) == 0
        assert await keys(store, "blobs") == ["blobs/a/data", "blobs/c/data"]
        (outcome,) = await store.remove_as("dead", ["blobs/a/data"])
        assert isinstance(outcome, ObjectBarredError)

    async def test_publishing_what_was_taken_up(self, store: FolderStore) -> None:
        """An object written by several writers, one after the other, is published whole."""
        await write(store, "uploads/1", b"0123456789")
        writer = await store.open_writer("uploads/1", 5)
        await writer.publish("blobs/data")
        writer.close()
        assert await read(store, "blobs/data") == b"01234"

    async def test_publishing_what_was_deleted(self, store: FolderStore) -> None:
        """An object that was deleted under its writer cannot be published, and nothing appears at either key."""
        writer = await store.open_writer("uploads/1")
        await writer.append([b"content"], ignore)
        assert await store.delete("uploads/1")
        with refused(ObjectUnknownError):
            await writer.publish("blobs/data")
        writer.close()
        assert await keys(store, "") == []

    async def test_moving(self, store: FolderStore) -> None:
        """A move changes the key and nothing else, and replaces what was there."""
        await write(store, "uploads/1", b"content")
        await store.move("uploads/1", "blobs/ab/cd/data")
        assert await keys(store, "") == ["blobs/ab/cd/data"]
        assert await read(store, "blobs/ab/cd/data") == b"content"
        await write(store, "uploads/2", b"other")
        await store.move("uploads/2", "blobs/ab/cd/data")
        assert await read(store, "blobs/ab/cd/data") == b"other"

    async def test_deleting(self, store: FolderStore) -> None:
        """An object is deleted once; another one of the same folder stays."""
        await write(store, "folder/one", b"1")
        await write(store, "folder/two", b"2")
        assert await store.delete("folder/one")
        assert not await store.delete("folder/one")
        assert await store.find("folder/one") is None
        assert await keys(store, "folder") == ["folder/two"]

    async def test_listing(self, store: FolderStore) -> None:
        """A listing has all objects below a folder, at any depth, with their sizes, and none beside it."""
        for number, key in enumerate(("a/1", "a/b/2", "a/b/c/3", "ab/4", "a-b/5")):
            await write(store, key, b"x" * number)
        listed = {found.key: found.size_bytes async for found in store.iter_objects("a")}
        assert listed == {"a/1": 0, "a/b/2": 1, "a/b/c/3": 2}
        assert await keys(store, "a/b") == ["a/b/2", "a/b/c/3"]
        assert await keys(store, "missing") == []
        found = await store.find("a/b/c/3")
        assert found in [item async for item in store.iter_objects("a/b/c")]

    async def test_listing_while_objects_go(self, store: FolderStore) -> None:
        """An object that is deleted during a listing may be in it or not, and breaks nothing."""
        for number in range(20):
            await write(store, f"many/{number}", b"x")
        seen: list[str] = []
        async for found in store.iter_objects("many"):
            seen.append(found.key)
            await store.delete(found.key)
        assert len(seen) == len(set(seen)) == 20
        assert await keys(store, "many") == []

    async def test_neighbours_come_and_go(self, store: FolderStore) -> None:
        """An object can be begun and published while the last one of its folder is deleted."""

        async def pass_through(number: int) -> None:
            for turn in range(200):
                key, final = f"uploads/{number}", f"blobs/{turn}/{number}"
                writer = await store.open_writer(key)
                is_published = turn % 20 == 0
                if is_published:
                    await writer.publish(final)
                writer.close()
                assert await store.delete(final if is_published else key)

        await asyncio.gather(*(pass_through(number) for number in range(8)))
        assert await keys(store, "") == []

    async def test_concurrent_writers_of_one_key(self, store: FolderStore) -> None:
        """Of many concurrent writers exactly one gets the object."""
        results = await asyncio.gather(*(store.open_writer("contested") for _ in range(10)), return_exceptions=True)
        refusals = [result for result in results if isinstance(result, ObjectBusyError)]
        for result in results:
            if not isinstance(result, BaseException):
                result.close()
        assert len(refusals) == 9, results

    async def test_space(self, store: FolderStore) -> None:
        """Space left is a number of bytes, or not known."""
        free = await store.free_bytes()
        assert free is None or free > 0
