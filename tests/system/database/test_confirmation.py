"""A PostgreSQL that failed over, or went back, is noticed: nothing leaves the storage until it is confirmed."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.system.database.replicas import Installation
from tests.system.faults.client import Client, digest_of
from tests.system.postgresql import PostgresServer
from tests.system.process import run, until
from tests.system.tools import program_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.servers import RegistryServer

pytestmark = [pytest.mark.needs("postgresql"), pytest.mark.timeout(300)]

APP = "app"


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server of this test alone, which it promotes."""
    with PostgresServer() as server:
        yield server


def promote(server: PostgresServer) -> None:
    """Lets the server go on as a standby that has taken over: with a timeline of its own."""
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    assert server.execute("SELECT pg_promote(wait => true)") == "t"


def push_and_delete(server: RegistryServer, content: bytes) -> str:
    """An image that is garbage from now on; the digest of its layer."""
    with Client(server.port) as client:
        manifest = client.push_image(APP, "v1", [content])
        client.expect(202, "DELETE", f"/v2/{APP}/manifests/{digest_of(manifest)}")
    return digest_of(content)


def answers(server: RegistryServer) -> bool:
    with Client(server.port) as client:
        return client.ask("GET", f"/v2/{APP}/tags/list").status == 200


def is_stored(installation: Installation, digest: str) -> bool:
    return bool(list(installation.blobs.glob(f"docker/**/{digest.partition(':')[2]}/data")))


def test_a_failover_is_noticed_by_who_serves(own_server: PostgresServer, scratch: Path) -> None:
    url = own_server.create_database("catalogue")
    installation = Installation(scratch / f"failover-{secrets.token_hex(4)}", url)
    try:
        one = installation.started("one")
        gone = push_and_delete(one, os.urandom(1000))
        installation.command("gc", "--grace", "0")
        assert not is_stored(installation, gone)
        until(lambda: bool(own_server.execute("SELECT value FROM states WHERE name = 'catalogue-server'", "catalogue")),
              what="the server is remembered", timeout_seconds=60)  # fmt: skip
        promote(own_server)
        until(lambda: answers(one),
              what="the registry answers again", timeout_seconds=60)  # fmt: skip
        kept = push_and_delete(one, os.urandom(1000))
        said = installation.command("gc", "--grace", "0", exit_code=1)
        assert "PostgreSQL went from timeline 1 to 2" in said
        assert "gc --confirm" in said
        assert "storage-unconfirmed" in installation.command("check")
        assert is_stored(installation, kept)
        installation.command("gc", "--confirm", "--yes")
        installation.command("gc", "--grace", "0")
        assert not is_stored(installation, kept)
    finally:
        installation.close()


def test_a_dump_that_was_brought_back_is_noticed_at_the_next_start(own_server: PostgresServer, scratch: Path) -> None:
    """In the same cluster, on the same timeline: the storage knows that the catalogue was further."""
    url = own_server.create_database("catalogue")
    installation = Installation(scratch / f"dump-{secrets.token_hex(4)}", url)
    dump = installation.folder / "dump"
    stamp = installation.blobs / "stamp" / "catalogue"
    try:
        one = installation.started("one")
        with Client(one.port) as client:
            client.push_image(APP, "v1", [os.urandom(1000)])
        until(stamp.exists, what="the storage has its number", timeout_seconds=60)
        run([program_of("postgresql", "pg_dump"), "--format=custom", f"--file={dump}", url])
        one.shut_down()
        before = stamp.read_bytes()
        with installation.replica("one") as again:
            with Client(again.port) as client:
                late = client.push_image(APP, "late", [os.urandom(1000)])
            until(lambda: stamp.read_bytes() != before, what="the number was raised", timeout_seconds=60)
        own_server.drop_database("catalogue")
        own_server.create_database("catalogue")
        run([program_of("postgresql", "pg_restore"), f"--dbname={url}", "--no-owner", dump])
        last = installation.started("one")
        with Client(last.port) as client:
            assert client.ask("GET", f"/v2/{APP}/manifests/{digest_of(late)}").status == 404
        assert "older than the storage" in last.log_path.read_text()
        assert "older than the storage" in installation.command("gc", exit_code=1)
    finally:
        installation.close()


def test_another_cluster_is_noticed(own_server: PostgresServer, postgres_server: PostgresServer, scratch: Path) -> None:
    url = own_server.create_database("catalogue")
    installation = Installation(scratch / f"moved-{secrets.token_hex(4)}", url)
    dump, name = installation.folder / "dump", f"moved-{secrets.token_hex(4)}"
    try:
        one = installation.started("one")
        with Client(one.port) as client:
            manifest = client.push_image(APP, "v1", [os.urandom(1000)])
        until((installation.blobs / "stamp" / "catalogue").exists, what="it is remembered", timeout_seconds=60)
        one.shut_down()
        run([program_of("postgresql", "pg_dump"), "--format=custom", f"--file={dump}", url])
        installation.url = postgres_server.create_database(name)
        run([program_of("postgresql", "pg_restore"), f"--dbname={installation.url}", "--no-owner", dump])
        there = installation.started("there")
        with Client(there.port) as client:
            assert client.manifest(APP, "v1") == manifest
        assert "on another PostgreSQL server" in installation.command("gc", exit_code=1)
    finally:
        installation.close()
        postgres_server.drop_database(name)
