"""A registry that asks for passwords, as a process: real files of users, the real peer, the wire, the log."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from tests.system.faults.client import digest_of
from tests.system.faults.server import FaultyServer
from tests.system.faults.wire import Wire, head
from tests.system.guarded import PASSWORD, RULES, USERS, GuardedPeer, GuardedServer, authorization, write_users
from tests.system.process import run, until
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS: Final = {"bcrypt": "-B", "apr1": "-m", "sha256-crypt": "-2", "sha512-crypt": "-5", "sha1": "-s"}
REFUSED: Final = {"des": "-d", "plain": "-p"}
# crypt(3) with DES sees eight characters of ASCII, and Apache's htpasswd cuts there with a warning.
SHORT: Final = "p4ssw0rd"


@pytest.fixture
def folder(scratch: Path) -> Iterator[Path]:
    path = scratch / f"guarded-{secrets.token_hex(3)}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def guarded(scratch: Path) -> Iterator[GuardedServer]:
    folder = scratch / "guarded"
    server = GuardedServer(folder, settings=RULES)
    write_users(server.users, *USERS)
    with server:
        yield server
        server.shut_down()


@pytest.mark.needs("htpasswd")
def test_every_kind_that_the_real_htpasswd_writes(folder: Path) -> None:
    server = GuardedServer(folder)
    folder.mkdir(exist_ok=True)
    server.users.touch()
    for name, option in (KINDS | REFUSED).items():
        run([path_of("htpasswd"), "-b", option, server.users, name, SHORT])
    with server:
        for name in KINDS:
            assert server.get("/v2/", authorization(name, SHORT)).status_code == httpx.codes.OK, name
            assert server.get("/v2/", authorization(name, SHORT[:-1])).status_code == httpx.codes.UNAUTHORIZED, name
        for name in REFUSED:
            assert server.get("/v2/", authorization(name, SHORT)).status_code == httpx.codes.UNAUTHORIZED, name
        log = server.log()
        assert "crypt(3) with DES is not supported" in log
        assert "a password in plain text" in log
        assert SHORT not in log
        server.shut_down()


@pytest.mark.needs("htpasswd")
def test_the_real_htpasswd_and_ours_edit_one_file(folder: Path) -> None:
    """Apache's writes in place, ours puts another file there; the server knows both at the next request."""
    server = GuardedServer(folder)
    write_users(server.users, "alice")
    run([path_of("htpasswd"), "-bv", server.users, "alice", PASSWORD])
    with server:
        assert server.get("/v2/", authorization("alice")).status_code == httpx.codes.OK
        for turn in range(3):
            run([path_of("htpasswd"), "-b", server.users, "alice", f"turn-{turn}"])
            assert server.get("/v2/", authorization("alice")).status_code == httpx.codes.UNAUTHORIZED
            assert server.get("/v2/", authorization("alice", f"turn-{turn}")).status_code == httpx.codes.OK
            write_users(server.users, "alice")
            assert server.get("/v2/", authorization("alice", f"turn-{turn}")).status_code == httpx.codes.UNAUTHORIZED
            assert server.get("/v2/", authorization("alice")).status_code == httpx.codes.OK
        run([path_of("htpasswd"), "-D", server.users, "alice"])
        assert server.get("/v2/", authorization("alice")).status_code == httpx.codes.UNAUTHORIZED
        server.shut_down()


def test_the_start_says_whose_password_cannot_be_used(folder: Path) -> None:
    """Not the first login, when whoever started it has gone home."""
    server = GuardedServer(folder)
    write_users(server.users, "alice")
    with server.users.open("a", encoding="utf-8") as file:
        file.write(f"old:{SHORT}\n")
    with server:
        assert "password not usable" in server.log()
        assert "a password in plain text" in server.log()
        assert SHORT not in server.log()
        server.shut_down()


BLOB: Final = digest_of(b"x")
REQUESTS: Final = (
    ("GET", "/v2/"),
    ("HEAD", "/v2/"),
    ("GET", "/v2/_catalog"),
    ("GET", "/v2/team/app/tags/list"),
    ("GET", "/v2/team/app/manifests/v1"),
    ("DELETE", f"/v2/team/app/manifests/{BLOB}"),
    ("GET", f"/v2/team/app/blobs/{BLOB}"),
    ("DELETE", f"/v2/team/app/blobs/{BLOB}"),
    ("POST", "/v2/team/app/blobs/uploads/"),
    ("PUT", "/v2/team/app/manifests/v1"),
)
CREDENTIALS: Final[tuple[dict[str, str], ...]] = (
    {},
    authorization("alice", "wrong"),
    authorization("nobody"),
    {"Authorization": "Basic %%%"},
    {"Authorization": "Basic " + base64.b64encode(b"alice").decode()},
    {"Authorization": "Bearer abc"},
    {"Authorization": ""},
)


@pytest.mark.needs("docker-registry")
def test_a_refusal_is_word_for_word_what_registry2_says(folder: Path) -> None:
    server = GuardedServer(folder / "ours")
    write_users(server.users, "alice")
    with server, GuardedPeer(folder / "peer", server.users) as peer:
        for method, path in REQUESTS:
            for headers in CREDENTIALS:
                ours, theirs = (
                    httpx.request(method, f"{url}{path}", headers=headers, timeout=20, trust_env=False, verify=False)
                    for url in (server.url, peer.url)
                )
                where = (method, path, headers)
                assert ours.status_code == theirs.status_code == httpx.codes.UNAUTHORIZED, where
                for name in ("www-authenticate", "docker-distribution-api-version"):
                    assert ours.headers[name] == theirs.headers[name], where
                assert ours.headers["content-type"] == theirs.headers["content-type"].partition(";")[0]
                if method != "HEAD":
                    assert ours.json() == theirs.json(), where
        for url in (server.url, peer.url):
            right = httpx.get(f"{url}/v2/", headers=authorization("alice"), trust_env=False)
            assert (right.status_code, right.json()) == (httpx.codes.OK, {})
        server.shut_down()


@pytest.mark.parametrize("user", ["", "puller"])
def test_who_waits_for_100_sends_no_body_for_nothing(guarded: GuardedServer, user: str) -> None:
    headers = {"Content-Length": "1000000000", "Expect": "100-continue", **(authorization(user) if user else {})}
    with Wire(guarded.port) as wire:
        wire.send(head("PUT", "/v2/team/app/manifests/v1", headers))
        reply = wire.reply("PUT")
    assert reply.status == (403 if user else 401)
    assert reply.codes == ["DENIED" if user else "UNAUTHORIZED"]


def test_operations_and_health_ask_nobody(guarded: GuardedServer) -> None:
    for url in (
        f"{guarded.url}/healthz",
        *(f"http://127.0.0.1:{guarded.operations_port}/{path}" for path in ("healthz", "metrics")),
    ):
        assert httpx.get(url, trust_env=False).status_code == httpx.codes.OK
    assert (
        httpx.get(f"http://127.0.0.1:{guarded.operations_port}/v2/", trust_env=False).status_code
        == httpx.codes.NOT_FOUND
    )


def test_no_credential_is_in_the_log(guarded: GuardedServer) -> None:
    words = {name: f"{name}-{secrets.token_hex(8)}" for name in ("wrong", "stranger", "url", "bearer", "malformed")}
    sent = [
        authorization("admin"),
        authorization("admin", words["wrong"]),
        authorization(words["stranger"], words["wrong"]),
        {"Authorization": f"Bearer {words['bearer']}"},
        {"Authorization": f"Basic {words['malformed']}"},
    ]
    for headers in sent:
        for method in ("GET", "POST", "DELETE", "OPTIONS", "TRACE"):
            guarded.get("/v2/team/app/manifests/v1", headers, method)
    guarded.get("/v2/", {"Authorization": "Basic " + "x" * 20_000})
    until(lambda: '"method":"TRACE"' in guarded.log(), what="the last request is logged")
    log = guarded.log()
    assert '"actor":"admin"' in log
    for secret in (PASSWORD, *words.values(), *(headers["Authorization"][6:] for headers in sent)):
        assert secret not in log, secret


def test_many_connections_at_once_cost_one_hash(folder: Path) -> None:
    """A cost that takes a quarter of a second: one for each of them would take a minute of the processor."""
    server = GuardedServer(folder)
    write_users(server.users, "alice", cost=12)
    with server:
        before = cpu_seconds(server.pid)
        with ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(lambda _: server.get("/v2/", authorization("alice")).status_code, range(240)))
        assert set(answers) == {httpx.codes.OK}
        assert cpu_seconds(server.pid) - before < 240 * 0.25 / 4
        server.shut_down()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_workers_and_sighup(folder: Path) -> None:
    server = GuardedServer(folder, arguments=["--workers", "2"])
    write_users(server.users, "alice", "bob")
    with server:
        for _ in range(8):  # a connection each, so that both workers see some
            assert server.get("/v2/", authorization("alice")).status_code == httpx.codes.OK
        os.kill(server.pid, signal.SIGHUP)
        run([server.command[0], "htpasswd", server.users, "alice", "--delete"])
        for _ in range(8):
            assert server.get("/v2/", authorization("alice")).status_code == httpx.codes.UNAUTHORIZED
            assert server.get("/v2/", authorization("bob")).status_code == httpx.codes.OK
        server.shut_down()


# ── Starts that are refused ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"authentication.mode": "htpasswd"}, ["htpasswd"]),
        (
            {"authentication.mode": "htpasswd", "authentication.htpasswd_file": "/nonexistent/users"},
            ["/nonexistent/users"],
        ),
        ({"authentication.mode": "htpasswd", "authentication.htpasswd_file": "/proc"}, ["/proc"]),
        (
            {"access.rules": '[{users: [a], repositories: ["team*"], actions: [pull]}]'},
            ["RULES", "team*", "folder/*"],
        ),
        ({"access.rules": "[{users: [], repositories: [x], actions: [pull]}]"}, ["RULES", "no users"]),
    ],
)
def test_starts_that_would_let_nobody_in(folder: Path, settings: dict[str, str], words: list[str]) -> None:
    server = FaultyServer(folder, settings=settings)
    code, said = server.launch()
    assert code == 2, said
    assert "Traceback" not in said
    assert [word for word in words if word not in said] == [], said
    assert not server.data.exists(), "nothing is made for a server that cannot serve"
