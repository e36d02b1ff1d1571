"""What an adoption says it leaves alone is as it was, byte for byte, after a switch there and back with collection."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadstead.registry2.links import TreeFindingKind as Kind
from roadstead.testing.images import digest_of, image
from tests.system.adoption.volumes import TREE, Client, Registry2, adopt, snapshot
from tests.system.process import run, until
from tests.system.servers import RegistryServer

if TYPE_CHECKING:
    import pytest

    from tests.system.adoption.volumes import Volume

ROADSTEAD = Path(sys.executable).parent / "roadstead"
SPARE = "0" * 64


def serve_and_collect(volume: Volume, *arguments: str) -> None:
    """One switch to us: links are followed, and all that is garbage goes at once."""
    folder = volume.data.parent
    config = folder / "roadstead.yaml"
    config.write_text("links:\n  interval_seconds: 0.1\n")
    options = ["--config", str(config), "--storage", volume.root.as_uri(), "--adopt", *arguments]
    with RegistryServer(folder, arguments=options) as ours:
        with Client(ours.url) as client:
            client.push("team/ours", image(b"of ours"), "1")
        until((volume.tag("team/ours", "1") / "current" / "link").exists, what="the links follow")
        ours.shut_down()
    run([ROADSTEAD, "gc", "--data", volume.data, "--grace", "0", "--untagged"])


def lasting(found: dict[str, tuple[int, int, str]], below: str) -> dict[str, tuple[int, str]]:
    """Files below a folder, with length and digest."""
    folder = f"{TREE}/{below}"
    return {key: facts[1:] for key, facts in found.items() if key.startswith(folder) and facts[2]}


def damage(volume: Volume) -> None:
    """A repository with one of each: links that say nothing, and links to what is missing or cannot be understood."""
    for link in (
        volume.layer("app", digest_of(b"layer one")),
        volume.tag("app", "v1") / "current" / "link",
        volume.revision("app", volume.digests["moved"]),
    ):
        link.write_bytes(b"")
    volume.layer("app", digest_of(b"layer two")).write_text("sha256:65")
    lost = digest_of(b"lost by the disk")
    volume.write(volume.layer("app", lost), lost)
    missing = digest_of(b"a manifest that the disk lost")
    volume.write(volume.revision("app", missing), missing)
    volume.write(volume.tag("app", "missing") / "current" / "link", missing)
    volume.write(volume.tag("app", "dangling") / "current" / "link", f"sha256:{SPARE}")
    volume.write(volume.tag("app", "unset") / "index" / "sha256" / SPARE / "link", f"sha256:{SPARE}")
    volume.blob(digest_of(b"common")).write_bytes(b"")
    entry = volume.tag("app", "v2") / "index" / volume.digests["two"].replace(":", "/") / "link"
    entry.write_bytes(b"torn")
    unknown = volume.put_manifest("app", b'{"schemaVersion": 2, "mediaType": "application/vnd.example.unknown"}')
    volume.write(volume.tag("app", "unknown") / "current" / "link", unknown)


def test_damaged_links_survive_a_switch_there_and_back(volume: Volume) -> None:
    damage(volume)
    before = lasting(snapshot(volume.root), "repositories/app/")
    for _ in range(2):
        serve_and_collect(volume)
        assert before.items() <= lasting(snapshot(volume.root), "repositories/app/").items()
        run([ROADSTEAD, "release", "--data", volume.data])
        assert lasting(snapshot(volume.root), "repositories/app/") == before
    _, findings = adopt(volume.root, volume.data)
    again = {(finding.kind, finding.subject) for finding in findings}
    assert (Kind.TAG_DANGLING, "app:missing") in again, "found, and told of, as the first time"


def test_layers_of_a_manifest_that_was_not_taken_up_are_kept(volume: Volume) -> None:
    """Whatever the reason: its bytes are missing or damaged, or it is of a kind that only registry:2 may know."""
    kept = []
    for number, spoil in enumerate(("missing", "torn", "link", "unknown")):
        layer = b"layer of %s" % spoil.encode()
        repository = f"left/r{number}"
        volume.write(volume.blob(digest_of(layer)), layer)
        volume.write(volume.layer(repository, digest_of(layer)), digest_of(layer))
        digest = volume.put_manifest(repository, b'{"schemaVersion": 2, "layers": ["%s"]}' % spoil.encode())
        volume.write(volume.tag(repository, "1") / "current" / "link", digest)
        if spoil == "missing":
            volume.blob(digest).unlink()
        elif spoil == "torn":
            volume.blob(digest).write_bytes(b'{"schema')
        elif spoil == "link":
            volume.revision(repository, digest).write_bytes(b"")
        kept.append(volume.blob(digest_of(layer)))
    garbage = volume.blob(digest_of(b"named by nothing"))
    volume.write(garbage, b"named by nothing")
    volume.write(volume.layer("team/multi", digest_of(b"named by nothing")), digest_of(b"named by nothing"))
    serve_and_collect(volume)
    assert [path.exists() for path in kept] == [True] * 4
    assert not garbage.exists(), "elsewhere it is garbage, as before"
    run([ROADSTEAD, "release", "--data", volume.data])
    serve_and_collect(volume)
    assert [path.exists() for path in kept] == [True] * 4, "and after a second switch"


def test_manifests_that_an_unknown_index_may_name_stay(volume: Volume) -> None:
    """With ``gc --untagged``: what only registry:2 understands may be what reaches them."""
    child = image(b"child of an index that we do not know")
    for blob in child.blobs:
        volume.write(volume.blob(blob.digest), blob.content)
        volume.write(volume.layer("odd", blob.digest), blob.digest)
    volume.put_manifest("odd", child.content)
    parent = volume.put_manifest("odd", b'{"schemaVersion": 2, "children": ["%s"]}' % child.digest.encode())
    volume.write(volume.tag("odd", "1") / "current" / "link", parent)
    serve_and_collect(volume)
    assert volume.revision("odd", child.digest).exists()
    assert all(volume.blob(blob.digest).exists() for blob in child.blobs)


def test_what_clients_push_in_its_place_is_ours_like_any_other(volume: Volume) -> None:
    """A tag that dangled is pushed and deleted: no link of before may bring it back."""
    volume.write(volume.tag("app", "dangling") / "current" / "link", f"sha256:{SPARE}")
    config = volume.data.parent / "roadstead.yaml"
    config.write_text("links:\n  interval_seconds: 0.1\n")
    options = ["--config", str(config), "--storage", volume.root.as_uri(), "--adopt"]
    link = volume.tag("app", "dangling") / "current" / "link"
    with RegistryServer(volume.data.parent, arguments=options) as ours, Client(ours.url) as client:
        digest = client.push("app", image(b"healed"), "dangling")
        until(lambda: link.read_text() == digest, what="the tag follows")
        assert client.delete("/v2/app/manifests/dangling").status_code == 202
        until(lambda: not link.exists(), what="the deletion follows")
        ours.shut_down()
    run([ROADSTEAD, "release", "--data", volume.data])
    assert not link.exists()


def test_findings_name_the_tags_that_clients_lose(volume: Volume) -> None:
    layer = digest_of(b"amd64")
    volume.blob(layer).unlink()
    _, findings = adopt(volume.root, volume.data)
    told = {(finding.kind, finding.subject): finding.tags for finding in findings}
    assert told[Kind.BLOB_MISSING, f"team/multi/arch@{layer}"] == ("team/multi/arch:1.0",), "by way of the index"
    named = [tags for (kind, subject), tags in told.items() if kind is Kind.BLOB_UNLINKED and "arch@" in subject]
    assert named == [("team/multi/arch:1.0",)]
    odd = volume.put_manifest("team/broken", b"{")
    volume.write(volume.tag("team/broken", "torn") / "current" / "link", odd)
    volume.write(volume.tag("team/broken", "latest") / "current" / "link", odd)
    answer = run([ROADSTEAD, "adopt", volume.root, "--data", volume.data, "--json"], exit_code=4)
    records: list[dict[str, Any]] = [json.loads(line) for line in answer.stdout.splitlines()]
    found = next(each for each in records if each.get("subject") == f"team/broken@{odd}")
    assert found["tags"] == ["team/broken:latest", "team/broken:torn"]
    plain = run([ROADSTEAD, "adopt", volume.root, "--data", volume.data], exit_code=4).stdout
    assert "team/broken:torn" in next(line for line in plain.splitlines() if f"team/broken@{odd}" in line)


def test_what_file_servers_and_snapshots_put_there_is_no_damage(volume: Volume) -> None:
    """A NAS, a file system of its own, a desktop: everything is taken up, and the exit code says so."""
    repositories = volume.tree / "repositories"
    for place in (
        repositories,
        repositories / "app",
        repositories / "app/_layers",
        repositories / "app/_layers/sha256",
        repositories / "app/_manifests",
        repositories / "app/_manifests/revisions",
        repositories / "app/_manifests/revisions/sha256",
        repositories / "app/_manifests/tags",
        repositories / "app/_manifests/tags/v1",
        volume.tree / "blobs",
        volume.tree / "blobs/sha256",
        volume.tree / "blobs/sha256" / volume.digests["one"].partition(":")[2][:2],
        volume.blob(volume.digests["one"]).parent,
    ):
        for name in ("@eaDir", ".snapshot", "lost+found", "#recycle", ".Trash-1000"):
            volume.write(place / name / "inside" / "file", b"x")
        volume.write(place / ".DS_Store", b"x")
    copy = repositories / ".snapshot" / "hourly.0"
    volume.write(copy / "app" / "_manifests" / "tags" / "old" / "current" / "link", volume.digests["one"])
    before = set(volume.tree.rglob("*"))
    run([ROADSTEAD, "adopt", volume.root, "--data", volume.data], exit_code=0)
    assert set(volume.tags("app")) == {"v1", "v2", "latest", "untyped"}
    names = {str(row[0]) for row in volume.rows("SELECT name FROM repositories")}
    assert names == {"app", "alias", "team/multi", "team/multi/arch"}
    serve_and_collect(volume)
    run([ROADSTEAD, "release", "--data", volume.data])
    gone = {path for path in before - set(volume.tree.rglob("*")) if path.name in {"file", ".DS_Store"}}
    assert not gone


def test_a_folder_that_nobody_may_read_is_no_damage(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """``lost+found`` belongs to root; as root the test has to make it unreadable in another way."""
    from roadstead.storage import Entry, SmallFiles, StorageUnavailableError  # noqa: PLC0415

    (volume.tree / "repositories" / "lost+found").mkdir()
    (volume.tree / "blobs" / "lost+found").mkdir()
    entries = SmallFiles.entries

    def refuse(files: SmallFiles, folder: str) -> list[Entry]:
        if folder.endswith("lost+found"):
            raise StorageUnavailableError(folder, "Permission denied")
        return entries(files, folder)

    monkeypatch.setattr(SmallFiles, "entries", refuse)
    summary, findings = adopt(volume.root, volume.data)
    assert summary.tags == 8
    assert {finding.severity for finding in findings} == {"note"}


def test_registry2_serves_as_before_what_we_could_not_read(volume: Volume, request: pytest.FixtureRequest) -> None:
    """The way back gives a client what it got before, also of what was left alone."""
    damage(volume)
    layer = b"of an index that we do not know"
    volume.write(volume.blob(digest_of(layer)), layer)
    volume.write(volume.layer("app", digest_of(layer)), digest_of(layer))
    asked = [f"/v2/app/blobs/{digest_of(layer)}", "/v2/app/manifests/v2", "/v2/app/tags/list"]
    kind = "registry:2" if "registry:2" in request.node.name else "registry:3"
    with Registry2(kind, volume.root, volume.data.parent / "before") as theirs, Client(theirs.url) as client:
        before = [(client.get(path).status_code, client.get(path).content) for path in asked]
    serve_and_collect(volume)
    run([ROADSTEAD, "release", "--data", volume.data])
    with Registry2(kind, volume.root, volume.data.parent / "after") as theirs, Client(theirs.url) as client:
        assert [(client.get(path).status_code, client.get(path).content) for path in asked] == before
