"""What earlier versions did not record of a manifest's names is read from its bytes before the first collection."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from roadstead.database import migrate
from roadstead.oci import RepositoryName
from roadstead.testing.images import (
    OCI_INDEX,
    BlobContent,
    ManifestContent,
    artifact,
    build_cache,
    describe,
    encode,
    foreign_image,
    image,
    index,
)
from roadstead.testing.instance import Instance
from tests.api.test_garbage import collect, collect_everything, delete, require_whole, stored
from tests.api.test_garbage_upgrade import downgrade
from tests.factories.access import BY_TEST

pytestmark = pytest.mark.anyio

DATABASES = ("sqlite",)
"""No earlier version had a catalogue on a server."""

CACHE = build_cache(b"cached layer", b"another")
WINDOWS = foreign_image(b"windows", b"own layer")
DELETED = build_cache(b"deleted layer")
MULTI = index(image(b"base", b"amd64"), image(b"base", b"arm64"))
SIGNATURE = artifact(b"signature", artifact_type="a/signature", subject=MULTI)
TWICE = foreign_image(b"both", b"both")
"""One blob as a foreign layer and as one that must be there."""
ALL = {"cache": CACHE, "windows": WINDOWS, "multi": MULTI, "signature": SIGNATURE, "twice": TWICE}

AS_RECORDED_THEN = """
    INSERT OR IGNORE INTO reviews SELECT 1, repository_id, blob_id, 0, 0 FROM repository_blobs;
"""
"""A link that no recorded name settled kept its review, which would now be due."""


async def fill(instance: Instance) -> None:
    for tag, manifest in ALL.items():
        await instance.push("app", manifest, tag)
    await instance.push("app", DELETED, "deleted")
    await delete(instance, f"app/manifests/{DELETED.digest}")


async def go_back(instance: Instance) -> None:
    """Makes the catalogue that of the version before."""
    await instance.close()
    downgrade(instance.catalogue, "0002")
    with closing(sqlite3.connect(instance.catalogue)) as connection:
        connection.executescript(AS_RECORDED_THEN)


def names(path: Path) -> set[tuple[str, str, int]]:
    """Manifest, blob, and whether it must be there."""
    named = "manifest_blobs n JOIN manifests m ON m.id = n.manifest_id"
    query = f"SELECT m.digest, n.blob_digest, n.is_required FROM {named}"
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute(query))


def change(path: Path, statement: str, *parameters: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement, parameters).rowcount == 1


async def test_the_names_are_those_of_a_catalogue_that_always_had_them(instance: Instance) -> None:
    await fill(instance)
    before = names(instance.catalogue)
    await go_back(instance)
    with closing(sqlite3.connect(instance.catalogue)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM manifest_blobs").fetchone()
    assert count == sum(is_required for *_, is_required in before) < len(before)
    assert migrate(instance.catalogue)
    assert names(instance.catalogue) == before
    await instance.open()


async def test_nothing_that_is_named_goes_with_the_first_collection(instance: Instance) -> None:
    await fill(instance)
    everything = stored(instance)
    await go_back(instance)
    assert migrate(instance.catalogue)
    await instance.open()
    done = await collect(instance)
    assert (done.links, done.blobs) == (0, 0)
    assert done.looked_at > 0
    assert stored(instance) == everything
    for manifest in ALL.values():
        await require_whole(instance, "app", manifest)
    await instance.registry.undo.restore_repository(RepositoryName("app"), cause=BY_TEST)
    await require_whole(instance, "app", DELETED)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b'{"manifests": ' + b"9" * 5000 + b"}",
        b"[]",
        b'{"config": 1, "layers": {"digest": "x"}, "manifests": [1, null, {}, {"digest": 7}, {"digest": "\\ud800"}]}',
        "a text",
        1.5,
        7,
    ],
)
async def test_a_damaged_body_ends_nothing_and_its_push_records_the_names(instance: Instance, damage: object) -> None:
    await fill(instance)
    before = names(instance.catalogue)
    await go_back(instance)
    change(instance.catalogue, "UPDATE manifests SET body = ? WHERE digest = ?", damage, CACHE.digest)
    assert migrate(instance.catalogue)
    assert names(instance.catalogue) == {row for row in before if row[0] != CACHE.digest}
    await instance.open()
    await instance.push("app", CACHE)
    assert names(instance.catalogue) == before
    await collect_everything(instance)
    await require_whole(instance, "app", CACHE)


async def test_a_page_that_cannot_be_read_ends_nothing(instance: Instance) -> None:
    """Of a body that is longer than a page the rest stands in others."""
    blob = BlobContent(b"in a large index")
    padding = {"padding": "x" * 100_000}
    document = {"schemaVersion": 2, "manifests": [describe(blob)], "annotations": padding}
    large = ManifestContent(encode(document), OCI_INDEX, (blob,))
    await fill(instance)
    before = names(instance.catalogue)
    await instance.push("app", large, "large")
    await go_back(instance)
    with closing(sqlite3.connect(instance.catalogue)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(instance.catalogue.read_bytes())
    pages = [at for at in range(0, len(content), 4096) if content[at + 4 : at + 4096] == b"x" * 4092]
    assert len(pages) > 20
    for at in pages:
        content[at : at + 4] = b"\xff\xff\xff\xff"  # where an overflow page says which is next
    instance.catalogue.write_bytes(content)
    assert migrate(instance.catalogue)
    assert names(instance.catalogue) == before
    await instance.open()
    for manifest in ALL.values():
        await require_whole(instance, "app", manifest)


async def test_back_and_forth_with_more_than_a_page_of_manifests(instance: Instance) -> None:
    for number in range(501):
        await instance.push_manifest("app", build_cache(b"%d" % number))
    before = names(instance.catalogue)
    assert len(before) == 501 * 2
    for _ in range(2):
        await go_back(instance)
        assert migrate(instance.catalogue)
        assert names(instance.catalogue) == before
        await instance.open()
