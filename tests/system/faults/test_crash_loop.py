"""Kills the server with SIGKILL again and again under load, and compares what is there with what clients were told.

`ROADSTEAD_CRASH_CYCLES` says how often (`make soak`: 500), `ROADSTEAD_CRASH_SEED` repeats what a failure printed. The
moments of death depend on what was acknowledged and on chance, so a seed repeats what clients do, not when they die.
"""

from __future__ import annotations

import contextlib
import copy
import os
import random
import secrets
import shutil
import sqlite3
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from roadstead.database import postgresql
from tests.system.faults.checker import Checker
from tests.system.faults.client import Client, digest_of
from tests.system.faults.recorder import Journal, Upload
from tests.system.faults.server import DAMAGED, FaultyServer, serving
from tests.system.faults.traffic import Traffic
from tests.system.process import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CYCLES: Final = int(os.environ.get("ROADSTEAD_CRASH_CYCLES", "30"))
SEED: Final = int(os.environ.get("ROADSTEAD_CRASH_SEED", "0")) or secrets.randbits(32)
CYCLES_PER_ONE_ON_A_SERVER: Final = 5
CLIENTS: Final = 4
ACKNOWLEDGED_TIMEOUT_SECONDS: Final = 60.0
STARTING_SECONDS: Final = 1.0
"""A start takes about as long, so that a kill within it hits every part of it."""

MORE_FILES: Final = 4 + postgresql.CONNECTIONS
"""By which open files may differ: a few, and the pool's connections, which are opened when they are needed."""

MEMORY_GROWTH_BYTES: Final = 24 << 20
CHECK_EVERY: Final = 3
"""`roadstead check --deep` runs after each third crash, and after the last; our own checker after each."""


@pytest.mark.timeout(60 + 20 * CYCLES)
@pytest.mark.xdist_group("crash_loop")
def test_nothing_acknowledged_is_lost(scratch: Path) -> None:
    with serving(FaultyServer(scratch / f"crash-{secrets.token_hex(3)}")) as server:
        crash(server, CYCLES)


@pytest.mark.timeout(60 + 20 * CYCLES)
@pytest.mark.xdist_group("crash_loop")
def test_nothing_acknowledged_is_lost_on_a_server(scratch: Path, postgres_url: str) -> None:
    """Each start is of one that cannot know that it is alone, so what was left of the last is still held."""
    folder = scratch / f"crash-{secrets.token_hex(3)}"
    with serving(FaultyServer(folder, settings={"database.url": postgres_url})) as server:
        crash(server, max(1, CYCLES // CYCLES_PER_ONE_ON_A_SERVER))


def crash(server: FaultyServer, cycles: int) -> None:
    print(f"ROADSTEAD_CRASH_SEED={SEED}, {cycles} cycles")
    chance = random.Random(f"{SEED}/kills")
    traffic = Traffic(SEED, CLIENTS)
    memory: list[int] = []
    files: list[int] = []
    for cycle in range(cycles):
        traffic.start(server.port)
        traffic.wait_for(chance.randint(1, 60), ACKNOWLEDGED_TIMEOUT_SECONDS)
        server.kill()
        traffic.join()
        if chance.random() < 0.3:
            kill_while_starting(server, chance.uniform(0, STARTING_SECONDS))
        server.start()
        problems = Checker(server.port, server.data, server.database_url).check(traffic.journals)
        assert not problems, f"seed {SEED}, cycle {cycle}:\n" + "\n".join(problems)
        for journal in traffic.journals:
            journal.shorten()
        memory.append(server.resident_bytes())
        files.append(settled_files(server))
        if cycle % CHECK_EVERY == 0 or cycle == cycles - 1:
            server.check_data("--deep")
        server.check()
    print(f"{traffic.acknowledged} changes were acknowledged")
    require_flat("open files", files, MORE_FILES)
    require_flat("memory", memory, MEMORY_GROWTH_BYTES)


def kill_while_starting(server: FaultyServer, after_seconds: float) -> None:
    server.spawn()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait_for_end(after_seconds)
    server.kill()


def settled_files(server: FaultyServer) -> int:
    """Descriptors once those of the clients that have gone are closed."""
    lowest = server.open_files()

    def is_settled() -> bool:
        nonlocal lowest
        before, lowest = lowest, server.open_files()
        return lowest == before and not connections(server)

    until(is_settled, what="connections of clients that have gone are closed")
    return lowest


def connections(server: FaultyServer) -> int:
    """Established connections to the server's port, ours and those of clients that hang."""
    with open("/proc/net/tcp") as table:  # noqa: PTH123 - a file of the kernel
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(int(row[1].partition(":")[2], 16) == server.port and row[3] in {"01", "08"} for row in rows)


def require_flat(what: str, values: list[int], allowed: int) -> None:
    """The last third is not above the first by more than what is allowed."""
    third = max(1, len(values) // 3)
    growth = min(values[-third:]) - max(values[:third])
    assert growth <= allowed, f"{what} grew by {growth}: {values}"


# ── The checker can fail ──────────────────────────────────────────────────────────────────────────────────────


def some_blob(data: Path) -> Path:
    blobs = (data / "registry" / "docker" / "registry" / "v2" / "blobs").glob("*/*/*/data")
    return max(blobs, key=lambda path: path.stat().st_size)


def truncate_blob(data: Path) -> None:
    path = some_blob(data)
    os.truncate(path, path.stat().st_size // 2)


def flip_bit(data: Path) -> None:
    path = some_blob(data)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove_blob(data: Path) -> None:
    some_blob(data).unlink()


def in_catalogue(*statements: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        with contextlib.closing(sqlite3.connect(data / "roadstead.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return change


SABOTAGES: Final = {
    "blob-truncated": (truncate_blob, "blob", DAMAGED),
    "blob-flipped": (flip_bit, "hash otherwise", DAMAGED),
    "blob-removed": (remove_blob, "blob", DAMAGED),
    "tag-removed": (in_catalogue("DELETE FROM tags WHERE name = 'one'"), "tag victim:one", 0),
    "tag-moved": (
        in_catalogue(
            "UPDATE tags SET manifest_id = (SELECT manifest_id FROM tags WHERE name = 'two') WHERE name = 'one'"
        ),
        "tag victim:one",
        0,
    ),
    "tag-revived": (
        in_catalogue("INSERT INTO tags SELECT repository_id, 'gone', manifest_id, 0 FROM tags WHERE name = 'two'"),
        "tag victim:gone",
        0,
    ),
    "manifest-changed": (
        in_catalogue("UPDATE manifests SET body = CAST(body || ' ' AS BLOB)"),
        "manifest victim@",
        DAMAGED,
    ),
    "link-removed": (in_catalogue("DELETE FROM repository_blobs"), "of manifest", DAMAGED),
    "upload-shortened": (
        in_catalogue("UPDATE upload_sessions SET offset_bytes = 5, digest_state = NULL"),
        "were acknowledged",
        0,
    ),
    "upload-lost": (  # with the secret, or its id would be taken for that of an upload without bytes
        in_catalogue("DELETE FROM upload_sessions", "DELETE FROM states WHERE name = 'upload-ids'"),
        "is gone",
        0,
    ),
}


@pytest.fixture(scope="module")
def victim(scratch: Path) -> Iterator[tuple[Path, Journal]]:
    """A small registry at rest, and the journal of the client that filled it."""
    folder = scratch / f"victim-{secrets.token_hex(3)}"
    journal = Journal()
    with FaultyServer(folder) as server, Client(server.port) as client:
        for tag in ("one", "two", "gone"):
            manifest = client.push_image("victim", tag, [secrets.token_bytes(5000)])
            digest = digest_of(manifest)
            journal.bodies[digest] = manifest
            journal.manifests.settle(("victim", digest), True)  # noqa: FBT003 - a value
            journal.tags.settle(("victim", tag), digest)
        client.expect(202, "DELETE", "/v2/victim/manifests/gone")
        journal.tags.settle(("victim", "gone"), None)
        location = client.begin("victim")
        client.patch(location, b"0123456789")
        journal.uploads.append(upload_at(location))
        server.shut_down()
    yield folder, journal
    shutil.rmtree(folder)


def upload_at(location: str) -> Upload:
    return Upload("victim", location, b"0123456789", acknowledged=10)


@pytest.mark.parametrize("name", [None, *SABOTAGES])
@pytest.mark.xdist_group("crash_loop")
def test_the_checker_objects(victim: tuple[Path, Journal], scratch: Path, name: str | None) -> None:
    """Each damage that a crash could do is found; without any nothing is."""
    folder = scratch / f"sabotage-{secrets.token_hex(3)}"
    shutil.copytree(victim[0] / "data", folder / "data")
    sabotage, expected, exit_code = SABOTAGES[name] if name else (None, "", 0)
    if sabotage is not None:
        sabotage(folder / "data")
    with serving(FaultyServer(folder)) as server:
        server.check_data("--deep", exit_code=exit_code)
        problems = Checker(server.port, server.data).check([copy.deepcopy(victim[1])])
        assert bool(problems) == (name is not None)
        assert any(expected in problem for problem in problems) or name is None, problems
