"""Installs an authority in the places where each client looks for the authorities it trusts.

Sources: docker's "Verify repository client with certificates", containers-certs.d(5) for podman, skopeo and buildah,
containerd's docs/hosts.md, update-ca-certificates(8), update-ca-trust(8).
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from roadstead.certificates.errors import CertificateError, TrustFolderError

ClientName = Literal["docker", "podman", "containerd", "system"]
CLIENTS: Final[tuple[ClientName, ...]] = ("docker", "podman", "containerd", "system")

REFRESH_SECONDS: Final = 120
"""Time limit of the system's own program; it takes a second or two."""


@dataclass(frozen=True, slots=True)
class SystemStore:
    """A distribution's folder of authorities, and the program that makes its bundle from it."""

    folder: str
    command: tuple[str, ...]


STORES: Final = (
    SystemStore("/usr/local/share/ca-certificates", ("update-ca-certificates",)),  # Debian, Ubuntu, Alpine
    SystemStore("/etc/pki/ca-trust/source/anchors", ("update-ca-trust", "extract")),  # Red Hat and its kin
    SystemStore("/etc/pki/trust/anchors", ("update-ca-certificates",)),  # SUSE
    SystemStore("/etc/ca-certificates/trust-source/anchors", ("trust", "extract-compat")),  # Arch
)


@dataclass(frozen=True, slots=True)
class TrustFile:
    """A file that makes a client trust an authority, below the machine's root ``/``."""

    client: ClientName
    path: PurePosixPath
    content: bytes
    note: str = ""
    """A sentence about anything else that has to be done; empty if nothing."""
    command: tuple[str, ...] = ()
    """The command that makes the client read the file; empty if none is needed."""
    is_shared: bool = False
    """True if others write into the file too, so that one with other content is left alone."""

    def below(self, root: Path) -> Path:
        """Returns the file's path on the machine whose root is mounted at ``root``."""
        return root / self.path.relative_to("/")


def trust_files(client: ClientName, host: str, authority_pem: bytes, root: Path) -> list[TrustFile]:
    """Returns the files for ``client``; ``host`` is ``HOST`` or ``HOST:PORT``, as in front of an image's name.

    Raises:
        CertificateError: this machine has no system store that is known.
    """
    return _FILES[client](host, authority_pem, root)


def detect_clients(root: Path) -> tuple[ClientName, ...]:
    """Returns which of docker, podman and containerd are on the machine, judged by their folders and programs."""
    signs: dict[ClientName, tuple[str, ...]] = {
        "docker": ("etc/docker", "usr/bin/dockerd", "usr/local/bin/dockerd"),
        "podman": ("etc/containers", "usr/bin/podman", "usr/bin/skopeo", "usr/bin/buildah"),
        "containerd": ("etc/containerd",),
    }
    return tuple(client for client, paths in signs.items() if any((root / path).exists() for path in paths))


def write_trust(file: TrustFile, root: Path) -> Literal["written", "unchanged", "left alone"]:
    """Writes a file that makes a client trust an authority, unless it is there.

    Raises:
        TrustFolderError: it cannot be written.
    """
    path = file.below(root)
    try:
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == file.content:
                return "unchanged"
            if file.is_shared:
                return "left alone"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(file.content)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise TrustFolderError(path, os.strerror(error.errno or 0)) from error
    return "written"


def refresh(command: Sequence[str]) -> None:
    """Runs the program that rebuilds the system's bundle of authorities.

    Raises:
        CertificateError: the program is not there, or fails.
    """
    program = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/sbin")
    if program is None:
        raise CertificateError(f"there is no {command[0]}: install the package ca-certificates, then run it")
    done = subprocess.run(  # noqa: S603 - one of the fixed commands above
        [program, *command[1:]], capture_output=True, text=True, timeout=REFRESH_SECONDS, check=False
    )
    if done.returncode:
        raise CertificateError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-300:]}")


def _docker(host: str, pem: bytes, _root: Path) -> list[TrustFile]:
    return [TrustFile("docker", PurePosixPath("/etc/docker/certs.d") / host / "ca.crt", pem)]


def _podman(host: str, pem: bytes, _root: Path) -> list[TrustFile]:
    return [TrustFile("podman", PurePosixPath("/etc/containers/certs.d") / host / "ca.crt", pem)]


def _containerd(host: str, pem: bytes, root: Path) -> list[TrustFile]:
    folder = PurePosixPath("/etc/containerd/certs.d") / host
    hosts = (
        f'server = "https://{host}"\n\n'
        f'[host."https://{host}"]\n'
        '  capabilities = ["pull", "resolve", "push"]\n'
        '  ca = "ca.crt"\n'
    )
    note = "" if _has_config_path(root) else _CONFIG_PATH_NOTE
    return [
        TrustFile("containerd", folder / "ca.crt", pem),
        TrustFile("containerd", folder / "hosts.toml", hosts.encode(), note=note, is_shared=True),
    ]


_CONFIG_PATH_NOTE: Final = (
    'containerd\'s /etc/containerd/config.toml must say config_path = "/etc/containerd/certs.d" in the section of'
    ' the registry (version 2: [plugins."io.containerd.grpc.v1.cri".registry]; version 3:'
    " [plugins.'io.containerd.cri.v1.images'.registry]); add it and restart containerd"
)


def _has_config_path(root: Path) -> bool:
    with contextlib.suppress(OSError):
        lines = (root / "etc/containerd/config.toml").read_text(encoding="utf-8", errors="replace").splitlines()
        return any(
            line.split("#")[0].replace(" ", "").startswith("config_path=") and "certs.d" in line for line in lines
        )
    return False


def _system(host: str, pem: bytes, root: Path) -> list[TrustFile]:
    store = next((store for store in STORES if (root / store.folder[1:]).is_dir()), None)
    if store is None:
        raise CertificateError("this machine has no store of authorities that is known: install ca-certificates first")
    name = f"roadstead-{''.join(letter if letter.isalnum() or letter in '.-' else '_' for letter in host)}.crt"
    note = "docker, containerd and other programs that run read it when they start: restart them"
    return [TrustFile("system", PurePosixPath(store.folder) / name, pem, note=note, command=store.command)]


_FILES: Final[dict[ClientName, Callable[[str, bytes, Path], list[TrustFile]]]] = {
    "docker": _docker,
    "podman": _podman,
    "containerd": _containerd,
    "system": _system,
}


def how_to_trust(authority: Path, host: str) -> Iterator[tuple[str, str]]:
    """Yields for each client what to do by hand, with ``authority`` copied there as ``ca.crt``."""
    name = f"{authority.stem}-{host.rpartition(':')[0] or host}.crt"
    yield "docker", f"/etc/docker/certs.d/{host}/ca.crt"
    yield "podman, skopeo, buildah", f"/etc/containers/certs.d/{host}/ca.crt"
    yield "containerd", f"/etc/containerd/certs.d/{host}/ca.crt, named in hosts.toml beside it"
    yield "Debian, Ubuntu", f"/usr/local/share/ca-certificates/{name}; then update-ca-certificates"
    yield "Red Hat, Fedora", f"/etc/pki/ca-trust/source/anchors/{name}; then update-ca-trust"
    yield "Kubernetes", "as containerd, on every node"
