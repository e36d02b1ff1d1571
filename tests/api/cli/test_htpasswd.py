"""``roadstead htpasswd``: what it writes, says, asks and refuses."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from roadstead.cli import program
from roadstead.identity import HtpasswdFile
from roadstead.identity.hashes import sha1, verify
from tests.api.cli.conftest import PROGRAM

QUICK = ("--cost", "4")


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return tmp_path / "users"


def run(*arguments: str | Path, password: str | bytes | None = None) -> Result:
    options = ["--password-stdin"] if password is not None else []
    return CliRunner().invoke(program, ["htpasswd", *map(str, arguments), *options], input=password)


def add(users: Path, name: str, password: str | bytes) -> Result:
    return run(users, name, *QUICK, password=password)


def test_a_user_is_added_changed_checked_and_deleted(users: Path) -> None:
    assert add(users, "alice", "secret\n").stdout == f"Added alice to {users}.\n"
    assert stat.S_IMODE(users.stat().st_mode) == 0o640
    assert add(users, "bob", "other").exit_code == 0
    assert add(users, "alice", "new secret\r\n").stdout == f"Changed the password of alice in {users}.\n"
    hashes = HtpasswdFile.parse(users.read_bytes()).hashes
    assert hashes["alice"].startswith(b"$2y$04$")
    assert verify(b"new secret", hashes["alice"])
    assert run(users, "alice", "--verify", password="new secret").stdout == "This is the password of alice.\n"
    wrong = run(users, "alice", "--verify", password="secret")
    assert (wrong.exit_code, wrong.stderr) == (1, "error: this is not the password of alice\n")
    assert run(users, "alice", "--delete").stdout == f"Deleted alice from {users}.\n"
    assert set(HtpasswdFile.parse(users.read_bytes()).hashes) == {"bob"}
    gone = run(users, "alice", "--delete")
    assert (gone.exit_code, gone.stderr) == (1, f"error: there is no user alice in {users}\n")


def test_json(users: Path) -> None:
    users.write_bytes(b"old:%b\nplain:hunter2\n" % sha1(b"x"))
    said = json.loads(run(users, "alice", *QUICK, "--json", password="secret").stdout)
    [unusable] = said.pop("unusable")
    assert said == {
        "file": str(users),
        "user": "alice",
        "done": "added",
        "kind": "bcrypt",
        "cost": 4,
        "weak": ["old"],
    }
    assert (unusable["line"], unusable["user"]) == (2, "plain")
    assert "hunter2" not in json.dumps(unusable)
    assert json.loads(run(users, "alice", "--verify", "--json", password="secret").stdout)["done"] == "verified"
    assert json.loads(run(users, "alice", "--delete", "--json").stdout)["done"] == "deleted"
    refused = run(users, "alice", "--delete", "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stderr) == {"error": f"there is no user alice in {users}"}


def test_weak_and_unusable_lines_are_told(users: Path) -> None:
    users.write_bytes(b"carol:%b\nbob:%b\nplain:hunter2\n" % (sha1(b"x"), sha1(b"y")))
    said = add(users, "alice", "secret").stderr
    assert "warning: 2 users with a hash that is quick to guess (sha1): bob, carol; set theirs again\n" in said
    assert "warning: line 3 cannot be used: there is no hash but, it seems, a password in plain text" in said
    assert "hunter2" not in said
    add(users, "bob", "secret")
    add(users, "carol", "secret")
    assert add(users, "plain", "secret").stderr == ""


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        (b"", "the password is empty"),
        (b"\n", "the password is empty"),
        (b"a\0b", "zero byte"),
        (b"x" * 73, "has 73 bytes"),
    ],
)
def test_passwords_that_are_refused(users: Path, password: bytes, reason: str) -> None:
    done = add(users, "alice", password)
    assert done.exit_code == 2
    assert reason in done.stderr
    assert not users.exists()


@pytest.mark.parametrize("name", ["", "a:b", "#a", " a", "a\n", "anonymous", "*", "x" * 256, "a\x1b[31m"])
def test_names_that_are_refused(users: Path, name: str) -> None:
    done = add(users, name, "secret")
    assert done.exit_code == 2
    assert "\x1b" not in done.stderr
    assert not users.exists()


@pytest.mark.parametrize("options", [["--delete", "--verify"], ["--cost", "3"], ["--cost", "17"], ["--cost", "x"]])
def test_options_that_make_no_sense(users: Path, options: list[str]) -> None:
    assert run(users, "alice", *options).exit_code == 2


def test_nobody_is_there_to_be_asked(users: Path) -> None:
    done = run(users, "alice")
    assert done.exit_code == 2
    assert "--password-stdin" in done.stderr


@pytest.mark.parametrize("arguments", [["--delete"], ["--verify", "--password-stdin"]])
def test_a_file_that_is_not_there(users: Path, arguments: list[str]) -> None:
    done = CliRunner().invoke(program, ["htpasswd", str(users), "alice", *arguments], input="x")
    assert done.exit_code == 3
    assert str(users) in done.stderr
    assert not users.exists()


def test_a_user_whose_line_cannot_be_used_is_told_why(users: Path) -> None:
    users.write_bytes(b"alice:sHwh2dDPlLYrQ\n")
    done = run(users, "alice", "--verify", password="secret")
    assert done.exit_code == 1
    assert "line 1: crypt(3) with DES" in done.stderr


def test_a_folder_that_is_not_there(users: Path) -> None:
    assert add(users / "no" / "users", "alice", "secret").exit_code == 3


def typed(users: Path, keys: list[bytes], *options: str) -> tuple[int, str]:
    """Exit code and what a person sees who types ``keys``, one at each question."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(PROGRAM, [str(PROGRAM), "htpasswd", str(users), "alice", *QUICK, *options])
    seen = b""
    questions = 0
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
        while questions < len(keys) and len(re.findall(rb"(?:alice|again): ", seen)) > questions:
            os.write(terminal, keys[questions] + b"\n")
            questions += 1
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), seen.decode().replace("\r\n", "\n")


def test_a_person_types_it_twice_and_does_not_see_it(users: Path) -> None:
    code, seen = typed(users, [b"gr\xc3\xb6\xc3\x9fe", b"gr\xc3\xb6\xc3\x9fe"])
    assert code == 0, seen
    assert "größe" not in seen
    assert f"Added alice to {users}." in seen
    assert f"roadstead serve --htpasswd {users}" in seen
    assert verify("größe".encode(), HtpasswdFile.parse(users.read_bytes()).hashes["alice"])
    code, seen = typed(users, ["größe".encode()], "--verify")
    assert code == 0, seen


def test_two_that_differ_are_asked_again(users: Path) -> None:
    code, seen = typed(users, [b"one", b"two", b"one", b"one"])
    assert code == 0, seen
    assert verify(b"one", HtpasswdFile.parse(users.read_bytes()).hashes["alice"])


def test_help_imports_no_hash() -> None:
    code = "import sys; import roadstead.cli.passwords.htpasswd; print({'bcrypt', 'passlib'} & set(sys.modules))"
    done = subprocess.run([PROGRAM.with_name("python"), "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
