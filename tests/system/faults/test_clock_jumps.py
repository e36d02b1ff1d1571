"""The machine's calendar jumps a month ahead and back while real servers run: nothing is given up before its time."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from roadstead.testing.images import image
from tests.system.adoption.volumes import Client
from tests.system.process import run, until
from tests.system.servers import RegistryServer

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("faketime")

ROADSTEAD = Path(sys.executable).parent / "roadstead"
SETTINGS = """
garbage:
  interval_seconds: 0.1
  grace_seconds: {grace}
  upload_grace_seconds: {upload_grace}
limits:
  upload_purge_interval_seconds: 1
"""


@pytest.fixture
def set_calendar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Moves the calendar of every program that is started from here on, as soon as it is called: ``+30d``, ``+0``."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    file = tmp_path / "calendar"

    def move(offset: str) -> None:
        fresh = file.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.rename(file)

    move("+0")
    for name, value in {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": file,
        "FAKETIME_NO_CACHE": 1,
        "DONT_FAKE_MONOTONIC": 1,
        "NO_FAKE_STAT": 1,
    }.items():
        monkeypatch.setenv(name, str(value))
    return move


def server(folder: Path, *, grace: int = 7 * 24 * 3600, workers: int = 1) -> RegistryServer:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "roadstead.yaml"
    config.write_text(SETTINGS.format(grace=grace, upload_grace=max(grace, 60)))
    arguments = ["--config", str(config)]
    return RegistryServer(folder, arguments=[*arguments, "--workers", str(workers)] if workers > 1 else arguments)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_month_ahead_for_some_seconds_empties_no_trash(
    tmp_path: Path, set_calendar: Callable[[str], None], workers: int
) -> None:
    deleted, later = image(b"deleted before"), image(b"deleted while the calendar was wrong")
    with server(tmp_path, workers=workers) as ours, Client(ours.url) as client:
        client.push("app", deleted, "1")
        client.push("app", later, "2")
        client.push_blob(
            "app", b"a layer whose manifest comes later", blob := _digest(b"a layer whose manifest comes later")
        )
        upload = client.post("/v2/app/blobs/uploads/").headers["location"]
        assert client.delete(f"/v2/app/manifests/{deleted.digest}").status_code == 202
        set_calendar("+30d")
        until(lambda: _days_ahead(ours) > 29, what="the server sees the wrong calendar")
        assert client.delete(f"/v2/app/manifests/{later.digest}").status_code == 202
        run([ROADSTEAD, "gc", "--data", ours.data])
        time.sleep(4)  # collection and purging look many times
        set_calendar("+0")
        until(lambda: _days_ahead(ours) < 1, what="the server sees the right one")
        assert client.head(f"/v2/app/blobs/{blob}").status_code == 200
        assert client.get(upload).status_code == 204
        told = client.get("/v2/app/_roadstead/undo/removed").json()["manifests"]
        waits = {each["digest"]: each["expires_ms"] / 1000 - time.time() for each in told}
        assert set(waits) == {deleted.digest, later.digest}
        assert all(6.9 < seconds / 86400 < 7.1 for seconds in waits.values()), "neither gone nor kept for a month more"
        run([ROADSTEAD, "restore", f"app@{deleted.digest}", "--data", ours.data])
        assert client.get("/v2/app/manifests/1").status_code == 200
        ours.shut_down()


def test_a_restart_while_the_calendar_is_wrong_changes_nothing(
    tmp_path: Path, set_calendar: Callable[[str], None]
) -> None:
    gone = image(b"deleted before the restart")
    with server(tmp_path) as ours, Client(ours.url) as client:
        client.push("app", gone, "1")
        assert client.delete(f"/v2/app/manifests/{gone.digest}").status_code == 202
        ours.shut_down()
        set_calendar("+30d")
        ours.start()
        time.sleep(2)
        ours.shut_down()
        set_calendar("-20000d")  # before 1975, as a board without a battery begins
        ours.start()
        time.sleep(2)
        ours.shut_down()
        set_calendar("+0")
        ours.start()
        run([ROADSTEAD, "restore", "app:1", "--data", ours.data])
        assert client.get("/v2/app/manifests/1").status_code == 200
        ours.shut_down()


def test_another_boot_with_a_wrong_calendar_costs_an_hour(tmp_path: Path, set_calendar: Callable[[str], None]) -> None:
    gone = image(b"deleted before the machine was switched off")
    with server(tmp_path) as ours, Client(ours.url) as client:
        client.push("app", gone, "1")
        assert client.delete(f"/v2/app/manifests/{gone.digest}").status_code == 202
        ours.shut_down()
        with closing(sqlite3.connect(ours.data / "roadstead.db")) as connection, connection:
            row = connection.execute("SELECT value FROM states WHERE name = 'clock'").fetchone()
            kept = json.dumps(json.loads(row[0]) | {"boot_id": "the boot before"})
            connection.execute("UPDATE states SET value = ? WHERE name = 'clock'", (kept,))
        set_calendar("+30d")
        ours.start()
        time.sleep(2)
        set_calendar("+0")
        until(lambda: _days_ahead(ours) < 1, what="the server sees the right calendar")
        (told,) = client.get("/v2/app/_roadstead/undo/removed").json()["manifests"]
        assert 6.9 < (told["expires_ms"] / 1000 - time.time()) / 86400 < 7
        ours.shut_down()


def test_what_is_due_goes_while_the_calendar_stands_a_month_behind(
    tmp_path: Path, set_calendar: Callable[[str], None]
) -> None:
    gone = image(b"deleted while the calendar was right")
    with server(tmp_path, grace=2) as ours, Client(ours.url) as client:
        client.push("app", gone, "1")
        assert client.delete(f"/v2/app/manifests/{gone.digest}").status_code == 202
        set_calendar("-30d")
        until(lambda: not _blobs(ours), what="the collector goes on")
        ours.shut_down()


def test_what_is_asked_for_goes_at_once(tmp_path: Path, set_calendar: Callable[[str], None]) -> None:
    gone = image(b"not wanted any more")
    with server(tmp_path) as ours, Client(ours.url) as client:
        set_calendar("+30d")
        until(lambda: _days_ahead(ours) > 29, what="the server sees the wrong calendar")
        client.push("app", gone, "1")
        assert client.delete(f"/v2/app/manifests/{gone.digest}").status_code == 202
        set_calendar("+0")
        run([ROADSTEAD, "gc", "--grace", "0", "--data", ours.data])
        assert not _blobs(ours)
        ours.shut_down()


def _digest(content: bytes) -> str:
    return image(content).blobs[-1].digest


def _blobs(ours: RegistryServer) -> list[Path]:
    return list((ours.data / "registry").glob("docker/registry/v2/blobs/*/*/*/data"))


def _days_ahead(ours: RegistryServer) -> float:
    """How far the server's calendar is ahead of ours, by the ``Date`` of its answers or the time of its log."""
    httpx.get(f"{ours.url}/v2/", trust_env=False)
    lines = [json.loads(line) for line in ours.log_path.read_text().splitlines() if '"event":"request"' in line]
    stamp = time.mktime(time.strptime(lines[-1]["time"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone if lines else 0.0
    return (stamp - time.time()) / 86400
