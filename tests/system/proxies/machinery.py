"""Real proxies in front of the server: each a process of its own in a folder of its own, on a free port.

The files that they run are those of the documentation or of the article, with ports, paths and names replaced, so that
what people copy is what is tested.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from tests.architecture.pages import DOCS, Page
from tests.system.process import Daemon, run, until
from tests.system.servers import RegistryServer, free_port
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAME: Final = "registry.example.com"
CLIENT: Final = "127.0.0.9"
"""A client that is not the proxy: on Linux all of 127.0.0.0/8 is this machine, and only 127.0.0.1 is trusted here."""

TRAEFIK_ROUTES: Final = "\n# its routes\n"
"""Between the two files of Traefik."""

_NGINX: Final = """
daemon off;
user {user};
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
"""


def documented(page: str, language: str, number: int = 0) -> str:
    """A block of the documentation."""
    return [block.text for block in Page.read(DOCS / "en" / page).blocks() if block.language == language][number]


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """The text with every pattern replaced; each must be there."""
    for pattern, replacement in replacements.items():
        text, count = re.subn(pattern, replacement, text)
        assert count, f"{pattern!r} is not in:\n{text}"
    return text


class Certificate:
    """A certificate for this machine and the documentation's host, signed by itself."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.certificate = folder / "domain.crt"
        self.key = folder / "domain.key"
        self.both = folder / "domain.pem"
        names = f"subjectAltName=DNS:{NAME},DNS:localhost,IP:127.0.0.1"
        command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256 -days 2"
        files: list[str | Path] = ["-keyout", self.key, "-out", self.certificate]
        run([path_of("openssl"), *command.split(), *files, "-subj", f"/CN={NAME}", "-addext", names])
        self.both.write_bytes(self.certificate.read_bytes() + self.key.read_bytes())


class ConfiguredServer(RegistryServer):
    """A registry with a settings file; ready once it is healthy, wherever ``/v2/`` is and whoever may ask."""

    def __init__(self, folder: Path, settings: str, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "roadstead.yaml"
        file.write_text(settings)
        super().__init__(folder, arguments=("--config", str(file), *arguments), peer="")

    def _answers(self) -> bool:
        return _listens(self.port)


class Proxy(Daemon):
    """A proxy on a free port."""

    port: int

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"127.0.0.1:{self.port}"


class Nginx(Proxy):
    """nginx with `http` in its context of that name; `PORT` in it becomes its port."""

    def __init__(self, folder: Path, http: str, port: int = 0, user: str = "root") -> None:
        self.port = port or free_port()
        folder.mkdir(parents=True)
        self.file = folder / "nginx.conf"
        text = _NGINX.format(user=user, folder=folder, http=http.replace("PORT", str(self.port)))
        self.file.write_text(text)
        command: list[str | Path] = [path_of("nginx"), "-c", self.file, "-p", folder, "-e", "stderr"]
        super().__init__(command, folder=folder, is_ready=lambda: _listens(self.port))

    def reload(self) -> None:
        """Replaces its worker processes as `nginx -s reload` does, and waits until new ones are there."""
        before = self._workers()
        os.kill(self.nginx_pid, signal.SIGHUP)
        until(lambda: bool(self._workers() - before), what="nginx has new workers")

    @property
    def nginx_pid(self) -> int:
        """The process id of its master."""
        return int((self.folder / "nginx.pid").read_text())

    def _workers(self) -> set[str]:
        pid = self.nginx_pid
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


class Haproxy(Proxy):
    """HAProxy with the file given; `PORT` in it becomes its port."""

    def __init__(self, folder: Path, text: str) -> None:
        self.port = free_port()
        folder.mkdir(parents=True)
        file = folder / "haproxy.cfg"
        file.write_text(text.replace("PORT", str(self.port)) + "\n")
        super().__init__([path_of("haproxy"), "-f", file, "-db"], folder=folder, is_ready=lambda: _listens(self.port))


class Caddy(Proxy):
    """Caddy with the file given; `PORT` in it becomes its port."""

    def __init__(self, folder: Path, text: str) -> None:
        self.port = free_port()
        folder.mkdir(parents=True)
        file = folder / "Caddyfile"
        options = "{\n    admin off\n    auto_https disable_redirects\n    skip_install_trust\n}\n"
        file.write_text(options + text.replace("PORT", str(self.port)) + "\n")
        home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "share"), "XDG_CONFIG_HOME": str(folder / "config")}
        command: list[str | Path] = [path_of("caddy"), "run", "--config", file, "--adapter", "caddyfile"]
        super().__init__(command, folder=folder, is_ready=lambda: _listens(self.port), env=home)


class Traefik(Proxy):
    """Traefik with the text of its two files, the one about itself first; `PORT` in them becomes its port."""

    def __init__(self, folder: Path, text: str) -> None:
        self.port = free_port()
        about_itself, _, routes = text.replace("PORT", str(self.port)).partition(TRAEFIK_ROUTES)
        (folder / "dynamic").mkdir(parents=True)
        (folder / "dynamic" / "registry.toml").write_text(routes)
        file = folder / "traefik.toml"
        file.write_text(replaced(about_itself, {r"/etc/traefik/dynamic": f"{folder}/dynamic"}))
        super().__init__([path_of("traefik"), f"--configfile={file}"], folder=folder, is_ready=self._knows_its_routes)

    def _knows_its_routes(self) -> bool:
        """It listens before it has read them, and refuses everybody until then."""
        try:
            return httpx.get(f"https://{self.host}/v2/", verify=False, trust_env=False).is_success
        except httpx.TransportError:
            return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class _Mapped(httpx.BaseTransport):
    """Finds the documentation's host on this machine, and comes from an address of its own."""

    def __init__(self, certificate: Certificate | None) -> None:
        verify = ssl.create_default_context(cafile=str(certificate.certificate)) if certificate else False
        self._inner = httpx.HTTPTransport(verify=verify, local_address=CLIENT)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Asks this machine for what was asked of the host."""
        assert request.url.host == NAME, f"sent elsewhere: {request.url}"
        request.extensions = {**request.extensions, "sni_hostname": NAME}
        request.url = request.url.copy_with(host="127.0.0.1")
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


class Remote(httpx.Client):
    """A client of `https://registry.example.com:PORT` on another address than the proxy's; follows locations."""

    def __init__(self, port: int, certificate: Certificate | None = None, *, root: str = "", **headers: str) -> None:
        scheme = "https" if certificate else "http"
        self.origin = f"{scheme}://{NAME}:{port}"
        self.root = root
        headers = {"Accept-Encoding": "identity", **headers}
        super().__init__(base_url=self.origin, transport=_Mapped(certificate), headers=headers, timeout=30)

    def push_blob(self, repository: str, content: bytes, chunks: int = 1) -> str:
        """Pushes a blob in chunks, each to where the answer before sent the client; returns its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        answer = self.post(f"{self.root}/v2/{repository}/blobs/uploads/")
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        size = -(-len(content) // chunks)
        for begin in range(0, len(content), size):
            piece = content[begin : begin + size]
            span = {"Content-Range": f"{begin}-{begin + len(piece) - 1}", "Content-Type": "application/octet-stream"}
            answer = self.patch(_location(answer), content=piece, headers=span)
            assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        answer = self.put(_location(answer), params={"digest": digest})
        assert answer.status_code == httpx.codes.CREATED, answer.text
        assert self.head(_location(answer)).headers["content-length"] == str(len(content))
        return digest

    def pull_blob(self, repository: str, digest: str, **headers: str) -> httpx.Response:
        """Asks for a blob."""
        return self.get(f"{self.root}/v2/{repository}/blobs/{digest}", headers=headers)


def _location(answer: httpx.Response) -> httpx.URL:
    return answer.url.copy_with(host=NAME).join(answer.headers["location"])


def digest_of(pieces: Iterable[bytes]) -> str:
    """The digest of a content."""
    return f"sha256:{hashlib.sha256(b''.join(pieces)).hexdigest()}"
