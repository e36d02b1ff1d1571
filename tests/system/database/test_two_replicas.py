"""Two servers with one catalogue on PostgreSQL and one folder of blobs are one registry, and none destroys anything.

Each test has real processes: PostgreSQL, `roadstead serve`, and the installed command. What was acknowledged by
whichever of them must be there afterwards, byte for byte, whatever happened to the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.system.database.replicas import ROADSTEAD, Installation
from tests.system.faults.client import NETWORK_ERRORS, Client, RefusedError, digest_of
from tests.system.oracle import Witness
from tests.system.servers import RegistryServer, free_port

if TYPE_CHECKING:
    from tests.system.postgresql import PostgresServer

pytestmark = [pytest.mark.needs("postgresql"), pytest.mark.timeout(300)]

ROUNDS: Final = 10
"""Of a second replica that starts and is killed."""


def everything(server: RegistryServer, repository: str, reference: str) -> None:
    """A manifest and all that it names are there, of the digests that they have."""
    with contextlib.closing(Witness(server.url)) as witness:
        witness.everything(repository, reference)


def test_what_one_replica_is_told_the_other_knows(installation: Installation) -> None:
    one, other = installation.started("one"), installation.started("other")
    with Client(one.port) as left, Client(other.port) as right:
        first = left.push_image("team/app", "latest", [os.urandom(10_000)])
        assert right.manifest("team/app", "latest") == first
        second = right.push_image("team/app", "latest", [os.urandom(10_000)])
        assert left.manifest("team/app", "latest") == second
        assert left.tags("team/app") == right.tags("team/app") == ["latest"]

        right.expect(202, "DELETE", f"/v2/team/app/manifests/{digest_of(second)}")
        assert left.ask("GET", "/v2/team/app/manifests/latest").status == 404
        installation.command("restore", "team/app:latest")
        assert right.manifest("team/app", "latest") == left.manifest("team/app", "latest") == second
    for server in (one, other):
        everything(server, "team/app", "latest")
        server.check()


def test_an_upload_goes_on_at_another_replica(installation: Installation) -> None:
    one, other = installation.started("one"), installation.started("other")
    pieces = [os.urandom(100_000) for _ in range(4)]
    with Client(one.port) as left, Client(other.port) as right:
        location, offset = left.begin("moving"), 0
        for piece, client in zip(pieces, [right, left, right, right], strict=True):
            offset = client.patch(location, piece, offset)
        digest = digest_of(b"".join(pieces))
        left.finish(location, digest)
        assert right.blob("moving", digest) == b"".join(pieces)


def test_the_same_blobs_pushed_through_both_at_once(installation: Installation) -> None:
    servers = [installation.started("one"), installation.started("other")]
    rounds = [[os.urandom(2_000 + 1_000 * number) for number in range(3)] for _ in range(8)]
    barrier = threading.Barrier(4)

    def push(number: int) -> None:
        with Client(servers[number % 2].port) as client:
            for index, layers in enumerate(rounds):
                barrier.wait(60)
                client.push_image(f"same/app{number // 2}", f"v{index}", layers)

    with ThreadPoolExecutor(4) as pool:
        for pushing in [pool.submit(push, number) for number in range(4)]:
            pushing.result()
    for server in servers:
        for repository in ("same/app0", "same/app1"):
            for index in range(len(rounds)):
                everything(server, repository, f"v{index}")
        server.check()
    assert "\tdamage" not in installation.command("check", "--deep")


class Pusher(threading.Thread):
    """Pushes image after image through one server and keeps what was acknowledged."""

    def __init__(self, port: int, repository: str, *, may_fail: bool = False) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._may_fail = may_fail
        self._stopping = threading.Event()
        self.repository = repository
        self.tags: dict[str, str] = {}
        self.blobs: list[str] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Push until told to stop; a server that may be killed may also not answer."""
        number = 0
        while not self._stopping.is_set():
            number += 1
            try:
                with Client(self._port, timeout_seconds=10) as client:
                    self._push(client, f"v{number}")
            except (*NETWORK_ERRORS, RefusedError) as error:
                if not self._may_fail:
                    self.failure = error
                    return
                time.sleep(0.05)

    def _push(self, client: Client, tag: str) -> None:
        """An image of one layer in chunks, which takes a while, and one whole."""
        self.blobs.append(client.push_chunks(self.repository, [os.urandom(3_000) for _ in range(5)]))
        manifest = client.push_image(self.repository, tag, [os.urandom(5_000)])
        self.tags[tag] = digest_of(manifest)

    def end(self) -> None:
        """Stop after the push in hand."""
        self._stopping.set()
        self.join(30)
        assert self.failure is None, self.failure


def start_and_kill(replica: RegistryServer, seconds: float) -> None:
    """A start of a replica that is killed, with its workers, after a while."""
    replica.folder.mkdir(parents=True, exist_ok=True)
    with replica.log_path.open("ab") as log:
        process = subprocess.Popen(replica.command, stdout=log, stderr=log, start_new_session=True)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait(30)


def test_a_replica_that_starts_and_dies_takes_nothing_with_it(installation: Installation) -> None:
    one = installation.started("one")
    other = installation.replica("other")
    location, offset = "", 0
    with Client(one.port) as client:
        location = client.begin("slow/upload")
        offset = client.patch(location, b"first half, ", offset)
    pushers = [Pusher(one.port, "steady/app"), Pusher(other.port, "unsteady/app", may_fail=True)]
    for pusher in pushers:
        pusher.start()
    chance = random.Random(20)
    for number in range(ROUNDS):
        start_and_kill(other, chance.uniform(0.3, 2.0) if number % 2 else chance.uniform(2.0, 4.0))
    for pusher in pushers:
        pusher.end()
    one.check()
    with Client(one.port) as client:
        client.patch(location, b"second half", offset)
        client.finish(location, digest_of(b"first half, second half"))
    assert pushers[0].tags, "the first went on"
    last = installation.started("last")
    for server in (one, last):
        with contextlib.closing(Witness(server.url)) as witness:
            for pusher in pushers:
                for tag, digest in pusher.tags.items():
                    assert witness.everything(pusher.repository, tag).digest == digest
                for digest in pusher.blobs:
                    witness.blob(pusher.repository, digest)
    assert "\tdamage" not in installation.command("check", "--deep")


def test_replicas_that_start_together_agree(installation: Installation) -> None:
    replicas = [installation.replica(name) for name in ("a", "b", "c")]
    with ThreadPoolExecutor(3) as pool, contextlib.ExitStack() as stack:
        for starting in [pool.submit(stack.enter_context, replica) for replica in replicas]:
            starting.result()
        with Client(replicas[0].port) as client:
            manifest = client.push_image("app", "v1", [b"layer"])
        for replica in replicas[1:]:
            with Client(replica.port) as client:
                assert client.manifest("app", "v1") == manifest
        for replica in replicas:
            replica.shut_down()


def refusal(arguments: list[str], data: Path) -> str:
    """What a server says that does not start."""
    listen = ["--listen", f"127.0.0.1:{free_port()}", "--ops-listen", f"127.0.0.1:{free_port()}"]
    command = [str(ROADSTEAD), "serve", *listen, "--data", str(data), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode in {1, 2, 3}, ended
    return ended.stderr


def test_another_catalogue_is_kept_from_the_blobs(installation: Installation, postgres_server: PostgresServer) -> None:
    one = installation.started("one")
    with Client(one.port) as client:
        manifest = client.push_image("app", "v1", [b"layer"])
    storage = ["--storage", installation.blobs.as_uri()]
    name = f"another-{os.urandom(4).hex()}"
    url = postgres_server.create_database(name)
    try:
        said = refusal(["--database", url, *storage], installation.folder / "foreign")
        assert f"{installation.blobs} belong to the catalogue that is in postgresql://roadstead@127.0.0.1" in said
        assert "name it with --database, or give this one blobs of its own" in said
        assert "owner-of-tests" not in said
        said = refusal(["--database", url, *storage, "--claim-storage"], installation.folder / "foreign")
        assert "is working on the blobs" in said
    finally:
        postgres_server.drop_database(name)
    said = refusal(storage, installation.folder / "file")
    assert "belong to the catalogue that is in postgresql://roadstead@127.0.0.1" in said
    with Client(one.port) as client:
        assert client.manifest("app", "v1") == manifest


def test_a_data_folder_is_one_replicas_own(installation: Installation) -> None:
    one = installation.started("one")
    said = refusal(installation.arguments, one.data)
    assert f"is using {one.data}" in said


def test_workers_and_replicas(installation: Installation) -> None:
    installation.started("one", "--workers", "2")
    other = installation.started("other")
    with Client(other.port) as client:
        client.push_image("app", "v1", [os.urandom(1_000)])
    found: dict[str, Any] = json.loads(installation.command("maintenance", "--json"))
    assert len(found["servers"]) == 3


def test_commands_find_blobs_and_catalogue_by_the_database(installation: Installation) -> None:
    one = installation.started("one")
    with Client(one.port) as client:
        manifest = client.push_image("team/app", "v1", [os.urandom(1_000)])
    assert installation.command("ls", "team/app").startswith(f"v1\t{digest_of(manifest)}")
    assert digest_of(manifest) in installation.command("inspect", "team/app:v1")
    assert "push" in installation.command("history", "team/app:v1")
    assert "points at it" in installation.command("why", f"team/app@{digest_of(manifest)}")
    installation.command("rm", "team/app:v1")
    installation.command("restore", "team/app:v1")
    installation.command("gc", "--grace", "0")
    stats: dict[str, Any] = json.loads(installation.command("stats", "--json"))
    assert (stats["tags"], stats["catalogue_bytes"] > 1_000_000) == (1, True)
    assert installation.command("check", "--deep").startswith("note\tcatalogue-unchecked\tcatalogue\t")
    installation.command("scrub")
    installation.command("notifications", "status")
    assert "Snapshot" in installation.command("backup", str(installation.folder / "backup"))
    said = installation.command("restore-backup", str(installation.folder / "backup"), exit_code=1)
    assert "there is a catalogue in postgresql://" in said
    assert "name an empty database, or give --force" in said
    assert not (installation.folder / "nowhere").exists()


def test_a_registry_is_released_and_adopted_again(installation: Installation) -> None:
    one = installation.started("one")
    with Client(one.port) as client:
        manifest = client.push_image("team/app", "v1", [b"layer"])
    assert "maintenance read-only" in installation.command("release", exit_code=1)
    installation.command("maintenance", "read-only", "--wait")
    assert "Released" in installation.command("release")
    one.shut_down()
    installation.command("adopt", str(installation.blobs))
    installation.command("maintenance", "off")
    again = installation.started("again", "--adopt")
    with Client(again.port) as client:
        assert client.manifest("team/app", "v1") == manifest
