"""Links as files: whole or absent, nothing outside the tree, nothing left behind."""

import errno
import os
from pathlib import Path

import pytest

from roadstead.storage import EntryKind, SmallFiles, StorageFullError, StorageUnavailableError


def test_what_was_written_is_read_with_its_time(tmp_path: Path) -> None:
    files = SmallFiles(tmp_path)
    assert files.write("a/b/link", b"text", 1_234_567_890_123, is_durable=True)
    found = files.read("a/b/link", 100)
    assert found is not None
    assert (found.content, found.size_bytes, found.modified_ms) == (b"text", 4, 1_234_567_890_123)
    assert files.find("a/b/link") == (4, 1_234_567_890_123)
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["link"]


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    files = SmallFiles(tmp_path)
    files.write("link", b"text", 1000, is_durable=False)
    before = (tmp_path / "link").stat().st_ino
    assert not files.write("link", b"text", 2000, is_durable=False)
    assert (tmp_path / "link").stat().st_ino == before
    assert files.write("link", b"texts", 2000, is_durable=False)


def test_a_writer_that_died_leaves_nothing_for_long(tmp_path: Path) -> None:
    files = SmallFiles(tmp_path)
    files.write("a/link", b"old", 1000, is_durable=False)
    (tmp_path / "a/link.0123.tmp").write_bytes(b"ne")
    files.write("a/link", b"new", 2000, is_durable=False)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["link"]


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFullError), (errno.EDQUOT, StorageFullError), (errno.EIO, StorageUnavailableError)],
)
def test_a_write_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    files = SmallFiles(tmp_path)
    files.write("a/link", b"old", 1000, is_durable=False)

    def fail(*_arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error):
        files.write("a/link", b"new", 2000, is_durable=True)
    assert (tmp_path / "a/link").read_bytes() == b"old"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["link"]


def test_symbolic_links_are_named_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "link").write_bytes(b"secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "link")
    os.mkfifo(root / "pipe")
    files = SmallFiles(root)
    kinds = {entry.name: entry.kind for entry in files.entries("")}
    assert kinds == {"file": EntryKind.SYMLINK, "folder": EntryKind.SYMLINK, "pipe": EntryKind.OTHER}
    assert files.read("file", 100) is files.read("folder/link", 100) is files.read("pipe", 100) is None
    assert files.find("file") is files.find("folder/link") is None
    assert files.read_piece("file", 0, 100) == files.read_piece("folder/link", 0, 100) == b""
    assert files.entries("folder") == []
    with pytest.raises(StorageUnavailableError):
        files.write("folder/new", b"", 0, is_durable=False)
    with pytest.raises(StorageUnavailableError):
        files.remove("folder/link")
    assert [path.name for path in outside.iterdir()] == ["link"]


def test_an_administrators_own_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk/v2").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/docker").symlink_to(tmp_path / "disk")
    files = SmallFiles(tmp_path / "root", trusted=frozenset({"docker"}))
    files.write("docker/v2/link", b"text", 0, is_durable=False)
    assert (tmp_path / "disk/v2/link").read_bytes() == b"text"


def test_removal_takes_the_folder_when_it_is_empty(tmp_path: Path) -> None:
    files = SmallFiles(tmp_path)
    files.write("a/link", b"", 0, is_durable=False)
    files.write("a/other", b"", 0, is_durable=False)
    assert files.remove("a/link")
    assert not files.remove("a/link")
    assert (tmp_path / "a/other").exists()
    assert files.remove("a/other")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("number", [None, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_a_file_gets_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None) -> None:
    """Without a second copy, unless the file system cannot do that."""
    files = SmallFiles(tmp_path)
    files.write("a/data", b"bytes", 1000, is_durable=False)
    if number is not None:

        def fail(*_arguments: object, **_options: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", fail)
    for _ in range(2):
        files.add_name("a/data", "b/c/data")
    assert (tmp_path / "b/c/data").read_bytes() == b"bytes"
    assert (tmp_path / "a/data").samefile(tmp_path / "b/c/data") == (number is None)
    assert [path.name for path in (tmp_path / "b/c").iterdir()] == ["data"]
    with pytest.raises(StorageUnavailableError):
        files.add_name("a/none", "b/c/none")
