"""Credentials as clients send them, well and badly; what is answered, what it costs, what becomes known of it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from roadstead.access import LoginRequiredError
from roadstead.database import Statement
from roadstead.identity import CredentialsInvalidError
from roadstead.identity.attempts import FREE
from roadstead.identity.hashes import sha1
from roadstead.registry.tables import tag_history
from roadstead.testing.images import image
from roadstead.web.context import SCOPE_KEY, RequestContext
from roadstead.web.errors import error_response
from roadstead.web.operations import passwords_check
from tests.api.gatekeepers import REALM, Gate, Visitor, basic, write_users

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from roadstead.testing.instance import Instance
    from roadstead.web.http import Message, Scope

pytestmark = pytest.mark.anyio


@pytest.fixture
async def gate(instance: Instance, tmp_path: Path) -> AsyncIterator[Gate]:
    gate = Gate(instance, write_users(tmp_path / "users", "alice", "bob", "jürgen", "秘密"))
    yield gate
    gate.close()


async def status_of(gate: Gate, authorization: str) -> int:
    return (await Visitor("", gate.client, {"authorization": authorization})("GET", "/v2/")).status


async def test_what_registry2_says(gate: Gate) -> None:
    """Measured on docker-registry 2.8.2; ``tests/system`` compares with the real one."""
    answer = await gate.nobody()("PUT", "/v2/team/app/manifests/v1")
    assert answer.status == 401
    assert answer.header("www-authenticate") == f'Basic realm="{REALM}"'
    [entry] = answer.json()["errors"]
    assert entry["code"] == "UNAUTHORIZED"
    assert entry["message"] == "authentication required"
    assert {"Type": "repository", "Class": "", "Name": "team/app", "Action": "push"} in entry["detail"]
    assert (await gate.nobody()("GET", "/v2/")).json()["errors"][0]["detail"] is None


@pytest.mark.parametrize(
    ("realm", "challenge"),
    [
        ("plain", 'Basic realm="plain"'),
        ('a "quoted" \\ one', 'Basic realm="a \\"quoted\\" \\\\ one"'),
        ("two\r\nset-cookie: lines", 'Basic realm="two??set-cookie: lines"'),
        ("Größe", 'Basic realm="Größe"'),
    ],
)
def test_realms(realm: str, challenge: str) -> None:
    headers = dict(error_response(LoginRequiredError(realm)).headers)
    assert headers[b"www-authenticate"] == challenge.encode()


@pytest.mark.parametrize("scheme", ["Basic ", "basic ", "BASIC ", "Basic   "])
async def test_schemes_have_no_case(gate: Gate, scheme: str) -> None:
    assert await status_of(gate, basic("alice", "alicealice").replace("Basic ", scheme)) == 200


@pytest.mark.parametrize("user", ["jürgen", "秘密"])
async def test_names_and_passwords_of_all_the_world(gate: Gate, user: str) -> None:
    assert await status_of(gate, basic(user, user * 2)) == 200


async def test_a_latin1_name_is_its_user_where_the_password_is_right(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_bytes("jürgen:".encode() + sha1("größe".encode("latin-1")))
    gate = Gate(instance, file)
    assert await status_of(gate, basic("jürgen", "größe", "latin-1")) == 200
    assert await status_of(gate, basic("jürgen", "größe")) == 401, "a password is its bytes"
    gate.close()


async def test_a_password_may_have_colons(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_bytes(b"alice:" + sha1(b"a:b::"))
    gate = Gate(instance, file)
    assert await status_of(gate, basic("alice", "a:b::")) == 200
    gate.close()


def encoded(content: bytes) -> str:
    return "Basic " + base64.b64encode(content).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        "Basic =",
        "Basic %%%",
        "Basic YWxpY2U6YWxpY2VhbGljZQ",  # without its padding, as Go refuses it too
        "Basic YWxpY2U6YWxpY2VhbGljZQ== ",
        "Basic YWxpY2U6YWxp\tY2VhbGljZQ==",
        "Bearer YWxpY2U6YWxpY2VhbGljZQ==",
        "Negotiate abc",
        encoded(b"alice"),
        encoded(b""),
        encoded(b":alicealice"),
        encoded(b"alice:"),
        encoded(b"alice\0:alicealice"),
        encoded(b"alice:alicealice\0"),
        encoded(b"alice :alicealice"),
        encoded(b"ALICE:alicealice"),
        encoded(b"alice:alicealice\n"),
        encoded(b"*:**"),
        encoded(b"anonymous:anonymousanonymous"),
        encoded(b"-:--"),
        encoded(b"alice:" + b"x" * 65536),
        encoded(b"x" * 65536 + b":x"),
        encoded(b"\xff\xfe:\xff"),
        encoded(b":" * 1000),
        "Basic " + "é" * 30,
    ],
)
async def test_what_is_no_credential_of_anybody(gate: Gate, authorization: str) -> None:
    wanted = 200 if authorization == "Basic YWxpY2U6YWxpY2VhbGljZQ== " else 401
    answer = await Visitor("", gate.client, {"authorization": authorization})("GET", "/v2/")
    assert answer.status == wanted
    if wanted == 401:
        assert answer.header("www-authenticate")
        assert authorization[6:] not in answer.body.decode() or len(authorization) < 8


async def test_two_credentials_are_none(gate: Gate) -> None:
    """A proxy might have looked at the other one."""
    right = basic("alice", "alicealice").encode()
    for headers in ([right, right], [right, b"Basic x"], [b"Basic x", right]):
        scope = {"headers": [(b"authorization", value) for value in headers], "client": None}
        assert gate.authentication.recall(scope) is None
        with pytest.raises(CredentialsInvalidError):
            await gate.authentication.identify(scope)


async def test_an_empty_user_and_password_is_nobody(instance: Instance, tmp_path: Path) -> None:
    """What podman and skopeo send when they have nothing to send."""
    file = write_users(tmp_path / "users", "alice")
    gate = Gate(instance, file, (["anonymous"], ["public/*"], ["pull"]))
    visit = Visitor("", gate.client, {"authorization": basic("", "")})
    assert (await visit("GET", "/v2/public/app/tags/list")).status == 404
    assert (await visit("GET", "/v2/other/app/tags/list")).status == 401
    gate.close()


async def test_a_refusal_reads_no_body(gate: Gate) -> None:
    """So that a client that waits for 100 (Continue) sends none."""
    application = gate.client._application
    sent: list[Message] = []

    async def receive() -> Message:
        pytest.fail("the body was asked for")

    async def send(message: Message) -> None:
        sent.append(message)

    for authorization, status in ((b"", 401), (basic("alice", "wrong").encode(), 401)):
        headers = [(b"content-length", b"4000000")] + ([(b"authorization", authorization)] if authorization else [])
        scope: Scope = {
            "type": "http",
            "method": "PUT",
            "path": "/v2/app/manifests/v1",
            "raw_path": b"/v2/app/manifests/v1",
            "query_string": b"",
            "headers": headers,
            "client": ("192.0.2.1", 1),
            SCOPE_KEY: RequestContext("0" * 32),
        }
        sent.clear()
        await application(scope, receive, send)
        assert sent[0]["status"] == status


async def test_who_guesses_waits(gate: Gate) -> None:
    for number in range(FREE):
        assert (await gate.user("alice", f"guess{number}")("GET", "/v2/")).status == 401
    answer = await gate.user("alice")("GET", "/v2/")
    assert answer.status == 429
    assert answer.codes == ["TOOMANYREQUESTS"]
    assert 1 <= int(answer.header("retry-after")) <= 2
    assert (await gate.user("bob")("GET", "/v2/")).status == 200
    gate.instance.clock.advance(2)
    assert (await gate.user("alice")("GET", "/v2/")).status == 200


async def test_a_client_that_repeats_itself_is_only_refused(gate: Gate) -> None:
    for _ in range(FREE * 4):
        assert (await gate.user("alice", "old password")("GET", "/v2/")).status == 401


async def test_a_file_that_vanished(instance: Instance, tmp_path: Path) -> None:
    gate = Gate(instance, write_users(tmp_path / "users", "alice"), (["anonymous"], ["public/*"], ["pull"]))
    assert (await gate.user("alice")("GET", "/v2/")).status == 200
    (tmp_path / "users").unlink()
    answer = await gate.user("alice")("GET", "/v2/")
    assert answer.status == 503
    assert answer.codes == ["UNAVAILABLE"]
    assert answer.header("retry-after") == "5"
    assert str(tmp_path) not in answer.body.decode()
    assert (await gate.nobody()("GET", "/v2/public/app/tags/list")).status == 404, "who needs no password gets on"
    write_users(tmp_path / "users", "alice")
    assert (await gate.user("alice")("GET", "/v2/")).status == 200
    gate.close()


async def test_readiness_tells_that_nobody_can_log_in(instance: Instance, tmp_path: Path) -> None:
    gate = Gate(instance, write_users(tmp_path / "users", "alice"))
    check = passwords_check(gate.authentication.find_problem)
    assert (await check()).state == "ok"
    (tmp_path / "users").unlink()
    told = await check()
    assert (told.state, told.detail) == ("degraded", "nobody can log in: the password file: No such file or directory")
    write_users(tmp_path / "users", "alice")
    assert (await check()).state == "ok"
    gate.close()


async def test_certificates_and_passwords(instance: Instance, tmp_path: Path) -> None:
    """Both must be valid, and the user of the password counts."""
    gate = Gate(
        instance,
        write_users(tmp_path / "users", "alice"),
        (["machine"], ["machine/*"], ["pull"]),
        (["alice"], ["alice/*"], ["pull"]),
    )
    wrong, right, empty = basic("alice", "wrong"), basic("alice", "alicealice"), basic("", "")
    for headers, folder, status in (
        ({}, "machine", 404),
        ({}, "alice", 403),
        ({"authorization": right}, "alice", 404),
        ({"authorization": right}, "machine", 403),
        ({"authorization": wrong}, "machine", 401),
        ({"authorization": empty}, "machine", 404),
    ):
        answer = await gate.holder("machine", headers)("GET", f"/v2/{folder}/app/tags/list")
        assert answer.status == status, (headers, folder)
    gate.close()


async def test_the_context_says_who_asks(gate: Gate) -> None:
    application = gate.client._application
    seen: list[Scope] = []

    async def watching(scope: Scope, receive: object, send: object) -> None:
        seen.append(scope)
        await application(scope, receive, send)  # type: ignore[arg-type]

    gate.client._application = watching
    await gate.user("alice")("GET", "/v2/")
    await gate.nobody()("GET", "/v2/")
    await gate.user("alice", "wrong")("GET", "/v2/")
    assert [scope[SCOPE_KEY].actor for scope in seen] == ["alice", "", ""]
    assert seen[0][SCOPE_KEY].caller.name == "alice"
    assert seen[2][SCOPE_KEY].caller is None


async def test_the_history_of_a_tag_names_its_user(instance: Instance, gate: Gate) -> None:
    manifest = image(b"layer")
    await instance.push("team/app", manifest)
    answer = await gate.user("jürgen")(
        "PUT", "/v2/team/app/manifests/v1", body=manifest.content, content_type=manifest.media_type
    )
    assert answer.status == 201
    actors = Statement(select(tag_history.c.actor).distinct())
    assert await instance.registry.database.fetch_all(actors) == [("jürgen",)]


async def test_no_spelling_of_a_credential_costs_another_hash(gate: Gate) -> None:
    """Who has a password could else keep the server hashing it."""
    passwords = gate.authentication._passwords
    assert passwords is not None
    for blanks in range(1, 20):
        assert await status_of(gate, basic("alice", "alicealice").replace(" ", " " * blanks)) == 200
    assert len(passwords._verified) == 1
