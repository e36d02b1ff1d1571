"""The servers that are compared: how each is found, configured and started.

Every peer gets its usual production settings: docker-registry the configuration that Debian ships (in-memory blob
descriptors, health check of the storage, deletion on, access log and log level as they come), registry:3 the same,
nginx sendfile and its access log, roadstead its defaults. Users, TLS and a proxy are there in the rows that name them
(`benchmarks.setups`). All logs go to a file in the peer's own folder.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import ServerProcess, free_port
from benchmarks.setups import PLAIN, REALM, Setup
from benchmarks.wire import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TOOLS = Path(__file__).resolve().parent.parent / ".cache" / "tools" / "bin"

DISTRIBUTION_MODULE = "github.com/distribution/distribution/v3"
DISTRIBUTION_VERSION = "v3.1.2"
BUILD_SECONDS = 1200


class PeerAbsentError(RuntimeError):
    """A peer can't be had here; the message says why and what would bring it."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a peer: the command, what it needs in its environment."""

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    operations_port: int = 0
    """Where it gives its metrics, if it has such a port."""


@dataclass(slots=True)
class Server:
    """A started peer, with the nginx in front of it where the set-up has one."""

    peer: Peer
    folder: Path
    process: ServerProcess
    setup: Setup = PLAIN
    front: ServerProcess | None = None

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return (self.front or self.process).port

    @property
    def ports(self) -> Sequence[int]:
        """The ports that clients may connect to, each to one; several where the server is several replicas."""
        return [self.port]

    def connect(self) -> Connection:
        """Connect as a client that has what the set-up asks for."""
        return Connection(self.port, self.setup.headers, self.setup.client_context())

    def processes(self) -> list[ServerProcess]:
        """List what answers a request."""
        return [self.process, *([self.front] if self.front else [])]

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that all of it has used so far."""
        return sum(process.cpu_seconds() for process in self.processes())

    def database_cpu_seconds(self) -> float:
        """Return the CPU seconds of a database beside it, which are none of its own."""
        return 0.0

    def memory_mb(self) -> float:
        """Return the proportional set size of all of it in megabytes."""
        return sum(process.memory_mb() for process in self.processes())

    def stop(self) -> None:
        """End all of it."""
        for process in reversed(self.processes()):
            process.stop()


class Peer(ABC):
    """One kind of server."""

    key: str
    settings: str
    is_registry = True  # False for servers that keep no images: what they serve is put into `files`

    @abstractmethod
    def version(self) -> str:
        """Return name and version; raise PeerAbsentError when the peer can't be had."""

    @abstractmethod
    def launch(self, folder: Path, port: int, setup: Setup) -> Launch:
        """Write what the peer needs below `folder` and say how to start it."""

    def files(self, folder: Path) -> Path:
        """Return where a server that is no registry finds its files."""
        return folder / "files"

    def objects(self, folder: Path) -> Path:
        """Return the root below which a registry keeps its blobs."""
        return folder / "data"

    def environment(self) -> Mapping[str, str]:
        """Return what its commands need in their environment."""
        return {}

    def start(self, folder: Path, setup: Setup = PLAIN) -> Server:
        """Start the peer with its data below `folder`, and what is in front of it, and wait until the ports answer."""
        folder.mkdir(parents=True, exist_ok=True)
        server = Server(
            self, folder, run_process(lambda port: self.launch(folder, port, setup), folder / "server.log"), setup
        )
        try:
            if setup.has_proxy and self.is_registry:
                server.front = _start_front(server)
        except BaseException:
            server.stop()
            raise
        return server


def run_process(launch: Callable[[int], Launch], log: Path) -> ServerProcess:
    """Start a process on a free port and wait until it answers."""
    port = free_port()
    launched = launch(port)
    process = ServerProcess(launched.argv, port=port, log=log, environment=launched.environment)
    process.operations_port = launched.operations_port
    try:
        process.wait_for_port()
    except BaseException:
        process.stop()
        raise
    return process


def command_output(*argv: str) -> str:
    """Return what a command prints on either stream; raise PeerAbsentError when it is not there or fails."""
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise PeerAbsentError(f"{Path(argv[0]).name}: {error.__class__.__name__}") from error
    return done.stdout.strip()


def find_command(name: str, package: str) -> str:
    """Return the path of a command of a Debian package, or raise PeerAbsentError that names the package."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        raise PeerAbsentError(f"{name} is not installed: apt-get install {package}")
    return found


class Roadstead(Peer):
    """This project: one server process with its defaults."""

    key = "roadstead"
    settings = "one server process, defaults, access log to a file"

    def command(self) -> str:
        """Return the path of the command in the environment that runs this."""
        path = Path(sys.executable).parent / "roadstead"
        if not path.exists():
            raise PeerAbsentError("roadstead is not installed: make setup")
        return str(path)

    def version(self) -> str:
        """Return the version that the command prints."""
        version = command_output(self.command(), "--version").split()[-1]
        return f"roadstead {version} ({' '.join(ssl.OPENSSL_VERSION.split()[:2])})"

    def objects(self, folder: Path) -> Path:
        """Return the root below which blobs are."""
        return folder / "data" / "registry"

    def launch(self, folder: Path, port: int, setup: Setup) -> Launch:
        """Serve from `folder`/data."""
        operations_port = free_port()
        argv = [self.command(), "serve", "--listen", f"127.0.0.1:{port}"]
        argv += ["--ops-listen", f"127.0.0.1:{operations_port}"]
        argv += ["--data", str(folder / "data"), "--workers", str(setup.workers)]
        if setup.htpasswd:
            argv += ["--htpasswd", str(setup.htpasswd)]
        if setup.certificate:
            argv += ["--tls-cert", str(setup.certificate), "--tls-key", str(setup.key)]
        settings = setup.settings
        if setup.has_proxy:
            location = ACCEL_LOCATION if setup.is_accelerated else ""
            settings += f'http:\n  trusted_proxies: [loopback]\n  accel_location: "{location}"\n'
        if settings:
            configuration = folder / "settings.yaml"
            configuration.write_text(settings)
            argv += ["--config", str(configuration)]
        return Launch(argv, operations_port=operations_port)


DISTRIBUTION_CONFIGURATION = """\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: {folder}
  delete:
    enabled: true
http:
  addr: 127.0.0.1:{port}
  headers:
    X-Content-Type-Options: [nosniff]
{tls}{auth}health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""

DISTRIBUTION_TLS = """\
  tls:
    certificate: {certificate}
    key: {key}
"""
DISTRIBUTION_USERS = """\
auth:
  htpasswd:
    realm: {realm}
    path: {path}
"""


class DockerRegistry(Peer):
    """Debian's docker-registry, version 2.8.2 of distribution."""

    key = "docker-registry"
    settings = "the configuration that Debian ships, without its htpasswd; access log to a file"

    def command(self) -> str:
        """Return the path of the command."""
        return find_command("docker-registry", "docker-registry")

    def version(self) -> str:
        """Return the version that the command prints."""
        return "docker-registry " + command_output(self.command(), "--version").split()[-1]

    def launch(self, folder: Path, port: int, setup: Setup) -> Launch:
        """Serve from `folder`/data."""
        return Launch([self.command(), "serve", str(self.configure(folder, port, setup))], self.environment())

    def configure(self, folder: Path, port: int, setup: Setup = PLAIN) -> Path:
        """Write the configuration file and return it."""
        tls = DISTRIBUTION_TLS.format(certificate=setup.certificate, key=setup.key) if setup.certificate else ""
        auth = DISTRIBUTION_USERS.format(realm=REALM, path=setup.htpasswd) if setup.htpasswd else ""
        configuration = folder / "config.yml"
        configuration.write_text(
            DISTRIBUTION_CONFIGURATION.format(folder=folder / "data", port=port, tls=tls, auth=auth)
        )
        return configuration


class Distribution3(DockerRegistry):
    """registry:3, built from its module."""

    key = "registry:3"
    settings = "as docker-registry; tracing, which it has on by default, off"

    def command(self) -> str:
        """Return the path of the program, built on first use."""
        name = f"distribution-{DISTRIBUTION_VERSION}"
        return build_go(name, f"{DISTRIBUTION_MODULE}/cmd/registry@{DISTRIBUTION_VERSION}")

    def version(self) -> str:
        """Return the pinned version."""
        self.command()
        return f"registry:3 {DISTRIBUTION_VERSION.removeprefix('v')}"

    def environment(self) -> Mapping[str, str]:
        """Turn off traces that nothing here would receive."""
        return {"OTEL_TRACES_EXPORTER": "none"}


NGINX_CONFIGURATION = """\
{user}daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log {folder}/access.log;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
{server}}}
"""
NGINX_FILES = """\
  server {{
    listen 127.0.0.1:{port}{ssl};
{tls}    root {folder}/files;
  }}
"""
NGINX_TLS = """\
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
"""
ACCEL_LOCATION = "/blobs/"
NGINX_FRONT = """\
  upstream registry {{
    server 127.0.0.1:{upstream};
    keepalive 32;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    location /v2/ {{
      proxy_pass              http://registry;
      proxy_http_version      1.1;
      proxy_set_header        Connection "";
      proxy_set_header        Host $http_host;
      proxy_set_header        X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header        X-Forwarded-Proto $scheme;
      proxy_set_header        X-Request-Id $request_id;
      proxy_request_buffering off;
      proxy_buffering         off;
      proxy_buffer_size       256k;
      proxy_buffers           4 256k;
      proxy_busy_buffers_size 256k;
      proxy_read_timeout      900s;
      proxy_send_timeout      900s;
    }}
    location {accel} {{
      internal;
      alias             {objects}/;
      etag              off;
      if_modified_since off;
      add_header        ETag $upstream_http_etag;
      add_header        Docker-Content-Digest $upstream_http_docker_content_digest;
      add_header        Docker-Distribution-Api-Version registry/2.0;
    }}
  }}
"""
"""What docs/en/how-to/nginx.md recommends, the same in front of each registry."""


def _nginx_configuration(folder: Path, server: str) -> Path:
    # Started by root, the workers would become a user who may not enter the folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX_CONFIGURATION.format(folder=folder, server=server, user=user))
    return configuration


def _start_front(server: Server) -> ServerProcess:
    """Start the nginx in front of a registry."""
    folder = server.folder / "front"
    folder.mkdir()
    command = find_command("nginx", "nginx-light")
    objects = server.peer.objects(server.folder)

    def launch(port: int) -> Launch:
        front = NGINX_FRONT.format(port=port, upstream=server.process.port, accel=ACCEL_LOCATION, objects=objects)
        return Launch([command, "-c", str(_nginx_configuration(folder, front))])

    return run_process(launch, folder / "server.log")


class Nginx(Peer):
    """nginx giving the same bytes back as plain files: what is possible without a registry."""

    key = "nginx"
    settings = "static files, sendfile, a worker a core, access log to a file"
    is_registry = False

    def command(self) -> str:
        """Return the path of the command."""
        return find_command("nginx", "nginx-light")

    def version(self) -> str:
        """Return the version that the command prints."""
        said = command_output(self.command(), "-V")
        version = re.search(r"nginx/(\S+)", said)
        # The last that it names is the one that it runs with, where that differs from what it was built with.
        libraries = re.findall(r"OpenSSL \S+", said)
        return f"nginx {version[1] if version else '?'} ({libraries[-1] if libraries else 'without TLS'})"

    def launch(self, folder: Path, port: int, setup: Setup) -> Launch:
        """Serve the files below `folder`/files."""
        self.files(folder).mkdir(exist_ok=True)
        tls = NGINX_TLS.format(certificate=setup.certificate, key=setup.key) if setup.certificate else ""
        files = NGINX_FILES.format(folder=folder, port=port, ssl=" ssl" if tls else "", tls=tls)
        return Launch([self.command(), "-c", str(_nginx_configuration(folder, files))])


class Sink(Peer):
    """A server that throws bodies away unread: the ceiling of the load generator in pushes."""

    key = "sink"
    settings = "accepts any upload and throws it away inside the kernel: what the load generator can do"
    is_registry = False

    def version(self) -> str:
        """Return a description: it is part of this package."""
        return "sink (part of the load generator)"

    def launch(self, folder: Path, port: int, setup: Setup) -> Launch:  # noqa: ARG002 - it keeps nothing
        """Run the module of this package."""
        root = str(Path(__file__).resolve().parent.parent)
        return Launch([sys.executable, "-m", "benchmarks.sink", str(port)], {"PYTHONPATH": root})


def build_go(name: str, package: str) -> str:
    """Return a program built with `go install`, kept in .cache/tools/bin; raise PeerAbsentError when it can't be."""
    target = TOOLS / name
    if target.exists():
        return str(target)
    go = shutil.which("go")
    if go is None:
        raise PeerAbsentError("needs a Go toolchain: apt-get install golang-go")
    staging = TOOLS / f"{name}.building"
    staging.mkdir(parents=True, exist_ok=True)
    settings = {"GOBIN": str(staging), "CGO_ENABLED": "0", "PATH": str(Path(go).parent), "HOME": str(Path.home())}
    try:
        subprocess.run(
            [go, "install", package], env=settings, check=True, capture_output=True, text=True, timeout=BUILD_SECONDS
        )
        next(staging.iterdir()).rename(target)
    except subprocess.CalledProcessError as error:
        raise PeerAbsentError(
            f"{name.partition('-')[0]} could not be built with `go install`: {_reason(error.stderr)}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise PeerAbsentError(f"could not be built with Go within {BUILD_SECONDS} s") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return str(target)


def _reason(output: str) -> str:
    """Return the last clause of the last line, without the address that it may begin with."""
    line = (output.strip().splitlines() or ["?"])[-1].rpartition(": ")[2]
    return " ".join(word for word in line.split() if "://" not in word)
