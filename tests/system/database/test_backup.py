"""Backups of a catalogue on PostgreSQL beside two replicas, killed, restored there and into a file; and rebuilds."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from tests import skips
from tests.system.database.replicas import ROADSTEAD, Installation
from tests.system.faults.client import Client, digest_of
from tests.system.faults.server import environment
from tests.system.oracle import Witness
from tests.system.process import run, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.system.postgresql import PostgresServer
    from tests.system.servers import RegistryServer

pytestmark = [pytest.mark.needs("postgresql"), pytest.mark.timeout(300)]

KILLS: Final = int(os.environ.get("ROADSTEAD_BACKUP_KILLS", "2"))
REPOSITORY: Final = "backup/app"
MIB: Final = 1 << 20

Kept = dict[str, tuple[bytes, bytes]]
"""By tag: a manifest and its layer that a client was told are stored."""


@pytest.fixture
def another(postgres_server: PostgresServer, scratch: Path) -> Iterator[Callable[[], Installation]]:
    """Makes installations with an empty database and an empty folder each."""
    with contextlib.ExitStack() as stack:

        def make() -> Installation:
            name = f"other-{secrets.token_hex(4)}"
            url = postgres_server.create_database(name)
            stack.callback(postgres_server.drop_database, name)
            made = Installation(scratch / name, url)
            stack.callback(made.close)
            return made

        yield make


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def snapshots(installation: Installation, to: Path) -> list[str]:
    return [each["name"] for each in lines(installation.command("backup", str(to), "--list", "--json"))]


def with_blobs(installation: Installation) -> dict[str, str]:
    """What tells a command of the blobs, where the catalogue cannot."""
    return {"ROADSTEAD_STORAGE__URL": installation.blobs.as_uri()}


def restore(installation: Installation, to: Path, *arguments: str, exit_code: int = 0) -> str:
    words = ["restore-backup", str(to), "--data", str(installation.folder / "tool"), *arguments]
    return installation.command(*words, exit_code=exit_code, env=with_blobs(installation))


def push(server: RegistryServer, tag: str, size: int = 20_000) -> tuple[bytes, bytes]:
    layer = os.urandom(size)
    with Client(server.port) as client:
        return client.push_image(REPOSITORY, tag, [layer]), layer


def require(server: RegistryServer, expected: Kept) -> None:
    """Each image can be read through the protocol, byte for byte."""
    with Client(server.port) as client, contextlib.closing(Witness(server.url)) as witness:
        for tag, (manifest, layer) in expected.items():
            assert client.manifest(REPOSITORY, tag) == manifest
            assert client.blob(REPOSITORY, digest_of(layer)) == layer
            witness.everything(REPOSITORY, tag)


def require_undamaged(installation: Installation) -> None:
    assert "\tdamage" not in installation.command("check", "--deep")


class Storm:
    """Clients of several replicas that push images, each its own, and delete every third again."""

    def __init__(self, ports: list[int]) -> None:
        self._kept: Kept = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._push, args=(port, n)) for n, port in enumerate(ports)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def acknowledged(self, at_least: int) -> Kept:
        """What was acknowledged by now, once it is enough."""
        until(lambda: len(self._kept) >= at_least, what="the clients get on", timeout_seconds=60)
        with self._lock:
            return dict(self._kept)

    def _push(self, port: int, number: int) -> None:
        count = 0
        with Client(port) as client:
            while not self._stop.is_set():
                count += 1
                tag, layer = f"{number}-{count}", secrets.token_bytes(20_000)
                manifest = client.push_image(REPOSITORY, tag, [layer])
                if count % 3 == 0:
                    client.expect(202, "DELETE", f"/v2/{REPOSITORY}/manifests/{digest_of(manifest)}")
                else:
                    with self._lock:
                        self._kept[tag] = (manifest, layer)


def test_beside_pushes_and_collections_of_two_replicas(
    installation: Installation, another: Callable[[], Installation]
) -> None:
    """What was acknowledged before a backup is whole in it, on either database; what goes meanwhile breaks nothing."""
    eager = {"ROADSTEAD_GARBAGE__GRACE_SECONDS": "0", "ROADSTEAD_GARBAGE__INTERVAL_SECONDS": "0.1"}
    to = installation.folder / "backup"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in eager.items():
            patch.setenv(name, value)
        servers = [installation.started(name) for name in ("one", "other")]
    promised: list[Kept] = []
    with Storm([server.port for server in servers * 2]) as storm:
        for number in range(2):
            promised.append(storm.acknowledged(10 * (number + 1)))
            installation.command("backup", str(to))
            installation.command("gc")
    installation.command("backup", str(to), "--verify")
    first, second = snapshots(installation, to)
    on_server = another()
    restore(on_server, to, "--snapshot", first)
    require_undamaged(on_server)
    require(on_server.started("one"), promised[0])
    data = on_server.folder / "file"
    run([ROADSTEAD, "restore-backup", to, "--data", data, "--snapshot", second], env=environment({}))
    assert "\tdamage" not in run([ROADSTEAD, "check", "--deep", "--data", data], env=environment({})).stdout
    assert "until it is confirmed" in run([ROADSTEAD, "gc", "--data", data], env=environment({}), exit_code=1).stderr


def test_only_what_is_new_is_copied_and_pushes_go_on_after_a_restoration(
    installation: Installation, another: Callable[[], Installation]
) -> None:
    one = installation.started("one")
    to, expected = installation.folder / "backup", {"v1": push(one, "v1")}
    taken = lines(installation.command("backup", str(to), "--json"))[0]["snapshot"]
    assert (taken["blobs"], taken["copied_blobs"], taken["missing"]) == (2, 2, [])
    expected["v2"] = push(one, "v2")
    taken = lines(installation.command("backup", str(to), "--json", "--keep", "1"))[0]["snapshot"]
    assert taken["copied_blobs"] < taken["blobs"]
    assert "No damage found in 1 snapshot" in installation.command("backup", str(to), "--verify")
    new = another()
    assert "gc --confirm" in restore(new, to)
    assert not list((new.folder / "tool").glob("*.db*")), "the file from which the rows came is gone"
    assert not (new.folder / "tool" / "restoring.json").exists()
    server = new.started("one")
    expected["v3"] = push(server, "v3")
    require(server, expected)
    require_undamaged(new)


def kill_after(command: list[str], env: dict[str, str], seconds: float) -> bool:
    """Starts a command, and kills it after a while; True if it had not ended by itself."""
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    return process.wait() != 0


def has_state(server: PostgresServer, installation: Installation, name: str) -> bool:
    """Whether the catalogue has a state; with `database-copy` it is a part of one, which nobody opens."""
    database = installation.url.rpartition("/")[2]
    if not server.execute("SELECT to_regclass('states')", database):
        return False
    return server.execute(f"SELECT count(*) FROM states WHERE name = '{name}'", database) == "1"


def test_killed_at_any_moment(
    installation: Installation, another: Callable[[], Installation], postgres_server: PostgresServer
) -> None:
    """Every snapshot that is listed is whole; a restoration serves nothing until it has ended, and goes on."""
    seed = secrets.randbits(32)
    chance, to = random.Random(seed), installation.folder / "backup"
    one = installation.started("one")
    expected = {f"v{number}": push(one, f"v{number}", MIB) for number in range(8)}
    installation.command("backup", str(to))
    told = environment({"database.url": installation.url, "data.folder": installation.folder / "nowhere"})
    command = [str(ROADSTEAD), "backup", str(to), "--keep", "2", "--bytes-per-second", "8000000"]
    for kill in range(KILLS):
        expected[f"k{kill}"] = push(one, f"k{kill}", 4 * MIB)
        kill_after(command, told, chance.uniform(0.2, 3.0))
        assert len(snapshots(installation, to)) in {1, 2, 3}, f"seed {seed}"
        installation.command("backup", str(to), "--verify")
    installation.command("backup", str(to), "--keep", "1")
    new = another()
    told = environment({"database.url": new.url, "storage.url": new.blobs.as_uri()})
    data = new.folder / "tool"
    command = [str(ROADSTEAD), "restore-backup", str(to), "--data", str(data), "--bytes-per-second", "8000000"]
    for _ in range(2 * KILLS):
        if not kill_after(command, told, chance.uniform(0.5, 5.0)):
            break
        if not data.joinpath("restoring.json").exists() and has_state(postgres_server, new, "restored"):
            break  # it was killed in the check that follows
        if has_state(postgres_server, new, "database-copy"):
            refused = run([ROADSTEAD, "stats", "--data", new.folder / "elsewhere"], env=told, exit_code=3).both
            assert "restore-backup" in refused, f"seed {seed}: {refused}"
    else:
        restore(new, to)
    require_undamaged(new)
    require(new.started("one"), expected)


def test_a_replica_does_not_start_on_half_a_restoration(
    installation: Installation, another: Callable[[], Installation], postgres_server: PostgresServer
) -> None:
    to = installation.folder / "backup"
    one = installation.started("one")
    expected = {f"v{number}": push(one, f"v{number}") for number in range(30)}
    installation.command("backup", str(to))
    new = another()
    database = new.url.rpartition("/")[2]
    new.command("db", "migrate")
    trap = "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END'"
    postgres_server.execute(trap, database)
    postgres_server.execute("CREATE TRIGGER trap BEFORE INSERT ON tags FOR EACH ROW EXECUTE FUNCTION trap()", database)
    restore(new, to, exit_code=3)
    said = new.command("stats", exit_code=3)
    assert f"is a copy of the backup {to}" in said
    assert "restore-backup" in said
    postgres_server.execute("DROP TRIGGER trap ON tags", database)
    other = installation.folder / "other-backup"
    installation.command("backup", str(other))
    assert "there is a catalogue in" in restore(new, other, exit_code=1), "that of another snapshot"
    assert "by an earlier run" in restore(new, to)
    require(new.started("one"), expected)


def test_what_is_there_is_refused_or_moved_aside_whole(
    installation: Installation, another: Callable[[], Installation], postgres_server: PostgresServer
) -> None:
    one, to = installation.started("one"), installation.folder / "backup"
    expected = {"v1": push(one, "v1")}
    installation.command("backup", str(to))
    new = another()
    server = new.started("one")
    old = push(server, "old")
    assert "there is a catalogue in postgresql://roadstead@" in restore(new, to, exit_code=1)
    assert "is working on the blobs" in restore(new, to, "--force", exit_code=3), "a server runs"
    server.shut_down()
    said = lines(restore(new, to, "--force", "--json"))[0]["restored"]
    schema = next(each.split()[1] for each in said["moved_aside"] if each.startswith("schema "))
    moved = f'SELECT count(*) FROM "{schema}".manifests'
    assert postgres_server.execute(moved, new.url.rpartition("/")[2]) == "1"
    again = new.started("again")
    require(again, expected)
    with Client(again.port) as client:
        assert client.ask("GET", f"/v2/{REPOSITORY}/manifests/{digest_of(old[0])}").status == 404
    require_undamaged(new)


def test_blobs_of_another_installation_are_left_alone(
    installation: Installation, another: Callable[[], Installation]
) -> None:
    one, to = installation.started("one"), installation.folder / "backup"
    kept = {"v1": push(one, "v1")}
    installation.command("backup", str(to))
    one.shut_down()
    new = another()
    words = ["restore-backup", str(to), "--data", str(new.folder / "tool"), "--force"]
    said = new.command(*words, exit_code=1, env=with_blobs(installation))
    assert "belong to the catalogue that is in postgresql://" in said
    require(installation.started("again"), kept)


def test_wrong_folders_are_named(installation: Installation, another: Callable[[], Installation]) -> None:
    installation.started("one")
    assert "is inside" in installation.command("backup", str(installation.blobs / "here"), exit_code=3)
    (installation.folder / "photos" / "summer").mkdir(parents=True)
    assert "not empty" in installation.command("backup", str(installation.folder / "photos"), exit_code=3)
    assert "holds no backup" in restore(another(), installation.folder / "photos", exit_code=3)


def test_a_full_disk_is_named_and_what_was_there_is_whole(installation: Installation) -> None:
    if os.geteuid() != 0:
        skips.skip("mounting a small file system needs root", enable_with="sudo make test")
    disk = installation.folder / "disk"
    disk.mkdir()
    run(["mount", "-t", "tmpfs", "-o", f"size={6 * MIB}", "roadstead-test", disk])
    try:
        one = installation.started("one")
        push(one, "v1")
        installation.command("backup", str(disk))
        for number in range(3):
            push(one, f"large-{number}", 2 * MIB)
        assert f"no space left for {disk}" in installation.command("backup", str(disk), exit_code=3)
        with contextlib.suppress(OSError), (disk / "filling").open("wb", buffering=0) as filling:
            while filling.write(bytes(4096)):
                pass
        assert f"no space left for {disk}" in installation.command("backup", str(disk), exit_code=3)
        (disk / "filling").unlink()
        assert len(snapshots(installation, disk)) == 1
        installation.command("backup", str(disk), "--verify")
    finally:
        run(["umount", disk])


def test_where_only_the_database_was_lost_the_blobs_stay(
    installation: Installation, postgres_server: PostgresServer
) -> None:
    """What was pushed since the backup has bytes and no record: nothing takes them before somebody says so."""
    one, to = installation.started("one"), installation.folder / "backup"
    expected = {"v1": push(one, "v1")}
    installation.command("backup", str(to))
    late = push(one, "late")
    one.shut_down()
    database = installation.url.rpartition("/")[2]
    postgres_server.drop_database(database)
    postgres_server.create_database(database)
    told = with_blobs(installation)
    words = ["restore-backup", str(to), "--data", str(installation.folder / "tool")]
    assert "--force" in installation.command(*words, exit_code=1, env=told), "blobs are there"
    assert "by an earlier run" in installation.command(*words, "--keep-blobs", env=told)
    server = installation.started("again")
    require(server, expected)
    assert "storage-unconfirmed" in installation.command("check")
    assert json.loads(installation.command("stats", "--json"))["unconfirmed"].endswith("was restored")
    shown = lines(installation.command("gc", "--dry-run", "--json"))[-1]["unconfirmed"]
    assert shown["unrecorded_blobs"] == 2
    assert shown["unrecorded_blob_bytes"] > len(late[1])
    assert "add --yes" in installation.command("gc", "--confirm", exit_code=1)
    assert "until it is confirmed" in installation.command("gc", "--grace", "0", exit_code=1)
    assert "until it is confirmed" in installation.command("scrub", "--now", exit_code=1)
    assert "until it is confirmed" in installation.command("check", "--quarantine", exit_code=1)
    with Client(server.port) as client:
        client.push_image(REPOSITORY, "late", [late[1]])
    assert "Confirmed" in installation.command("gc", "--confirm", "--yes")
    installation.command("gc", "--grace", "0")
    assert "nothing waits for a confirmation" in installation.command("gc", "--confirm", exit_code=1)
    require(server, {**expected, "late": late})


def test_blobs_that_nobody_knows_go_if_that_is_asked_for(
    installation: Installation, postgres_server: PostgresServer
) -> None:
    one, to = installation.started("one"), installation.folder / "backup"
    expected = {"v1": push(one, "v1")}
    installation.command("backup", str(to))
    late = push(one, "late")
    one.shut_down()
    database = installation.url.rpartition("/")[2]
    postgres_server.drop_database(database)
    postgres_server.create_database(database)
    words = ["restore-backup", str(to), "--data", str(installation.folder / "tool"), "--keep-blobs"]
    installation.command(*words, env=with_blobs(installation))
    file = next(installation.blobs.glob(f"docker/**/{digest_of(late[1]).partition(':')[2]}/data"))
    done = lines(installation.command("gc", "--confirm", "--remove-unrecorded", "--yes", "--json"))
    assert done[-1] == {"confirmed": True, "removed_blobs": 2}
    installation.command("gc")
    assert not file.exists()
    require_undamaged(installation)
    require(installation.started("again"), expected)


def test_a_backup_of_an_older_schema_comes_up(installation: Installation, another: Callable[[], Installation]) -> None:
    one, to = installation.started("one"), installation.folder / "backup"
    expected = {"v1": push(one, "v1")}
    installation.command("backup", str(to))
    (folder,) = (to / "snapshots").iterdir()
    age(folder)
    new = another()
    restore(new, to)
    require(new.started("one"), expected)


def age(snapshot: Path) -> None:
    """Makes the catalogue of a snapshot one of the schema before this one, as a version of that time would have."""
    import sqlite3  # noqa: PLC0415 - for this alone

    from roadstead.backup.folder import hash_file, manifest_sum  # noqa: PLC0415

    catalogue = snapshot / "roadstead.db"
    catalogue.chmod(0o600)
    with contextlib.closing(sqlite3.connect(catalogue)) as connection, connection:
        for table in ("secrets", "upload_parts", "swept_objects"):
            connection.execute(f"DROP TABLE {table}")
        for index in ("ix_blobs_object_key", "ix_blob_parts_object_key"):
            connection.execute(f"DROP INDEX {index}")
        for column in ("fence", "beat"):
            connection.execute(f"ALTER TABLE leases DROP COLUMN {column}")
        connection.execute("UPDATE alembic_version SET version_num = '0007'")
    manifest = json.loads((snapshot / "manifest.json").read_bytes())
    manifest["catalogue_digest"] = hash_file(catalogue)
    content = json.dumps(manifest).encode()
    (snapshot / "manifest.json").write_bytes(content)
    (snapshot / "manifest.sha256").write_bytes(manifest_sum(content))


def test_rebuilt_from_links_and_from_what_the_old_catalogue_has(
    installation: Installation, postgres_server: PostgresServer
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROADSTEAD_LINKS__MODE", "follow")
        patch.setenv("ROADSTEAD_LINKS__INTERVAL_SECONDS", "1")
        one = installation.started("one")
    expected = {f"v{number}": push(one, f"v{number}") for number in range(5)}
    links = installation.blobs / "docker/registry/v2/repositories" / REPOSITORY / "_manifests/tags"
    until(
        lambda: links.exists() and len(list(links.iterdir())) == len(expected),
        what="the links follow",
        timeout_seconds=60,
    )
    one.shut_down()
    told = with_blobs(installation)
    words = ["rebuild", "--data", str(installation.folder / "tool")]
    assert "--force" in installation.command(*words, exit_code=1, env=told)
    shutil.rmtree(links / "v4")  # which the catalogue still has
    said = json.loads(installation.command(*words, "--force", "--json", env=told))["summary"]
    assert (said["from_links"]["tags"], said["from_old_catalogue"]["tags"], said["damage"]) == (4, 1, 0)
    assert said["kept"].startswith("schema replaced-")
    assert not list((installation.folder / "tool").glob("*.db*"))
    require_undamaged(installation)
    server = installation.started("again")
    require(server, expected)
    server.shut_down()
    database = installation.url.rpartition("/")[2]
    postgres_server.drop_database(database)
    postgres_server.create_database(database)
    installation.command(*words, env=told)
    assert "storage-unconfirmed" in installation.command("check")
    del expected["v4"]
    require(installation.started("at-last"), expected)


def test_a_rebuild_that_was_interrupted_goes_on(installation: Installation, postgres_server: PostgresServer) -> None:
    one = installation.started("one")
    expected = {f"v{number}": push(one, f"v{number}") for number in range(3)}
    links = installation.blobs / "docker/registry/v2/repositories" / REPOSITORY / "_manifests/tags"
    until(lambda: links.exists() and len(list(links.iterdir())) == 3, what="the links follow", timeout_seconds=60)
    one.shut_down()
    database = installation.url.rpartition("/")[2]
    postgres_server.drop_database(database)
    postgres_server.create_database(database)
    installation.command("db", "migrate")
    trap = "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END'"
    postgres_server.execute(trap, database)
    postgres_server.execute("CREATE TRIGGER trap BEFORE INSERT ON tags FOR EACH ROW EXECUTE FUNCTION trap()", database)
    told, tool = with_blobs(installation), installation.folder / "tool"
    words = ["rebuild", "--data", str(tool), "--json"]
    assert "trapped" in installation.command(*words, exit_code=3, env=told)
    assert (tool / "roadstead.rebuilt.db").exists()
    assert "has not come to its end" in installation.command("stats", exit_code=3)
    postgres_server.execute("DROP TRIGGER trap ON tags", database)
    assert json.loads(installation.command(*words, env=told))["summary"]["taken_up"]
    assert not list(tool.glob("*.db*"))
    require_undamaged(installation)
    require(installation.started("again"), expected)
