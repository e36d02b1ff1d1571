"""A registry that asks for passwords: ours, and Debian's over the same file of users."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

import httpx

from tests.system.faults.server import PROGRAM
from tests.system.process import Daemon, run
from tests.system.servers import RegistryServer, free_port
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PASSWORD: Final = "opén:sésame"
"""Every user's: not ASCII, and with a colon."""

REALM: Final = 'Registry "of" tests'

RULES: Final = """
access:
  rules:
    - {users: [admin], repositories: ["*"], actions: [pull, push, delete]}
    - {users: [developer], repositories: ["team/*"], actions: [pull, push]}
    - {users: [puller], repositories: ["team/*"], actions: [pull]}
    - {users: [pusher], repositories: ["team/*"], actions: [push]}
    - {users: [anonymous], repositories: ["public/*"], actions: [pull]}
"""
USERS: Final = ("admin", "developer", "puller", "pusher")


def authorization(user: str, password: str = PASSWORD) -> dict[str, str]:
    """The header of a user."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def write_users(path: Path, *users: str, cost: int = 4) -> Path:
    """A file with bcrypt, by our own command."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for user in users:
        command: list[str | Path] = [PROGRAM, "htpasswd", path, user, "--password-stdin", "--cost", str(cost)]
        run(command, stdin=PASSWORD)
    return path


class GuardedServer(RegistryServer):
    """`roadstead serve` over `folder/users`, which must be there; ready once `/v2/` asks for a password."""

    def __init__(self, folder: Path, *, settings: str = "", arguments: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.users = folder / "users"
        config = folder / "roadstead.yaml"
        realm = REALM.replace('"', '\\"')
        authentication = f'{{mode: htpasswd, htpasswd_file: {self.users}, realm: "{realm}"}}'
        config.write_text(f"authentication: {authentication}\n{settings}")
        super().__init__(folder, arguments=["--config", str(config), *arguments], peer="")

    def _answers(self) -> bool:
        return _asks(self.url)

    def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> httpx.Response:
        """An answer over a connection of its own; without the certificates that take longer to load than it does."""
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=20, trust_env=False, verify=False)


class GuardedPeer(Daemon):
    """Debian's `docker-registry` over a file of users, which must have bcrypt."""

    def __init__(self, folder: Path, users: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        config = folder / "config.yml"
        realm = REALM.replace("'", "''")
        config.write_text(
            "version: 0.1\n"
            f"storage: {{filesystem: {{rootdirectory: '{folder}/data'}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '{self.url.removeprefix('http://')}'}}\n"
            f"auth: {{htpasswd: {{realm: '{realm}', path: '{users}'}}}}\n"
        )
        command = [path_of("docker-registry"), "serve", str(config)]
        super().__init__(command, folder=folder, is_ready=lambda: _asks(self.url))


def _asks(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/", timeout=1, trust_env=False, verify=False).status_code == httpx.codes.UNAUTHORIZED
    except httpx.TransportError:
        return False
