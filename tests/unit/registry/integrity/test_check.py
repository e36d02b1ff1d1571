"""A check names what is damaged, for every way that a file or a page can be, and nothing else."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from pathlib import Path

import pytest

from roadstead.oci import Digest, RepositoryName
from roadstead.registry import Registry, layout
from roadstead.registry.integrity.check import Checker
from roadstead.registry.integrity.findings import Finding, FindingKind, Severity
from roadstead.registry.progress import Silence
from tests.factories.access import BY_TEST
from tests.factories.images import Image, image, index, layer
from tests.factories.registries import blob_file, make_folder, on_registry, opened, push_blob, push_image, push_manifest

IMAGE = image([layer({"etc/greeting": b"hello" * 1000}), layer({"etc/name": b"roadstead"})])
LAYER = IMAGE.layers[0].digest
PAGE_BYTES = 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A registry with an image under two names."""
    make_folder(tmp_path)

    async def fill(registry: Registry) -> None:
        await push_image(registry, "library/app", IMAGE, "1.0", "latest")
        await push_image(registry, "team/app", IMAGE, "1.0")

    on_registry(tmp_path, fill)
    return tmp_path


def check(folder: Path, *, deep: bool = False, accepts_missing_blobs: bool = False) -> list[Finding]:
    async def work(registry: Registry) -> list[Finding]:
        checker = Checker(registry, Silence(), deep=deep, accepts_missing_blobs=accepts_missing_blobs)
        return [finding async for finding in checker.run()]

    return on_registry(folder, work)


def change(folder: Path, statement: str, *parameters: object) -> None:
    """Changes the catalogue behind the registry's back."""
    with sqlite3.connect(folder / "roadstead.db") as connection:
        assert connection.execute(statement, parameters).rowcount > 0
    connection.close()


def kinds(findings: list[Finding]) -> list[FindingKind]:
    return [finding.kind for finding in findings]


@pytest.mark.parametrize("deep", [False, True])
def test_what_is_whole_has_no_findings(folder: Path, *, deep: bool) -> None:
    assert check(folder, deep=deep) == []


def test_an_empty_registry_has_no_findings(tmp_path: Path) -> None:
    assert check(make_folder(tmp_path), deep=True) == []


def test_a_missing_blob_is_named_with_who_needs_it(folder: Path) -> None:
    blob_file(folder, LAYER).unlink()
    (found,) = check(folder)
    assert (found.kind, found.subject, found.severity) == (FindingKind.BLOB_MISSING, LAYER, Severity.DAMAGE)
    assert f"library/app@{IMAGE.digest}" in found.detail
    assert f"team/app@{IMAGE.digest}" in found.detail


def test_a_blob_that_was_cut_is_named(folder: Path) -> None:
    file = blob_file(folder, LAYER)
    os.truncate(file, file.stat().st_size - 1)
    (found,) = check(folder)
    assert (found.kind, found.subject) == (FindingKind.BLOB_LENGTH, LAYER)


def test_a_flipped_bit_is_found_by_a_deep_check_alone(folder: Path) -> None:
    file = blob_file(folder, LAYER)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert check(folder) == []
    (found,) = check(folder, deep=True)
    assert (found.kind, found.subject, found.is_blob_damage) == (FindingKind.BLOB_DIGEST, LAYER, True)


@pytest.mark.parametrize("kind", ["pipe", "symbolic link", "folder", "symbolic link to its folder"])
def test_what_is_no_file_is_no_blob(folder: Path, tmp_path: Path, kind: str) -> None:
    """Not opened, not followed: a pipe would keep the check waiting, and a link may lead to the right bytes."""
    file = blob_file(folder, LAYER)
    file.rename(tmp_path / "data")
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "symbolic link":
        file.symlink_to(tmp_path / "data")
    else:
        file.parent.rmdir()
        file.parent.symlink_to(tmp_path)
    (found, *_) = check(folder, deep=True)
    assert (found.kind, found.subject) == (FindingKind.BLOB_MISSING, LAYER)


def test_a_blob_in_quarantine_stays_damage_until_it_is_pushed(folder: Path) -> None:
    on_registry(folder, lambda registry: registry.blobs.quarantine(Digest(LAYER), "for the test"))
    (found,) = check(folder)
    assert (found.kind, found.subject) == (FindingKind.BLOB_QUARANTINED, LAYER)
    on_registry(folder, lambda registry: push_blob(registry, "library/app", IMAGE.layers[0].blob))
    assert check(folder, deep=True) == []


@pytest.mark.parametrize(
    ("column", "kind"), [("'no json'", FindingKind.MANIFEST_DIGEST), ("1.5", FindingKind.MANIFEST_DIGEST)]
)
def test_a_manifest_that_changed_is_named_and_a_push_heals_it(folder: Path, column: str, kind: FindingKind) -> None:
    change(folder, f"UPDATE manifests SET body = CAST({column} AS BLOB) WHERE digest = ?", IMAGE.digest)
    (found,) = check(folder)
    assert (found.kind, found.subject) == (kind, IMAGE.digest)
    assert "library/app, team/app" in found.detail
    on_registry(folder, lambda registry: push_manifest(registry, "library/app", IMAGE.manifest))
    assert check(folder) == []


def test_a_manifest_of_another_type_is_named(folder: Path) -> None:
    change(folder, "UPDATE manifests SET body = 'text' WHERE digest = ?", IMAGE.digest)
    assert kinds(check(folder)) == [FindingKind.MANIFEST_DIGEST]


def test_a_manifest_that_does_not_parse_is_named(folder: Path) -> None:
    body = b'{"schemaVersion": 2}'
    change(
        folder, "UPDATE manifests SET body = ?, digest = ? WHERE digest = ?", body, str(Digest.of(body)), IMAGE.digest
    )
    (found,) = check(folder)
    assert (found.kind, found.subject) == (FindingKind.MANIFEST_INVALID, Digest.of(body))


def test_an_impossible_digest_is_named(folder: Path) -> None:
    change(folder, "UPDATE blobs SET digest = '../../etc/passwd' WHERE digest = ?", LAYER)
    found = check(folder)
    assert FindingKind.CATALOGUE_DAMAGED in kinds(found)
    assert any("../../etc/passwd" in finding.detail for finding in found)


def test_a_blob_that_a_repository_lost_is_named(folder: Path) -> None:
    change(
        folder,
        "DELETE FROM repository_blobs WHERE blob_id = (SELECT id FROM blobs WHERE digest = ?)"
        " AND repository_id = (SELECT id FROM repositories WHERE name = 'team/app')",
        LAYER,
    )
    (found,) = check(folder)
    assert (found.kind, found.subject) == (FindingKind.MANIFEST_BLOB_MISSING, f"team/app@{IMAGE.digest}")
    assert LAYER in found.detail
    (found,) = check(folder, accepts_missing_blobs=True)
    assert found.severity == Severity.NOTE


def test_tags_without_manifest_are_named_also_over_several_pages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.registry.integrity.check.PAGE", 1)
    change(folder, "DELETE FROM repository_manifests")
    findings = check(folder)
    damage = [finding for finding in findings if finding.severity is Severity.DAMAGE]
    assert [finding.subject for finding in damage] == ["library/app:1.0", "library/app:latest", "team/app:1.0"]
    assert set(kinds(damage)) == {FindingKind.TAG_DANGLING}
    notes = [finding for finding in findings if finding.severity is Severity.NOTE]
    assert set(kinds(notes)) == {FindingKind.GARBAGE_FORGOTTEN}, "nothing names the blobs any more"


def test_bytes_without_record_are_a_note(folder: Path) -> None:
    stray = folder / "registry" / layout.blob_key(Digest.of(b"stray"))
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")
    (folder / "registry" / layout.BLOBS / "README").write_bytes(b"?")
    upload = folder / "registry" / layout.UPLOADS / "gone"
    upload.parent.mkdir(exist_ok=True)
    upload.write_bytes(b"half")
    os.utime(upload, (time.time() - 3600,) * 2)
    (upload.parent / "young").write_bytes(b"half")
    findings = check(folder)
    assert {(finding.kind, finding.severity) for finding in findings} == {(FindingKind.BYTES_UNRECORDED, Severity.NOTE)}
    assert {Path(finding.subject).name for finding in findings} == {"data", "README", "gone"}


def test_an_upload_that_is_being_committed_is_no_finding(folder: Path) -> None:
    """Its bytes have moved, its record is about to be written: the state that recovery is for after a crash."""
    on_registry(folder, lambda registry: registry.uploads.start(RepositoryName("library/app"), "sha256", cause=BY_TEST))
    change(folder, "UPDATE upload_sessions SET committing_digest = ?", str(Digest.of(b"late")))
    late = folder / "registry" / layout.blob_key(Digest.of(b"late"))
    late.parent.mkdir(parents=True)
    late.write_bytes(b"late")
    assert check(folder) == []


def pages_of(folder: Path, name: str) -> list[int]:
    """Where the rows of a table, or the entries of an index, stand: leaf pages below its root."""
    connection = sqlite3.connect(folder / "roadstead.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
    connection.close()
    content = (folder / "roadstead.db").read_bytes()

    def leaves(page: int) -> list[int]:
        start = (page - 1) * PAGE_BYTES
        if content[start] in {10, 13}:
            return [page]
        count = int.from_bytes(content[start + 3 : start + 5], "big")
        cells = [int.from_bytes(content[start + 12 + 2 * n :][:2], "big") for n in range(count)]
        children = [int.from_bytes(content[start + cell :][:4], "big") for cell in cells]
        return [leaf for child in children for leaf in leaves(child)]

    return leaves(root)


@pytest.fixture
def large(folder: Path) -> Path:
    """The same with enough rows that every table has many pages."""

    async def fill(registry: Registry) -> None:
        images = [image([], labels={"n": str(number)}) for number in range(300)]
        await asyncio.gather(
            *(push_image(registry, f"many/app-{number}", each, "latest") for number, each in enumerate(images))
        )

    on_registry(folder, fill)
    return folder


@pytest.mark.parametrize("name", ["manifests", "blobs", "tags", "repository_manifests", "sqlite_autoindex_manifests_1"])
def test_damaged_pages_of_the_catalogue_are_named_by_table(large: Path, name: str) -> None:
    pages = pages_of(large, name)
    with (large / "roadstead.db").open("r+b") as file:
        file.seek((pages[len(pages) // 2] - 1) * PAGE_BYTES)
        file.write(b"\x5a" * PAGE_BYTES)
    table = name.removeprefix("sqlite_autoindex_").removesuffix("_1")
    findings = check(large)
    assert any(
        finding.kind == FindingKind.CATALOGUE_DAMAGED and f"table {table}:" in finding.detail for finding in findings
    )
    assert not [finding for finding in findings if finding.severity == Severity.NOTE]


def test_one_damaged_page_of_manifests_leaves_the_others_checked(large: Path) -> None:
    blob_file(large, LAYER).unlink()
    pages = pages_of(large, "manifests")
    with (large / "roadstead.db").open("r+b") as file:
        file.seek((pages[-1] - 1) * PAGE_BYTES)
        file.write(b"\x5a" * PAGE_BYTES)
    found = kinds(check(large))
    assert 0 < found.count(FindingKind.MANIFEST_UNREADABLE) < 20
    assert FindingKind.BLOB_MISSING in found


def test_rows_that_refer_to_nothing_are_found_by_a_deep_check(folder: Path) -> None:
    change(folder, "DELETE FROM repositories WHERE name = 'team/app'")
    assert any("refers to a row of repositories" in finding.detail for finding in check(folder, deep=True))


def test_pushes_and_deletions_meanwhile_are_no_findings(folder: Path) -> None:
    """The promise of the module: beside a running server nothing is reported that is not wrong."""

    async def churn(registry: Registry, name: str, stop: asyncio.Event) -> int:
        rounds = 0
        while not stop.is_set():
            content: Image = image([layer({"n": f"{name} {rounds}".encode()})])
            digest = await push_image(registry, name, content, "latest")
            await push_image(registry, name, index([content]), "latest")
            await registry.manifests.delete(RepositoryName(name), digest, cause=BY_TEST)
            await registry.blobs.delete(RepositoryName(name), Digest(content.layers[0].digest), cause=BY_TEST)
            rounds += 1
        return rounds

    async def run() -> tuple[list[Finding], list[int]]:
        stop = asyncio.Event()
        findings: list[Finding] = []
        async with opened(folder) as serving, opened(folder) as checking:
            workers = [asyncio.create_task(churn(serving, f"busy/app-{number}", stop)) for number in range(4)]
            for _ in range(10):
                checker = Checker(checking, Silence(), deep=True)
                findings += [finding async for finding in checker.run()]
            stop.set()
            return findings, await asyncio.gather(*workers)

    findings, rounds = asyncio.run(run())
    assert {finding.severity for finding in findings} <= {Severity.NOTE}
    assert all("deleted; cannot be restored" in finding.detail for finding in findings), "its blob was deleted too"
    assert min(rounds) > 0


def test_what_was_deleted_must_keep_its_blobs(folder: Path) -> None:
    """Until its grace time ends it can be restored, so what it names must be there."""

    async def delete(registry: Registry) -> None:
        await registry.manifests.delete(RepositoryName("team/app"), Digest(IMAGE.digest), cause=BY_TEST)

    on_registry(folder, delete)
    assert check(folder, deep=True) == []
    change(
        folder,
        "DELETE FROM repository_blobs WHERE blob_id = (SELECT id FROM blobs WHERE digest = ?)"
        " AND repository_id = (SELECT id FROM repositories WHERE name = 'team/app')",
        LAYER,
    )
    (found,) = check(folder)
    assert (found.kind, found.severity) == (FindingKind.MANIFEST_BLOB_MISSING, Severity.NOTE)
    assert found.subject == f"team/app@{IMAGE.digest}"
    assert LAYER in found.detail


def test_a_blob_that_is_being_deleted_is_no_finding(folder: Path) -> None:
    digest = on_registry(folder, lambda registry: push_blob(registry, "library/app", b"going"))
    change(folder, "DELETE FROM reviews")
    change(folder, "DELETE FROM repository_blobs WHERE blob_id = (SELECT id FROM blobs WHERE digest = ?)", digest)
    change(folder, "UPDATE blobs SET deleting_ms = 1 WHERE digest = ?", digest)
    assert check(folder, deep=True) == []
    blob_file(folder, digest).unlink()
    assert check(folder, deep=True) == []


def test_manifests_that_an_adopted_tree_has_among_its_blobs_are_recorded(folder: Path) -> None:
    """registry:2 keeps the bytes of manifests as blobs; only blobs have records of that name here."""
    file = blob_file(folder, IMAGE.digest)
    file.parent.mkdir(parents=True)
    file.write_bytes(IMAGE.manifest)
    assert check(folder, deep=True) == []


@pytest.mark.parametrize(
    ("statement", "kind", "severity", "said"),
    [
        ("UPDATE repositories SET removed_ms = 1", FindingKind.RECORD_DANGLING, Severity.DAMAGE, "manifests are in it"),
        (
            "INSERT INTO removed_manifests SELECT repository_id, manifest_id, 1, 1, 1, '' FROM repository_manifests",
            FindingKind.RECORD_DANGLING,
            Severity.NOTE,
            "as deleted as well",
        ),
        ("UPDATE blobs SET deleting_ms = 1", FindingKind.RECORD_DANGLING, Severity.DAMAGE, "a repository has it"),
        ("INSERT INTO reviews VALUES (3, 0, 999999, 1, 1)", FindingKind.RECORD_DANGLING, Severity.NOTE, "1 things"),
        (
            "INSERT INTO tag_history VALUES (NULL, 999999, 'v', 'push', 'x', 1, '')",
            FindingKind.RECORD_DANGLING,
            Severity.NOTE,
            "1 entries",
        ),
        (
            "INSERT INTO repository_blobs SELECT r.id, b.id, 1 FROM blobs b, repositories r WHERE b.digest = 'sha256:"
            + "0" * 64
            + "'",
            FindingKind.GARBAGE_FORGOTTEN,
            Severity.NOTE,
            "its space is never freed",
        ),
    ],
)
def test_records_that_stand_alone_are_named(
    folder: Path, statement: str, kind: FindingKind, severity: Severity, said: str
) -> None:
    if kind is FindingKind.GARBAGE_FORGOTTEN:
        change(folder, "INSERT INTO blobs (digest, size_bytes, created_ms) VALUES (?, 0, 1)", "sha256:" + "0" * 64)
    change(folder, statement)
    found = [finding for finding in check(folder) if finding.kind is kind]
    assert found
    assert all(finding.severity is severity and said in finding.detail for finding in found)


def test_a_repository_beside_its_namesake_in_library_is_a_note(folder: Path) -> None:
    async def push(registry: Registry) -> None:
        for name in ("myapp", "library/myapp", "library/other", "my__team/myapp"):
            await push_image(registry, name, IMAGE, "v1")

    on_registry(folder, push)
    (found,) = [finding for finding in check(folder) if finding.kind is FindingKind.NAME_TWICE]
    assert (found.subject, found.severity) == ("myapp", Severity.NOTE)
    assert "library/myapp" in found.detail
