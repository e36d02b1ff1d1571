"""The servers that are compared: how each is found, configured and started.

Every peer gets its usual production settings without authentication: docker-registry the configuration that Debian
ships (in-memory blob descriptors, health check of the storage, deletion on, access log and log level as they come),
registry:3 the same, nginx sendfile and its access log, roadstead its defaults. All logs go to a file in the peer's
own folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TOOLS = Path(__file__).resolve().parent.parent / ".cache" / "tools" / "bin"

DISTRIBUTION_MODULE = "github.com/distribution/distribution/v3"
DISTRIBUTION_VERSION = "v3.1.2"
ZOT_MODULE = "zotregistry.dev/zot/v2"
ZOT_VERSION = "v2.1.8"
BUILD_SECONDS = 1200


class PeerAbsentError(RuntimeError):
    """A peer can't be had here; the message says why and what would bring it."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a peer: the command, what it needs in its environment."""

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Server:
    """A started peer."""

    peer: Peer
    folder: Path
    process: ServerProcess

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.process.port


class Peer(ABC):
    """One kind of server."""

    key: str
    settings: str
    is_registry = True  # False for servers that keep no images: what they serve is put into `files`

    @abstractmethod
    def version(self) -> str:
        """Return name and version; raise PeerAbsentError when the peer can't be had."""

    @abstractmethod
    def launch(self, folder: Path, port: int) -> Launch:
        """Write what the peer needs below `folder` and say how to start it."""

    def files(self, folder: Path) -> Path:
        """Return where a server that is no registry finds its files."""
        return folder / "files"

    def start(self, folder: Path) -> Server:
        """Start the peer with its data below `folder` and wait until its port answers."""
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        launch = self.launch(folder, port)
        process = ServerProcess(launch.argv, port=port, log=folder / "server.log", environment=launch.environment)
        try:
            process.wait_for_port()
        except BaseException:
            process.stop()
            raise
        return Server(self, folder, process)


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
        return "roadstead " + command_output(self.command(), "--version").split()[-1]

    def launch(self, folder: Path, port: int) -> Launch:
        """Serve from `folder`/data."""
        operations = f"127.0.0.1:{free_port()}"
        argv = [self.command(), "serve", "--listen", f"127.0.0.1:{port}", "--ops-listen", operations]
        return Launch([*argv, "--data", str(folder / "data")])


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
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""


class DockerRegistry(Peer):
    """Debian's docker-registry: the reference."""

    key = "docker-registry"
    settings = "the configuration that Debian ships, without its htpasswd; access log to a file"

    def command(self) -> str:
        """Return the path of the command."""
        return find_command("docker-registry", "docker-registry")

    def version(self) -> str:
        """Return the version that the command prints."""
        return "docker-registry " + command_output(self.command(), "--version").split()[-1]

    def environment(self) -> Mapping[str, str]:
        """Return what is set beside the configuration file."""
        return {}

    def launch(self, folder: Path, port: int) -> Launch:
        """Serve from `folder`/data."""
        configuration = folder / "config.yml"
        configuration.write_text(DISTRIBUTION_CONFIGURATION.format(folder=folder / "data", port=port))
        return Launch([self.command(), "serve", str(configuration)], self.environment())


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


class Zot(Peer):
    """zot without extensions, built from its module."""

    key = "zot"
    settings = "minimal build, deduplication and scrubbing off, access log to a file"

    def command(self) -> str:
        """Return the path of the program, built on first use."""
        return build_go(f"zot-{ZOT_VERSION}", f"{ZOT_MODULE}/cmd/zot@{ZOT_VERSION}")

    def version(self) -> str:
        """Return the pinned version."""
        self.command()
        return f"zot {ZOT_VERSION.removeprefix('v')}"

    def launch(self, folder: Path, port: int) -> Launch:
        """Serve from `folder`/data."""
        configuration = folder / "config.json"
        configuration.write_text(
            f'{{"storage": {{"rootDirectory": "{folder}/data", "dedupe": false, "gc": false}},'
            f' "http": {{"address": "127.0.0.1", "port": "{port}", "compat": ["docker2s2"]}},'
            ' "log": {"level": "info"}}'
        )
        return Launch([self.command(), "serve", str(configuration)])


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
  server {{
    listen 127.0.0.1:{port};
    root {folder}/files;
  }}
}}
"""


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
        return "nginx " + command_output(self.command(), "-v").rpartition("/")[2].split()[0]

    def launch(self, folder: Path, port: int) -> Launch:
        """Serve the files below `folder`/files."""
        self.files(folder).mkdir(exist_ok=True)
        # Started by root, the workers would become a user who may not enter the folder.
        user = "user root;\n" if os.geteuid() == 0 else ""
        configuration = folder / "nginx.conf"
        configuration.write_text(NGINX_CONFIGURATION.format(folder=folder, port=port, user=user))
        return Launch([self.command(), "-c", str(configuration)])


class Sink(Peer):
    """A server that throws bodies away unread: the ceiling of the load generator in pushes."""

    key = "sink"
    settings = "accepts any upload and throws it away inside the kernel: what the load generator can do"
    is_registry = False

    def version(self) -> str:
        """Return a description: it is part of this package."""
        return "sink (part of the load generator)"

    def launch(self, folder: Path, port: int) -> Launch:  # noqa: ARG002 - it keeps nothing
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


PEERS: Mapping[str, Peer] = {
    peer.key: peer for peer in (Roadstead(), DockerRegistry(), Distribution3(), Zot(), Nginx(), Sink())
}
"""All peers, in the order in which they are measured and printed."""
