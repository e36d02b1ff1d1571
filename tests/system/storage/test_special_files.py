"""Pipes, devices and symbolic links in the place of a blob or of a folder: neither opened nor followed."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from tests.system.faults.client import Client, digest_of
from tests.system.faults.server import DAMAGED, PROGRAM, FaultyServer, environment
from tests.system.faults.test_refused_starts import unprivileged
from tests.system.process import run, until

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYER: Final = secrets.token_bytes(10_000)
TREE: Final = "registry/docker/registry/v2"


@pytest.fixture
def server(scratch: Path) -> Iterator[FaultyServer]:
    folder = scratch / f"special-{secrets.token_hex(3)}"
    with FaultyServer(folder, settings={"links.interval_seconds": 0.1}) as started:
        yield started
        started.shut_down()
    shutil.rmtree(folder)


def blob_file(server: FaultyServer, content: bytes) -> Path:
    encoded = digest_of(content).removeprefix("sha256:")
    return server.data / TREE / "blobs/sha256" / encoded[:2] / encoded / "data"


def pull(server: FaultyServer, content: bytes) -> int:
    url = f"http://127.0.0.1:{server.port}/v2/app/blobs/{digest_of(content)}"
    return httpx.get(url, timeout=10, trust_env=False).status_code


@pytest.mark.parametrize("kind", ["pipe", "device", "symbolic link", "folder's symbolic link"])
def test_in_the_place_of_a_blob(server: FaultyServer, kind: str) -> None:
    """Refused as any damaged blob, at once; a push brings it back, and what the link led to is left alone."""
    with Client(server.port) as client:
        client.push_image("app", "latest", [LAYER])
    file, outside = blob_file(server, LAYER), server.folder / "outside"
    outside.mkdir()
    file.rename(outside / "data")
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        run(["mknod", file, "c", "1", "5"])  # /dev/zero: whoever reads it never comes to an end
    elif kind == "symbolic link":
        file.symlink_to(outside / "data")
    else:
        file.parent.rmdir()
        file.parent.symlink_to(outside)
    assert pull(server, LAYER) == 404
    assert (outside / "data").read_bytes() == LAYER
    if kind == "folder's symbolic link":
        file.parent.unlink()
    with Client(server.port) as client:
        client.put_blob("app", LAYER)
    assert pull(server, LAYER) == 200
    assert (outside / "data").read_bytes() == LAYER
    assert stat.S_ISREG(file.lstat().st_mode)


def test_a_folder_that_leads_elsewhere_gets_no_blob(server: FaultyServer) -> None:
    """The push is refused until somebody has put that right; others go on."""
    outside = server.folder / "outside"
    outside.mkdir()
    folder = blob_file(server, LAYER).parent.parent
    folder.parent.mkdir(exist_ok=True)
    folder.symlink_to(outside)
    with Client(server.port) as client:
        location = client.begin("app")
        assert client.ask("PUT", f"{location}?digest={digest_of(LAYER)}", LAYER).status == 503
    assert list(outside.rglob("*")) == []
    folder.unlink()
    with Client(server.port) as client:
        client.put_blob("app", LAYER)
    assert pull(server, LAYER) == 200


def test_links_are_not_written_elsewhere(server: FaultyServer) -> None:
    """Also where the server has written to the folder before."""
    with Client(server.port) as client:
        client.push_image("app", "one", [LAYER])
        tags = server.data / TREE / "repositories/app/_manifests/tags"
        until((tags / "one/current/link").exists, what="the links are there")
        outside = server.folder / "outside"
        tags.rename(outside)
        tags.symlink_to(outside)
        client.push_image("app", "two", [LAYER])
        until(lambda: "symbolic link" in server.log(), what="the log says why")
    assert [path.name for path in outside.iterdir()] == ["one"]


def test_check_names_what_it_may_not_read(server: FaultyServer) -> None:
    """Unlike what is no file, it may be whole."""
    with Client(server.port) as client:
        client.push_image("app", "latest", [LAYER])
    folder = blob_file(server, LAYER).parent
    folder.chmod(0o000)
    words: list[str | Path] = [*unprivileged(), PROGRAM, "check", "--data", server.data]
    assert "blob-unreadable" in run(words, env=environment({}), exit_code=DAMAGED).stdout
    folder.chmod(0o700)
