"""Backups of a catalogue on PostgreSQL beside two replicas, restored there and into a file."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.database.replicas import Installation
from tests.system.faults.client import Client
from tests.system.oracle import Witness

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.postgresql import PostgresServer
    from tests.system.servers import RegistryServer

pytestmark = [pytest.mark.needs("postgresql"), pytest.mark.timeout(300)]


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def everything(server: RegistryServer, repository: str, reference: str) -> None:
    with contextlib.closing(Witness(server.url)) as witness:
        witness.everything(repository, reference)


def test_there_and_back(installation: Installation, postgres_server: PostgresServer, scratch: Path) -> None:
    one = installation.started("one")
    to = str(installation.folder / "backup")
    with Client(one.port) as client:
        manifest = client.push_image("team/app", "v1", [os.urandom(10_000), os.urandom(5_000)])
    taken = lines(installation.command("backup", to, "--json"))[0]["snapshot"]
    assert (taken["blobs"], taken["copied_blobs"], taken["missing"]) == (3, 3, [])
    again = lines(installation.command("backup", to, "--json"))[0]["snapshot"]
    assert (again["blobs"], again["copied_blobs"]) == (3, 0)
    assert "No damage found in 2 snapshots" in installation.command("backup", to, "--verify")

    name = f"restored-{os.urandom(4).hex()}"
    url = postgres_server.create_database(name)
    restored = Installation(scratch / name, url)
    try:
        said = restored.command(
            "restore-backup",
            to,
            "--data",
            str(restored.folder / "tool"),
            env={"ROADSTEAD_STORAGE__URL": restored.blobs.as_uri()},
        )
        assert "Blobs" in said
        assert not list((restored.folder / "tool").glob("*.db*"))
        server = restored.started("one")
        with Client(server.port) as client:
            assert client.manifest("team/app", "v1") == manifest
        everything(server, "team/app", "v1")
        assert "\tdamage" not in restored.command("check", "--deep")
        assert "until it is confirmed" in restored.command("gc", exit_code=1)
    finally:
        restored.close()
        postgres_server.drop_database(name)
