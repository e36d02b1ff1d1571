"""Checked slowly once, then from memory, and never longer than the file says so."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from roadstead.clock import SystemClock
from roadstead.identity import (
    AttemptsExceededError,
    CredentialsInvalidError,
    PasswordFileUnavailableError,
    Passwords,
    passwords,
)
from roadstead.identity.attempts import FREE
from roadstead.identity.hashes import sha1
from roadstead.testing.clock import SettableClock

pytestmark = pytest.mark.anyio

CLIENT = "192.0.2.1"


class Checker:
    """Counts the hashes, and can hold them up; what it is asked is known by the password."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        """Whether it is right, once it may go."""
        self.asked.append((password, hashed))
        assert self.may_go.wait(20)
        return sha1(password) == hashed


class Desk:
    """Passwords on a file of ``user: password``."""

    def __init__(self, folder: Path, clock: SettableClock | SystemClock) -> None:
        self.path = folder / "users"
        self.checker = Checker()
        self.write(alice="one", bob="two")
        self.passwords = Passwords(self.path, clock, remember_seconds=60, check=self.checker)

    def write(self, **users: str) -> None:
        """In place, as Apache's htpasswd does."""
        self.path.write_bytes(
            b"".join(b"%b:%b\n" % (user.encode(), sha1(word.encode())) for user, word in users.items())
        )

    async def login(self, user: str, password: str, client: str = CLIENT) -> str:
        """The user."""
        return await self.passwords.login(f"{user}:{password}".encode(), client)

    async def refused(self, user: str, password: str, client: str = CLIENT) -> None:
        """Fails unless nobody has these."""
        with pytest.raises(CredentialsInvalidError):
            await self.login(user, password, client)

    def recall(self, user: str, password: str) -> str:
        """The user, if remembered."""
        return self.passwords.recall(f"{user}:{password}".encode())


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def desk(tmp_path: Path, clock: SettableClock) -> Iterator[Desk]:
    desk = Desk(tmp_path, clock)
    yield desk
    desk.passwords.close()


@pytest.fixture
def now(tmp_path: Path) -> Iterator[Desk]:
    """By the clock of files, for what happens just after a change."""
    desk = Desk(tmp_path, SystemClock())
    yield desk
    desk.passwords.close()


async def test_many_requests_cost_one_hash(desk: Desk) -> None:
    assert desk.recall("alice", "one") == ""
    assert await desk.login("alice", "one") == "alice"
    assert {desk.recall("alice", "one") for _ in range(1000)} == {"alice"}
    assert len(desk.checker.asked) == 1


async def test_many_at_once_cost_one_hash(desk: Desk) -> None:
    desk.checker.may_go.clear()
    logins = [asyncio.create_task(desk.login("alice", "one")) for _ in range(100)]
    for _ in range(10):
        await asyncio.sleep(0)
    logins[0].cancel()
    desk.checker.may_go.set()
    assert set(await asyncio.gather(*logins[1:])) == {"alice"}
    assert len(desk.checker.asked) == 1


async def test_remembered_for_a_while(desk: Desk, clock: SettableClock) -> None:
    await desk.login("alice", "one")
    clock.advance(59)
    assert desk.recall("alice", "one") == "alice"
    clock.advance(2)
    assert desk.recall("alice", "one") == ""
    await desk.login("alice", "one")
    assert len(desk.checker.asked) == 2


async def test_nothing_is_remembered_when_nothing_shall_be(tmp_path: Path, clock: SettableClock) -> None:
    desk = Desk(tmp_path, clock)
    desk.passwords.close()
    desk.passwords = Passwords(desk.path, clock, remember_seconds=0, check=desk.checker)
    for _ in range(3):
        await desk.login("alice", "one")
        assert desk.recall("alice", "one") == ""
    assert len(desk.checker.asked) == 3
    desk.passwords.close()


async def test_another_credential_is_not_the_remembered_one(desk: Desk) -> None:
    await desk.login("alice", "one")
    for user, password in (
        ("alice", "on"),
        ("alice", "one "),
        ("Alice", "one"),
        ("bob", "one"),
        ("", ""),
        ("alice", ""),
    ):
        assert desk.recall(user, password) == ""
        await desk.refused(user, password)


async def test_a_changed_password_counts_at_once(now: Desk) -> None:
    await now.login("alice", "one")
    await now.login("bob", "two")
    now.write(alice="three", bob="two")
    assert now.recall("alice", "one") == ""
    await now.refused("alice", "one")
    assert await now.login("alice", "three") == "alice"
    assert now.recall("bob", "two") == "bob", "whose line is the same need not be hashed again"


async def test_a_removed_user_is_out_at_once_and_back_with_the_line(now: Desk) -> None:
    await now.login("alice", "one")
    now.write(bob="two")
    assert now.recall("alice", "one") == ""
    await now.refused("alice", "one")
    now.write(bob="two", alice="one")
    assert await now.login("alice", "one") == "alice"


async def test_a_file_put_in_place_of_the_other(now: Desk) -> None:
    await now.login("alice", "one")
    other = now.path.with_name("other")
    other.write_bytes(b"alice:%b\n" % sha1(b"three"))
    os.utime(other, ns=(now.path.stat().st_atime_ns, now.path.stat().st_mtime_ns))
    other.replace(now.path)
    assert now.recall("alice", "one") == ""
    assert await now.login("alice", "three") == "alice"


async def test_changes_within_one_tick_of_the_file_clock(
    desk: Desk, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same size, same inode, same time: read until it is older than a tick."""
    desk.write(alice="aaa")
    frozen = desk.path.stat()
    clock.set_ms(frozen.st_ctime_ns // 1_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda *_, **__: frozen)
        await desk.login("alice", "aaa")
        for before, after in ("ab", "bc", "ca"):
            desk.write(alice=after * 3)
            assert desk.recall("alice", before * 3) == ""
            assert await desk.login("alice", after * 3) == "alice"


async def test_a_file_half_written_refuses_nobody_who_is_in_the_whole(now: Desk) -> None:
    whole = now.path.read_bytes()
    now.path.write_bytes(whole[:10])
    login = asyncio.create_task(now.login("bob", "two"))
    await asyncio.sleep(0)
    now.path.write_bytes(whole)
    assert await login == "bob"


async def test_a_file_that_vanished_lets_nobody_in_and_is_back_at_once(now: Desk) -> None:
    await now.login("alice", "one")
    aside = now.path.rename(now.path.with_name("aside"))
    assert now.recall("alice", "one") == ""
    with pytest.raises(PasswordFileUnavailableError):
        await now.login("alice", "one")
    aside.rename(now.path)
    assert await now.login("alice", "one") == "alice"


async def test_a_file_that_is_moved_away_for_a_moment_is_waited_for(now: Desk) -> None:
    aside = now.path.rename(now.path.with_name("aside"))
    login = asyncio.create_task(now.login("alice", "one"))
    await asyncio.sleep(0)
    aside.rename(now.path)
    assert await login == "alice"


@pytest.mark.parametrize("kind", ["folder", "pipe", "too large"])
async def test_what_is_no_file_of_users_lets_nobody_in(now: Desk, kind: str) -> None:
    await now.login("alice", "one")
    now.path.unlink()
    if kind == "folder":
        now.path.mkdir()
    elif kind == "pipe":
        os.mkfifo(now.path)
    else:
        now.path.write_bytes(b"#" * (5 << 20))
    assert now.recall("alice", "one") == ""
    with pytest.raises(PasswordFileUnavailableError):
        await now.login("alice", "one")


async def test_an_unknown_name_takes_a_hash_as_long(desk: Desk) -> None:
    await desk.refused("nobody", "one")
    [(password, hashed)] = desk.checker.asked
    assert password == b"one"
    assert hashed == sha1(b"one"), "the decoy is somebody's hash, and even its own password opens nothing"


async def test_a_refusal_costs_the_same_whoever_the_user_is_where_kinds_are_mixed(desk: Desk) -> None:
    """As in a file whose users are moved from apr1 to bcrypt, one by one."""
    bcrypt, apr1 = b"$2y$04$97GxWVpaDiu0d7cyCuHdaOy.6g02a1nAUc6cPgW1JMfZhBRoF0qyS", b"$apr1$salt$" + b"a" * 22
    desk.path.write_bytes(b"old:%b\nolder:%b\nadmin:%b\n" % (apr1, apr1, bcrypt))
    for user in ("old", "admin", "nobody"):
        desk.checker.asked.clear()
        await desk.refused(user, "wrong")
        assert {hashed for _, hashed in desk.checker.asked} == {apr1, bcrypt}, user
        assert len(desk.checker.asked) == 2, user


async def test_who_is_right_takes_one_hash_where_kinds_are_mixed(desk: Desk) -> None:
    with desk.path.open("ab") as file:
        file.write(b"old:$apr1$salt$" + b"a" * 22 + b"\n")
    assert await desk.login("alice", "one") == "alice"
    assert len(desk.checker.asked) == 1


async def test_who_knows_the_decoys_password_is_still_nobody(desk: Desk) -> None:
    await desk.refused("nobody", "one")
    desk.write(alice="one", bob="two", nobody="one")
    desk.passwords.read_again()
    assert await desk.login("nobody", "one") == "nobody"


@pytest.mark.parametrize("user", ["alice", "nobody"])
async def test_a_wrong_credential_again_costs_nothing(desk: Desk, user: str) -> None:
    for _ in range(FREE * 10):
        await desk.refused(user, "wrong")
    assert len(desk.checker.asked) == 1


async def test_guessing_is_slowed(desk: Desk, clock: SettableClock) -> None:
    for number in range(FREE):
        await desk.refused("alice", f"guess{number}")
    with pytest.raises(AttemptsExceededError):
        await desk.login("alice", "one")
    assert len(desk.checker.asked) == FREE, "who has to wait costs no hash"
    assert await desk.login("alice", "one", "192.0.2.2") == "alice", "nobody locks a user out"
    assert desk.recall("alice", "one") == "alice"
    clock.advance(2)
    assert await desk.login("alice", "one") == "alice"


async def test_a_password_that_was_right_before_does_not_wait(desk: Desk, clock: SettableClock) -> None:
    await desk.login("alice", "one")
    clock.advance(3600)
    for number in range(FREE):
        await desk.refused("alice", f"guess{number}")
    assert await desk.login("alice", "one") == "alice", "not even from the address of who guesses"


async def test_guesses_at_once_are_counted_before_they_are_checked(desk: Desk) -> None:
    desk.checker.may_go.clear()
    guesses = [asyncio.create_task(desk.login("alice", f"guess{number}")) for number in range(50)]
    for _ in range(10):
        await asyncio.sleep(0)
    desk.checker.may_go.set()
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert sum(isinstance(outcome, CredentialsInvalidError) for outcome in outcomes) == FREE
    assert sum(isinstance(outcome, AttemptsExceededError) for outcome in outcomes) == 50 - FREE
    assert len(desk.checker.asked) == FREE


async def test_what_waits_for_a_thread_is_bounded(desk: Desk) -> None:
    desk.checker.may_go.clear()
    waiting = [
        asyncio.create_task(desk.login("alice", f"guess{number}", f"198.51.100.{number}"))
        for number in range(passwords.WAITING)
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    with pytest.raises(AttemptsExceededError):
        await desk.login("alice", "one", "203.0.113.1")
    desk.checker.may_go.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await desk.login("alice", "one", "203.0.113.1") == "alice"


async def test_memory_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "REMEMBERED", 10)
    for number in range(30):
        await desk.refused("alice", f"guess{number}", f"198.51.100.{number}")
        desk.write(**{f"user{number}": "one"})
        desk.passwords.read_again()
        await desk.login(f"user{number}", "one", f"203.0.113.{number}")
    assert len(desk.passwords._refused) == len(desk.passwords._verified) == 10


async def test_no_password_is_kept(desk: Desk) -> None:
    await desk.login("alice", "one")
    await desk.refused("alice", "a-wrong-one")
    kept = repr((desk.passwords._verified, desk.passwords._refused, desk.passwords._attempts._records))
    assert "a-wrong-one" not in kept
    assert "alice:one" not in kept


@pytest.mark.parametrize(
    ("name", "password"), [(b"", b"one"), (b"a" * 256, b"one"), (b"ali\0ce", b"one"), (b"alice", b"x" * 1025)]
)
async def test_what_nobody_has_costs_no_hash(desk: Desk, name: bytes, password: bytes) -> None:
    with pytest.raises(CredentialsInvalidError):
        await desk.passwords.login(name + b":" + password, CLIENT)
    assert not desk.checker.asked


async def test_an_empty_file_lets_nobody_in(desk: Desk) -> None:
    desk.path.write_bytes(b"")
    await desk.refused("alice", "one")


async def test_real_hashes(tmp_path: Path, clock: SettableClock) -> None:
    path = tmp_path / "users"
    path.write_bytes(b"\xc3\xbc:$2y$04$97GxWVpaDiu0d7cyCuHdaOy.6g02a1nAUc6cPgW1JMfZhBRoF0qyS\n")
    real = Passwords(path, clock, remember_seconds=60)
    password = "pässword with blanks".encode()
    for name in (b"\xc3\xbc", b"\xfc"):  # UTF-8, and Latin-1 as some clients send it
        assert await real.login(name + b":" + password, CLIENT) == "ü"
    real.close()
