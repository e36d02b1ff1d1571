"""The file system's own troubles, each made for real: full, failing, short writes, locks elsewhere, cold reads."""

import errno
import fcntl
import mmap
import multiprocessing
import os
import resource
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from roadstead.storage import (
    FilesystemStore,
    ObjectBusyError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from roadstead.storage.file_objects import SEND_BYTES
from roadstead.testing.object_store_contract import Footprint, ignore, read, write
from tests.skips import skip

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    before = Footprint.take()
    store = FilesystemStore(tmp_path / "registry")
    await write(store, "existing", b"content")
    yield store
    await store.close()
    before.assert_nothing_new(below=str(tmp_path))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte and twenty names."""
    if os.geteuid() != 0:
        skip("mounting a small file system needs root", enable_with="sudo make test")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=20", "roadstead-test", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        skip("this machine does not let root mount a tmpfs", enable_with="docker run --privileged … make test")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk(small_disk: Path) -> None:
    """Nothing is promised, nothing that was there is lost, and it goes on once there is space."""
    store = FilesystemStore(small_disk)
    await write(store, "kept", b"kept" * 1000)
    free = await store.free_bytes()
    assert free is not None
    assert 0 < free <= 1 << 20
    writer = await store.open_writer("large")
    content = os.urandom(2 << 20)
    with pytest.raises(StorageFullError):
        await writer.append([content[: 1 << 19], content[1 << 19 :]], ignore)
    writer.close()
    partial = await read(store, "large")
    assert 0 < len(partial) < 1 << 20
    assert content.startswith(partial)
    assert await read(store, "kept") == b"kept" * 1000
    assert await store.delete("large")
    await write(store, "later", b"x" * (1 << 19))
    await store.close()


async def test_a_disk_without_room_for_another_name(small_disk: Path) -> None:
    """Inodes run out before bytes do."""
    store = FilesystemStore(small_disk)

    async def fill() -> None:
        for number in range(100):
            await write(store, f"object-{number}", b"")

    with pytest.raises(StorageFullError):
        await fill()
    await store.close()


async def test_writing_and_reading_fail() -> None:
    """The memory of a process at address 0 answers with an input/output error."""
    store = FilesystemStore(Path("/proc/self"))
    writer = await store.open_writer("mem")
    for buffers in ([b"x"], [b"x" * 100_000]):
        with pytest.raises(StorageUnavailableError) as caught:
            await writer.append(buffers, ignore)
        assert caught.value.reason == os.strerror(errno.EIO)
        assert str(store.root) not in str(caught.value)
    writer.close()
    reader = await store.open_reader("mem")
    with pytest.raises(StorageUnavailableError):
        await reader.read(0, 10)
    reader.close()
    await store.close()


async def test_a_write_that_is_taken_in_part(store: FilesystemStore) -> None:
    """The system takes as much as fits, then refuses; what fitted is a prefix of what was to be written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = await store.open_writer("limited")
    content = os.urandom(100_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with pytest.raises(StorageUnavailableError):
            await writer.append([content], ignore)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer.close()
    assert await read(store, "limited") == content[:60_000]


async def test_an_object_that_is_deleted_between_opening_and_locking_it(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever held the lock before may have deleted it: nobody writes to a file without a name."""
    lock = fcntl.flock

    def delete_first(descriptor: int, operation: int) -> None:
        (store.root / "existing").unlink()
        lock(descriptor, operation)

    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", delete_first)
        with pytest.raises(ObjectBusyError):
            await store.open_writer("existing")
    writer = await store.open_writer("existing")
    await writer.append([b"another"], ignore)
    writer.close()
    assert await read(store, "existing") == b"another"


@pytest.mark.parametrize("pieces", [1, 3, 20])
async def test_long_objects_go_to_the_disk_while_they_arrive(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr("os.posix_fadvise", lambda _file, start, length, _advice: sent.append((start, length)))
    piece = os.urandom(3 << 20)
    writer = await store.open_writer("long")
    for _ in range(pieces):
        await writer.append([piece], ignore)
    writer.close()
    assert await read(store, "long") == piece * pieces
    assert [start for start, _ in sent] == [sum(length for _, length in sent[:number]) for number in range(len(sent))]
    assert sum(length for _, length in sent) > len(piece) * pieces - SEND_BYTES - len(piece)
    assert bool(sent) == (len(piece) * pieces >= SEND_BYTES)


async def test_a_file_system_that_takes_no_advice(store: FilesystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr("os.posix_fadvise", refuse)
    content = os.urandom(2 * SEND_BYTES)
    writer = await store.open_writer("long")
    await writer.append([content], ignore)
    writer.close()
    assert await read(store, "long") == content


def try_to_write(root: Path, answers: "multiprocessing.queues.Queue[str]") -> None:
    """Another process that wants the same object."""
    import asyncio  # noqa: PLC0415 - for the new process alone

    async def attempt() -> str:
        store = FilesystemStore(root)
        try:
            (await store.open_writer("existing")).close()
        except ObjectBusyError:
            return "busy"
        finally:
            await store.close()
        return "opened"

    answers.put(asyncio.run(attempt()))


async def test_one_writer_of_all_processes(store: FilesystemStore) -> None:
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.queues.Queue[str] = context.Queue()

    def ask() -> str:
        other = context.Process(target=try_to_write, args=(store.root, answers))
        other.start()
        answer = answers.get(timeout=60)
        other.join()
        return answer

    writer = await store.open_writer("existing", 7)
    assert ask() == "busy"
    writer.close()
    assert await read(store, "existing") == b"content", "the refused one has cut nothing off"
    assert ask() == "opened"
    answers.close()
    answers.join_thread()


def evict(path: Path) -> bool:
    """Makes the kernel forget a file; False where it does not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.preadv(descriptor, [bytearray(mmap.PAGESIZE)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


async def test_what_is_not_in_the_page_cache(store: FilesystemStore) -> None:
    """Reads that must wait for the disk, and those of which the cache has a part, give the same bytes."""
    content = os.urandom(3 << 20)
    await write(store, "cold", content)
    if not evict(store.root / "cold"):
        skip("this file system answers no read from a cache", enable_with="TMPDIR=/a/folder/on/ext4 make test")
    reader = await store.open_reader("cold")
    assert bytes(await reader.read(5 << 10, 100)) == content[5 << 10 : (5 << 10) + 100]
    assert bytes(await reader.read(0, 1 << 20)) == content[: 1 << 20]
    assert bytes(await reader.read((3 << 20) - 10, 100)) == content[-10:]
    assert bytes(await reader.read(0, 3 << 20)) == content
    reader.close()


async def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = FilesystemStore(tmp_path / "file" / "below")
    with pytest.raises(StorageError):
        await write(store, "object", b"")
    await store.close()
