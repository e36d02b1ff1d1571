"""Bad input over real sockets: each row of the table gets the answer that the table states, and nothing breaks."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.bad_input import table
from tests.system.bad_input.table import ABSENT_LAYERS, SECTIONS, SENT_BYTES, Row, Scene, filled
from tests.system.faults.client import Client, digest_of, manifest_of
from tests.system.faults.server import FaultyServer
from tests.system.faults.wire import Reply, Wire, exchange, head
from tests.system.process import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REVEALING: Final = ("Traceback", 'File "', "site-packages", "/src/", ".py", "sqlite", "/tmp", "Errno")
"""What an answer must never contain: how the server is built and where it lives."""

DRIP_SECONDS: Final = 0.05
QUICK: Final = [row for section in SECTIONS if section is not table.SLOW for row in section.rows]

pytestmark = pytest.mark.xdist_group("bad_input")


@pytest.fixture(scope="module")
def default_server(scratch: Path) -> Iterator[FaultyServer]:
    """A server with the default settings."""
    with FaultyServer(scratch / f"bad-{secrets.token_hex(3)}") as running:
        yield running
        running.shut_down()
    shutil.rmtree(running.folder)


@pytest.fixture(scope="module")
def impatient_server(scratch: Path) -> Iterator[FaultyServer]:
    """A server that gives clients little time and takes few of them."""
    settings = {
        "limits.header_timeout_seconds": 0.6,
        "limits.body_idle_timeout_seconds": 0.6,
        "limits.body_minimum_bytes_per_second": 0,
        "limits.request_timeout_seconds": 2,
        "limits.connections": table.CONNECTIONS,
    }
    with FaultyServer(scratch / f"impatient-{secrets.token_hex(3)}", settings=settings) as running:
        yield running
        running.shut_down()
    shutil.rmtree(running.folder)


def prepare(server: FaultyServer) -> Scene:
    """An image, a repository beside it, and an upload under way."""
    repository = f"bad/input-{secrets.token_hex(4)}"
    layer = secrets.token_bytes(100)
    config = b"{}"
    with Client(server.port) as client:
        client.put_blob(repository, config)
        client.put_blob(repository, layer)
        manifest = manifest_of(config, [layer])
        client.put_manifest(repository, "latest", manifest)
        client.push_image(f"{repository}/other", "latest", [b"another layer"])
        upload = client.begin(repository)
        assert client.patch(upload, b"0123456789") == SENT_BYTES
    return Scene(server.port, repository, f"{repository}/other", config, layer, manifest, upload)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in QUICK])
def test_row(default_server: FaultyServer, row: Row) -> None:
    show(default_server, row)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in table.SLOW.rows])
def test_slow_row(impatient_server: FaultyServer, row: Row) -> None:
    show(impatient_server, row)


def show(server: FaultyServer, row: Row) -> None:
    scene = prepare(server)
    reply = send(scene, row)
    assert reply.status == row.status, str(reply)
    assert row.message in reply.text, str(reply)
    if row.code:
        require_error_body(reply, row.code)
    for name, part in row.headers.items():
        assert filled(part, scene) in reply.header(name), str(reply)
    revealed = [word for word in (*REVEALING, str(server.data)) if word in reply.text]
    assert not revealed, f"{revealed} in {reply}"
    require_unharmed(server, scene)


def send(scene: Scene, row: Row) -> Reply:
    data = row.send(scene)
    if not row.drip and not row.crowd:
        return exchange(scene.port, data)
    method = data.partition(b" ")[0].decode()
    with contextlib.ExitStack() as stack:
        for _ in range(row.crowd):
            stack.enter_context(Wire(scene.port))
        wire = stack.enter_context(Wire(scene.port))
        wire.send(data)
        for number in range(len(row.drip)):
            if wire.has_answer(DRIP_SECONDS):
                break
            wire.send(row.drip[number : number + 1])
        return wire.reply(method)


def require_error_body(reply: Reply, code: str) -> None:
    """The specification's error body: a list of objects with a code, a message and a detail, and nothing else."""
    assert reply.header("Content-Type") == "application/json"
    assert reply.header("X-Request-Id"), "an error can be found in the log by its request id"
    assert set(reply.document) == {"errors"}
    for entry in reply.errors:
        assert set(entry) == {"code", "message", "detail"}
        assert entry["code"] == code, str(reply)
        assert entry["message"]
        assert isinstance(entry["message"], str)


def require_unharmed(server: FaultyServer, scene: Scene) -> None:
    """What was there still is, nothing came of the bad request, and the log has no traceback."""
    server.check()
    assert server.is_healthy()
    with Client(server.port) as client:
        assert client.tags(scene.repository) == ["latest"]
        assert client.manifest(scene.repository, "latest") == scene.manifest
        assert client.blob(scene.repository, digest_of(scene.layer)) == scene.layer


def test_each_missing_blob_is_listed(default_server: FaultyServer) -> None:
    scene = prepare(default_server)
    row = next(row for row in table.MANIFESTS.rows if row.name == "manifest-blobs-absent")
    reply = send(scene, row)
    assert [entry["detail"] for entry in reply.errors] == [{"digest": digest} for digest in ABSENT_LAYERS]


def test_names_are_the_rows_of_one_table() -> None:
    names = [row.name for section in SECTIONS for row in section.rows]
    assert len(names) == len(set(names))


def test_an_upload_goes_on_where_a_broken_body_left_it(default_server: FaultyServer) -> None:
    """The client dies in the middle of a chunk; another asks where to go on, and goes on there."""
    repository = f"bad/half-{secrets.token_hex(4)}"
    blob = secrets.token_bytes(3 << 20)
    half = len(blob) // 2
    with Client(default_server.port) as client:
        location = client.begin(repository)
        with Wire(default_server.port) as wire:
            wire.send(head("PATCH", location, {"Content-Length": str(len(blob))}) + blob[:half])
            wire.end()
            wire.ended()
        until(lambda: client.offset(location) == half, what="what arrived before the end is kept")
        go_on(client, "PATCH", location, blob[half:])
        client.finish(location, digest_of(blob))
        assert client.blob(repository, digest_of(blob)) == blob
    default_server.check()


def go_on(client: Client, method: str, target: str, rest: bytes) -> None:
    """Send the rest. The request that was broken off holds the upload for a moment longer: 409, try again."""
    until(lambda: client.ask(method, target, rest).status in {201, 202}, what="the upload goes on", timeout_seconds=5)


def test_a_slow_upload_goes_on_where_the_server_gave_up(impatient_server: FaultyServer) -> None:
    """The server gives a silent client up with 408; the offset it states is where the client goes on."""
    repository = f"bad/slow-{secrets.token_hex(4)}"
    blob = secrets.token_bytes(1000)
    with Client(impatient_server.port) as client, Wire(impatient_server.port) as wire:
        location = client.begin(repository)
        wire.send(head("PATCH", location, {"Content-Length": "1000"}) + blob[:600])
        assert wire.reply("PATCH").status == 408
        until(lambda: client.offset(location) == 600, what="what arrived in time is kept")
        go_on(client, "PUT", f"{location}?digest={digest_of(blob)}", blob[600:])
        assert client.blob(repository, digest_of(blob)) == blob


def test_a_slow_client_takes_nothing_from_others(impatient_server: FaultyServer) -> None:
    """While clients hang in the middle of their requests, others are served at once."""
    with contextlib.ExitStack() as stack:
        hanging = [stack.enter_context(Wire(impatient_server.port)) for _ in range(8)]
        for wire in hanging:
            wire.send(head("PUT", "/v2/slow/manifests/a", {"Content-Length": "100"}))
        with Client(impatient_server.port, timeout_seconds=2) as client:
            for _ in range(20):
                client.expect(200, "GET", "/v2/")
        for wire in hanging:
            assert wire.reply("PUT").status == 408
            assert wire.ended() == b"", "the connection is closed after its answer"


def test_a_manifest_too_large_is_refused_before_it_is_sent(default_server: FaultyServer) -> None:
    """With `Content-Length` the answer comes without a byte of the body."""
    with Wire(default_server.port) as wire:
        length = str(table.MANIFEST_LIMIT + 1)
        wire.send(head("PUT", "/v2/bad/large/manifests/a", {"Content-Length": length}))
        assert wire.reply("PUT").codes == ["SIZE_INVALID"]


def test_a_manifest_of_just_the_limit_is_read(default_server: FaultyServer) -> None:
    """4 MiB is allowed: one byte less than what is refused."""
    repository = f"bad/limit-{secrets.token_hex(4)}"
    with Client(default_server.port) as client:
        manifest = json.loads(client.push_image(repository, "small", [b"layer"]))
        manifest["annotations"] = {"filler": ""}
        filler = table.MANIFEST_LIMIT - len(json.dumps(manifest).encode())
        manifest["annotations"]["filler"] = "a" * filler
        body = json.dumps(manifest).encode()
        assert len(body) == table.MANIFEST_LIMIT
        client.put_manifest(repository, "large", body)
        assert client.manifest(repository, "large") == body


def test_nothing_is_left_of_what_was_refused(default_server: FaultyServer) -> None:
    """Bad pushes leave no bytes in the folder of uploads but those of uploads that can go on."""
    scene = prepare(default_server)
    for row in table.BLOBS.rows:
        send(scene, row)
    uploads = files_of_uploads(default_server)
    with Client(default_server.port) as client:
        client.ask("DELETE", scene.upload)
    left = files_of_uploads(default_server)
    assert scene.session not in left
    assert left <= uploads


def files_of_uploads(server: FaultyServer) -> set[str]:
    """Their names; the folder is made by the first upload that is too long for memory."""
    folder = server.data / "registry" / "uploads"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()
