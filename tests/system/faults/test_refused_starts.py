"""Starts that must be refused: with an exit code, one clear sentence, and the remedy."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from tests.system.faults.client import Client
from tests.system.faults.server import FaultyServer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNREACHABLE = 3


@pytest.fixture
def folder(scratch: Path) -> Iterator[Path]:
    path = scratch / f"refused-{secrets.token_hex(3)}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


def require_refusal(server: FaultyServer, *parts: str) -> None:
    code, said = server.launch()
    assert code == UNREACHABLE, said
    assert "Traceback" not in said
    missing = [part for part in parts if part not in said]
    assert not missing, f"not said: {missing}\n{said}"


def test_a_second_server_on_the_same_folder(folder: Path) -> None:
    """The first goes on; the second names it."""
    with serving(FaultyServer(folder / "first")) as first, Client(first.port) as client:
        manifest = client.push_image("kept", "latest", [b"layer"])
        require_refusal(
            FaultyServer(folder / "second", data=first.data), f"process {first.pid}", str(first.data), "--data"
        )
        assert first.is_healthy()
        assert client.manifest("kept", "latest") == manifest
        first.check_data("--deep")


def test_the_folder_is_free_after_a_kill(folder: Path) -> None:
    """The lock goes with the process that held it."""
    with FaultyServer(folder / "first") as first:
        first.kill()
        with serving(FaultyServer(folder / "second", data=first.data)) as second:
            assert second.is_healthy()


@pytest.mark.parametrize("flag", ["--listen", "--ops-listen"])
def test_a_port_in_use(folder: Path, flag: str) -> None:
    server = FaultyServer(folder / "server")
    port = server.port if flag == "--listen" else server.operations_port
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        require_refusal(server, f"127.0.0.1:{port}", "another program uses it", flag)
    assert not server.data.exists(), "nothing is made for a server that cannot listen"


def unprivileged() -> list[str]:
    """Root may write anywhere; without this capability it is as bound by modes as anybody else."""
    bound = "-dac_override,-dac_read_search,-fowner"
    return ["setpriv", f"--bounding-set={bound}", f"--inh-caps={bound}"] if os.geteuid() == 0 else []


def foreign(path: Path) -> None:
    """Make a folder one that the server may read but not write."""
    path.mkdir(exist_ok=True)
    path.chmod(0o555)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)


def test_a_folder_that_may_not_be_made(folder: Path) -> None:
    foreign(folder / "outer")
    data = folder / "outer" / "data"
    server = FaultyServer(folder / "server", data=data, wrapper=unprivileged())
    require_refusal(server, "may not write to", str(data), "--data")


def test_a_folder_that_may_not_be_written(folder: Path) -> None:
    foreign(folder / "data")
    server = FaultyServer(folder / "server", data=folder / "data", wrapper=unprivileged())
    require_refusal(server, "may not write to", str(folder / "data"), "chown")


def test_a_folder_that_is_a_file(folder: Path) -> None:
    (folder / "data").write_text("a file")
    require_refusal(FaultyServer(folder / "server", data=folder / "data"), str(folder / "data"), "--data")


def test_a_registry_whose_catalogue_may_not_be_written(folder: Path) -> None:
    """The folder is ours, a file in it is not: as after a run as root."""
    with FaultyServer(folder / "server") as server:
        server.shut_down()
    catalogue = server.data / "roadstead.db"
    catalogue.chmod(0o444)
    if os.geteuid() == 0:
        os.chown(catalogue, 65534, 65534)
    require_refusal(FaultyServer(folder / "again", data=server.data, wrapper=unprivileged()), "may not write to")


def test_blobs_whose_parent_is_missing(folder: Path) -> None:
    """Their disk may not be mounted: nothing is made in its place."""
    settings = {"storage.url": (folder / "disk" / "blobs").as_uri()}
    require_refusal(FaultyServer(folder / "server", settings=settings), str(folder / "disk"), "mounted", "mkdir -p")
    assert not (folder / "disk").exists()
