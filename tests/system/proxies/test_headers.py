"""Headers of the settings, for pages of other sites: what a browser asks, with and without passwords, and refusals.

The same questions go to registry:2 with the same headers: where the answers differ the test says how.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from typing import TYPE_CHECKING, Final

import bcrypt
import httpx
import pytest
import yaml

from tests.system.process import Daemon
from tests.system.servers import free_port
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.system.proxies.machinery import ConfiguredServer

SITE: Final = "https://ui.example.com"
HEADERS: Final = {
    "Access-Control-Allow-Origin": [SITE],
    "Access-Control-Allow-Methods": ["HEAD", "GET", "OPTIONS", "DELETE"],
    "Access-Control-Expose-Headers": ["Docker-Content-Digest"],
    "X-Content-Type-Options": ["nosniff"],
}
PREFLIGHT: Final = {"Origin": SITE, "Access-Control-Request-Method": "DELETE"}
PATHS: Final = ("/v2/", "/v2/_catalog", "/v2/app/tags/list", "/v2/app/manifests/v1")


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    """A file with the user `admin`."""
    file = tmp_path / "htpasswd"
    file.write_text(f"admin:{bcrypt.hashpw(b'open sesame', bcrypt.gensalt(4)).decode()}\n")
    return file


@pytest.fixture
def peer(scratch: Path, htpasswd: Path) -> Iterator[str]:
    """The URL of a registry:2 with a password and these headers."""
    folder = scratch / f"peer-{secrets.token_hex(3)}"
    folder.mkdir()
    port = free_port()
    document = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}", "headers": HEADERS},
        "auth": {"htpasswd": {"realm": "peer", "path": str(htpasswd)}},
    }
    config = folder / "config.yml"
    config.write_text(yaml.safe_dump(document))

    def is_ready() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    with Daemon([path_of("docker-registry"), "serve", config], folder=folder, is_ready=is_ready):
        yield f"http://127.0.0.1:{port}"
    shutil.rmtree(folder)


@pytest.fixture
def guarded(configured: Callable[..., ConfiguredServer], htpasswd: Path) -> str:
    """The URL of our registry with the same."""
    settings = yaml.safe_dump({"http": {"headers": HEADERS}})
    return configured(settings, "--auth", "htpasswd", "--htpasswd", str(htpasswd)).url


def _of_settings(answer: httpx.Response) -> dict[str, list[str]]:
    return {name: answer.headers.get_list(name) for name in HEADERS}


@pytest.mark.needs("docker-registry")
def test_with_a_password_a_browser_s_question_is_answered_where_registry_2_refuses_it(guarded: str, peer: str) -> None:
    with httpx.Client(trust_env=False) as browser:
        for path in PATHS:
            ours = browser.options(f"{guarded}{path}", headers=PREFLIGHT)
            theirs = browser.options(f"{peer}{path}", headers=PREFLIGHT)
            assert (ours.status_code, theirs.status_code) == (httpx.codes.OK, httpx.codes.UNAUTHORIZED), path
            assert _of_settings(ours) == _of_settings(theirs) == HEADERS
            assert not ours.content


@pytest.mark.needs("docker-registry")
def test_every_other_answer_has_the_same_headers_as_registry_2_s(guarded: str, peer: str) -> None:
    admin = ("admin", "open sesame")
    with httpx.Client(trust_env=False) as browser:
        for path in PATHS:
            for auth in (None, admin, ("admin", "wrong")):
                ours = browser.get(f"{guarded}{path}", auth=auth)
                theirs = browser.get(f"{peer}{path}", auth=auth)
                assert ours.status_code == theirs.status_code, path
                assert _of_settings(ours) == _of_settings(theirs) == HEADERS


def test_what_the_connection_itself_refuses_has_them_too(configured: Callable[..., ConfiguredServer]) -> None:
    server = configured(yaml.safe_dump({"http": {"headers": HEADERS | {"Content-Type": ["text/mine"]}}}))
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"this is no HTTP\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 400 ")
    assert head.count(f"access-control-allow-origin: {SITE}") == 1
    assert head.count("x-content-type-options: nosniff") == 1
    assert head.count("content-type: ") == 1
    assert "UNSUPPORTED" in body
