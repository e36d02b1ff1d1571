"""What real volumes hold after years: each trap is put into a volume that a real registry has written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from roadstead.registry.integrity.findings import Severity
from roadstead.registry2.links import TreeFinding
from roadstead.registry2.links import TreeFindingKind as Kind
from roadstead.storage import SmallFile, SmallFiles, StorageUnavailableError
from roadstead.testing.images import OCI_MANIFEST, ManifestContent, digest_of, image
from tests import skips
from tests.system.adoption.volumes import TREE, Client, Registry2, adopt

if TYPE_CHECKING:
    from tests.system.adoption.volumes import Volume

SPARE = "0" * 64


def test_a_sound_volume_has_nothing_but_notes(volume: Volume) -> None:
    summary, told = volume.adopt()
    assert {kind for kind, _ in told} == {Kind.DIGEST_ALIAS}
    assert summary.tags == 8
    assert volume.tags("app") == {
        "v1": volume.digests["one"],
        "v2": volume.digests["two"],
        "latest": volume.digests["moved"],
        "untyped": volume.digests["untyped"],
    }
    types = {row[0]: row[1] for row in volume.rows("SELECT digest, media_type FROM manifests")}
    assert types[volume.digests["untyped"]] == "application/vnd.oci.image.manifest.v1+json"
    assert types[volume.digests["two"]] == "application/vnd.docker.distribution.manifest.v2+json"


def test_times_and_histories_come_along(volume: Volume) -> None:
    old, new = 1_500_000_000, 1_600_000_000
    current = volume.tag("app", "latest") / "current" / "link"
    os.utime(current, (new, new))
    index = volume.tag("app", "latest") / "index" / volume.digests["one"].replace(":", "/") / "link"
    os.utime(index, (old, old))
    os.utime(volume.revision("app", volume.digests["one"]), (old, old))
    volume.adopt()
    history = volume.rows("SELECT action, digest, at_ms FROM tag_history WHERE tag = 'latest' ORDER BY id")
    assert history == [
        ("adopt", volume.digests["one"], old * 1000),
        ("adopt", volume.digests["moved"], new * 1000),
    ]
    assert volume.rows("SELECT updated_ms FROM tags WHERE name = 'latest'") == [(new * 1000,)]
    query = "SELECT pushed_ms FROM repository_manifests JOIN manifests ON id = manifest_id WHERE digest = "
    assert volume.rows(f"{query}'{volume.digests['one']}'") == [(old * 1000,)]


def test_a_tag_that_went_away_and_came_back_between_two_runs(volume: Volume) -> None:
    os.utime(volume.tag("app", "v1") / "current" / "link", (1_500_000_000, 1_500_000_000))
    volume.adopt()
    link = volume.tag("app", "v1") / "index" / volume.digests["two"].replace(":", "/") / "link"
    os.utime(volume.write(link, volume.digests["two"]), (1_600_000_000, 1_600_000_000))
    os.utime(volume.tag("app", "v1") / "current" / "link", (1_700_000_000, 1_700_000_000))
    volume.adopt()
    history = volume.rows("SELECT digest, at_ms FROM tag_history WHERE tag = 'v1' ORDER BY id")
    assert history == [
        (volume.digests["one"], 1_500_000_000_000),
        (volume.digests["two"], 1_600_000_000_000),
        (volume.digests["one"], 1_700_000_000_000),
    ]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("", Kind.LINK_EMPTY),
        ("sha256:6574f7", Kind.LINK_INVALID),
        (b"\x00\xff" * 40, Kind.LINK_INVALID),
        (f"sha256:{SPARE}", Kind.LINK_MISMATCH),
        (f"../../../../{SPARE}", Kind.LINK_INVALID),
    ],
    ids=["empty", "truncated", "binary", "another", "path"],
)
@pytest.mark.parametrize("place", ["layer", "revision"])
def test_a_link_that_says_something_else_is_none(volume: Volume, place: str, content: str, kind: Kind) -> None:
    digest = volume.digests["one"] if place == "revision" else digest_of(b"layer one")
    path = volume.revision("app", digest) if place == "revision" else volume.layer("app", digest)
    volume.write(path, content)
    _, told = volume.adopt()
    assert (kind, str(path.relative_to(volume.root))) in told
    if place == "revision":
        assert "v1" not in volume.tags("app")
        assert (Kind.TAG_DANGLING, "app:v1") in told
    else:
        assert digest not in volume.blobs("app")
        assert (Kind.BLOB_UNLINKED, f"app@{volume.digests['one']}") in told
    assert {"v2", "latest", "untyped"} <= set(volume.tags("app")), "the rest is taken up"


@pytest.mark.parametrize("content", ["", "sha2", f"sha256:{SPARE}"])
def test_a_tag_whose_link_is_damaged_is_none(volume: Volume, content: str) -> None:
    volume.write(volume.tag("app", "latest") / "current" / "link", content)
    _, told = volume.adopt()
    assert "latest" not in volume.tags("app")
    assert {Kind.LINK_EMPTY, Kind.LINK_INVALID, Kind.TAG_DANGLING} & {kind for kind, _ in told}


def test_a_link_may_end_in_a_new_line(volume: Volume) -> None:
    volume.write(volume.tag("app", "v1") / "current" / "link", volume.digests["two"] + "\n")
    volume.adopt()
    assert volume.tags("app")["v1"] == volume.digests["two"], "the content counts"


def test_a_deletion_leaves_a_folder_without_a_link(volume: Volume) -> None:
    volume.revision("team/multi", volume.digests["untagged"]).unlink()
    volume.layer("app", digest_of(b"layer two")).unlink()
    (volume.tag("app", "v1") / "current" / "link").unlink()
    _, told = volume.adopt()
    assert (volume.digests["untagged"],) not in volume.rows("SELECT digest FROM manifests")
    assert digest_of(b"layer two") not in volume.blobs("app")
    assert (Kind.TAG_UNSET, "app:v1") in told


def test_bytes_that_are_missing(volume: Volume) -> None:
    volume.blob(digest_of(b"layer one")).unlink()
    volume.blob(volume.digests["two"]).unlink()
    _, told = volume.adopt()
    assert (Kind.BLOB_MISSING, f"app@{digest_of(b'layer one')}") in told
    assert (Kind.BLOB_UNLINKED, f"app@{volume.digests['one']}") in told
    assert (Kind.MANIFEST_MISSING, f"app@{volume.digests['two']}") in told
    assert volume.tags("app")["v1"] == volume.digests["one"], "registry:2 gives the manifest too"
    assert "v2" not in volume.tags("app")


def test_bytes_that_were_never_flushed(volume: Volume) -> None:
    """A machine that died left the file's name and none of its bytes, or some."""
    volume.write(volume.blob(digest_of(b"layer one")), b"")
    volume.write(volume.blob(digest_of(b"layer two")), b"layer")
    volume.write(volume.blob(volume.digests["moved"]), b"")
    _, told = volume.adopt()
    assert (Kind.BLOB_DAMAGED, f"app@{digest_of(b'layer one')}") in told
    assert (Kind.BLOB_DAMAGED, f"app@{digest_of(b'layer two')}") in told
    assert (Kind.MANIFEST_DIGEST, f"app@{volume.digests['moved']}") in told
    assert not {digest_of(b"layer one"), digest_of(b"layer two")} & volume.blobs("app"), "so clients push them again"


def test_a_manifest_that_lies_about_lengths_harms_nobody(volume: Volume) -> None:
    """registry:2 does not compare lengths; a blob that others use must not be taken for damaged."""
    good = json.loads(image(b"layer one", b"common").content)
    good["layers"][0]["size"] = 7
    liar = volume.put_manifest("app", json.dumps(good).encode())
    _, told = volume.adopt()
    assert (Kind.MANIFEST_SIZES, f"app@{liar}") in told
    assert digest_of(b"layer one") in volume.blobs("app")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", Kind.MANIFEST_INVALID),
        (b'{"schemaVersion": 2}', Kind.MANIFEST_INVALID),
        (b"[" * 200_000, Kind.MANIFEST_INVALID),
        (b" " * ((4 << 20) + 1), Kind.MANIFEST_INVALID),
        (b'{"schemaVersion": 1, "name": "app", "fsLayers": []}', Kind.MANIFEST_SCHEMA_1),
    ],
    ids=["torn", "unknown", "deep", "long", "schema 1"],
)
def test_manifests_that_cannot_be_taken_up(volume: Volume, content: bytes, kind: Kind) -> None:
    digest = volume.put_manifest("app", content)
    volume.write(volume.tag("app", "odd") / "current" / "link", digest)
    _, told = volume.adopt()
    assert (kind, f"app@{digest}") in told
    assert (Kind.TAG_DANGLING, "app:odd") in told
    assert len(volume.tags("app")) == 4


def test_a_withdrawn_artifact_manifest_is_kept_with_its_blobs(volume: Volume) -> None:
    """Some clients wrote it before it was withdrawn; registries of that time took it."""
    blob = digest_of(b"layer one")
    document = {
        "mediaType": "application/vnd.oci.artifact.manifest.v1+json",
        "artifactType": "application/example.bill",
        "blobs": [{"mediaType": "application/json", "digest": blob, "size": 9}],
        "subject": {"mediaType": OCI_MANIFEST, "digest": volume.digests["two"], "size": 1},
    }
    digest = volume.put_manifest("app", json.dumps(document).encode())
    _, told = volume.adopt()
    assert {kind for kind, subject in told if digest in subject} == {Kind.MANIFEST_WITHDRAWN}
    assert TreeFinding(Kind.MANIFEST_WITHDRAWN, "", "").severity is Severity.NOTE
    named = "SELECT blob_digest, is_required FROM manifest_blobs n JOIN manifests m ON m.id = n.manifest_id"
    assert volume.rows(f"{named} WHERE m.digest = '{digest}'") == [(blob, 1)]
    assert volume.rows("SELECT left_alone_ms FROM repositories WHERE name = 'app'") == [(None,)]


def test_links_stay_where_a_manifest_was_left_alone(volume: Volume) -> None:
    """Only that manifest may know what needs a blob: garbage collection must not ask."""
    volume.put_manifest("app", b'{"schemaVersion": 1}')
    volume.write(volume.layer("app", digest_of(b"arm64")), digest_of(b"arm64"))
    volume.write(volume.layer("team/multi", digest_of(b"layer one")), digest_of(b"layer one"))
    volume.adopt()
    query = "SELECT r.name FROM reviews v JOIN repositories r ON r.id = v.repository_id WHERE v.kind = 1"
    query += " AND r.name != 'alias'"  # where nothing names the blobs by sha256
    assert volume.rows(query) == [("team/multi",)], "there it is garbage, in app it may not be"


def test_very_old_volumes(volume: Volume) -> None:
    digest = volume.put_manifest("app", b'{"schemaVersion": 1}')
    signature = volume.revision("app", digest).parent / "signatures" / "sha256" / SPARE / "link"
    volume.write(signature, f"sha256:{SPARE}")
    tarsum = volume.tree / "repositories/app/_layers/tarsum/v1/sha256" / SPARE / "link"
    volume.write(tarsum, f"tarsum.v1+sha256:{SPARE}")
    _, told = volume.adopt()
    assert (Kind.SIGNATURES, str(signature.parents[2].relative_to(volume.root))) in told
    assert (Kind.DIGEST_UNSUPPORTED, str(tarsum.parents[3].relative_to(volume.root))) in told


def test_another_name_of_a_digest_is_told_of(volume: Volume) -> None:
    _, told = volume.adopt()
    aliases = [kind for kind, subject in told if "/alias/_layers/sha512/" in subject]
    assert aliases == [Kind.DIGEST_ALIAS] * 3, "a blob alone, and those that the tag `long` needs"
    assert digest_of(b"named by another digest") in volume.blobs("alias")
    volume.layer("alias", digest_of(b"layer with a long name")).unlink()
    _, told = volume.adopt()
    assert (Kind.BLOB_UNLINKED, f"alias@{volume.digests['long']}") in told, "a name of nothing is none"


def test_repositories_with_only_some_folders(volume: Volume) -> None:
    shutil.rmtree(volume.tree / "repositories/alias/_manifests")
    shutil.rmtree(volume.tree / "repositories/team/multi/arch/_layers")
    (volume.tree / "repositories/empty/_layers").mkdir(parents=True)
    (volume.tree / "repositories/hollow").mkdir()
    _, told = volume.adopt()
    assert digest_of(b"beside it") in volume.blobs("alias")
    assert "1.0" in volume.tags("team/multi/arch")
    assert (Kind.REPOSITORY_EMPTY, f"{TREE}/repositories/hollow") in told
    assert ("empty",) not in volume.rows("SELECT name FROM repositories")


def test_names_that_no_client_could_ask_for(volume: Volume) -> None:
    shutil.copytree(volume.tree / "repositories/app", volume.tree / "repositories/App Store")
    shutil.copytree(volume.tree / "repositories/app", volume.tree / "repositories/..." / "x")
    shutil.copytree(volume.tag("app", "v1"), volume.tag("app", "-v1"))
    shutil.copytree(volume.tag("app", "v1"), volume.tag("app", "x" * 129))
    (volume.tree / "repositories" / os.fsdecode(b"\xff\xfe") / "_layers").mkdir(parents=True)
    _, told = volume.adopt()
    assert {(Kind.REPOSITORY_INVALID, "App Store"), (Kind.FOREIGN, f"{TREE}/repositories/...")} <= told
    assert {(Kind.TAG_INVALID, "app:-v1"), (Kind.TAG_INVALID, f"app:{'x' * 129}")} <= told
    assert len(volume.tags("app")) == 4


def test_symbolic_links_lead_nowhere(volume: Volume, tmp_path: Path) -> None:
    secret = volume.write(tmp_path / "outside" / "data", b"secret of this machine")
    digest = digest_of(b"secret of this machine")
    volume.write(volume.layer("app", digest), digest)
    volume.blob(digest).parent.mkdir(parents=True)
    volume.blob(digest).symlink_to(secret)
    folder = digest_of(b"another")
    volume.write(volume.layer("app", folder), folder)
    volume.write(tmp_path / "elsewhere" / "data", b"another")
    volume.blob(folder).parent.parent.mkdir(parents=True)
    volume.blob(folder).parent.symlink_to(tmp_path / "elsewhere")
    (volume.tree / "repositories" / "loop").symlink_to(volume.tree / "repositories")
    link = volume.tag("app", "v1") / "current" / "link"
    link.rename(tmp_path / "link")
    link.symlink_to(tmp_path / "link")
    _, told = volume.adopt()
    assert not {digest, folder} & volume.blobs("app")
    assert "v1" not in volume.tags("app")
    assert volume.rows("SELECT name FROM repositories WHERE name LIKE 'loop%'") == []
    linked = {subject for kind, subject in told if kind is Kind.SYMLINK}
    assert f"{TREE}/repositories/loop" in linked
    assert str(link.relative_to(volume.root)) in linked
    assert str(volume.blob(digest).relative_to(volume.root)) in linked


def test_an_administrator_may_have_moved_the_tree(volume: Volume, tmp_path: Path) -> None:
    (volume.root / "docker").rename(tmp_path / "moved")
    (volume.root / "docker").symlink_to(tmp_path / "moved")
    summary, _ = adopt(volume.root, volume.data)
    assert summary.tags == 8


def test_half_uploads_and_what_dead_processes_left(volume: Volume) -> None:
    upload = volume.tree / "repositories/app/_uploads/1d2f3c4b-0000-4000-8000-000000000000"
    volume.write(upload / "startedat", "2020-01-02T03:04:05Z")
    volume.write(upload / "data", b"half")
    volume.write(upload / "hashstates/sha256/4", b"sha\x03")
    torn = volume.write(upload.with_name("torn") / "startedat", "")
    link = volume.tag("app", "v1") / "current" / "link"
    leftover = link.with_name("link.0b3a.tmp")
    link.rename(leftover)
    body = volume.write(volume.blob(digest_of(b"x")).with_name("data.77.tmp"), b"x")
    foreign = volume.write(volume.tree / "repositories/README", b"hello")
    summary, told = volume.adopt()
    subjects = {str(path.relative_to(volume.root)) for path in (upload, torn.parent)}
    assert {(Kind.UPLOAD, subject) for subject in subjects} <= told
    assert summary.uploads == 2
    assert {(Kind.LEFTOVER, str(path.relative_to(volume.root))) for path in (leftover, body)} <= told
    assert (Kind.FOREIGN, str(foreign.relative_to(volume.root))) in told


def test_bytes_that_no_repository_has_are_counted(volume: Volume) -> None:
    for number in range(3):
        volume.write(volume.blob(digest_of(b"%d" % number)), b"%d" % number)
    summary, told = volume.adopt()
    assert (summary.unlinked_files, summary.unlinked_bytes) == (3, 3)
    assert (Kind.BYTES_UNLINKED, f"{TREE}/blobs") in told


def test_the_folder_of_a_pull_through_cache(volume: Volume) -> None:
    volume.write(volume.root / "scheduler-state.json", "{}")
    _, told = volume.adopt()
    assert (Kind.PROXY_STATE, "scheduler-state.json") in told


def test_what_is_gone_over_there_goes_here(volume: Volume) -> None:
    volume.adopt()
    shutil.rmtree(volume.tag("app", "v1"))
    volume.revision("app", volume.digests["two"]).unlink()
    shutil.rmtree(volume.tag("app", "v2"))
    volume.layer("app", digest_of(b"layer two")).unlink()
    shutil.rmtree(volume.tree / "repositories/alias")
    summary, _ = adopt(volume.root, volume.data)
    assert summary.removed >= 5
    assert set(volume.tags("app")) == {"latest", "untyped"}
    assert volume.rows("SELECT name FROM repositories WHERE removed_ms IS NOT NULL") == [("alias",)]
    deleted = volume.rows("SELECT tag FROM tag_history WHERE action = 'delete' ORDER BY tag")
    assert [tag for (tag,) in deleted] == ["1", "long", "v1", "v2"]


def test_what_cannot_be_read_is_not_taken_for_gone(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that answers with an error says nothing about what is there; root may read what has no permission."""
    volume.adopt()
    unreadable = {
        str(path.relative_to(volume.root))
        for path in (
            volume.layer("app", digest_of(b"layer one")),
            volume.revision("app", volume.digests["one"]),
            volume.tag("app", "v2") / "current" / "link",
        )
    }
    read = SmallFiles.read

    def fail(files: SmallFiles, key: str, limit: int) -> SmallFile | None:
        if key in unreadable:
            raise StorageUnavailableError(key, "Input/output error")
        return read(files, key, limit)

    monkeypatch.setattr(SmallFiles, "read", fail)
    summary, findings = adopt(volume.root, volume.data)
    assert {finding.subject for finding in findings if finding.kind is Kind.UNREADABLE} == unreadable
    assert summary.removed == 0
    assert {"v1", "v2"} <= set(volume.tags("app"))
    assert digest_of(b"layer one") in volume.blobs("app")


def test_a_history_that_cannot_be_read_costs_no_tag(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = volume.tag("app", "latest") / "index" / volume.digests["one"].replace(":", "/") / "link"
    read = SmallFiles.read

    def fail(files: SmallFiles, key: str, limit: int) -> SmallFile | None:
        if key == str(lost.relative_to(volume.root)):
            raise StorageUnavailableError(key, "Input/output error")
        return read(files, key, limit)

    monkeypatch.setattr(SmallFiles, "read", fail)
    _, findings = adopt(volume.root, volume.data)
    assert [finding.kind for finding in findings if finding.severity == "damage"] == [Kind.UNREADABLE]
    assert volume.tags("app")["latest"] == volume.digests["moved"]


def test_pushes_during_the_adoption_are_whole_or_absent(tmp_path: Path) -> None:
    """While registry:2 still runs: no tag without its manifest, no manifest without its blobs; the next run has all."""
    skips.require("docker-registry")
    root = tmp_path / "volume"
    root.mkdir()
    with Registry2("registry:2", root, tmp_path / "registry") as registry, Client(registry.url) as client:
        for number in range(60):
            client.push(f"app{number % 3}", small(number), f"v{number}")
            if number % 6 == 5:
                _, findings = adopt(root, tmp_path / "data")
                assert not [finding for finding in findings if finding.severity == "damage"]
        summary, _ = adopt(root, tmp_path / "data")
    assert summary.tags == 60


def small(number: int) -> ManifestContent:
    return image(b"layer %d" % number)
