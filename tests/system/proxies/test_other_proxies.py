"""HAProxy, Caddy and Traefik with the how-to's files: large layers in chunks, the client's own address, lies."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from tests import skips
from tests.factories.images import image, layer, write_docker_archive
from tests.system.process import until
from tests.system.proxies.machinery import (
    CLIENT,
    NAME,
    TRAEFIK_ROUTES,
    Caddy,
    Haproxy,
    Remote,
    Traefik,
    documented,
    replaced,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.machines import Machine
    from tests.system.proxies.machinery import Certificate, ConfiguredServer, Proxy

PAGE: Final = "how-to/proxies.md"
LIES: Final = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example.com",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Proto": "ftp",
    "Forwarded": "for=203.0.113.9;host=evil.example.com;proto=http",
}


def haproxy(server: ConfiguredServer, certificate: Certificate) -> str:
    """The how-to's file for HAProxy."""
    return replaced(
        documented(PAGE, "haproxy"),
        {
            r"127\.0\.0\.1:5000": server.host,
            r"bind :443": "bind 127.0.0.1:PORT",
            r"/etc/haproxy/certs/domain\.pem": str(certificate.both),
        },
    )


def caddy(server: ConfiguredServer, certificate: Certificate) -> str:
    """The how-to's file for Caddy; it picks the site by name, and some clients here ask for an address."""
    return replaced(
        documented(PAGE, "caddy"),
        {
            r"127\.0\.0\.1:5000": server.host,
            r"registry\.example\.com \{": f"https://{NAME}:PORT, https://127.0.0.1:PORT {{",
            r"/etc/caddy/certs/domain\.crt": str(certificate.certificate),
            r"/etc/caddy/certs/domain\.key": str(certificate.key),
        },
    )


def traefik(server: ConfiguredServer, certificate: Certificate) -> str:
    """The how-to's files for Traefik; it picks the route by name, and some clients here ask for an address."""
    about_itself = replaced(documented(PAGE, "toml", 0), {r'address = ":443"': 'address = "127.0.0.1:PORT"'})
    routes = replaced(
        documented(PAGE, "toml", 1),
        {
            r"127\.0\.0\.1:5000": server.host,
            r"Host\(`registry\.example\.com`\)": f"Host(`{NAME}`) || Host(`127.0.0.1`)",
            r"/etc/traefik/certs/domain\.crt": str(certificate.certificate),
            r"/etc/traefik/certs/domain\.key": str(certificate.key),
        },
    )
    return f"{about_itself}{TRAEFIK_ROUTES}{routes}"


@pytest.fixture(
    params=[
        pytest.param((Haproxy, haproxy), id="haproxy", marks=pytest.mark.needs("haproxy")),
        pytest.param((Caddy, caddy), id="caddy", marks=pytest.mark.needs("caddy")),
        pytest.param((Traefik, traefik), id="traefik", marks=pytest.mark.needs("traefik")),
    ]
)
def pair(
    request: pytest.FixtureRequest,
    configured: Callable[..., ConfiguredServer],
    proxied: Callable[..., Proxy],
    certificate: Certificate,
) -> tuple[ConfiguredServer, Proxy]:
    """A server that trusts 127.0.0.1 and writes whole URLs, and the proxy in front of it."""
    kind, file = request.param
    server = configured("http: {trusted_proxies: [127.0.0.1], relative_urls: false}")
    return server, proxied(kind, file(server, certificate))


def test_chunks_of_a_large_blob_and_lies(pair: tuple[ConfiguredServer, Proxy], certificate: Certificate) -> None:
    server, proxy = pair
    content = secrets.token_bytes(5_000_000)
    with Remote(proxy.port, certificate, **LIES) as remote:
        digest = remote.push_blob("app", content, chunks=3)
        location = remote.post("/v2/app/blobs/uploads/").headers["location"]
        assert remote.pull_blob("app", digest).content == content
        part = remote.pull_blob("app", digest, Range="bytes=10-19")
        assert (part.status_code, part.content) == (httpx.codes.PARTIAL_CONTENT, content[10:20])

    assert location.startswith(f"https://{NAME}:{proxy.port}/v2/app/blobs/uploads/")

    def asked() -> list[dict[str, str]]:
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("repository") == "app"]

    until(lambda: len(asked()) >= 9, what="the requests are logged")
    assert {line["client"] for line in asked()} == {CLIENT}


@pytest.mark.needs("traefik")
def test_a_path_that_traefik_takes_away(
    configured: Callable[..., ConfiguredServer], proxied: Callable[..., Proxy], certificate: Certificate
) -> None:
    server = configured("http: {trusted_proxies: [127.0.0.1]}")
    whole = replaced(
        traefik(server, certificate),
        {
            r'rule = ".*"': 'rule = "Path(`/v2/`) || PathPrefix(`/hub/`)"',  # the first is where its start is seen
            r'middlewares = \["registry"\]': 'middlewares = ["registry", "hub"]',
            r"tls = \{\}": 'tls = {}\n\n[http.middlewares.hub.stripPrefix]\nprefixes = ["/hub"]',
        },
    )
    proxy = proxied(Traefik, whole)
    content = secrets.token_bytes(100_000)
    with Remote(proxy.port, certificate, root="/hub", **LIES) as remote:
        digest = remote.push_blob("app", content, chunks=2)
        assert remote.pull_blob("app", digest).content == content
        assert remote.post("/hub/v2/app/blobs/uploads/").headers["location"].startswith("/hub/v2/app/blobs/uploads/")


@pytest.mark.needs("skopeo")
def test_a_client_pushes_and_pulls(
    pair: tuple[ConfiguredServer, Proxy],
    client: Callable[..., Machine],
    certificate: Certificate,
    tmp_path: Path,
) -> None:
    skips.require("crane")
    name = f"{pair[1].host}/app:v1"
    content = image([layer({"data": secrets.token_bytes(3_000_000)})])
    archive = write_docker_archive(tmp_path / "image.tar", "x:1", content)
    client("skopeo")(
        "--insecure-policy", "copy", "--dest-tls-verify=false", f"docker-archive:{archive}", f"docker://{name}"
    )
    crane = client("crane", SSL_CERT_FILE=str(certificate.certificate))
    crane("pull", name, tmp_path / "pulled.tar")
    config = json.loads(crane("config", name).text)
    assert config["rootfs"]["diff_ids"] == [each.diff_id for each in content.layers]
