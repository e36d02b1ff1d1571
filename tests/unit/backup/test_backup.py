"""Backups are whole or invisible, copy what is new, and come back byte for byte; damage is named."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from roadstead.app import build_secrets
from roadstead.backup import (
    BackupBlobDamagedError,
    BackupBusyError,
    BackupFolder,
    BackupFolderUnusableError,
    BackupMarkerDamagedError,
    DataFolderOccupiedError,
    Extras,
    PruningRefusedError,
    Restoration,
    Restored,
    SnapshotDamagedError,
    SnapshotManifest,
    SnapshotUnknownError,
    claim,
    prune,
    release,
    take_backup,
    verify_backup,
)
from roadstead.backup.folder import manifest_sum
from roadstead.clock import SystemClock
from roadstead.config import load_settings
from roadstead.database import DatabaseDamagedError, SqliteDatabase
from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry import Registry
from roadstead.registry.garbage.holds import HoldWatch
from roadstead.registry.pace import Pace
from roadstead.registry.progress import Silence
from roadstead.secrets import MasterKeyMissingError, SigningKey
from roadstead.storage import DataFolder, DataFolderError, FilesystemStore
from tests.factories.access import ALL_VISIBLE, BY_TEST
from tests.factories.images import Image, image, layer
from tests.factories.registries import blob_file, make_folder, on_registry, opened, push_blob, push_image

CLOCK = SystemClock()
FIRST = image([layer({"n": b"first"})])
SECOND = image([layer({"n": b"second"})])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A registry with one image."""
    folder = make_folder(tmp_path / "data")
    on_registry(folder, lambda registry: push_image(registry, "app", FIRST, "v1"))
    return folder


@pytest.fixture
def backup(tmp_path: Path) -> BackupFolder:
    return BackupFolder(tmp_path / "backup")


def take(folder: Path, backup: BackupFolder, extras: Extras | None = None) -> SnapshotManifest:
    async def work(registry: Registry) -> SnapshotManifest:
        backup.prepare()
        with backup.locked():
            return await take_backup(registry, backup, Silence(), Pace(0, registry.clock), extras)

    return on_registry(folder, work)


def restore(backup: BackupFolder, data: Path, name: str = "", *, force: bool = False, skip: bool = False) -> Restored:
    snapshot = backup.snapshot(name)
    folder = DataFolder(data)
    folder.prepare()
    claim(folder, snapshot, CLOCK, force=force)

    async def work() -> Restored:
        storage = FilesystemStore(folder.objects)
        try:
            pace = Pace(0, CLOCK)
            restoration = Restoration(backup, snapshot, storage, CLOCK, Silence(), pace, SqliteDatabase.open)
            restored = await restoration.bring_blobs(skip_damaged=skip)
            restoration.restore_secrets(data / "secrets")
            await restoration.bring_catalogue(folder.catalogue, [digest for digest, _ in restored.damaged])
            return restored
        finally:
            await storage.close()

    restored = asyncio.run(work())
    release(folder)
    return restored


def verify(backup: BackupFolder) -> list[tuple[str, str]]:
    async def work() -> list[tuple[str, str]]:
        return [each async for each in verify_backup(backup, backup.names(), Silence(), Pace(0, CLOCK))]

    return asyncio.run(work())


def require_image(folder: Path, content: Image, tag: str) -> None:
    async def work(registry: Registry) -> None:
        found = await registry.manifests.get(RepositoryName("app"), Tag(tag), visible=ALL_VISIBLE)
        assert found.digest == content.digest
        for digest, expected in content.blobs().items():
            reader = await registry.blobs.open(RepositoryName("app"), Digest(digest), visible=ALL_VISIBLE)
            assert bytes(await reader.read(0, reader.size_bytes)) == expected
            reader.close()

    on_registry(folder, work)


def pool_file(backup: BackupFolder, digest: str) -> Path:
    return backup.blob_path(Digest(digest))


def test_there_and_back(folder: Path, backup: BackupFolder, tmp_path: Path) -> None:
    taken = take(folder, backup)
    assert (taken.blobs, taken.copied_blobs, taken.missing, taken.has_secrets) == (2, 2, [], False)
    assert verify(backup) == []
    restored = restore(backup, tmp_path / "new")
    assert (restored.blobs, restored.kept_blobs) == (2, 0)
    require_image(tmp_path / "new", FIRST, "v1")


def test_only_what_is_new_is_copied(folder: Path, backup: BackupFolder, tmp_path: Path) -> None:
    first = take(folder, backup)
    times = {path: path.stat().st_mtime_ns for path in (backup.path / "blobs").rglob("*") if path.is_file()}
    on_registry(folder, lambda registry: push_image(registry, "app", SECOND, "v2"))
    second = take(folder, backup)
    assert (second.blobs, second.copied_blobs) == (len({*FIRST.blobs(), *SECOND.blobs()}), second.blobs - first.blobs)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert backup.names() == [first.name, second.name]
    assert second.name > first.name
    restore(backup, tmp_path / "old", first.name)
    require_image(tmp_path / "old", FIRST, "v1")
    restore(backup, tmp_path / "new")
    require_image(tmp_path / "new", SECOND, "v2")


def test_what_belongs_to_a_process_does_not_come_along(folder: Path, backup: BackupFolder, tmp_path: Path) -> None:
    on_registry(folder, lambda registry: registry.uploads.start(RepositoryName("app"), "sha256", cause=BY_TEST))
    with closing(sqlite3.connect(folder / "roadstead.db")) as connection, connection:
        connection.execute('INSERT INTO states VALUES (\'links\', \'{"is_complete": true, "after": ""}\')')
    take(folder, backup)
    restore(backup, tmp_path / "new")

    async def holds(registry: Registry) -> list[str]:
        return await HoldWatch(registry.clock, is_shared=False).list_reasons(registry.database)

    assert on_registry(tmp_path / "new", holds) == []
    with closing(sqlite3.connect(tmp_path / "new" / "roadstead.db")) as connection:
        assert connection.execute("SELECT name FROM states WHERE name = 'links'").fetchall() == [], "written anew"
    with closing(sqlite3.connect(tmp_path / "new" / "roadstead.db")) as connection:
        assert connection.execute("SELECT count(*) FROM upload_sessions").fetchone() == (0,)


def test_pruning_keeps_what_the_rest_needs(folder: Path, backup: BackupFolder, tmp_path: Path) -> None:
    take(folder, backup)
    with closing(sqlite3.connect(folder / "roadstead.db")) as connection, connection:
        for table in ("tags", "repository_manifests", "manifest_blobs", "manifests", "repository_blobs", "blobs"):
            connection.execute(f"DELETE FROM {table}")
    on_registry(folder, lambda registry: push_image(registry, "app", SECOND, "v2"))
    second = take(folder, backup)
    stray = pool_file(backup, Digest.of(b"left by a crash"))
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"left by a crash")
    with backup.locked():
        pruned = prune(backup, 1, Silence())
    gone = set(FIRST.blobs()) - set(SECOND.blobs())
    assert (len(pruned.snapshots), pruned.blobs) == (1, len(gone) + 1)
    assert backup.names() == [second.name]
    assert not any(pool_file(backup, digest).exists() for digest in gone)
    assert verify(backup) == []
    restore(backup, tmp_path / "new")
    require_image(tmp_path / "new", SECOND, "v2")


def test_pruning_removes_nothing_while_a_snapshot_cannot_be_read(folder: Path, backup: BackupFolder) -> None:
    """Nobody knows which blobs it needs."""
    first = take(folder, backup)
    (backup.snapshots / first.name / "blobs.txt").write_text("")
    with backup.locked(), pytest.raises(PruningRefusedError, match="nothing was pruned"):
        prune(backup, 1, Silence())
    assert all(pool_file(backup, digest).exists() for digest in FIRST.blobs())


def test_a_damaged_blob_is_refused_by_name_and_can_be_skipped(
    folder: Path, backup: BackupFolder, tmp_path: Path
) -> None:
    take(folder, backup)
    digest = FIRST.layers[0].digest
    file = pool_file(backup, digest)
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    with pytest.raises(BackupBlobDamagedError, match=digest):
        restore(backup, tmp_path / "new")
    assert not (tmp_path / "new" / "roadstead.db").exists(), "nothing is put into service"
    with pytest.raises(DataFolderError, match="restore-backup"):
        DataFolder(tmp_path / "new").require_restored()
    assert len(restore(backup, tmp_path / "new", skip=True).damaged) == 1
    DataFolder(tmp_path / "new").require_restored()
    on_registry(tmp_path / "new", lambda registry: push_blob(registry, "app", FIRST.blobs()[digest]))
    require_image(tmp_path / "new", FIRST, "v1")


@pytest.mark.parametrize("kind", ["removed", "cut", "changed"])
def test_verification_names_damage_and_the_next_backup_heals_it(folder: Path, backup: BackupFolder, kind: str) -> None:
    take(folder, backup)
    digest = FIRST.layers[0].digest
    file = pool_file(backup, digest)
    if kind == "removed":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[:-1] + (b"" if kind == "cut" else bytes([content[-1] ^ 1])))
    ((subject, _),) = verify(backup)
    assert subject == digest
    assert take(folder, backup).copied_blobs == 1
    assert verify(backup) == []


SNAPSHOT_FILES = (
    "roadstead.db", "blobs.txt", "manifest.json", "manifest.sha256", "settings.yaml", "secrets/tls/ca.key",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["changed", "cut", "removed"])
@pytest.mark.parametrize("name", SNAPSHOT_FILES)
def test_a_snapshot_whose_own_files_are_damaged_is_not_restored(
    folder: Path, backup: BackupFolder, tmp_path: Path, name: str, kind: str
) -> None:
    (folder / "secrets" / "tls").mkdir()
    (folder / "secrets" / "tls" / "ca.key").write_text("hush")
    (folder / "settings").write_text("log: {level: info}")
    taken = take(folder, backup, Extras(secrets=folder / "secrets", settings=folder / "settings"))
    file = backup.snapshots / taken.name / name
    content = bytearray(file.read_bytes())
    if kind == "changed":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif kind == "cut":
        file.write_bytes(content[:-1])
    else:
        file.unlink()
    with pytest.raises(SnapshotDamagedError):
        restore(backup, tmp_path / "new")
    assert [subject for subject, _ in verify(backup)] == [taken.name]


@pytest.mark.parametrize("kind", ["removed", "changed"])
def test_what_the_registry_itself_has_lost_is_named_and_the_rest_is_copied(
    folder: Path, backup: BackupFolder, tmp_path: Path, kind: str
) -> None:
    digest = FIRST.layers[0].digest
    file = blob_file(folder, digest)
    content = file.read_bytes()
    if kind == "removed":
        file.unlink()
    else:
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    taken = take(folder, backup)
    assert [blob.digest for blob in taken.missing] == [digest]
    assert taken.blobs == 1
    restore(backup, tmp_path / "new")
    on_registry(tmp_path / "new", lambda registry: push_blob(registry, "app", FIRST.blobs()[digest]))
    require_image(tmp_path / "new", FIRST, "v1")


def test_no_snapshot_of_a_damaged_catalogue(folder: Path, backup: BackupFolder) -> None:
    first = take(folder, backup)
    database = folder / "roadstead.db"
    content = bytearray(database.read_bytes())
    with closing(sqlite3.connect(database)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'manifest_blobs'").fetchone()[0]
    content[(page - 1) * 4096 + 100 : page * 4096] = b"\xa5" * (4096 - 100)
    content[(page - 1) * 4096] = 0xFF
    database.write_bytes(content)
    with pytest.raises(DatabaseDamagedError):
        take(folder, backup)
    assert backup.names() == [first.name]
    assert not list(backup.partial.iterdir())


@pytest.mark.parametrize("name", ["key", "tls/ca.key"])
def test_secrets_come_along_only_when_asked_for(folder: Path, backup: BackupFolder, tmp_path: Path, name: str) -> None:
    secret = folder / "secrets" / name
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("hush")
    take(folder, backup)
    assert not list(backup.path.rglob(secret.name))
    taken = take(folder, backup, Extras(secrets=folder / "secrets"))
    copy = backup.snapshots / taken.name / "secrets" / name
    assert (copy.read_text(), copy.stat().st_mode & 0o777) == ("hush", 0o600)
    assert list(taken.extras) == [f"secrets/{name}"]
    assert (backup.path.stat().st_mode | copy.parent.stat().st_mode) & 0o077 == 0
    restore(backup, tmp_path / "new")
    restored = tmp_path / "new" / "secrets" / name
    assert (restored.read_text(), restored.stat().st_mode & 0o777) == ("hush", 0o600)
    assert restored.parent.stat().st_mode & 0o077 == 0


def test_an_interrupted_restoration_goes_on(
    folder: Path, backup: BackupFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(folder, backup)

    async def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Restoration, "bring_catalogue", die)
        with pytest.raises(KeyboardInterrupt):
            restore(backup, tmp_path / "new")
    rotten = blob_file(tmp_path / "new", FIRST.layers[0].digest)
    rotten.write_bytes(bytes(len(rotten.read_bytes())))  # what a loss of power may leave
    restored = restore(backup, tmp_path / "new")
    assert (restored.blobs, restored.kept_blobs) == (2, 1)
    require_image(tmp_path / "new", FIRST, "v1")


def test_what_is_there_is_kept_or_moved_aside(folder: Path, backup: BackupFolder, tmp_path: Path) -> None:
    take(folder, backup)
    other = make_folder(tmp_path / "other")
    on_registry(other, lambda registry: push_image(registry, "app", SECOND, "v2"))
    with pytest.raises(DataFolderOccupiedError):
        restore(backup, other)
    require_image(other, SECOND, "v2")
    restore(backup, other, force=True)
    require_image(other, FIRST, "v1")
    aside = tmp_path / "aside"
    for path in other.glob("replaced-*"):
        target = aside / path.name.rpartition("Z-")[2]
        target.parent.mkdir(exist_ok=True)
        shutil.move(path, target)
    require_image(aside, SECOND, "v2")


def test_only_one_works_on_a_backup(folder: Path, backup: BackupFolder) -> None:
    take(folder, backup)
    with backup.locked():
        with pytest.raises(BackupBusyError), backup.locked():
            pass
        with pytest.raises(BackupBusyError), backup.read():
            pass
    with backup.read(), backup.read():
        pass


def test_folders_that_hold_something_else_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "photo").write_bytes(b"dear")
    with pytest.raises(BackupFolderUnusableError, match="not empty"):
        BackupFolder(tmp_path / "home").prepare()
    with pytest.raises(BackupFolderUnusableError, match="no backup"):
        BackupFolder(folder).require()
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "backup.json").write_text(json.dumps({"roadstead_backup": 99}))
    with pytest.raises(BackupFolderUnusableError, match="newer"):
        BackupFolder(newer).require()


def test_an_unknown_snapshot_is_named(folder: Path, backup: BackupFolder) -> None:
    taken = take(folder, backup)
    with pytest.raises(SnapshotUnknownError, match=taken.name):
        backup.snapshot("../../etc")


def test_what_a_crash_left_is_swept(folder: Path, backup: BackupFolder) -> None:
    """Half a snapshot is invisible, and half a blob is written anew."""
    taken = take(folder, backup)
    digest = FIRST.layers[0].digest
    (backup.partial / "snapshot").mkdir()
    (backup.partial / "snapshot" / "roadstead.db").write_bytes(b"half")
    (backup.partial / Digest(digest).encoded).write_bytes(b"half")
    os.truncate(pool_file(backup, digest), 1)
    assert backup.names() == [taken.name]
    assert take(folder, backup).copied_blobs == 1
    assert verify(backup) == []
    assert not list(backup.partial.iterdir())


def test_it_is_consistent_beside_pushes(folder: Path, backup: BackupFolder, tmp_path: Path) -> None:
    """Every push that was acknowledged before is in it, and each manifest that is has its blobs."""
    acknowledged: list[tuple[str, Image]] = []

    async def push_on(registry: Registry, worker: int, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            content = image([layer({"n": f"{worker}/{number}".encode()})])
            await push_image(registry, "app", content, f"{worker}-{number}")
            acknowledged.append((f"{worker}-{number}", content))

    async def run() -> list[list[tuple[str, Image]]]:
        stop = asyncio.Event()
        before: list[list[tuple[str, Image]]] = []
        async with opened(folder) as serving, opened(folder) as copying:
            workers = [asyncio.create_task(push_on(serving, worker, stop)) for worker in range(4)]
            backup.prepare()
            for _ in range(3):
                while len(acknowledged) < 20 * (len(before) + 1):  # noqa: ASYNC110 - of several workers
                    await asyncio.sleep(0)
                before.append(list(acknowledged))
                with backup.locked():
                    await take_backup(copying, backup, Silence(), Pace(0, CLOCK))
            stop.set()
            await asyncio.gather(*workers)
        return before

    promised = asyncio.run(run())
    assert verify(backup) == []
    for name, expected in zip(backup.names(), promised, strict=True):
        restored = tmp_path / name
        restore(backup, restored, name)
        with closing(sqlite3.connect(restored / "roadstead.db")) as connection:
            tags = dict(
                connection.execute("SELECT t.name, m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id")
            )
            named = {row[0] for row in connection.execute("SELECT blob_digest FROM manifest_blobs")}
        assert all(tags.get(tag) == content.digest for tag, content in expected)
        assert all(blob_file(restored, digest).exists() for digest in named)


def test_a_backup_that_was_killed_before_its_first_flush_can_be_begun_anew(folder: Path, backup: BackupFolder) -> None:
    backup.path.mkdir()
    (backup.path / ".backup.json.77").write_bytes(b"")
    taken = take(folder, backup)
    assert backup.names() == [taken.name]
    assert not list(backup.path.glob(".*"))


@pytest.mark.parametrize("content", [None, b"", b'{"roadsteae_backup":1}'])
def test_a_backup_without_its_marker_is_damaged_rather_than_none(
    folder: Path, backup: BackupFolder, content: bytes | None
) -> None:
    taken = take(folder, backup)
    marker = backup.path / "backup.json"
    whole = marker.read_bytes()
    marker.unlink()
    if content is not None:
        marker.write_bytes(content)
    with pytest.raises(BackupMarkerDamagedError) as refused:
        backup.require()
    with pytest.raises(BackupMarkerDamagedError):
        backup.prepare()
    remedy = str(refused.value).partition("put ")[2].partition(" into")[0]
    marker.write_text(remedy)
    assert json.loads(remedy) == json.loads(whole)
    backup.require()
    assert backup.names() == [taken.name]


def test_what_is_in_quarantine_stays_in_the_pool_and_comes_back_whole(
    folder: Path, backup: BackupFolder, tmp_path: Path
) -> None:
    """The backup has the only good copy: neither pruning nor a restoration of the latest snapshot may lose it."""
    take(folder, backup)
    digest = Digest(FIRST.layers[0].digest)
    assert on_registry(folder, lambda registry: registry.blobs.quarantine(digest, "rotten"))
    second = take(folder, backup)
    assert (second.blobs, second.copied_blobs, second.missing) == (2, 0, [])
    with backup.locked():
        assert prune(backup, 1, Silence()).blobs == 0
    restore(backup, tmp_path / "new")
    require_image(tmp_path / "new", FIRST, "v1")


def test_what_is_in_quarantine_and_nowhere_else_is_named(folder: Path, backup: BackupFolder, tmp_path: Path) -> None:
    digest = Digest(FIRST.layers[0].digest)
    on_registry(folder, lambda registry: registry.blobs.quarantine(digest, "rotten"))
    taken = take(folder, backup)
    assert [(blob.digest, "quarantine" in blob.reason) for blob in taken.missing] == [(digest, True)]
    restore(backup, tmp_path / "new")
    on_registry(tmp_path / "new", lambda registry: push_blob(registry, "app", FIRST.blobs()[digest]))
    require_image(tmp_path / "new", FIRST, "v1")


def test_a_snapshot_of_a_newer_format_is_not_called_damaged(folder: Path, backup: BackupFolder) -> None:
    taken = take(folder, backup)
    path = backup.snapshots / taken.name
    content = (path / "manifest.json").read_bytes().replace(b'"format": 1', b'"format": 99')
    (path / "manifest.json").write_bytes(content)
    (path / "manifest.sha256").write_bytes(manifest_sum(content))
    with pytest.raises(BackupFolderUnusableError, match="newer"):
        backup.snapshot()


def test_a_restoration_that_was_stopped_before_it_began_needs_no_force(
    folder: Path, backup: BackupFolder, tmp_path: Path
) -> None:
    take(folder, backup)
    new = DataFolder(tmp_path / "new")
    new.prepare()
    new.restoring.write_bytes(b"")
    restore(backup, new.path)
    assert not new.restoring.exists()
    require_image(new.path, FIRST, "v1")


# ── Secrets that servers share ────────────────────────────────────────────────────────────────────────────────


async def keep_secrets(registry: Registry, data: Path) -> tuple[SigningKey, bytes | None]:
    """What a server of that folder signs with, and the credential that it has."""
    secrets = build_secrets(registry.database, registry.clock, load_settings(None, {}, {"data.folder": data}))
    await secrets.require_key()
    return await secrets.signing_key("tokens"), await secrets.find_credential("endpoint/other")


def secrets_of(data: Path) -> tuple[SigningKey, bytes | None]:
    return on_registry(data, lambda registry: keep_secrets(registry, data))


@pytest.fixture
def with_secrets(folder: Path) -> Path:
    async def fill(registry: Registry) -> None:
        secrets = build_secrets(registry.database, registry.clock, load_settings(None, {}, {"data.folder": folder}))
        await secrets.put_credential("endpoint/other", b"password")
        await secrets.signing_key("tokens")

    on_registry(folder, fill)
    (folder / "secrets" / "tls.key").write_text("a key of TLS")
    return folder


def sealed_in(catalogue: Path) -> list[bytes]:
    with closing(sqlite3.connect(catalogue)) as connection:
        return [bytes(row[0]) for row in connection.execute("SELECT sealed FROM secrets")]


def test_secrets_are_left_out_and_a_restoration_signs_anew(
    with_secrets: Path, backup: BackupFolder, tmp_path: Path
) -> None:
    key, _ = secrets_of(with_secrets)
    sealed = sealed_in(with_secrets / "roadstead.db")
    take(with_secrets, backup)
    catalogue = backup.snapshot().catalogue
    assert sealed_in(catalogue) == []
    assert not any(value in catalogue.read_bytes() for value in sealed), "nor in a page that is free"
    restore(backup, tmp_path / "new")
    after, credential = secrets_of(tmp_path / "new")
    assert (credential, after.value == key.value) == (None, False)
    assert secrets_of(with_secrets) == (key, b"password"), "the registry itself keeps them"


def with_all(data: Path) -> Extras:
    return Extras(secrets=data / "secrets", master_key_files=frozenset({(data / "secrets" / "master.key").resolve()}))


def test_credentials_go_along_when_asked_for_and_the_master_key_never(
    with_secrets: Path, backup: BackupFolder, tmp_path: Path
) -> None:
    key, _ = secrets_of(with_secrets)
    master = (with_secrets / "secrets" / "master.key").read_bytes()
    take(with_secrets, backup, with_all(with_secrets))
    files = [path for path in backup.path.rglob("*") if path.is_file()]
    assert any(path.name == "tls.key" for path in files)
    digits = master.split()[-1]
    assert not any(digits in path.read_bytes() or bytes.fromhex(digits.decode()) in path.read_bytes() for path in files)
    new = tmp_path / "new"
    restore(backup, new)
    with pytest.raises(MasterKeyMissingError):
        secrets_of(new)
    (new / "secrets" / "master.key").write_bytes(master)
    after, credential = secrets_of(new)
    assert (credential, after.value == key.value) == (b"password", False)


def test_a_master_key_that_is_there_stays_there(with_secrets: Path, backup: BackupFolder) -> None:
    key, _ = secrets_of(with_secrets)
    take(with_secrets, backup, with_all(with_secrets))
    restore(backup, with_secrets, force=True)
    after, credential = secrets_of(with_secrets)
    assert (credential, after.value == key.value) == (b"password", False)
    assert (with_secrets / "secrets" / "tls.key").read_text() == "a key of TLS"


def test_a_master_key_alone_is_nothing_in_the_way(with_secrets: Path, backup: BackupFolder, tmp_path: Path) -> None:
    take(with_secrets, backup, with_all(with_secrets))
    new = tmp_path / "new" / "secrets"
    new.mkdir(parents=True)
    shutil.copy(with_secrets / "secrets" / "master.key", new)
    restore(backup, new.parent)
    assert secrets_of(new.parent)[1] == b"password"
