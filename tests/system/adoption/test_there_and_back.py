"""A folder goes from registry:2 to us and back, with pushes on both sides; nothing that a client sees changes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from roadstead.testing.images import image, index
from tests.system.adoption.volumes import PROGRAMS, Client, Registry2, fill, read_content, snapshot
from tests.system.process import run
from tests.system.servers import RegistryServer

ROADSTEAD = Path(sys.executable).parent / "roadstead"

EACH = [pytest.param(kind, marks=pytest.mark.needs(tool), id=kind) for kind, tool in PROGRAMS.items()]


class Serving(RegistryServer):
    """Ours, over a folder that is not its own."""

    def __init__(self, folder: Path, root: Path, *arguments: str) -> None:
        super().__init__(folder, arguments=["--storage", root.as_uri(), *arguments])


def records(*words: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run([ROADSTEAD, *words, "--json"], exit_code=0).stdout.splitlines()]


@pytest.mark.parametrize("kind", EACH)
def test_there_and_back_and_there(kind: str, tmp_path: Path) -> None:
    root, data = tmp_path / "volume", tmp_path / "ours" / "data"
    root.mkdir()
    with Registry2(kind, root, tmp_path / "first") as theirs:
        digests = fill(theirs.url)
        extra = [("team/multi", digests["untagged"])]
        before = read_content(theirs.url, extra)
    on_disk = snapshot(root)
    *_, last = records("adopt", root, "--data", data)
    assert last["summary"]["tags"] == 8
    assert snapshot(root) == on_disk, "not a byte, not a time was changed"

    with Serving(tmp_path / "ours", root, "--adopt") as ours:
        assert files(on_disk).items() <= files(snapshot(root)).items()
        assert read_content(ours.url, extra) == before
        change_here(ours.url, digests)
        there = read_content(ours.url, extra)
        ours.shut_down()
    history = records("history", "app:latest", "--data", data)
    assert {digests["one"], digests["moved"]} <= {entry.get("digest") for entry in history}

    run([ROADSTEAD, "release", "--data", data])
    with Registry2(kind, root, tmp_path / "second") as theirs:
        assert read_content(theirs.url, extra) == there
        change_there(theirs.url)
        after = read_content(theirs.url, extra)
        run([theirs.program, "garbage-collect", "--dry-run", theirs.config])  # it understands every link that we wrote

    with Serving(tmp_path / "ours", root, "--adopt") as ours:
        assert read_content(ours.url, extra) == after
        ours.shut_down()
    checked = records("check", "--deep", "--data", data)
    assert checked[-1]["summary"]["damage"] == 0


def files(found: dict[str, tuple[int, int, str]]) -> dict[str, tuple[int, int, str]]:
    """All but links to other names of blobs, which stand for themselves as soon as we serve."""
    return {key: facts for key, facts in found.items() if facts[2] and "/_layers/sha512/" not in key}


def change_here(url: str, digests: dict[str, str]) -> None:
    with Client(url) as client:
        client.push("new/here", index(image(b"new amd64"), image(b"new arm64")), "1", "latest")
        client.push("app", image(b"again", b"common"), "v1")
        client.push("sha512", image(b"long names", algorithm="sha512"), "1")
        assert client.delete("/v2/app/manifests/v2").status_code == 202
        assert client.delete(f"/v2/team/multi/arch/manifests/{digests['index']}").status_code == 202


def change_there(url: str) -> None:
    with Client(url) as client:
        client.push("new/there", image(b"of registry:2"), "1")
        client.push("new/here", image(b"retagged over there"), "1")
        gone = client.head("/v2/app/manifests/v1").headers["docker-content-digest"]
        assert client.delete(f"/v2/app/manifests/{gone}").status_code == 202


@pytest.mark.parametrize("kind", EACH)
def test_our_own_folder_can_be_given_to_registry2(kind: str, tmp_path: Path) -> None:
    """What was never adopted can be released too; and the folder below DIR is the one to name."""
    with RegistryServer(tmp_path / "ours") as ours:
        with Client(ours.url) as client:
            client.push("a/b", image(b"one"), "1")
            client.push("a/c", index(image(b"two"), image(b"three")), "1")
        here = read_content(ours.url)
        ours.shut_down()
    run([ROADSTEAD, "release", tmp_path / "ours" / "data"])
    with Registry2(kind, tmp_path / "ours" / "data" / "registry", tmp_path / "theirs") as theirs:
        assert read_content(theirs.url) == here
