"""The mark that tells a storage that is there from one that is not, and what a store does by it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from roadstead.storage import FilesystemStore, Mark, Presence, StorageAbsentError, StorageUnavailableError, TreeModes
from roadstead.storage.presence import MARK, read_mark, write_mark
from roadstead.storage.set_aside import SetAside
from roadstead.testing.object_store_contract import ignore, read, write

if TYPE_CHECKING:
    from pathlib import Path

OWNER = "0123456789abcdef"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A storage with its mark."""
    root = tmp_path / "registry"
    (root / "blobs").mkdir(parents=True)
    write_mark(root, Mark(owner=OWNER, catalogue="/srv/roadstead.db"), TreeModes())
    return root


def presence_of(root: Path) -> Presence:
    """One that looks each time."""
    return Presence(root, OWNER, "blobs", recent_seconds=0.0)


def test_a_mark_comes_back(root: Path) -> None:
    assert read_mark(root) == Mark(owner=OWNER, catalogue="/srv/roadstead.db", released=False)
    assert read_mark(root / "blobs") is None
    assert [path.name for path in root.iterdir() if path.is_file()] == [MARK]
    presence = presence_of(root)
    assert presence.find_absence() == presence.find_absence() == ""


@pytest.mark.parametrize("content", [b"", b"{}", b'{"owner": 1}', b"\xff", b'{"owner": "x", "roadstead_storage": 2}'])
def test_a_mark_that_nobody_understands_is_none_of_ours(root: Path, content: bytes) -> None:
    (root / MARK).write_bytes(content)
    with pytest.raises(StorageUnavailableError):
        read_mark(root)
    assert presence_of(root).find_absence()


def test_what_tells_that_a_storage_is_not_there(root: Path) -> None:
    presence = presence_of(root)
    assert not presence.find_absence()
    (root / "blobs").rename(root / "elsewhere")
    assert "is not there" in presence.find_absence()
    (root / "elsewhere").rename(root / "blobs")
    assert not presence.find_absence()
    write_mark(root, Mark(owner="another"), TreeModes())
    assert "belongs to another catalogue" in presence.find_absence()
    write_mark(root, Mark(owner=OWNER, released=True), TreeModes())
    assert not presence.find_absence(), "it is there, whoever is in charge of it"
    (root / MARK).unlink()
    with pytest.raises(StorageAbsentError, match="is not there") as caught:
        presence.require("key")
    assert str(root) not in str(caught.value)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_disk_that_fails_is_not_there(root: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    presence = presence_of(root)

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("roadstead.storage.presence.os.lstat", fail)
    assert os.strerror(code) in presence.find_absence()
    monkeypatch.undo()
    assert not presence.find_absence()


def take_away(root: Path) -> None:
    """An empty folder in its place, as where a disk is not mounted."""
    root.rename(root.with_name("aside"))
    root.mkdir()


def bring_back(root: Path) -> None:
    """Nothing must have been written in its place."""
    root.rmdir()
    root.with_name("aside").rename(root)


@pytest.mark.anyio
async def test_a_store_that_is_not_there_says_so_in_every_way(root: Path) -> None:
    store = FilesystemStore(root, presence=presence_of(root))
    await write(store, "blobs/kept", b"bytes")
    writer = await store.open_writer("uploads/one")
    await writer.append([b"begun"], ignore)
    take_away(root)
    assert store.find_absence()
    for attempt in (
        lambda: store.open_reader("blobs/kept"),
        lambda: store.open_writer("uploads/two"),
        lambda: store.open_writer("uploads/one", 5),
        lambda: store.find("blobs/kept"),
        lambda: store.delete("blobs/kept"),
        lambda: store.move("blobs/kept", "quarantine/kept"),
        store.free_bytes,
        lambda: writer.publish("blobs/one"),
    ):
        with pytest.raises(StorageAbsentError):
            await attempt()
    assert [type(outcome) for outcome in await store.delete_all(["blobs/kept"])] == [StorageAbsentError]
    with pytest.raises(StorageAbsentError):
        async with store.exclusive("name"):
            pass
    with pytest.raises(StorageAbsentError):
        assert [found async for found in store.iter_objects("blobs")] == []
    bring_back(root)
    await writer.publish("blobs/one")
    writer.close()
    assert await read(store, "blobs/one") == b"begun"
    assert await read(store, "blobs/kept") == b"bytes"
    await store.close()


@pytest.mark.anyio
async def test_what_is_published_while_the_disk_goes_away_is_not_acknowledged(root: Path) -> None:
    class Leaving(Presence):
        looks = 0

        def find_absence(self) -> str:
            self.looks += 1
            return "it went away" if self.looks > 2 else ""

    store = FilesystemStore(root, presence=Leaving(root, OWNER, "blobs"))
    writer = await store.open_writer("uploads/one")
    with pytest.raises(StorageAbsentError):
        await writer.publish("blobs/one")
    writer.close()
    await store.close()


def files_below(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.anyio
async def test_nothing_is_removed_from_a_storage_that_is_another_s(root: Path) -> None:
    """Another disk is mounted in the place of ours, with blobs of the same digests and the mark of their owner."""
    store = FilesystemStore(root, presence=presence_of(root))
    keys = [f"blobs/{name}/data" for name in ("a", "b")]
    for key in keys:
        await write(store, key, b"bytes")
    with SetAside(root).taken("killed", keys[0]):
        pass
    await write(store, keys[0], b"bytes")
    write_mark(root, Mark(owner="another"), TreeModes())
    before = files_below(root)
    for removal in (
        store.delete(keys[0]),
        store.move(keys[0], "quarantine/a"),
        store.move_as("token", keys[0], "quarantine/a"),
        store.sweep_aside(older_than_ms=0),
    ):
        with pytest.raises(StorageAbsentError, match="another catalogue"):
            await removal
    outcomes = [*await store.delete_all(keys), *await store.remove_as("token", keys)]
    assert all(isinstance(outcome, StorageAbsentError) for outcome in outcomes)
    assert files_below(root) == before
    await store.close()
