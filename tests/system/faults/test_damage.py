"""Damaged data: named, put aside, and the rest keeps serving."""

from __future__ import annotations

import os
import secrets
import shutil
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.faults.client import Client, digest_of
from tests.system.faults.server import DAMAGED, FaultyServer, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REPOSITORY: Final = "damage/app"
PAGE: Final = 4096


@pytest.fixture
def server(scratch: Path) -> Iterator[FaultyServer]:
    with serving(FaultyServer(scratch / f"damage-{secrets.token_hex(3)}")) as running:
        yield running


def file_of(server: FaultyServer, digest: str) -> Path:
    hexadecimal = digest.partition(":")[2]
    return server.data / "registry/docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


DAMAGES: Final[dict[str, Callable[[Path], None]]] = {
    "removed": lambda path: path.unlink(),
    "truncated": truncate,
    "emptied": lambda path: os.truncate(path, 0),
    "lengthened": lengthen,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_blob(server: FaultyServer, damage: str) -> None:
    """It is not served; it is named in the log, put aside and found by `check`; a push of it heals it."""
    blob, other = secrets.token_bytes(20_000), secrets.token_bytes(20_000)
    with Client(server.port) as client:
        client.push_image(REPOSITORY, "damaged", [blob])
        client.push_image(REPOSITORY, "whole", [other])
        digest = digest_of(blob)
        DAMAGES[damage](file_of(server, digest))
        for method in ("GET", "HEAD", "GET"):
            reply = client.ask(method, f"/v2/{REPOSITORY}/blobs/{digest}")
            assert reply.status == 404, str(reply)
        assert reply.codes == ["BLOB_UNKNOWN"]
        assert "push it again" in reply.errors[0]["message"]
        quarantined = [line for line in server.log().splitlines() if "quarantine" in line]
        assert len(quarantined) == 1, "said once"
        assert digest in quarantined[0]
        assert not file_of(server, digest).exists()
        aside = list((server.data / "registry" / "quarantine").glob("*/*"))
        assert len(aside) == (damage != "removed"), "kept as evidence"

        assert client.blob(REPOSITORY, digest_of(other)) == other
        assert client.manifest(REPOSITORY, "damaged"), "the manifest is whole, and says what to push again"
        assert digest in server.check_data(exit_code=DAMAGED)

        client.put_blob(REPOSITORY, blob)
        assert client.blob(REPOSITORY, digest) == blob
        server.check_data("--deep")


def test_a_flipped_bit_is_found_by_a_deep_check(server: FaultyServer) -> None:
    """Of the right length: `check` alone does not read it, `--deep` does, `--quarantine` stops serving it."""
    blob = secrets.token_bytes(20_000)
    with Client(server.port) as client:
        client.push_image(REPOSITORY, "damaged", [blob])
        digest = digest_of(blob)
        file_of(server, digest).write_bytes(bytes([blob[0] ^ 1]) + blob[1:])
        server.check_data()
        assert digest in server.check_data("--deep", exit_code=DAMAGED)
        server.check_data("--deep", "--quarantine", exit_code=DAMAGED)
        client.expect(404, "GET", f"/v2/{REPOSITORY}/blobs/{digest}")
        client.put_blob(REPOSITORY, blob)
        assert client.blob(REPOSITORY, digest) == blob
        server.check_data("--deep")


def filled(server: FaultyServer) -> dict[str, bytes]:
    """Some hundred tags, so that the catalogue has pages of every kind."""
    manifests: dict[str, bytes] = {}
    with Client(server.port) as client:
        for number in range(3):
            tag = f"image-{number}"
            manifests[tag] = client.push_image(REPOSITORY, tag, [secrets.token_bytes(1000)])
        for number in range(300):
            client.put_manifest(REPOSITORY, f"tag-{number}", manifests["image-0"])
    return manifests


def overwrite(path: Path, first: int, count: int) -> None:
    """Put noise in the place of some pages."""
    with path.open("r+b") as file:
        file.seek(first * PAGE)
        file.write(secrets.token_bytes(count * PAGE))


@pytest.mark.parametrize("pages", ["first", "some", "all"])
def test_a_damaged_catalogue(scratch: Path, pages: str) -> None:
    """The start is refused, or what is readable is served; never a wrong answer, a traceback or a path."""
    folder = scratch / f"damage-{secrets.token_hex(3)}"
    server = FaultyServer(folder)
    with serving(server):
        manifests = filled(server)
        server.shut_down()
        catalogue = server.data / "roadstead.db"
        count = catalogue.stat().st_size // PAGE
        first, number = {"first": (0, 1), "some": (3, count // 2), "all": (0, count)}[pages]
        overwrite(catalogue, first, number)
        said = server.check_data("--deep", exit_code=DAMAGED)
        assert "Traceback" not in said
        assert "catalogue" in said
        server.spawn_quietly()
        require_refused_or_honest(server, manifests)
        restore(server)


def require_refused_or_honest(server: FaultyServer, manifests: dict[str, bytes]) -> None:
    if not serves(server):
        assert server.wait_for_end() in {3, DAMAGED}, server.log()
        assert "the catalogue is damaged" in server.log()
        assert "Traceback" not in server.log()
        return
    with Client(server.port) as client:
        for tag, manifest in manifests.items():
            reply = client.ask("GET", f"/v2/{REPOSITORY}/manifests/{tag}")
            assert reply.status in {200, 503}, str(reply)
            if reply.status == 200:
                assert reply.body == manifest
            else:
                assert reply.errors[0]["message"] == "the catalogue is damaged"
    server.check()


def serves(server: FaultyServer) -> bool:
    """Whether it came up; returns once it answers or has ended."""
    from tests.system.process import until  # noqa: PLC0415

    until(lambda: server.exit_code is not None or server.is_healthy(), what="it serves or ends")
    return server.exit_code is None


def restore(server: FaultyServer) -> None:
    """A folder that serves, as `serving` wants it at the end: empty, since the blobs are the lost catalogue's."""
    if server.exit_code is None:
        server.kill()
    shutil.rmtree(server.data)
    server.start()
