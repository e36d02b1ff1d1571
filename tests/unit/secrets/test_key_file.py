"""The file of the master keys is whole, for its owner alone, and the same for all who make it at once."""

from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from roadstead.secrets import MasterKeyInvalidError, MasterKeyMissingError, MasterKeyUnreadableError
from roadstead.secrets.key_file import FILE_BYTES, KeyFile, OwnKeyFile, add_key_to
from roadstead.secrets.keyring import Keyring, new_key


def make(path: str) -> str:
    return OwnKeyFile(Path(path)).make().newest.id


def add(path: str) -> str:
    return add_key_to(Path(path))


def test_it_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "master.key"
    os.umask(old := os.umask(0))
    try:
        os.umask(0)
        ring = OwnKeyFile(path).make()
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert OwnKeyFile(path).make().ids == OwnKeyFile(path).read().ids == ring.ids
    assert [each.name for each in path.parent.iterdir()] == ["master.key"]


def test_processes_that_make_it_at_once_have_the_same(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        for number in range(10):
            path = tmp_path / str(number) / "master.key"
            assert len(set(pool.map(make, [str(path)] * 4))) == 1


def test_keys_that_are_added_at_once_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        made = pool.map(add, [str(path)] * 12)
    assert set(KeyFile(path).read().ids) == set(made)
    assert len(set(made)) == 12


def test_a_new_key_is_the_newest_and_the_text_stays(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    old = new_key()
    path.write_text(f"# ours\r\n{old}  # of spring\r\n")
    path.chmod(0o640)
    added = add_key_to(path)
    assert KeyFile(path).read().ids == (added, Keyring.parse(old, "").newest.id)
    assert path.read_text().startswith("# ours\n")
    assert f"{old}  # of spring" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_a_dead_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".master.key.0123").write_text("half")
    add_key_to(tmp_path / "master.key")
    assert [each.name for each in tmp_path.iterdir()] == ["master.key"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "key", tmp_path / "link"
    add_key_to(real)
    link.symlink_to(real)
    added = add_key_to(link)
    assert link.is_symlink()
    assert KeyFile(real).read().newest.id == added


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("alice:$2y$10$abc\n")
    with pytest.raises(MasterKeyInvalidError):
        add_key_to(path)
    assert path.read_text() == "alice:$2y$10$abc\n"


def test_a_file_that_is_not_there_is_made_only_where_it_is_our_own(tmp_path: Path) -> None:
    path = tmp_path / "mnt" / "master.key"
    with pytest.raises(MasterKeyMissingError) as caught:
        KeyFile(path).make()
    assert caught.value.source == str(path)
    assert "mount its disk" in caught.value.remedy
    assert "mnt" not in str(caught.value)
    assert not path.parent.exists()
    with pytest.raises(MasterKeyMissingError):
        OwnKeyFile(path).read()


@pytest.mark.parametrize("content", [b"\xff\xfe0\x001\x00", b"a" * (FILE_BYTES + 1)])
def test_a_file_that_is_no_text_of_keys(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(content)
    with pytest.raises(MasterKeyInvalidError):
        KeyFile(path).read()


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyUnreadableError, match="Is a directory"):
        KeyFile(tmp_path).read()


def test_only_an_own_file_has_its_folder_made_and_never_its_parents(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyUnreadableError, match="cannot be written"):
        add_key_to(tmp_path / "mounted" / "master.key")
    with pytest.raises(MasterKeyUnreadableError, match="cannot be written"):
        OwnKeyFile(tmp_path / "not" / "mounted" / "master.key").make()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_root_makes_is_its_folder_s_owner_s(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 2345)
    add_key_to(tmp_path / "master.key")
    status = (tmp_path / "master.key").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 2345, 0o600)
    os.chown(tmp_path / "master.key", 3456, 4567)
    add_key_to(tmp_path / "master.key")
    assert (tmp_path / "master.key").stat().st_uid == 3456
