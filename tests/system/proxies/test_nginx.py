"""The how-to's nginx file, with real clients, large layers, reloads under load, aborted uploads and odd settings."""

from __future__ import annotations

import functools
import gzip
import json
import secrets
import shutil
import threading
import time
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from tests.factories.images import image, layer, write_docker_archive
from tests.system.process import run, until
from tests.system.proxies.machinery import (
    CLIENT,
    NAME,
    ConfiguredServer,
    Nginx,
    Remote,
    digest_of,
    documented,
    replaced,
)
from tests.system.servers import free_port
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.system.machines import DockerMachine, Machine
    from tests.system.proxies.machinery import Certificate, Proxy

pytestmark = pytest.mark.needs("nginx", "openssl")

TRUSTING: Final = "http: {trusted_proxies: [127.0.0.1]}"
PASSWORD: Final = "open sesame"
USER: Final = ("admin", PASSWORD)


@pytest.fixture
def recommended(proxied: Callable[..., Proxy], certificate: Certificate, tmp_path: Path) -> Callable[..., Proxy]:
    """Starts the how-to's nginx in front of a server, with more replacements and lines if need be."""

    def start(server: ConfiguredServer, more: str = "", **replacements: str) -> Proxy:
        file = tmp_path / "registry.htpasswd"
        hashed = run([path_of("openssl"), "passwd", "-6", PASSWORD]).text
        file.write_text(f"{USER[0]}:{hashed}\n")
        text = replaced(
            documented("how-to/nginx.md", "nginx"),
            {
                r"127\.0\.0\.1:5000": server.host,
                r"443 ssl": "PORT ssl",
                r"/etc/nginx/certs/domain\.crt": str(certificate.certificate),
                r"/etc/nginx/certs/domain\.key": str(certificate.key),
                r"/etc/nginx/registry\.htpasswd": str(file),
                **{name.replace("_", " "): value for name, value in replacements.items()},
            },
        )
        return proxied(Nginx, f"{text}\n{more}")

    return start


@pytest.fixture(scope="module")
def trusting(scratch: Path) -> Iterator[ConfiguredServer]:
    """A registry that believes 127.0.0.1, shared by the tests of this file."""
    folder = scratch / f"trusting-{secrets.token_hex(3)}"
    with ConfiguredServer(folder, TRUSTING) as running:
        yield running
        running.shut_down()
    shutil.rmtree(folder)


def lines(server: ConfiguredServer) -> list[dict[str, str]]:
    """The requests in the server's access log."""
    found = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [line for line in found if line.get("event") == "request"]


def logged(server: ConfiguredServer, user_agent: str) -> dict[str, str]:
    """The last request of a user agent, once it is in the log."""
    until(lambda: any(line["user_agent"] == user_agent for line in lines(server)), what="the request is logged")
    return [line for line in lines(server) if line["user_agent"] == user_agent][-1]


@pytest.mark.needs("docker", "podman", "skopeo", "crane")
def test_every_client_pushes_and_pulls_large_layers(
    trusting: ConfiguredServer,
    recommended: Callable[..., Proxy],
    certificate: Certificate,
    dockerd: DockerMachine,
    machine: Callable[[str], Machine],
    client: Callable[..., Machine],
    tmp_path: Path,
) -> None:
    proxy = recommended(trusting)
    name = f"{proxy.host}/app:docker"
    content = image([layer({"data": secrets.token_bytes(3_000_000)})])
    archive = write_docker_archive(tmp_path / "image.tar", name, content)

    dockerd.client("load", "--input", archive)
    dockerd.client("login", "-u", USER[0], "--password-stdin", proxy.host, stdin=PASSWORD)
    dockerd.client("push", name)
    dockerd.client("rmi", name)
    dockerd.client("pull", name)
    assert dockerd.inspect(name)["Id"] == content.image_id
    dockerd.client("logout", proxy.host)

    credentials = f"{USER[0]}:{PASSWORD}"
    podman = machine("podman")
    podman("pull", "--quiet", "--tls-verify=false", "--creds", credentials, name)
    podman("push", "--quiet", "--tls-verify=false", "--creds", credentials, name, f"docker://{proxy.host}/app:podman")

    skopeo = client("skopeo")
    source = ("--src-tls-verify=false", "--src-creds", credentials, f"docker://{proxy.host}/app:podman")
    target = ("--dest-tls-verify=false", "--dest-creds", credentials, f"docker://{proxy.host}/other:skopeo")
    skopeo("--insecure-policy", "copy", *source[:3], *target[:3], source[3], target[3])

    crane = client("crane", SSL_CERT_FILE=str(certificate.certificate))
    crane("auth", "login", proxy.host, "-u", USER[0], "-p", PASSWORD)
    assert crane("ls", f"{proxy.host}/app").text.split() == ["docker", "podman"]
    config = json.loads(crane("config", f"{proxy.host}/other:skopeo").text)
    assert config["rootfs"]["diff_ids"] == [each.diff_id for each in content.layers]


def test_the_client_s_own_address_is_seen_and_cannot_be_chosen(
    trusting: ConfiguredServer, recommended: Callable[..., Proxy], certificate: Certificate
) -> None:
    proxy = recommended(trusting)
    lies = {
        "X-Forwarded-For": "203.0.113.9",
        "Forwarded": "for=203.0.113.9;host=evil.example.com",
        "X-Forwarded-Host": "evil.example.com",
        "X-Forwarded-Prefix": "/evil",
    }
    with Remote(proxy.port, certificate) as remote:
        assert remote.get("/v2/", auth=USER, headers={"User-Agent": "honest"}).status_code == httpx.codes.OK
        remote.get("/v2/", auth=USER, headers={"User-Agent": "liar", **lies})
        begun = remote.post("/v2/app/blobs/uploads/", auth=USER, headers=lies)
    with httpx.Client(transport=httpx.HTTPTransport(local_address=CLIENT)) as neighbour:
        neighbour.get(f"{trusting.url}/v2/", headers={"User-Agent": "neighbour", **lies})

    assert begun.headers["location"].startswith("/v2/app/blobs/uploads/")
    assert logged(trusting, "honest")["client"] == CLIENT
    assert logged(trusting, "liar")["client"] == CLIENT
    assert logged(trusting, "neighbour")["client"] == CLIENT, "who is no proxy is not believed at all"


def test_without_trust_nginx_is_the_client(
    configured: Callable[..., ConfiguredServer], recommended: Callable[..., Proxy], certificate: Certificate
) -> None:
    server = configured("{}")
    with Remote(recommended(server).port, certificate) as remote:
        remote.get("/v2/", auth=USER, headers={"User-Agent": "honest"})
    assert logged(server, "honest")["client"] == "127.0.0.1"


@pytest.mark.parametrize(
    "settings",
    [
        "http: {}",
        "http: {relative_urls: false, trusted_proxies: [127.0.0.1]}",
        f"http: {{external_url: 'https://{NAME}:PORT'}}",
    ],
)
def test_a_chunked_upload_follows_its_locations_under_another_name_and_port(
    configured: Callable[..., ConfiguredServer], scratch: Path, certificate: Certificate, settings: str
) -> None:
    """`https://registry.example.com:PORT` in front of `http://127.0.0.1:ANOTHER`, with bodies held back or not."""
    port = free_port()
    server = configured(settings.replace("PORT", str(port)))
    for buffering in ("on", "off"):
        http = f"""server {{
            listen PORT ssl; ssl_certificate {certificate.certificate}; ssl_certificate_key {certificate.key};
            client_max_body_size 0; proxy_request_buffering {buffering}; proxy_http_version 1.1;
            location / {{ proxy_pass http://{server.host}; proxy_redirect off; proxy_set_header Host $http_host;
                          proxy_set_header X-Forwarded-Proto $scheme; }} }}"""
        content = secrets.token_bytes(2_500_000)
        folder = scratch / f"proxy-{secrets.token_hex(3)}"
        with Nginx(folder, http, port), Remote(port, certificate) as remote:
            digest = remote.push_blob("app", content, chunks=3)
            location = remote.post("/v2/app/blobs/uploads/").headers["location"]
            assert remote.pull_blob("app", digest).content == content
        shutil.rmtree(folder)
        is_whole = location.startswith(f"https://{NAME}:{port}/v2/")
        assert is_whole == (settings != "http: {}")


def test_a_prefix_kept_and_a_prefix_taken_away(
    configured: Callable[..., ConfiguredServer], proxied: Callable[..., Proxy]
) -> None:
    keeping = configured("http: {prefix: /hub/}")
    taking = configured("http: {trusted_proxies: [127.0.0.1]}")
    proxy = proxied(
        Nginx,
        f"""server {{ listen PORT; client_max_body_size 0;
            location /hub/    {{ proxy_pass http://{keeping.host}; }}
            location /taken/  {{ proxy_pass http://{taking.host}/; proxy_redirect off;
                                 proxy_set_header X-Forwarded-Prefix /taken; }} }}""",
    )
    content = secrets.token_bytes(100_000)
    for root in ("/hub", "/taken"):
        with Remote(proxy.port, root=root) as remote:
            digest = remote.push_blob("app", content, chunks=2)
            assert remote.pull_blob("app", digest).content == content
            assert remote.get("/v2/").status_code == httpx.codes.NOT_FOUND


def test_a_reload_under_load_loses_no_request(
    trusting: ConfiguredServer, recommended: Callable[..., Proxy], certificate: Certificate
) -> None:
    proxy = recommended(trusting)
    assert isinstance(proxy, Nginx)
    stopping = threading.Event()
    failures: list[str] = []
    done = [0, 0, 0]

    def load(number: int) -> None:
        with Remote(proxy.port, certificate, Connection="close") as remote:
            remote.auth = httpx.BasicAuth(*USER)
            while not stopping.is_set():
                content = secrets.token_bytes(200_000)
                try:
                    digest = remote.push_blob(f"load/{number}", content, chunks=2)
                    assert remote.pull_blob(f"load/{number}", digest).content == content
                except (httpx.HTTPError, AssertionError) as error:
                    failures.append(repr(error))
                    return
                done[number] += 1

    def goes_on(before: int) -> bool:
        return bool(failures) or sum(done) > before + 2

    threads = [threading.Thread(target=load, args=(number,)) for number in range(len(done))]
    for thread in threads:
        thread.start()
    for _ in range(3):
        before = sum(done)
        until(functools.partial(goes_on, before), what="the load goes on")
        proxy.reload()
    stopping.set()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.needs("curl")
def test_http_2_in_front(
    trusting: ConfiguredServer,
    recommended: Callable[..., Proxy],
    certificate: Certificate,
    tmp_path: Path,
) -> None:
    proxy = recommended(trusting, PORT_ssl="PORT ssl http2")
    content = secrets.token_bytes(3_000_000)
    (tmp_path / "blob").write_bytes(content)
    place = f"{NAME}:{proxy.port}"
    curl: list[str | Path] = [
        path_of("curl"),
        "-sS",
        "--http2",
        "--cacert",
        certificate.certificate,
        "-u",
        ":".join(USER),
    ]
    curl += ["--resolve", f"{place}:127.0.0.1", "--write-out", "%{http_version} %{http_code}"]
    digest = digest_of([content])

    upload: list[str | Path] = ["-X", "POST", "--data-binary", f"@{tmp_path}/blob", "-o", tmp_path / "answer"]
    pushed = run([*curl, *upload, f"https://{place}/v2/app/blobs/uploads/?digest={digest}"]).text
    pulled = run([*curl, "-o", tmp_path / "back", f"https://{place}/v2/app/blobs/{digest}"]).text

    assert (pushed, pulled) == ("2 201", "2 200")
    assert (tmp_path / "back").read_bytes() == content


def test_gzip_in_front_changes_no_content(trusting: ConfiguredServer, proxied: Callable[..., Proxy]) -> None:
    proxy = proxied(
        Nginx,
        f"server {{ listen PORT; gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1; gzip_http_version 1.0;"
        f" location / {{ proxy_pass http://{trusting.host}; }} }}",
    )
    content = gzip.compress(b"a layer " * 20_000)
    with Remote(proxy.port) as remote:
        digest = remote.push_blob("app", content)
        answer = remote.pull_blob("app", digest, **{"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip", "nginx did compress"
        assert answer.content == content
        assert remote.get("/v2/", headers={"Accept-Encoding": "gzip"}).json() == {}


def test_an_upload_that_its_client_gives_up_harms_nobody(
    trusting: ConfiguredServer, recommended: Callable[..., Proxy], certificate: Certificate
) -> None:
    proxy = recommended(trusting)
    first, second = secrets.token_bytes(200_000), secrets.token_bytes(100_000)

    def half() -> Iterator[bytes]:
        yield second[:50_000]
        raise ConnectionAbortedError

    with Remote(proxy.port, certificate) as remote:
        remote.auth = httpx.BasicAuth(*USER)
        begun = remote.post("/v2/app/blobs/uploads/")
        chunk = remote.patch(begun.headers["location"], content=first)
        with pytest.raises(ConnectionAbortedError):
            remote.patch(chunk.headers["location"], content=half(), headers={"Content-Length": "100000"})
        place = chunk.headers["location"]

        def is_free() -> bool:
            return remote.get(place).status_code == httpx.codes.NO_CONTENT

        until(is_free, what="the upload can be asked for")
        offset = int(remote.get(place).headers["range"].partition("-")[2]) + 1
        assert len(first) <= offset <= len(first) + 50_000
        rest = (first + second)[offset:]
        digest = digest_of([first, second])
        end = remote.put(place, params={"digest": digest}, content=rest)
        assert end.status_code == httpx.codes.CREATED, end.text
        assert remote.pull_blob("app", digest).content == first + second
    trusting.check()


def test_a_slow_upload_that_goes_on_is_not_given_up(
    configured: Callable[..., ConfiguredServer], recommended: Callable[..., Proxy], certificate: Certificate
) -> None:
    server = configured(f"{TRUSTING}\nlimits: {{body_idle_timeout_seconds: 1}}")
    proxy = recommended(server)
    pieces = [secrets.token_bytes(1000) for _ in range(8)]

    def trickle() -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            time.sleep(0.3)  # the slowness under test: twice the limit in all, a third of it at a time

    with Remote(proxy.port, certificate) as remote:
        remote.auth = httpx.BasicAuth(*USER)
        digest = digest_of(pieces)
        path = f"/v2/app/blobs/uploads/?digest={digest}"
        pushed = remote.post(path, content=trickle(), headers={"Content-Length": "8000"})
        assert pushed.status_code == httpx.codes.CREATED, pushed.text
        assert remote.pull_blob("app", digest).content == b"".join(pieces)


def test_connections_to_the_server_are_kept(
    configured: Callable[..., ConfiguredServer], recommended: Callable[..., Proxy], certificate: Certificate
) -> None:
    server = configured(TRUSTING)
    proxy = recommended(server)
    with Remote(proxy.port, certificate) as remote:
        remote.auth = httpx.BasicAuth(*USER)
        for _ in range(20):
            assert remote.get("/v2/").status_code == httpx.codes.OK
    metrics = httpx.get(f"http://127.0.0.1:{server.operations_port}/metrics", trust_env=False).text
    kept = next(line for line in metrics.splitlines() if line.startswith("roadstead_connections "))
    assert 1 <= float(kept.split()[1]) <= 2
