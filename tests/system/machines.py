"""Machines with a client on them: each has its own home, configuration, storage and, where it needs one, daemon.

Two of a kind share nothing but the registry, so what the second has, the registry gave it. Nothing of the user's own
configuration, credentials or images is read or changed. (As root, podman, buildah and skopeo keep their memory of
which layers they met below `/var/lib/containers/cache`, whatever they are told.)
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.system.process import COMMAND_SECONDS, Answer, Daemon, run
from tests.system.tools import BIN, path_of, program_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.system.servers import RegistryServer

# Containers here get no network: what they show is that the image runs, and that needs no bridge, no packet filter
# and no change to the machine.
NO_NETWORK: Final = ("--network", "none")


@dataclass(frozen=True, slots=True)
class Machine:
    """A client with a home of its own; call it with the client's arguments."""

    program: str
    home: Path
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self,
        *arguments: str | Path,
        stdin: str | bytes = b"",
        exit_code: int | None = 0,
        timeout_seconds: float = COMMAND_SECONDS,
        cwd: Path | None = None,
    ) -> Answer:
        """Run the client; see `process.run`."""
        return run(
            [self.program, *self.options, *arguments],
            env=self.environment(),
            cwd=cwd or self.home,
            stdin=stdin,
            exit_code=exit_code,
            timeout_seconds=timeout_seconds,
        )

    def json(self, *arguments: str | Path) -> Any:
        """Run the client and read its output as JSON."""
        return json.loads(self(*arguments).stdout)

    def environment(self) -> dict[str, str]:
        """Only what the client needs: nothing of the user's settings reaches it."""
        path = os.pathsep.join([str(BIN), os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
        return {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": str(self.home), "TMPDIR": str(self.home)} | dict(
            self.variables
        )


def plain_machine(name: str, home: Path, *options: str, **variables: str) -> Machine:
    """A machine whose client needs a home and nothing else."""
    home.mkdir(parents=True, exist_ok=True)
    return Machine(path_of(name), home, options, variables)


def containers_machine(name: str, home: Path, server: RegistryServer) -> Machine:
    """A machine with podman, buildah or skopeo: storage and configuration of its own, plain HTTP to the server."""
    config = home / ".config" / "containers"
    config.mkdir(parents=True, exist_ok=True)
    run_root = home / "run"
    settings = {
        "storage.conf": f'[storage]\ndriver = "vfs"\nrunroot = "{run_root}"\ngraphroot = "{home}/storage"\n',
        "policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}',
        "registries.conf": "".join(
            f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in (server.host, server.localhost)
        ),
        "containers.conf": '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nlock_type = "file"\n'
        f'runtime = "runc"\ntmp_dir = "{run_root}/libpod"\n',
    }
    for name_of_file, text in settings.items():
        (config / name_of_file).write_text(text)
    variables = {
        "CONTAINERS_CONF": str(config / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(config / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(config / "registries.conf"),
        "REGISTRY_AUTH_FILE": str(home / "auth.json"),
        "XDG_RUNTIME_DIR": str(run_root),
        "BUILDAH_ISOLATION": "chroot",
    }
    (home / "auth.json").write_text("{}")
    return Machine(path_of(name), home, (), variables)


class DockerMachine(Daemon):
    """A dockerd with its own root, socket and no network of containers, and the client that talks to it."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "docker.sock"
        folder.mkdir(parents=True)
        (folder / "daemon.json").write_text("{}")
        command = [
            program_of("docker", "dockerd"),
            f"--config-file={folder}/daemon.json",
            f"--host=unix://{self._socket}",
            f"--data-root={folder}/data",
            f"--exec-root={folder}/exec",
            f"--pidfile={folder}/pid",
            "--storage-driver=vfs",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
        ]
        super().__init__(command, folder=folder, is_ready=lambda: _accepts(self._socket))
        host = {
            "DOCKER_HOST": f"unix://{self._socket}",
            "DOCKER_CONFIG": str(folder / "client"),
            "DOCKER_BUILDKIT": "0",  # the other builder is a plugin, which Debian does not package
        }
        self.client = Machine(path_of("docker"), folder, (), host)

    def inspect(self, reference: str) -> dict[str, Any]:
        """What the daemon knows of an image."""
        found = self.client.json("image", "inspect", reference)
        assert len(found) == 1
        return dict(found[0])

    def has(self, reference: str) -> bool:
        """Whether the daemon has the image."""
        return bool(self.client("image", "ls", "--quiet", reference).text)


class ContainerdMachine(Daemon):
    """A containerd with its own root, state and socket, and `ctr` for it."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "c.sock"
        folder.mkdir(parents=True)
        config = folder / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", '
            '"io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]\n'
            f'[grpc]\naddress = "{self.socket}"\n[debug]\nlevel = "warn"\n'
        )
        path = {**os.environ, "HOME": str(folder)}
        daemon = program_of("containerd", "containerd")
        super().__init__([daemon, "--config", config], folder=folder, is_ready=lambda: _accepts(self.socket), env=path)
        self.client = Machine(path_of("containerd"), folder, ("--address", str(self.socket), "--namespace", "tests"))

    def nerdctl(self) -> Machine:
        """The machine with `nerdctl` instead of `ctr`."""
        places = ("--data-root", f"{self.folder}/nerdctl", "--cni-netconfpath", f"{self.folder}/cni")
        options = ("--address", str(self.socket), "--namespace", "nerdctl", "--snapshotter", "native", *places)
        variables = {"DOCKER_CONFIG": str(self.folder / "client"), "NERDCTL_TOML": str(self.folder / "nerdctl.toml")}
        return Machine(path_of("nerdctl"), self.folder, options, variables)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
