"""nginx sends the bytes of blobs from the disk, with the how-to's location; the registry decides whether and which."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from tests import skips
from tests.factories.images import image, layer, write_docker_archive
from tests.system.process import run, until
from tests.system.proxies.machinery import NAME, ConfiguredServer, Nginx, Remote, digest_of, documented, replaced
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.system.machines import Machine
    from tests.system.proxies.machinery import Proxy

pytestmark = pytest.mark.needs("nginx")

CONTENT: Final = random.Random(3).randbytes(3_000_000)
DIGEST: Final = digest_of([CONTENT])
ETAG: Final = f'"{DIGEST}"'
"""A blob's entity tag is its digest, whoever sends it."""

SETTINGS: Final = "http: {trusted_proxies: [127.0.0.1], accel_location: /blobs/, headers: {X-Ours: [here]}}"
USER: Final = ("admin", "open sesame")


class Accelerated:
    """A registry and its nginx, with a blob that was pushed through it, and a client."""

    def __init__(self, server: ConfiguredServer, proxy: Proxy) -> None:
        self.server = server
        self.proxy = proxy
        self.remote = Remote(proxy.port)

    def key(self, digest: str) -> str:
        """Where a blob is below the storage's root."""
        hexadecimal = digest.removeprefix("sha256:")
        return f"docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"

    def file(self, digest: str) -> Path:
        """The file of a blob."""
        return self.server.data / "registry" / self.key(digest)


@contextlib.contextmanager
def _accelerate(folder: Path, *arguments: str, settings: str = SETTINGS, user: str = "root") -> Iterator[Accelerated]:
    with ConfiguredServer(folder / "server", settings, *arguments) as server:
        location = replaced(
            documented("how-to/nginx.md", "nginx", 1), {r"/var/lib/roadstead/registry/": f"{server.data}/registry/"}
        )
        http = f"""server {{ listen PORT; client_max_body_size 0;
                location /v2/ {{ proxy_pass http://{server.host}; proxy_http_version 1.1; }}
                {location} }}"""
        with Nginx(folder / "nginx", http, user=user) as proxy:
            started = Accelerated(server, proxy)
            yield started
            started.remote.close()
        server.shut_down()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def accelerated(scratch: Path) -> Iterator[Accelerated]:
    """Both; the blob is never touched, tests that damage or delete one push their own."""
    skips.require("nginx")
    with _accelerate(scratch / f"accelerated-{secrets.token_hex(3)}") as started:
        assert started.remote.push_blob("app", CONTENT, chunks=2) == DIGEST
        yield started


def test_the_bytes_come_from_nginx_and_are_the_blob(accelerated: Accelerated) -> None:
    started, remote = accelerated, accelerated.remote
    answer = remote.pull_blob("app", DIGEST, **{"X-Request-Id": "told-by-the-client"})

    assert answer.status_code == httpx.codes.OK
    assert digest_of([answer.content]) == DIGEST
    assert answer.headers["etag"] == ETAG
    assert answer.headers["docker-content-digest"] == DIGEST
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["x-request-id"] == "told-by-the-client"
    assert answer.headers["accept-ranges"] == "bytes"
    assert "x-accel-redirect" not in answer.headers
    assert "x-ours" not in answer.headers, "as documented; so nginx did send it"
    access = (started.proxy.folder / "access.log").read_text()
    assert f" 200 {len(CONTENT)} " in access


def test_head_and_revalidation_come_from_the_registry(accelerated: Accelerated) -> None:
    remote = accelerated.remote
    path = f"/v2/app/blobs/{DIGEST}"
    head = remote.head(path)
    known = remote.get(path, headers={"If-None-Match": ETAG})
    for answer in (head, known):
        assert answer.headers["x-ours"] == "here"
        assert answer.headers["etag"] == ETAG
    assert (head.status_code, head.headers["content-length"]) == (httpx.codes.OK, str(len(CONTENT)))
    assert (known.status_code, known.content) == (httpx.codes.NOT_MODIFIED, b"")


@pytest.mark.parametrize(
    ("headers", "status", "expected"),
    [
        ({"Range": "bytes=0-9"}, 206, (0, 10)),
        ({"Range": "bytes=2999990-"}, 206, (-10, None)),
        ({"Range": "bytes=-10"}, 206, (-10, None)),
        ({"Range": "bytes=5-8", "If-Range": ETAG}, 206, (5, 9)),
        ({"Range": "bytes=5-8", "If-Range": '"another"'}, 200, (0, None)),
        ({"Range": "lines=1-2"}, 200, (0, None)),
        ({"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200, (0, None)),
    ],
)
def test_ranges(
    accelerated: Accelerated, headers: dict[str, str], status: int, expected: tuple[int, int | None]
) -> None:
    answer = accelerated.remote.pull_blob("app", DIGEST, **headers)
    assert answer.status_code == status
    assert answer.content == CONTENT[slice(*expected)]
    assert answer.headers["etag"] == ETAG


def test_a_range_outside_is_refused_in_the_specification_s_words(accelerated: Accelerated) -> None:
    answer = accelerated.remote.pull_blob("app", DIGEST, Range="bytes=3000000-")
    assert answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert answer.json()["errors"][0]["code"] == "RANGE_INVALID"


def test_nobody_asks_for_the_location_itself(accelerated: Accelerated) -> None:
    started, remote = accelerated, accelerated.remote
    for path in (
        f"/blobs/{started.key(DIGEST)}",
        "/blobs/",
        f"/v2/../blobs/{started.key(DIGEST)}",
        f"/%62lobs/{started.key(DIGEST)}",
    ):
        answer = remote.get(path, headers={"X-Accel-Redirect": f"/blobs/{started.key(DIGEST)}"})
        assert answer.status_code == httpx.codes.NOT_FOUND, path
        assert CONTENT[:100] not in answer.content


def test_a_client_that_goes_round_nginx_gets_the_bytes_and_no_path(accelerated: Accelerated) -> None:
    started = accelerated
    with Remote(started.server.port) as direct:
        answer = direct.pull_blob("app", DIGEST, **{"X-Forwarded-For": "127.0.0.1"})
    assert answer.content == CONTENT
    assert "x-accel-redirect" not in answer.headers


def test_what_is_not_there_is_refused_by_the_registry(accelerated: Accelerated) -> None:
    started, remote = accelerated, accelerated.remote
    for repository, digest in (("app", digest_of([b"nothing"])), ("other", DIGEST)):
        answer = remote.pull_blob(repository, digest)
        assert answer.status_code == httpx.codes.NOT_FOUND
        assert answer.json()["errors"][0]["code"] == "BLOB_UNKNOWN"
    mine = remote.push_blob("app", b"to be damaged")
    started.file(mine).write_bytes(b"to be damage")
    damaged = remote.pull_blob("app", mine)
    assert (damaged.status_code, damaged.headers["x-ours"]) == (httpx.codes.NOT_FOUND, "here")


def test_a_blob_that_is_deleted_while_nginx_sends_it_arrives(accelerated: Accelerated) -> None:
    started, remote = accelerated, accelerated.remote
    digest = remote.push_blob("gone", secrets.token_bytes(20_000_000))
    with socket.create_connection(("127.0.0.1", started.proxy.port)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        slow.sendall(f"GET /v2/gone/blobs/{digest} HTTP/1.0\r\nHost: {NAME}\r\n\r\n".encode())
        received = slow.recv(1000)
        assert b" 200 OK" in received
        assert remote.delete(f"/v2/gone/blobs/{digest}").status_code == httpx.codes.ACCEPTED
        started.file(digest).unlink()  # as the collector does at the end of its grace time
        assert remote.pull_blob("gone", digest).status_code == httpx.codes.NOT_FOUND
        while piece := slow.recv(1 << 20):
            received += piece
    assert digest_of([received.partition(b"\r\n\r\n")[2]]) == digest


def test_passwords_are_asked_for_all_the_same(scratch: Path, tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    hashed = run([path_of("openssl"), "passwd", "-6", USER[1]]).text
    file.write_text(f"{USER[0]}:{hashed}\n")
    words = ("--auth", "htpasswd", "--htpasswd", str(file))
    with _accelerate(scratch / f"accelerated-{secrets.token_hex(3)}", *words) as started:
        remote = started.remote
        remote.auth = httpx.BasicAuth(*USER)
        remote.push_blob("app", CONTENT)
        assert remote.pull_blob("app", DIGEST).content == CONTENT
        for auth in (httpx.Auth(), (USER[0], "wrong")):
            answer = remote.get(f"/v2/app/blobs/{DIGEST}", auth=auth)
            assert answer.status_code == httpx.codes.UNAUTHORIZED
            assert "x-accel-redirect" not in answer.headers
            assert CONTENT[:100] not in answer.content
        until(lambda: '"actor":"admin"' in started.server.log(), what="the log names the user")


@pytest.mark.needs("skopeo")
def test_a_client_pulls_an_image(accelerated: Accelerated, client: Callable[..., Machine], tmp_path: Path) -> None:
    content = image([layer({"data": secrets.token_bytes(2_000_000)})])
    archive = write_docker_archive(tmp_path / "image.tar", "x:1", content)
    skopeo, place = client("skopeo"), f"docker://{accelerated.proxy.host}/app:v1"
    words = ("--insecure-policy", "copy")
    skopeo(*words, "--dest-tls-verify=false", f"docker-archive:{archive}", place)
    skopeo(*words, "--src-tls-verify=false", place, f"dir:{tmp_path}/pulled")
    assert (tmp_path / "pulled" / content.image_id.removeprefix("sha256:")).read_bytes() == content.config


def test_nginx_reads_by_its_group() -> None:
    """Its processes are not root: without the group they are refused what only the registry's user may read."""
    if os.geteuid() != 0:
        skips.skip("only root can be several users", enable_with="sudo make test")
    base = Path(tempfile.mkdtemp(prefix="roadstead-group-"))
    base.chmod(0o755)
    try:
        for settings, status in ((SETTINGS, 403), (f"{SETTINGS}\nstorage: {{group: www-data}}", 200)):
            with _accelerate(base / str(status), settings=settings, user="www-data") as started:
                digest = started.remote.push_blob("app", CONTENT)
                assert started.remote.pull_blob("app", digest).status_code == status
    finally:
        shutil.rmtree(base)
