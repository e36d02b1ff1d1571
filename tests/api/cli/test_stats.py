"""``roadstead stats``."""

from __future__ import annotations

from collections.abc import AsyncIterator

from roadstead.oci import Digest, RepositoryName
from roadstead.registry import Registry
from tests.api.cli.conftest import APP, PLATFORMS, Command
from tests.databases import BOTH
from tests.factories.access import BY_TEST
from tests.factories.registries import on_registry

DATABASES = BOTH


def test_for_scripts(command: Command) -> None:
    (found,) = command.json("stats")
    blobs = {blob: len(blob) for each in (APP, *PLATFORMS.images) for blob in each.blobs().values()} | {b"{}": 2}
    assert found["repositories"] == 2
    assert found["tags"] == 4
    assert found["manifests"] == 5
    assert found["blobs"] == len(blobs)
    assert found["blob_bytes"] == sum(blobs.values())
    assert (found["quarantined"], found["uploads"], found["upload_bytes"]) == (0, 0, 0)
    file = command.folder / "roadstead.db"
    assert found["catalogue_bytes"] >= (file.stat().st_size if file.exists() else 100_000)
    assert found["free_bytes"] > 0


async def begin_upload(registry: Registry) -> None:
    """An upload that has some bytes, since one without any has no record yet."""

    async def body() -> AsyncIterator[bytes]:
        yield b"some"

    session = await registry.uploads.start(RepositoryName("a"), "sha256", cause=BY_TEST)
    await registry.uploads.append(RepositoryName("a"), session.id, body(), cause=BY_TEST)


def test_for_a_person(command: Command) -> None:
    on_registry(command.folder, lambda registry: registry.blobs.quarantine(Digest(APP.image_id), "for the test"))
    on_registry(command.folder, begin_upload)
    lines = [line.split(maxsplit=1) for line in command("stats").stdout.splitlines()]
    shown = {name: value for name, value in lines if name != "Free"}
    assert shown["Repositories"] == "2"
    assert shown["Blobs"].endswith(", 1 in quarantine")
    assert shown["Uploads"] == "1 not finished (4 B)"
