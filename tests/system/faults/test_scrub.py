"""A server that scrubs: what rots on its disk is put aside, and fetched again where another registry has it."""

from __future__ import annotations

import json
import secrets
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from tests import skips
from tests.system.faults.client import Client, digest_of, manifest_of
from tests.system.faults.server import DAMAGED, PROGRAM, FaultyServer, environment, serving
from tests.system.process import run, until
from tests.system.servers import RegistryServer

if TYPE_CHECKING:
    from pathlib import Path

REPOSITORY: Final = "scrub/app"
SETTINGS: Final = {"scrub.delay_seconds": 0, "scrub.interval_seconds": 60, "scrub.bytes_per_second": 1 << 30}


def file_of(data: Path, digest: str) -> Path:
    hexadecimal = digest.partition(":")[2]
    return data / "registry/docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


def metrics(server: FaultyServer) -> dict[str, float]:
    text = httpx.get(f"http://127.0.0.1:{server.operations_port}/metrics", trust_env=False).text
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("roadstead_")]
    return {name: float(value) for name, _, value in lines}


def forget_passes(data: Path) -> None:
    """The next pass is due at once."""
    with closing(sqlite3.connect(data / "roadstead.db")) as connection, connection:
        connection.execute("DELETE FROM states WHERE name = 'scrub'")


def push(url: str, layer: bytes) -> bytes:
    """An image of one layer, also to registry:2, whose locations have a query; its manifest."""
    config = b"{}"
    with httpx.Client(base_url=url, trust_env=False) as client:
        for blob in (config, layer):
            location = client.post(f"/v2/{REPOSITORY}/blobs/uploads/").headers["location"]
            mark = "&" if "?" in location else "?"
            assert client.put(f"{location}{mark}digest={digest_of(blob)}", content=blob).status_code == 201
        manifest = manifest_of(config, [layer])
        headers = {"content-type": json.loads(manifest)["mediaType"]}
        answer = client.put(f"/v2/{REPOSITORY}/manifests/v1", content=manifest, headers=headers)
        assert answer.status_code == 201
    return manifest


def test_a_flipped_bit_is_put_aside_within_a_pass(scratch: Path) -> None:
    layer = secrets.token_bytes(200_000)
    digest = digest_of(layer)
    server = FaultyServer(scratch / f"scrub-{secrets.token_hex(3)}", settings=SETTINGS)
    with serving(server):
        push(server.url, layer)
        server.stop()
        flip(file_of(server.data, digest))
        forget_passes(server.data)
        server.start()
        with Client(server.port) as client:
            until(lambda: "blob put into quarantine" in server.log(), what="a pass of the scrub")
            reply = client.ask("GET", f"/v2/{REPOSITORY}/blobs/{digest}")
            assert reply.status == 404, "rather than wrong bytes"
            until(lambda: "scrub pass complete" in server.log(), what="the end of the pass")
            found = metrics(server)
            assert found['roadstead_scrub_damage_total{kind="blob"}'] == 1
            assert found["roadstead_scrubbed_bytes_total"] >= len(layer)
            run([PROGRAM, "scrub", "--data", server.data], env=environment({}), exit_code=DAMAGED)
            client.put_blob(REPOSITORY, layer)
            assert client.blob(REPOSITORY, digest) == layer
            run([PROGRAM, "scrub", "--now", "--data", server.data], env=environment({}))
            server.check_data("--deep")


@pytest.mark.parametrize("peer", ["", "docker-registry"])
def test_what_rotted_is_fetched_again(scratch: Path, peer: str) -> None:
    """From another roadstead, and from registry:2: the layer and the manifest."""
    if peer:
        skips.require("docker-registry")
    folder = scratch / f"refetch-{secrets.token_hex(3)}"
    layer = secrets.token_bytes(200_000)
    digest = digest_of(layer)
    with RegistryServer(folder / "upstream", peer=peer) as upstream:
        push(upstream.url, layer)
        settings = {**SETTINGS, "scrub.upstream": f"http://user:password@{upstream.host}"}
        server = FaultyServer(folder / "server", settings=settings)
        with serving(server):
            manifest = push(server.url, layer)
            server.stop()
            flip(file_of(server.data, digest))
            with closing(sqlite3.connect(server.data / "roadstead.db")) as connection, connection:
                rotten = connection.execute("UPDATE manifests SET body = CAST('rotten' AS BLOB)")
                assert rotten.rowcount == 1
            forget_passes(server.data)
            server.start()
            until(lambda: server.log().count('"fetched again"') == 2, what="both are healed", timeout_seconds=60)
            with Client(server.port) as client:
                assert client.manifest(REPOSITORY, "v1") == manifest
                assert client.blob(REPOSITORY, digest) == layer
            server.check_data("--deep")
            assert "password" not in server.log()
