"""Who is the truth: a server never serves what it does not know, and never brings back what was deleted."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from roadstead.testing.images import digest_of, image, index
from tests import skips
from tests.system.adoption.volumes import TREE, Client, Registry2, adopt, read_content
from tests.system.process import run, until
from tests.system.servers import RegistryServer, free_port
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROADSTEAD = Path(sys.executable).parent / "roadstead"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small volume of a real registry:2."""
    skips.require("docker-registry")
    folder = tmp_path / "volume"
    folder.mkdir()
    with Registry2("registry:2", folder, tmp_path / "first") as theirs, Client(theirs.url) as client:
        client.push("app", image(b"one"), "1", "2")
        client.push("multi", index(image(b"amd64"), image(b"arm64")), "1")
    return folder


def test_blobs_by_another_name_are_served_and_collected_as_any(root: Path, tmp_path: Path) -> None:
    """registry:2 keeps them under sha256 and links the one name to the other; a link that lies gives nothing."""
    long, honest = image(b"long name", algorithm="sha512"), "sha512:" + hashlib.sha512(b"honest").hexdigest()
    with Registry2("registry:2", root, tmp_path / "again") as theirs, Client(theirs.url) as client:
        client.push("long", long, "1")
        client.push_blob("lies", b"honest", honest)
        client.push("lies", image(b"other"), "1")
        before = read_content(theirs.url)
    lie = root / TREE / "repositories/lies/_layers" / honest.replace(":", "/") / "link"
    lie.write_text(digest_of(b"other"))
    with RegistryServer(tmp_path / "ours", arguments=["--storage", root.as_uri(), "--adopt"]) as ours:
        assert read_content(ours.url) == before
        with Client(ours.url) as client:
            assert client.head(f"/v2/lies/blobs/{honest}").status_code == 404
        ours.shut_down()
    data = tmp_path / "ours" / "data"
    layer = next(blob.digest for blob in long.blobs if blob.content == b"long name")
    assert (root / TREE / blob_file(layer)).samefile(root / TREE / blob_file(digest_of(b"long name"))), "no copy"
    with sqlite3.connect(data / "roadstead.db") as connection:
        query = "SELECT name FROM repositories WHERE left_alone_ms IS NOT NULL"
        assert connection.execute(query).fetchall() == [("lies",)]
        connection.execute("UPDATE reviews SET not_before_ms = 0")
    run([ROADSTEAD, "gc", "--data", data])
    assert not (root / TREE / blob_file(digest_of(b"long name"))).exists(), "nothing names it so"
    run([ROADSTEAD, "release", "--data", data])
    with Registry2("registry:2", root, tmp_path / "back") as theirs:
        assert read_content(theirs.url) == before


def blob_file(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded[:2]}/{encoded}/data"


def test_what_was_pushed_after_the_adoption_is_not_lost(root: Path, tmp_path: Path) -> None:
    """The first start reads the links again, told so or not; the links that it writes would not have that push."""
    run([ROADSTEAD, "adopt", root, "--data", tmp_path / "ours" / "data"])
    with Registry2("registry:2", root, tmp_path / "again") as theirs, Client(theirs.url) as client:
        client.push("app", image(b"pushed meanwhile"), "3", "1")
        there = read_content(theirs.url)
    with RegistryServer(tmp_path / "ours", arguments=["--storage", root.as_uri()]) as ours:
        assert read_content(ours.url) == there
        ours.shut_down()


def test_what_is_said_to_do_leads_to_the_same_catalogue(root: Path, tmp_path: Path) -> None:
    data = tmp_path / "elsewhere"
    said = serve_and_be_refused("--data", data, "--storage", root.as_uri())
    assert f"`roadstead adopt {root} --data {data}`" in said
    assert f"`roadstead adopt {root}`" in serve_and_be_refused("--data", root)
    with RegistryServer(tmp_path / "x", arguments=["--data", str(root), "--adopt"]) as ours:
        ours.shut_down()
    assert f"roadstead adopt {root}\n" in run([ROADSTEAD, "release", root]).stdout


def serve_and_be_refused(*options: str | Path) -> str:
    listen = ["--listen", f"127.0.0.1:{free_port()}", "--ops-listen", f"127.0.0.1:{free_port()}"]
    return run([ROADSTEAD, "serve", *listen, *options], exit_code=1).stderr


def test_the_folder_itself_can_be_the_data_folder(root: Path) -> None:
    said = serve_and_be_refused("--data", root)
    assert "the folder of a registry:2" in said
    assert "--adopt" in said
    run([ROADSTEAD, "adopt", root])
    with RegistryServer(root.parent / "x", arguments=["--data", str(root), "--adopt"]) as ours:
        assert set(read_content(ours.url).tags) == {"app:1", "app:2", "multi:1"}
        ours.shut_down()
    assert (root / "roadstead.db").exists()
    assert not (root / "registry").exists()


def test_the_configuration_of_registry2_leads_there(root: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: '{root}'}}}}\n")
    said = serve_and_be_refused("--config", config, "--data", tmp_path / "data", "--adopt")
    assert f"--storage {root.as_uri()}" in said
    said = serve_and_be_refused("--config", config, "--data", tmp_path / "data", "--storage", root.as_uri())
    assert "--adopt" in said
    words = ["--config", str(config), "--storage", root.as_uri(), "--adopt"]
    with RegistryServer(tmp_path / "ours", arguments=words) as ours:
        assert "app:1" in read_content(ours.url).tags
        ours.shut_down()
    with RegistryServer(tmp_path / "ours", arguments=["--config", str(config)]) as ours:
        assert "app:1" in read_content(ours.url).tags, "it is known by now which blobs are meant"
        ours.shut_down()


def test_deleted_here_is_not_brought_back_by_a_link(root: Path, tmp_path: Path) -> None:
    ours = RegistryServer(tmp_path / "ours", arguments=["--storage", root.as_uri(), "--adopt", *on_release(tmp_path)])
    with ours, Client(ours.url) as client:
        assert client.delete("/v2/app/manifests/1").status_code == 202
        ours.shut_down()
    assert (root / TREE / "repositories/app/_manifests/tags/1/current/link").exists(), "links are written on release"
    answer = run([ROADSTEAD, "adopt", root, "--data", tmp_path / "ours" / "data"], exit_code=1)
    assert "is in charge" in answer.stderr
    with RegistryServer(tmp_path / "ours", arguments=["--storage", root.as_uri(), "--adopt"]) as again:
        assert "app:1" not in read_content(again.url).tags
        again.shut_down()


def on_release(folder: Path) -> list[str]:
    file = folder / "on-release.yaml"
    file.write_text("links:\n  mode: on-release\n")
    return ["--config", str(file)]


def test_blobs_elsewhere_are_not_forgotten(root: Path, tmp_path: Path) -> None:
    """Without --storage every blob would be missing, and put into quarantine."""
    run([ROADSTEAD, "adopt", root, "--data", tmp_path / "data"])
    said = serve_and_be_refused("--data", tmp_path / "data")
    assert f"--storage {root.as_uri()}" in said


def test_what_to_name_is_said(root: Path, tmp_path: Path) -> None:
    assert f"name {root} instead" in run([ROADSTEAD, "adopt", root / TREE], exit_code=1).stderr
    (tmp_path / "nothing").mkdir()
    assert "rootdirectory" in run([ROADSTEAD, "adopt", tmp_path / "nothing"], exit_code=1).stderr
    assert not list((tmp_path / "nothing").iterdir())


def test_release_beside_a_server_needs_maintenance(root: Path, tmp_path: Path) -> None:
    """The way back without one failed pull: pulls go on, changes are refused, before and after."""
    data = tmp_path / "ours" / "data"
    with RegistryServer(tmp_path / "ours", arguments=["--storage", root.as_uri(), "--adopt"]) as ours:
        with Client(ours.url) as client:
            client.push("app", image(b"new here"), "3")
            here = read_content(ours.url)
            release: list[str | Path] = [ROADSTEAD, "release", "--data", data]  # which knows where its blobs are
            assert "read-only" in run(release, exit_code=1).stderr
            run([ROADSTEAD, "maintenance", "read-only", "--data", data])
            run(release)
            run([ROADSTEAD, "maintenance", "off", "--data", data])
            with Registry2("registry:2", root, tmp_path / "second") as theirs:
                assert read_content(theirs.url) == here == read_content(ours.url)
            refused = client.put(
                "/v2/app/manifests/4",
                content=b"{}",
                headers={"content-type": "application/vnd.oci.image.manifest.v1+json"},
            )
            assert refused.status_code in {405, 503}, refused.text
        ours.shut_down()
    said = serve_and_be_refused("--data", data, "--storage", root.as_uri())
    assert "was released" in said
    with RegistryServer(tmp_path / "ours", arguments=["--storage", root.as_uri(), "--adopt"]) as again:
        assert read_content(again.url) == here
        again.shut_down()


def test_links_follow_at_all_times(root: Path, tmp_path: Path) -> None:
    """A server that dies leaves links of some seconds ago at most: registry:2 can take over at once."""
    file = tmp_path / "follow.yaml"
    file.write_text("links:\n  interval_seconds: 0.1\n")
    arguments = ["--storage", root.as_uri(), "--adopt", "--config", str(file)]
    with RegistryServer(tmp_path / "ours", arguments=arguments) as ours, Client(ours.url) as client:
        client.push("app", image(b"new"), "3", "2")
        client.push("deep/er", index(image(b"x"), image(b"y")), "1")
        untagged = client.push("deep/er", image(b"by digest"))
        gone = client.push("gone", image(b"gone"), "1")
        assert client.delete("/v2/app/manifests/1").status_code == 202
        assert client.delete(f"/v2/gone/manifests/{gone}").status_code == 202
        extra = [("deep/er", untagged)]
        here = read_content(ours.url, extra)
        until(lambda: is_followed(tmp_path / "ours" / "data"), what="the links follow")
        ours.kill()
    with Registry2("registry:2", root, tmp_path / "second") as theirs, Client(theirs.url) as client:
        assert read_content(theirs.url, extra) == here
        assert client.get(f"/v2/gone/manifests/{gone}").status_code == 404


def is_followed(data: Path) -> bool:
    with sqlite3.connect(data / "roadstead.db") as connection:
        state = connection.execute("SELECT value FROM states WHERE name = 'links'").fetchone()
        is_complete = state is not None and json.loads(state[0])["is_complete"]
        return is_complete and connection.execute("SELECT count(*) FROM link_changes").fetchone() == (0,)


def rows(data: Path) -> dict[str, Any]:
    """All that adoption records, without keys and times of its own."""
    queries = {
        "tags": "SELECT r.name, t.name, m.digest, t.updated_ms FROM tags t JOIN manifests m ON m.id = manifest_id"
        " JOIN repositories r ON r.id = t.repository_id",
        "blobs": "SELECT r.name, b.digest, b.size_bytes FROM repository_blobs l JOIN blobs b ON b.id = l.blob_id"
        " JOIN repositories r ON r.id = l.repository_id",
        "manifests": "SELECT r.name, m.digest, m.media_type, l.pushed_ms FROM repository_manifests l"
        " JOIN manifests m ON m.id = l.manifest_id JOIN repositories r ON r.id = l.repository_id",
        "history": "SELECT repository_id, tag, action, digest, at_ms FROM tag_history",
        "names": "SELECT m.digest, b.blob_digest FROM manifest_blobs b JOIN manifests m ON m.id = b.manifest_id",
    }
    with sqlite3.connect(data / "roadstead.db") as connection:
        return {name: sorted(connection.execute(query)) for name, query in queries.items()}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A volume with enough in it to be killed in the middle."""
    skips.require("docker-registry")
    folder = tmp_path_factory.mktemp("many")
    (folder / "volume").mkdir()
    with Registry2("registry:2", folder / "volume", folder / "first") as theirs, Client(theirs.url) as client:
        for number in range(60):
            client.push(f"app{number % 6}", image(b"layer %d" % number, b"common"), f"v{number}", "latest")
    yield folder / "volume"
    shutil.rmtree(folder)


@pytest.mark.needs("strace")
@pytest.mark.parametrize("number", [3, 80, 300])
def test_killed_in_the_middle_of_an_adoption(many: Path, tmp_path: Path, number: int) -> None:
    """At some write to the catalogue's log; what was left is taken up by the next run, as if nothing had happened."""
    adopt(many, tmp_path / "whole")
    command: list[str | Path] = [ROADSTEAD, "adopt", many, "--data", tmp_path / "killed"]
    strace = [path_of("strace"), "-f", "-qq", "-e", f"inject=pwrite64:signal=KILL:when={number}", "-o", "/dev/null"]
    run([*strace, *command], exit_code=None)
    run(command)
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


@pytest.mark.needs("strace")
@pytest.mark.parametrize("number", [1, 15])  # strace counts by thread; one writes the 17 links of a repository
def test_killed_in_the_middle_of_a_release(many: Path, tmp_path: Path, number: int) -> None:
    """At some rename of a link: the catalogue stays in charge, and the next run writes the rest."""
    with RegistryServer(tmp_path / "ours", arguments=on_release(tmp_path)) as ours, Client(ours.url) as client:
        for each in range(12):
            client.push(f"app{each % 3}", image(b"layer %d" % each), f"v{each}")
        here = read_content(ours.url)
        ours.shut_down()
    data = tmp_path / "ours" / "data"
    strace = [path_of("strace"), "-f", "-qq", "-e", f"inject=rename:signal=KILL:when={number}", "-o", "/dev/null"]
    run([*strace, ROADSTEAD, "release", data], exit_code=None)
    with sqlite3.connect(data / "roadstead.db") as connection:
        (state,) = connection.execute("SELECT value FROM states WHERE name = 'adoption'").fetchone()
    assert json.loads(state)["phase"] == "in-charge"
    run([ROADSTEAD, "release", data])
    with Registry2("registry:2", data / "registry", tmp_path / "second") as theirs:
        assert read_content(theirs.url) == here
