"""The catalogue is lost or damaged: what comes back of it. Each test destroys the real file of a real server."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from roadstead.testing.images import image, index
from tests.system.adoption.volumes import Client, Content, read_content
from tests.system.process import run, until
from tests.system.servers import RegistryServer, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROADSTEAD = Path(sys.executable).parent / "roadstead"
PAGE = 4096


@dataclass
class Installation:
    """A data folder, and what its server gave to clients before it was damaged."""

    data: Path
    content: Content
    untagged: str

    @property
    def catalogue(self) -> Path:
        """The file to be destroyed."""
        return self.data / "roadstead.db"


@pytest.fixture(scope="module")
def pushed() -> Iterator[Installation]:
    """A server with follow mode on, with enough in it that the catalogue has pages to damage."""
    folder = Path(tempfile.mkdtemp(prefix="roadstead-rebuild-"))
    with RegistryServer(folder, arguments=["--config", str(follow(folder))]) as server, Client(server.url) as client:
        for number in range(40):
            client.push(f"app{number % 5}", image(b"layer %d" % number, b"common"), f"v{number}", "latest")
        client.push("multi", index(image(b"amd64"), image(b"arm64")), "1")
        untagged = client.push("multi", image(b"by digest only"))
        client.push("gone", image(b"deleted again"), "1", "2")
        assert client.delete("/v2/gone/manifests/1").status_code == 202
        content = read_content(server.url, [("multi", untagged)])
        until(lambda: not left_to_follow(folder / "data"), what="the links follow")
        server.shut_down()
    yield Installation(folder / "data", content, untagged)
    shutil.rmtree(folder)


def follow(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "roadstead.yaml"
    file.write_text("links:\n  interval_seconds: 0.1\n")
    return file


def left_to_follow(data: Path) -> int:
    # closed at once: with one more that has it open, the server that stops leaves its last commits in the log
    with contextlib.closing(sqlite3.connect(data / "roadstead.db")) as connection:
        state = connection.execute("SELECT value FROM states WHERE name = 'links'").fetchone()
        if state is None or not json.loads(state[0])["is_complete"]:
            return 1
        return int(connection.execute("SELECT count(*) FROM link_changes").fetchone()[0])


@pytest.fixture
def installation(pushed: Installation, tmp_path: Path) -> Installation:
    shutil.copytree(pushed.data, tmp_path / "ours" / "data")
    return Installation(tmp_path / "ours" / "data", pushed.content, pushed.untagged)


def rebuild(installation: Installation, *options: str, exit_code: int = 0) -> dict[str, Any]:
    answer = run([ROADSTEAD, "rebuild", "--data", installation.data, "--json", *options], exit_code=exit_code)
    return dict(json.loads(answer.stdout.splitlines()[-1])["summary"]) if exit_code == 0 else {}


def served(installation: Installation) -> Content:
    with RegistryServer(installation.data.parent) as server:
        found = read_content(server.url, [("multi", installation.untagged)])
        server.shut_down()
    return found


def remove(file: Path) -> None:
    file.unlink()


def truncate(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def cut_short(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(100)


def overwrite_pages(file: Path) -> None:
    pages = file.stat().st_size // PAGE
    with file.open("r+b") as opened:
        for number in random.Random(7).sample(range(1, pages), pages // 4):
            opened.seek(number * PAGE)
            opened.write(b"\xa5" * PAGE)


def overwrite_beginning(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"\x00" * PAGE)


@pytest.mark.parametrize("destroy", [remove, truncate, cut_short, overwrite_pages, overwrite_beginning])
def test_with_the_links_everything_comes_back(installation: Installation, destroy: Callable[[Path], None]) -> None:
    destroy(installation.catalogue)
    damaged = installation.catalogue.read_bytes() if installation.catalogue.exists() else None
    summary = rebuild(installation)
    assert summary["damage"] == 0
    if damaged is not None:
        assert Path(summary["kept"]).read_bytes() == damaged, "the evidence is kept"
    assert served(installation) == installation.content


def test_without_links_what_the_file_can_still_give_comes_back(installation: Installation) -> None:
    """A few pages are lost, and nobody followed: everything whose rows are on other pages is there again."""
    shutil.rmtree(installation.data / "registry/docker/registry/v2/repositories")
    destroyed = body_page(installation.catalogue)
    with installation.catalogue.open("r+b") as opened:
        opened.seek(destroyed * PAGE)
        opened.write(b"\xa5" * PAGE)
    summary = rebuild(installation)
    found = served(installation)
    assert summary["from_old_catalogue"]["unreadable"] > 0
    assert summary["damage"] == 0
    lost = set(installation.content.tags) - set(found.tags)
    assert len(lost) <= 10, lost
    assert all(found.tags[tag] == installation.content.tags[tag] for tag in found.tags)


def body_page(catalogue: Path) -> int:
    """A page in the middle with rows of manifests on it."""
    with sqlite3.connect(catalogue) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (body,) = connection.execute("SELECT body FROM manifests ORDER BY id LIMIT 1 OFFSET 20").fetchone()
    return catalogue.read_bytes().index(body[:100]) // PAGE


def test_a_lost_log_costs_nothing_that_was_followed(installation: Installation, tmp_path: Path) -> None:
    """SQLite's newest commits are in roadstead.db-wal: without it the file is sound, and old."""
    with RegistryServer(installation.data.parent, arguments=["--config", str(follow(tmp_path / "c"))]) as server:
        with Client(server.url) as client:
            digest = client.push("app1", image(b"the newest"), "latest")
            client.push("later", image(b"a new repository"), "1")
        until(lambda: not left_to_follow(installation.data), what="the links follow")
        server.kill()
    Path(f"{installation.catalogue}-wal").unlink()
    Path(f"{installation.catalogue}-shm").unlink()
    rebuild(installation, exit_code=1)
    rebuild(installation, "--force")
    found = served(installation)
    assert found.tags["app1:latest"][0] == digest
    assert "later:1" in found.tags
    assert set(installation.content.tags) <= set(found.tags)


def test_histories_come_back(installation: Installation) -> None:
    query = "SELECT tag, action, digest FROM tag_history WHERE tag IN ('latest', '1') ORDER BY at_ms, tag, digest"
    with sqlite3.connect(installation.catalogue) as connection:
        before = connection.execute(query).fetchall()
    rebuild(installation, "--force")
    with sqlite3.connect(installation.catalogue) as connection:
        assert connection.execute(query).fetchall() == before


def test_a_sound_catalogue_is_left_alone(installation: Installation) -> None:
    before = installation.catalogue.read_bytes()
    rebuild(installation, exit_code=1)
    assert installation.catalogue.read_bytes() == before


def test_an_empty_catalogue_in_place_of_a_lost_one_is_no_reason_to_stop(installation: Installation) -> None:
    """Whoever starts the server before rebuilding is refused, and has made one."""
    installation.catalogue.unlink()
    serve: list[str | Path] = [ROADSTEAD, "serve", "--data", installation.data, "--listen", f"127.0.0.1:{free_port()}"]
    run([*serve, "--ops-listen", f"127.0.0.1:{free_port()}"], exit_code=1)
    assert installation.catalogue.exists()
    rebuild(installation)
    assert served(installation) == installation.content


def test_where_nothing_is_nothing_is_left(tmp_path: Path) -> None:
    answer = run([ROADSTEAD, "rebuild", "--data", tmp_path], exit_code=1)
    assert "there are no blobs" in answer.stderr
    assert not list(tmp_path.iterdir())
