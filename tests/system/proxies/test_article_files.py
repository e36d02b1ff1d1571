"""The article's two nginx files, as they stand but for ports and paths, in front of a registry without any settings.

They say nothing but where to and, the second, who may: no forwarded header, no limit of bodies, no version of HTTP.
What they do to large layers they do to registry:2 as well, and a test says so.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.factories.images import image, layer, write_docker_archive
from tests.system.process import run
from tests.system.proxies.machinery import Nginx
from tests.system.servers import RegistryServer
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.machines import DockerMachine, Machine
    from tests.system.oracle import Witness
    from tests.system.proxies.machinery import Certificate, Proxy

pytestmark = pytest.mark.needs("nginx")

HTTPS = """
server {{ listen PORT ssl; ssl_certificate {crt}; ssl_certificate_key {key};
          location / {{ proxy_pass http://localhost:{upstream}; }} }}
"""
PASSWORD = """
server {{ listen PORT; location / {{ auth_basic "Registry Access"; auth_basic_user_file {file};
          proxy_pass http://localhost:{upstream}; }} }}
"""
SMALL, LARGE = 600_000, 3_000_000


@pytest.fixture
def archive(tmp_path: Path) -> Callable[[str, int], Path]:
    """Makes the archive of an image with a layer of that many bytes that nobody can compress."""

    def make(name: str, size: int) -> Path:
        content = image([layer({"data": secrets.token_bytes(size)})])
        return write_docker_archive(tmp_path / f"{size}.tar", name, content)

    return make


@pytest.fixture
def https(server: RegistryServer, certificate: Certificate, proxied: Callable[..., Proxy]) -> Proxy:
    """Chapter 2.3's nginx."""
    text = HTTPS.format(crt=certificate.certificate, key=certificate.key, upstream=server.port)
    return proxied(Nginx, text)


@pytest.fixture
def password(server: RegistryServer, proxied: Callable[..., Proxy], tmp_path: Path) -> Proxy:
    """Chapter 2.4's nginx, with the user `admin`."""
    file = tmp_path / "htpasswd"
    hashed = run([path_of("openssl"), "passwd", "-apr1", "open sesame"]).text  # what htpasswd -c writes
    file.write_text(f"admin:{hashed}\n")
    tmp_path.chmod(0o755)
    return proxied(Nginx, PASSWORD.format(file=file, upstream=server.port))


@pytest.mark.needs("docker")
def test_docker_through_https(
    https: Proxy,
    dockerd: DockerMachine,
    other_dockerd: DockerMachine,
    archive: Callable[[str, int], Path],
    witness: Witness,
    repository: str,
) -> None:
    name = f"{https.host}/{repository}:v1"
    dockerd.client("load", "--input", archive(name, SMALL))
    dockerd.client("push", name)
    other_dockerd.client("pull", name)

    assert other_dockerd.inspect(name)["Id"] == dockerd.inspect(name)["Id"]
    assert dockerd.inspect(name)["Id"] in witness.everything(repository, "v1").blobs


@pytest.mark.needs("docker")
def test_docker_with_a_password(
    password: Proxy,
    dockerd: DockerMachine,
    archive: Callable[[str, int], Path],
    witness: Witness,
    repository: str,
) -> None:
    name = f"{password.host}/{repository}:v1"
    dockerd.client("load", "--input", archive(name, SMALL))
    refused = dockerd.client("push", name, exit_code=None).both
    assert "no basic auth credentials" in refused
    dockerd.client("login", "-u", "admin", "--password-stdin", password.host, stdin="wrong", exit_code=None)

    dockerd.client("login", "-u", "admin", "--password-stdin", password.host, stdin="open sesame")
    dockerd.client("push", name)
    assert dockerd.inspect(name)["Id"] in witness.everything(repository, "v1").blobs
    dockerd.client("rmi", name)
    dockerd.client("pull", name)
    dockerd.client("logout", password.host)


@pytest.mark.needs("skopeo", "docker-registry")
@pytest.mark.parametrize("peer", ["", "docker-registry"])
def test_a_layer_over_one_mebibyte_is_refused_by_nginx_itself(
    scratch: Path,
    certificate: Certificate,
    proxied: Callable[..., Proxy],
    client: Callable[..., Machine],
    archive: Callable[[str, int], Path],
    peer: str,
) -> None:
    """With registry:2 too: the file must say `client_max_body_size 0`, as the how-to's does."""
    with RegistryServer(scratch / f"behind-{secrets.token_hex(3)}", peer=peer) as upstream:
        https = proxied(Nginx, HTTPS.format(crt=certificate.certificate, key=certificate.key, upstream=upstream.port))
        words = ("--insecure-policy", "copy", "--dest-tls-verify=false")
        for size, expected in ((SMALL, ""), (LARGE, "413 Request Entity Too Large")):
            source = f"docker-archive:{archive('x:1', size)}"
            done = client("skopeo")(*words, source, f"docker://{https.host}/app:v1", exit_code=None if expected else 0)
            assert expected in done.both


@pytest.mark.needs("curl", "openssl")
def test_curl_sees_the_same_registry(https: Proxy, certificate: Certificate) -> None:
    answer = run([path_of("curl"), "-sS", "-i", "--cacert", certificate.certificate, f"https://{https.host}/v2/"]).text
    assert "HTTP/1.1 200 OK" in answer
    assert "docker-distribution-api-version: registry/2.0" in answer.lower()
    assert answer.endswith("{}")
