"""Other forms of roadstead beside the one with its defaults: on PostgreSQL, as replicas, of an earlier version.

PostgreSQL is Debian's with its own defaults, flushes to the disk among them. Replicas are held to a share of a core
each (`benchmarks.quota`); the load generator shares its connections among them by itself, so that no balancer is
measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.model import BEFORE, ON_POSTGRESQL, ONE_REPLICA, TWO_REPLICAS
from benchmarks.peers import Launch, PeerAbsentError, Roadstead, Server, command_output, run_process
from benchmarks.processes import ServerProcess, cpu_seconds_of
from benchmarks.quota import Quota, QuotaUnavailableError
from benchmarks.setups import PLAIN, Setup
from benchmarks.wire import Connection

if TYPE_CHECKING:
    from tests.system.postgresql import PostgresServer

ROOT: Final = Path(__file__).resolve().parent.parent
EARLIER: Final = ROOT / ".cache" / "earlier"

SHARE: Final = 0.3
"""Of a core, for each replica."""

DATABASE: Final = "bench"
LOAD: Final = "load.sql"
"""A file in a peer's folder with statements that fill its catalogue before the server starts."""

DEFAULTS: Final = {"shared_buffers": "128MB", "max_wal_size": "1GB"}
"""PostgreSQL's own, where the tests have others."""

_XID: Final = "SELECT pg_current_xact_id()"


@dataclass(slots=True)
class DatabaseServer(Server):
    """One or more replicas with their database."""

    database: PostgresServer | None = None
    replicas: list[ServerProcess] = field(default_factory=list[ServerProcess])
    """The ones after the first, which is `process`."""
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def ports(self) -> Sequence[int]:
        """Where clients may connect, each to one."""
        return [self.process.port, *(replica.port for replica in self.replicas)]

    def processes(self) -> list[ServerProcess]:
        """List what answers a request; the database is none of it."""
        return [self.process, *self.replicas]

    def database_cpu_seconds(self) -> float:
        """Return the CPU seconds that the database has used so far, those of ended connections too."""
        assert self.database is not None
        return cpu_seconds_of(self.database.pid)

    def execute(self, statement: str) -> str:
        """Run a statement in the catalogue; its rows, a line each."""
        assert self.database is not None
        return self.database.execute(statement, DATABASE)

    def written(self) -> int:
        """Return a number that grows by one with each transaction that writes or locks a row, kept or not."""
        return int(self.execute(_XID))

    def retries(self) -> int:
        """Return how many transactions have run again, of all replicas."""
        return sum(_retries(process) for process in self.processes())

    def stop(self) -> None:
        """End all of it: the replicas, then the database."""
        self.stack.close()


def _retries(process: ServerProcess) -> int:
    connection = Connection(process.operations_port)
    text = connection.request("GET", "/metrics").expect(200).body.decode()
    connection.close()
    lines = [line for line in text.splitlines() if line.startswith("roadstead_database_retries_total")]
    return round(sum(float(line.rpartition(" ")[2]) for line in lines))


class OnPostgresql(Roadstead):
    """roadstead on PostgreSQL: `replicas` servers, each held to `share` of a core if that is given."""

    def __init__(self, key: str, *, replicas: int = 1, share: float = 0.0) -> None:
        self.key = key
        self._replicas = replicas
        self._share = share
        held = f", each held to {share:.0%} of a core" if share else ""
        self.settings = f"catalogue on PostgreSQL with its defaults, {replicas} server process(es){held}"

    def version(self) -> str:
        """Return the versions of both."""
        postgres = _postgresql()
        return f"{super().version()} on {command_output(str(postgres), '--version').strip()}"

    def objects(self, folder: Path) -> Path:
        """Return the root below which blobs are."""
        return folder / "blobs"

    def start(self, folder: Path, setup: Setup = PLAIN) -> Server:
        """Start the database, make the catalogue and fill it with what is in LOAD, then start the replicas."""
        from tests.system.postgresql import PostgresServer  # noqa: PLC0415 - a run without PostgreSQL may lack it

        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            database = stack.enter_context(PostgresServer(fsync=True, settings=DEFAULTS))
            url = database.create_database(DATABASE)
            if (folder / LOAD).exists():
                _fill(database, url, (folder / LOAD).read_text().split(";\n"))
            processes = [self._start_replica(folder, url, number, setup, stack) for number in range(self._replicas)]
            return DatabaseServer(
                self, folder, processes[0], setup, database=database, replicas=processes[1:], stack=stack.pop_all()
            )

    def _start_replica(
        self, folder: Path, url: str, number: int, setup: Setup, stack: contextlib.ExitStack
    ) -> ServerProcess:
        storage = ["--storage", self.objects(folder).as_uri()]

        def launch(port: int) -> Launch:
            launched = self.launch(folder / f"replica-{number}", port, setup)
            return dataclasses.replace(launched, argv=[*launched.argv, "--database", url, *storage])

        (folder / f"replica-{number}").mkdir()
        quota = stack.enter_context(_quota(self._share)) if self._share else None
        process = run_process(launch, folder / f"server-{number}.log")
        stack.callback(process.stop)  # before its control group goes
        if quota:
            quota.add(process.pid)
        return process


def _quota(share: float) -> Quota:
    try:
        return Quota(share)
    except QuotaUnavailableError as error:
        raise PeerAbsentError(str(error)) from error


def _postgresql() -> Path:
    from tests.system.tools import find  # noqa: PLC0415 - as above

    found = find("postgresql")
    if found is None:
        raise PeerAbsentError("PostgreSQL is not installed: apt-get install postgresql")
    return Path(found)


@contextlib.contextmanager
def filled_database(statements: Sequence[str]) -> Iterator[str]:
    """A database of its own with a catalogue that `statements` have filled; its address."""
    from tests.system.postgresql import PostgresServer  # noqa: PLC0415 - as above

    with PostgresServer(fsync=True, settings=DEFAULTS) as database:
        url = database.create_database(DATABASE)
        _fill(database, url, statements)
        yield url


def _fill(database: PostgresServer, url: str, statements: Sequence[str]) -> None:
    from roadstead.database.migrate_server import migrate_server  # noqa: PLC0415 - as above

    migrate_server(url)
    for statement in statements:
        database.execute(statement, DATABASE)


class Before(Roadstead):
    """roadstead as it was at a commit, in a checkout of its own with the packages that were locked then."""

    key = BEFORE

    settings = "as roadstead, of an earlier version"

    def __init__(self, commit: str = "") -> None:
        self.commit = commit

    def command(self) -> str:
        """Return the path of the command, installed on first use."""
        if not self.commit:
            raise PeerAbsentError("no commit was named: --before COMMIT")
        folder = EARLIER / self._resolved()
        path = folder / ".venv" / "bin" / "roadstead"
        if not path.exists() or _python_of(folder / ".venv") != _python_of(Path(sys.prefix)):
            shutil.rmtree(folder, ignore_errors=True)
            _check_out(self.commit, folder)
        return str(path)

    def _resolved(self) -> str:
        return command_output("git", "-C", str(ROOT), "rev-parse", "--short=12", f"{self.commit}^{{commit}}").strip()

    def version(self) -> str:
        """Return the version and the commit."""
        return f"{super().version()} of {self._resolved()}"


def _python_of(venv: Path) -> str:
    """Return the Python that a virtual environment was made with."""
    lines = (venv / "pyvenv.cfg").read_text().splitlines()
    return next(value for name, _, value in (line.partition(" = ") for line in lines) if name == "executable")


def _check_out(commit: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True).stdout
        subprocess.run(["tar", "--extract", "--directory", str(folder)], input=archive, check=True)
        env = {**os.environ, "PYTHON": _python_of(Path(sys.prefix))}  # or two Pythons would be compared
        subprocess.run(["make", "-C", str(folder), "setup"], check=True, stdout=sys.stderr, env=env)
    except subprocess.CalledProcessError as error:
        raise PeerAbsentError(f"{commit} could not be installed: {error}") from error


VARIANT_SERVERS: Final = (
    OnPostgresql(ON_POSTGRESQL),
    OnPostgresql(ONE_REPLICA, share=SHARE),
    OnPostgresql(TWO_REPLICAS, replicas=2, share=SHARE),
    Before(),
)
