"""What a version without collection left behind: found by the migration, collected a day later, and nothing else."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import roadstead.database
from roadstead.database import migrate
from roadstead.database.sqlite import connect
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.removal.rules import DAY_MS, HOUR_MS
from roadstead.testing.clock import SettableClock
from roadstead.testing.images import artifact, digest_of, image, index
from roadstead.testing.instance import Instance
from tests.api.test_garbage import collect, keys, require_whole, stored

pytestmark = pytest.mark.anyio

DATABASES = ("sqlite",)
"""No earlier version had a catalogue on a server."""

APP = image(b"base", b"app")
DELETED = image(b"base", b"deleted")
UNTAGGED = image(b"base", b"untagged")
BOTH = index(image(b"base", b"amd64"), image(b"base", b"arm64"))
SIGNATURE = artifact(b"signed", artifact_type="a/signature", subject=BOTH)

AS_DELETED_THEN = f"""
    DELETE FROM tags WHERE manifest_id = (SELECT id FROM manifests WHERE digest = '{DELETED.digest}');
    DELETE FROM repository_manifests WHERE manifest_id = (SELECT id FROM manifests WHERE digest = '{DELETED.digest}');
    DELETE FROM repository_blobs WHERE blob_id = (SELECT id FROM blobs WHERE digest = '{digest_of(b"unlinked")}');
"""
"""What the first version's DELETE of a manifest, and of a blob, did."""


def downgrade(path: Path, revision: str = "0001") -> None:
    """Takes a catalogue back to the schema of an earlier version, of the first by default."""
    config = Config()
    config.set_main_option("script_location", str(Path(roadstead.database.__file__).parent / "migrations"))
    engine = create_engine("sqlite://", creator=lambda: connect(path))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    engine.dispose()


async def test_what_the_first_version_left_goes_and_what_it_served_stays(instance: Instance) -> None:
    for manifest, tag in ((APP, "latest"), (DELETED, "old"), (BOTH, "multi")):
        await instance.push("app", manifest, tag)
    await instance.push("app", UNTAGGED)
    await instance.push("app", SIGNATURE)
    for content in (b"lonely", b"unlinked"):
        await instance.push_blob("app", content)
    await instance.close()
    downgrade(instance.catalogue)
    with closing(sqlite3.connect(instance.catalogue)) as connection:
        connection.executescript(AS_DELETED_THEN)

    assert migrate(instance.catalogue)
    instance.clock = SettableClock(int(time.time() * 1000) + DAY_MS - HOUR_MS)  # the migration knows no other clock
    await instance.open()
    everything = stored(instance)
    assert (await collect(instance)).looked_at == 0
    instance.clock.advance(2 * HOUR_MS / 1000)
    done = await collect(instance)

    assert done.manifests == 1
    lost = keys(DELETED) - keys(APP, *BOTH.children, UNTAGGED, SIGNATURE)
    lonely = {layout.blob_key(Digest(digest_of(content))) for content in (b"lonely", b"unlinked")}
    assert everything - stored(instance) == lost | lonely
    for manifest in (APP, BOTH, UNTAGGED, SIGNATURE):
        await require_whole(instance, "app", manifest)
    assert (await collect(instance)).looked_at == 0
