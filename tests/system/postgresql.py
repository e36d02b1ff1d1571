"""PostgreSQL and PgBouncer as processes of a test run, each in a folder of its own, on a free port of 127.0.0.1.

Databases sort by the rules of American English, not by bytes, so that a statement that leans on the order of bytes
without saying so is noticed. The databases belong to an ordinary role, with a password, as in production. Neither
program runs as root, so under root both run as the user that their packages made. Both end with the test run, however
that ends, and their folders go with them unless the run was killed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from tests.system.process import STOP_SECONDS, Daemon, processes_below, run, until
from tests.system.servers import free_port
from tests.system.tools import path_of, program_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

SUPERUSER: Final = "admin"
SUPERUSER_PASSWORD: Final = "superuser-of-tests"
USER: Final = "roadstead"
"""The ordinary role, which owns the databases and may do no more."""
PASSWORD: Final = "owner-of-tests"

StopMode = Literal["fast", "immediate"]

_SIGNALS: Final[Mapping[StopMode, signal.Signals]] = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_USER_OF_THE_PACKAGES: Final = "postgres"

_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "max_wal_size": "256MB",
    "log_line_prefix": "%m [%p] %u@%d ",
}
_WITHOUT_FSYNC: Final[Mapping[str, str]] = {"fsync": "off", "full_page_writes": "off"}

_PGBOUNCER: Final = """
[databases]
* = host=127.0.0.1 port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 1000
server_login_retry = 1
"""


class _Unprivileged(Daemon):
    """A daemon that refuses to be root, in a folder directly below that of temporary files, where sockets fit."""

    def __init__(
        self, name: str, arguments: Sequence[str | Path], *, folder: Path, dies_of: signal.Signals = signal.SIGTERM
    ) -> None:
        self.port = free_port()
        command = [*_unprivileged(dies_of), path_of(name), *arguments]
        super().__init__(command, folder=folder, is_ready=self._answers)

    def __enter__(self) -> Self:
        """Start, and leave nothing when that fails."""
        try:
            return super().__enter__()
        except BaseException:
            self.remove()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and remove the folder."""
        super().__exit__(kind, error, trace)
        self.remove()

    def start(self) -> None:
        """Start, the first time in a new folder; returns once it answers."""
        if not self.folder.exists():
            self.folder.mkdir(mode=0o700)
            _give(self.folder)
            self._prepare()
        super().start()

    def remove(self) -> None:
        """Remove the folder of a server that is stopped."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _prepare(self) -> None:
        """Fill the new folder."""
        raise NotImplementedError

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class PostgresServer(_Unprivileged):
    """A PostgreSQL server; may be stopped, killed and started again, with its data and on its port.

    `fsync` is for tests of what survives a power cut; `settings` are lines of postgresql.conf.
    """

    def __init__(self, *, fsync: bool = False, settings: Mapping[str, str] | None = None) -> None:
        folder = _new_folder("pg")
        self.data = folder / "data"
        self._fsync = fsync
        self._settings = {**_SETTINGS, **({} if fsync else _WITHOUT_FSYNC), **(settings or {})}
        super().__init__("postgresql", ["-D", self.data], folder=folder, dies_of=_SIGNALS["immediate"])

    def stop(self, mode: StopMode = "fast") -> int | None:
        """End it, either well or, `immediate`, without writing what is in memory, so that its next start recovers."""
        if self._process is not None and self.exit_code is None:
            self._process.send_signal(_SIGNALS[mode])
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        return super().stop()

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """SIGKILL; returns once its other processes have noticed, for until then it could not be started again."""
        super().kill()
        until(lambda: not list(processes_below(self.folder)), what="the processes of PostgreSQL have ended")

    def url(self, database: str) -> str:
        """The address of a database, for its owner."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def superuser_url(self, database: str = "postgres") -> str:
        """The address of a database, for the superuser."""
        return f"postgresql://{SUPERUSER}:{SUPERUSER_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Create an empty database, which the ordinary role owns; its address."""
        self.execute(f'CREATE DATABASE "{name}" OWNER {USER}')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, and close the connections to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run one statement as the superuser; the rows that it returns, a line each, with `|` between values."""
        options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        psql = program_of("postgresql", "psql")
        return run([psql, *options, f"--command={statement}", self.superuser_url(database)]).text

    def _prepare(self) -> None:
        password = self.folder / "password"
        password.write_text(SUPERUSER_PASSWORD)
        _give(password)
        who = [f"--username={SUPERUSER}", f"--pwfile={password}", "--auth=scram-sha-256"]
        how = ["--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]
        fast = [] if self._fsync else ["--no-sync"]
        initdb = program_of("postgresql", "initdb")
        run([*_unprivileged(), initdb, *who, *how, *fast, self.data])
        # The name of the cluster is part of the name of each of its processes: by the folder in it they are found.
        places = {"port": self.port, "unix_socket_directories": self.folder, "cluster_name": f"{self.folder}/"}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in {**places, **self._settings}.items())
        alone: list[str | Path] = [path_of("postgresql"), "--single", "-D", self.data, "postgres"]
        run([*_unprivileged(), *alone], stdin=f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'\n")

    def _answers(self) -> bool:
        """Whether its file says so, if the file is of this process, not left by one that was killed."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(self.pid)] and lines[-1].strip() == "ready"


class PgBouncer(_Unprivileged):
    """PgBouncer in front of a server: a connection of its pool serves a client for one transaction at a time.

    `pool_size` is the number of connections to each database.
    """

    def __init__(self, server: PostgresServer, *, pool_size: int = 5) -> None:
        self._server = server
        self._pool_size = pool_size
        folder = _new_folder("pgb")
        super().__init__("pgbouncer", [folder / "pgbouncer.ini"], folder=folder)

    def url(self, database: str) -> str:
        """The address of a database of the server, for its owner, through the pool."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def _prepare(self) -> None:
        places = {"folder": self.folder, "port": self.port, "server_port": self._server.port}
        # The passwords themselves: with less it could not log in to the server for its clients.
        users = {USER: PASSWORD, SUPERUSER: SUPERUSER_PASSWORD}
        texts = {
            "pgbouncer.ini": _PGBOUNCER.format(pool_size=self._pool_size, **places),
            "users": "".join(f'"{user}" "{password}"\n' for user, password in users.items()),
        }
        for name, text in texts.items():
            (self.folder / name).write_text(text)
            _give(self.folder / name)


def _new_folder(kind: str) -> Path:
    """The path of a folder that is not there yet."""
    return Path(tempfile.gettempdir()) / f"roadstead-{kind}-{secrets.token_hex(4)}"


def _unprivileged(dies_of: signal.Signals = signal.SIGTERM) -> list[str]:
    """A prefix that gives up root, and leaves a folder that only root may enter.

    The kernel then forgets that the process dies with the run, so it is told again, with the signal given.
    """
    as_user = ["--reuid", _USER_OF_THE_PACKAGES, "--regid", _USER_OF_THE_PACKAGES, "--init-groups"]
    dies_with_us = ["--pdeathsig", dies_of.name.removeprefix("SIG")]
    return ["env", "--chdir=/", "setpriv", *(as_user if os.geteuid() == 0 else []), *dies_with_us]


def _give(path: Path) -> None:
    """Let the programs own a path that root has made."""
    if os.geteuid() == 0:
        shutil.chown(path, _USER_OF_THE_PACKAGES, _USER_OF_THE_PACKAGES)
