"""Files of users are changed without touching what is not meant, whole or not at all."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from roadstead.identity import PasswordFileInvalidError
from roadstead.identity.htpasswd_editing import NEW_MODE, delete_user, edit_file, set_user

BEFORE = b"\xef\xbb\xbf# users\r\nalice:$old:Alice's name\r\n\r\n bob:$b \n#carol:$c\nalice:$older\n\xfc:$u\nlast:$l"


def test_a_user_is_changed_in_place_and_once() -> None:
    after, found = set_user(BEFORE, "alice", b"$new")
    assert found
    assert after == BEFORE.replace(b"alice:$old:", b"alice:$new:").replace(b"alice:$older\n", b"")


def test_a_user_is_added_at_the_end() -> None:
    after, found = set_user(BEFORE, "carol", b"$new")
    assert not found
    assert after == BEFORE + b"\ncarol:$new\n"
    assert set_user(b"", "carol", b"$new") == (b"carol:$new\n", False)


def test_a_latin1_name_is_the_same_user() -> None:
    after, found = set_user(BEFORE, "ü", b"$new")
    assert found
    assert after == BEFORE.replace(b"\xfc:$u", "ü:$new".encode())


def test_a_user_is_deleted_everywhere() -> None:
    after, found = delete_user(BEFORE, "alice")
    assert found
    assert after == BEFORE.replace(b"alice:$old:Alice's name\r\n", b"").replace(b"alice:$older\n", b"")
    assert delete_user(BEFORE, "carol") == (BEFORE, False)


def test_mode_and_owner_stay(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_bytes(b"")
    path.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65533)
    before = path.stat()
    edit_file(path, lambda content: content + b"x:y\n")
    after = path.stat()
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (before.st_uid, before.st_gid, 0o604)
    assert path.read_bytes() == b"x:y\n"
    assert [each.name for each in tmp_path.iterdir()] == ["users"]


def test_a_new_file_is_not_for_everybody(tmp_path: Path) -> None:
    edit_file(tmp_path / "users", lambda _: b"x:y\n")
    assert stat.S_IMODE((tmp_path / "users").stat().st_mode) == NEW_MODE


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "users", tmp_path / "users"
    real.write_bytes(b"")
    link.symlink_to(real)
    edit_file(link, lambda _: b"x:y\n")
    assert link.is_symlink()
    assert real.read_bytes() == b"x:y\n"


def test_a_failure_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "users"
    path.write_bytes(b"old\n")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        edit_file(path, lambda _: b"new\n")
    assert path.read_bytes() == b"old\n"
    assert [each.name for each in tmp_path.iterdir()] == ["users"]


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no regular file"):
        edit_file(tmp_path, lambda _: b"x")
    large = tmp_path / "large"
    large.write_bytes(b"#" * (5 << 20))
    with pytest.raises(PasswordFileInvalidError):
        edit_file(large, lambda _: b"x")
    with pytest.raises(FileNotFoundError):
        edit_file(tmp_path / "no" / "users", lambda _: b"x")


def _add(path: Path, name: str) -> None:
    for number in range(10):
        edit_file(path, lambda content, user=f"{name}{number}": set_user(content, user, b"$h")[0])  # type: ignore[misc]


def test_editors_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "users"
    context = multiprocessing.get_context("spawn")
    editors = [context.Process(target=_add, args=(path, name)) for name in "abc"]
    for editor in editors:
        editor.start()
    for editor in editors:
        editor.join(60)
    assert sorted(path.read_bytes().split()) == sorted(
        b"%b%d:$h" % (n, i) for n in (b"a", b"b", b"c") for i in range(10)
    )
