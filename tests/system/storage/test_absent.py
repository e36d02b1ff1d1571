"""A disk that goes away while the server runs: nothing is written in its place, nothing counts as lost, and it heals.

Three ways in which a folder of blobs is not there: moved, with an empty folder in its place; the disk that was mounted
on it unmounted; no longer readable.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from tests.system.faults.client import Client, digest_of
from tests.system.faults.server import PROGRAM, FaultyServer, environment
from tests.system.faults.test_refused_starts import unprivileged
from tests.system.process import run, until

if TYPE_CHECKING:
    from collections.abc import Iterator

UNREACHABLE: Final = 3
SETTINGS: Final = {
    "health.storage_interval_seconds": 0.2,
    "health.storage_threshold": 1000,
    "links.interval_seconds": 0.1,
    "garbage.interval_seconds": 1,
    "scrub.delay_seconds": 0,
    "limits.upload_purge_interval_seconds": 1,
}
"""All that works in the background does so all the time; the main listener stays open, or it would answer for all."""


class Moved:
    """An empty folder in its place, as where a disk is not mounted."""

    wrapper: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.registry = folder / "data" / "registry"
        self._aside = folder / "aside"

    def prepare(self) -> None:
        """Nothing."""

    def take_away(self) -> None:
        """Moves it, and makes an empty one."""
        self.registry.rename(self._aside)
        self.registry.mkdir()

    def bring_back(self) -> None:
        """Moves it back; the one in its place must be empty."""
        self.registry.rmdir()
        self._aside.rename(self.registry)

    def clear(self) -> None:
        """Nothing."""


class Unmounted(Moved):
    """A real mount on the folder, taken off and put on again under the server."""

    def prepare(self) -> None:
        """Mounts a folder that stands for a disk."""
        self._aside.mkdir()
        self.registry.parent.mkdir()
        self.registry.mkdir()
        self.bring_back()

    def take_away(self) -> None:
        """Takes it off, as when a disk is pulled: files that are open stay so."""
        run(["umount", "--lazy", self.registry])

    def bring_back(self) -> None:
        """Mounts it; the folder below must be empty."""
        assert list(self.registry.iterdir()) == []
        run(["mount", "--bind", self._aside, self.registry])

    def clear(self) -> None:
        """Leaves nothing mounted."""
        subprocess.run(["umount", "--lazy", self.registry], check=False, capture_output=True)


class Unreadable(Moved):
    """Modes that shut the server out, which runs without root's rights here."""

    wrapper = tuple(unprivileged())

    def take_away(self) -> None:
        """Shuts it."""
        self.registry.chmod(0o000)

    def bring_back(self) -> None:
        """Opens it."""
        self.registry.chmod(0o700)


@pytest.fixture
def folder(scratch: Path) -> Iterator[Path]:
    path = scratch / f"absent-{secrets.token_hex(3)}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture(
    params=[
        Moved,
        pytest.param(
            Unmounted,
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root: run the tests with sudo"),
        ),
        Unreadable,
    ]
)
def disk(request: pytest.FixtureRequest, folder: Path) -> Iterator[Moved]:
    disk: Moved = request.param(folder)
    disk.prepare()
    yield disk
    disk.clear()


def ask(server: FaultyServer, path: str, method: str = "GET") -> httpx.Response:
    return httpx.request(method, f"http://127.0.0.1:{server.port}{path}", timeout=10, trust_env=False)


def ready(server: FaultyServer) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{server.operations_port}/readyz", timeout=10, trust_env=False)


def require_unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"


def require_nothing_known_lost(server: FaultyServer, layer: bytes) -> None:
    """All is as it was: pulls, pushes, uploads that had begun, and no blob in quarantine."""
    until(lambda: ready(server).json()["status"] == "ok", what=f"it is ready again: {ready(server).text}")
    with Client(server.port) as client:
        assert client.blob("kept", digest_of(layer)) == layer
        client.push_image("after", "latest", [b"pushed afterwards"])
    server.check_data("--deep")


def test_a_storage_that_goes_away_and_comes_back(folder: Path, disk: Moved) -> None:
    layer, begun, rest = secrets.token_bytes(100_000), secrets.token_bytes(70_000), secrets.token_bytes(70_000)
    server = FaultyServer(folder, settings=SETTINGS, wrapper=disk.wrapper)
    with server, Client(server.port) as client:
        manifest = client.push_image("kept", "latest", [layer])
        location = client.begin("kept")
        client.patch(location, begun)
        until(lambda: ready(server).json()["status"] == "ok", what="it is ready")
        before = server.log().count("blob put into quarantine")

        disk.take_away()
        until(lambda: ready(server).status_code == 503, what="it is not ready")
        assert "storage" in ready(server).text
        for _ in range(2):
            require_unavailable(ask(server, f"/v2/kept/blobs/{digest_of(layer)}"))
        require_unavailable(ask(server, f"/v2/kept/blobs/{digest_of(b'never pushed')}", "DELETE"))
        require_unavailable(ask(server, "/v2/new/blobs/uploads/", "POST"))
        require_unavailable(ask(server, location, "PATCH"))
        require_unavailable(
            httpx.put(
                f"http://127.0.0.1:{server.port}{location}?digest={digest_of(begun + rest)}",
                content=rest,
                trust_env=False,
            )
        )
        require_unavailable(
            httpx.put(
                f"http://127.0.0.1:{server.port}/v2/kept/manifests/more",
                content=manifest,
                headers={"content-type": "application/vnd.oci.image.manifest.v1+json"},
                trust_env=False,
            )
        )
        assert ask(server, "/v2/kept/manifests/latest").content == manifest, "what needs no bytes is answered"
        assert ask(server, f"/v2/kept/blobs/{digest_of(b'never pushed')}").status_code == 404
        for words in (["check", "--deep", "--quarantine"], ["scrub", "--now"], ["gc", "--grace", "0"]):
            run([*disk.wrapper, PROGRAM, *words, "--data", server.data], env=environment({}), exit_code=UNREACHABLE)
        until(lambda: '"event":"storage is not there"' in server.log(), what="the log says so")

        disk.bring_back()
        until(lambda: ready(server).json()["status"] == "ok", what="it is ready again")
        client.finish(location, digest_of(begun + rest), rest)
        assert client.blob("kept", digest_of(begun + rest)) == begun + rest
        until(lambda: '"event":"storage is there again"' in server.log(), what="the log says so")
        require_nothing_known_lost(server, layer)
        assert server.log().count("blob put into quarantine") == before
        server.shut_down()


def test_a_start_without_the_disk_is_refused(folder: Path, disk: Moved) -> None:
    """What interrupted uploads have left is looked at before anybody else is served, so the disk must be there."""
    layer = secrets.token_bytes(10_000)
    with FaultyServer(folder / "first", data=folder / "data", wrapper=disk.wrapper) as first, Client(first.port) as it:
        it.push_image("kept", "latest", [layer])
        first.shut_down()
    disk.take_away()
    again = FaultyServer(folder / "again", data=folder / "data", wrapper=disk.wrapper)
    code, said = again.launch()
    assert (code, "Traceback" in said) == (UNREACHABLE, False), said
    assert str(folder / "data" / "registry") in said
    disk.bring_back()
    with FaultyServer(folder / "last", data=folder / "data", wrapper=disk.wrapper) as last:
        require_nothing_known_lost(last, layer)
        last.shut_down()


def test_workers_too(folder: Path) -> None:
    disk, layer = Moved(folder), secrets.token_bytes(10_000)
    server = FaultyServer(folder, settings=SETTINGS | {"listen.workers": 2})
    with server, Client(server.port) as client:
        client.push_image("kept", "latest", [layer])
        disk.take_away()
        until(lambda: ready(server).status_code == 503, what="it is not ready")
        for _ in range(6):
            require_unavailable(ask(server, f"/v2/kept/blobs/{digest_of(layer)}"))
        disk.bring_back()
        require_nothing_known_lost(server, layer)
        server.shut_down()


def test_a_storage_of_an_earlier_version_is_claimed_only_where_it_is(folder: Path) -> None:
    """Nothing is marked yet: a mount point without its disk would be taken for the storage."""
    layer, disk = secrets.token_bytes(10_000), Moved(folder)
    with FaultyServer(folder / "first", data=folder / "data") as first, Client(first.port) as client:
        client.push_image("kept", "latest", [layer])
        first.shut_down()
    forget_the_mark(folder / "data")
    disk.take_away()
    code, said = FaultyServer(folder / "again", data=folder / "data").launch()
    assert code == UNREACHABLE, said
    assert "none of the blobs of this catalogue is there" in said
    disk.bring_back()
    with FaultyServer(folder / "last", data=folder / "data") as last:
        assert (disk.registry / "roadstead.storage").exists()
        require_nothing_known_lost(last, layer)
        last.shut_down()


def test_blobs_that_are_lost_for_good_can_be_gone_on_without(folder: Path) -> None:
    layer = secrets.token_bytes(10_000)
    with FaultyServer(folder / "first", data=folder / "data") as first, Client(first.port) as client:
        client.push_image("kept", "latest", [layer])
        first.shut_down()
    shutil.rmtree(folder / "data" / "registry")
    code, said = FaultyServer(folder / "again", data=folder / "data").launch()
    assert code == UNREACHABLE, said
    assert "--claim-storage" in said
    last = FaultyServer(folder / "last", data=folder / "data")
    last.command.append("--claim-storage")
    with last, Client(last.port) as client:
        assert ask(last, f"/v2/kept/blobs/{digest_of(layer)}").status_code == 404
        client.push_image("kept", "latest", [layer])
        require_nothing_known_lost(last, layer)
        last.shut_down()


def forget_the_mark(data: Path) -> None:
    (data / "registry" / "roadstead.storage").unlink()
    with contextlib.closing(sqlite3.connect(data / "roadstead.db")) as connection, connection:
        connection.execute("DELETE FROM states WHERE name = 'storage'")
