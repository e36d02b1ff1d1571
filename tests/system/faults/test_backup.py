"""Backups beside pushes and collections, killed, without space; restored elsewhere and compared."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Final, Self

import pytest

from tests import skips
from tests.system.faults.client import Client, digest_of
from tests.system.faults.server import DAMAGED, PROGRAM, FaultyServer, environment, serving
from tests.system.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KILLS: Final = int(os.environ.get("ROADSTEAD_BACKUP_KILLS", "4"))
REPOSITORY: Final = "backup/app"
UNREACHABLE: Final = 3
MIB: Final = 1 << 20


def backup(server: FaultyServer, to: Path, *arguments: str, exit_code: int = 0) -> dict[str, object]:
    """Takes one; what it printed last."""
    command: list[str | Path] = [PROGRAM, "backup", to, "--data", server.data, "--json", *arguments]
    answer = run(command, env=environment({}), exit_code=exit_code)
    lines = (answer.stdout if exit_code in {0, DAMAGED} else answer.stderr).splitlines()
    return dict(json.loads(lines[-1]))


def snapshots(to: Path) -> list[str]:
    lines = run([PROGRAM, "backup", to, "--list", "--json"], env=environment({})).stdout.splitlines()
    return [json.loads(line)["name"] for line in lines]


def verify(to: Path) -> None:
    run([PROGRAM, "backup", to, "--verify"], env=environment({}))


def restore(to: Path, data: Path, *arguments: str, exit_code: int = 0) -> str:
    command: list[str | Path] = [PROGRAM, "restore-backup", to, "--data", data, *arguments]
    return run(command, env=environment({}), exit_code=exit_code).both


class Storm:
    """Clients that push images, each its own, and delete every third again."""

    def __init__(self, port: int, clients: int) -> None:
        self.kept: dict[str, tuple[bytes, bytes]] = {}
        """Tags that were acknowledged and stay: manifest and layer."""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._push, args=(port, number)) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def acknowledged(self, at_least: int) -> dict[str, tuple[bytes, bytes]]:
        """What was acknowledged by now, once it is enough."""
        deadline = time.monotonic() + 60
        while True:
            with self._lock:
                if len(self.kept) >= at_least:
                    return dict(self.kept)
            assert time.monotonic() < deadline, "the clients do not get on"
            time.sleep(0.01)

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
                        self.kept[tag] = (manifest, layer)


def require_all(data: Path, folder: Path, expected: dict[str, tuple[bytes, bytes]]) -> None:
    """Serves what was restored and reads each image through the protocol."""
    with serving(FaultyServer(folder, data=data)) as restored:
        require_images(restored, expected)


def require_images(restored: FaultyServer, expected: dict[str, tuple[bytes, bytes]]) -> None:
    with Client(restored.port) as client:
        for tag, (manifest, layer) in expected.items():
            assert client.manifest(REPOSITORY, tag) == manifest
            assert client.blob(REPOSITORY, digest_of(layer)) == layer
    restored.check_data("--deep")


def test_beside_pushes_and_collection(scratch: Path) -> None:
    """What was acknowledged before is in it; what is deleted and collected meanwhile does not break it."""
    folder = scratch / f"backup-{secrets.token_hex(3)}"
    settings = {"garbage.grace_seconds": 0, "garbage.interval_seconds": 0.1}
    to = folder / "backup"
    with serving(FaultyServer(folder, settings=settings)) as server:
        with Storm(server.port, 4) as storm:
            promised = []
            for number in range(2):
                promised.append(storm.acknowledged(20 * (number + 1)))
                backup(server, to)
        verify(to)
        for name, expected in zip(snapshots(to), promised, strict=True):
            restore(to, folder / name, "--snapshot", name)
            require_all(folder / name, folder / f"{name}-server", expected)


def test_killed_at_any_moment(scratch: Path) -> None:
    """Every snapshot that is listed is whole, and the next run goes on."""
    folder = scratch / f"killed-{secrets.token_hex(3)}"
    seed = secrets.randbits(32)
    chance = random.Random(seed)
    to = folder / "backup"
    with serving(FaultyServer(folder)) as server, Client(server.port) as client:
        expected: dict[str, tuple[bytes, bytes]] = {}
        for number in range(10):
            layer = secrets.token_bytes(MIB // 2)
            expected[f"v{number}"] = (client.push_image(REPOSITORY, f"v{number}", [layer]), layer)
        backup(server, to)
        listed = 1
        for kill in range(KILLS):
            layer = secrets.token_bytes(4 * MIB)
            expected[f"k{kill}"] = (client.push_image(REPOSITORY, f"k{kill}", [layer]), layer)
            command = [str(PROGRAM), "backup", str(to), "--data", str(server.data), "--keep", "2"]
            process = subprocess.Popen(
                [*command, "--bytes-per-second", "8000000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.2, 2.0))
            process.kill()
            process.wait()
            assert 1 <= len(snapshots(to)) <= listed + 1, f"seed {seed}"
            listed = len(snapshots(to))
            verify(to)
        taken = backup(server, to, "--keep", "1")
        assert len(snapshots(to)) == 1, taken
        verify(to)
        server.stop()
        shutil.rmtree(server.data)
        restore(to, server.data)
        server.start()
        require_images(server, expected)


def test_an_interrupted_restoration_serves_nothing_and_goes_on(scratch: Path) -> None:
    folder = scratch / f"restored-{secrets.token_hex(3)}"
    to, new = folder / "backup", folder / "new"
    with serving(FaultyServer(folder)) as server, Client(server.port) as client:
        layers = [secrets.token_bytes(MIB) for _ in range(8)]
        expected = {f"v{number}": (client.push_image(REPOSITORY, f"v{number}", [layer]), layer)
                    for number, layer in enumerate(layers)}  # fmt: skip
        backup(server, to)
        process = subprocess.Popen(
            [PROGRAM, "restore-backup", to, "--data", new, "--bytes-per-second", "2000000"], env=environment({})
        )
        deadline = time.monotonic() + 30
        while not list(new.glob("registry/docker/**/data")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.wait()
        code, said = FaultyServer(folder / "refused", data=new).launch()
        assert code == UNREACHABLE
        assert "restore-backup" in said
        assert "by an earlier run" in restore(to, new)
        require_all(new, folder / "new-server", expected)


def test_a_damaged_backup_is_refused_by_name(scratch: Path) -> None:
    folder = scratch / f"damaged-{secrets.token_hex(3)}"
    to, new = folder / "backup", folder / "new"
    with serving(FaultyServer(folder)) as server, Client(server.port) as client:
        layer = secrets.token_bytes(50_000)
        manifest = client.push_image(REPOSITORY, "v1", [layer])
        backup(server, to)
        digest = digest_of(layer)
        (file,) = to.glob(f"blobs/sha256/*/{digest.partition(':')[2]}")
        content = bytearray(file.read_bytes())
        content[1000] ^= 1
        file.write_bytes(content)
        assert digest in restore(to, new, exit_code=DAMAGED)
        assert FaultyServer(folder / "refused", data=new).launch()[0] == UNREACHABLE
        restore(to, new, "--skip-damaged", exit_code=DAMAGED)
        with serving(FaultyServer(folder / "new-server", data=new)) as restored, Client(restored.port) as again:
            assert again.ask("GET", f"/v2/{REPOSITORY}/blobs/{digest}").status == 404
            again.put_blob(REPOSITORY, layer)
        require_all(new, folder / "healed", {"v1": (manifest, layer)})


@pytest.fixture
def disk(scratch: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    folder = scratch / f"target-{secrets.token_hex(3)}"
    folder.mkdir()
    if os.geteuid() != 0:
        skips.skip("mounting a small file system needs root", enable_with="sudo make test")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={12 * MIB}", "roadstead-test", folder],
        check=False, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    if mounted.returncode:
        skips.skip(f"this machine mounts no tmpfs: {mounted.stderr.strip()}", enable_with="a machine where root may")
    try:
        yield folder
    finally:
        run(["umount", folder])
        folder.rmdir()


def test_a_full_target_leaves_what_was_there(scratch: Path, disk: Path) -> None:
    folder = scratch / f"full-{secrets.token_hex(3)}"
    with serving(FaultyServer(folder)) as server, Client(server.port) as client:
        layer = secrets.token_bytes(MIB)
        expected = {"v1": (client.push_image(REPOSITORY, "v1", [layer]), layer)}
        backup(server, disk)
        for number in range(5):
            client.push_image(REPOSITORY, f"large-{number}", [secrets.token_bytes(4 * MIB)])
        refused = backup(server, disk, exit_code=UNREACHABLE)
        assert f"no space left for {disk}" in str(refused["error"])
        assert len(snapshots(disk)) == 1
        verify(disk)
        restore(disk, folder / "new")
        require_all(folder / "new", folder / "new-server", expected)
        run(["mount", "-o", f"remount,size={64 * MIB}", disk])
        backup(server, disk)
        verify(disk)


def test_a_full_disk_is_named_and_what_was_begun_goes_on(scratch: Path, disk: Path) -> None:
    """At the first step and in the middle, of a backup and of a restoration; and room is made by pruning alone."""
    folder = scratch / f"narrow-{secrets.token_hex(3)}"
    with serving(FaultyServer(folder)) as server, Client(server.port) as client:
        layers = [secrets.token_bytes(2 * MIB) for _ in range(4)]
        expected = {f"v{number}": (client.push_image(REPOSITORY, f"v{number}", [layer]), layer)
                    for number, layer in enumerate(layers)}  # fmt: skip
        backup(server, folder / "backup")
        for size in ("4k", "128k", "5m"):
            run(["mount", "-o", f"remount,size={size}", disk])
            assert f"no space left for {disk}" in str(backup(server, disk, exit_code=UNREACHABLE)["error"])
        run(["mount", "-o", f"remount,size={12 * MIB}", disk])
        backup(server, disk)
        backup(server, disk)
        verify(disk)
        command: list[str | Path] = [PROGRAM, "backup", disk, "--prune", "--keep", "1"]
        with contextlib.suppress(OSError), (disk / "filling").open("wb", buffering=0) as filling:
            while filling.write(bytes(4096)):
                pass
        run(command, env=environment({}))  # with nothing left at all
        assert len(snapshots(disk)) == 1
        run(["find", disk, "-mindepth", "1", "-delete"])
        for size in ("12k", "5m", "8300k"):
            run(["mount", "-o", f"remount,size={size}", disk])
            assert f"no space left for {disk}" in restore(folder / "backup", disk, exit_code=UNREACHABLE)
        run(["mount", "-o", "remount,size=64m", disk])
        assert "by an earlier run" in restore(folder / "backup", disk)
        require_all(disk, folder / "new-server", expected)


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_killed_at_each_first_call(scratch: Path, call: str) -> None:
    """The first backup into a new folder, of which there is nothing yet to fall back on."""
    skips.require("strace")
    folder = scratch / f"first-{secrets.token_hex(3)}"
    with serving(FaultyServer(folder)) as server, Client(server.port) as client:
        client.push_image(REPOSITORY, "v1", [secrets.token_bytes(1000)])
        for number in range(1, 5):
            to = folder / f"backup-{number}"
            trace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}",
                     "-e", f"inject={call}:signal=KILL:when={number}"]  # fmt: skip
            command: list[str | Path] = [*trace, PROGRAM, "backup", to, "--data", server.data]
            subprocess.run(command, check=False, capture_output=True, timeout=60, env=environment({}))
            backup(server, to)
            verify(to)
