"""The update from each version that the changelog names: its own code makes a registry, and this one takes over."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from roadstead import __version__
from roadstead.database.migrate import HEAD
from roadstead.testing.images import BlobContent, build_cache, foreign_image, image
from tests.skips import skip
from tests.system.adoption.volumes import Client
from tests.system.process import run
from tests.system.servers import RegistryServer
from tests.system.test_kept import absent, collect, command

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY: Final = Path(__file__).parents[2]
RELEASE: Final = re.compile(r"^## (\S+) \([0-9-]+\)\n\nStands on commit `([0-9a-f]{7,40})`\.$", re.MULTILINE)
RELEASES: Final = dict(RELEASE.findall((REPOSITORY / "CHANGELOG.md").read_text()))
"""The commit that each version stands on."""
SCHEMA: Final = re.compile(r'^HEAD: Final = "(\w+)"$', re.MULTILINE)

PUSHED: Final = {
    "image": image(b"layer of an image"),
    "cache": build_cache(b"cached layer", b"another"),
    "windows": foreign_image(b"windows", b"own layer"),
}
LAYER: Final = BlobContent(b"pushed by halves")
HALF: Final = len(LAYER.content) // 2


class ReleasedServer(RegistryServer):
    """The server of a version that was released before, with this one's libraries."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.source = source
        super().__init__(folder, peer="")
        self._env = {**os.environ, "PYTHONPATH": str(source / "src")}

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "roadstead", *super()._command(arguments)[1:]]


def test_the_changelog_names_commits() -> None:
    assert RELEASES


@pytest.fixture(params=[version for version in RELEASES if version != __version__])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The files of a version, as they were."""
    commit = RELEASES[request.param]
    folder = tmp_path / "source"
    folder.mkdir()
    git = ["git", "-C", str(REPOSITORY), "archive", commit, "src"]
    with subprocess.Popen(git, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as archive:
        subprocess.run(["tar", "--extract", "--directory", folder], stdin=archive.stdout, check=False)
        assert archive.stderr is not None
        reason = archive.stderr.read().decode().strip()
    if archive.returncode:
        skip(f"commit {commit} of version {request.param} is not here: {reason}", enable_with="git fetch --unshallow")
    return folder


def test_all_that_a_released_version_keeps_is_kept(source: Path, tmp_path: Path) -> None:
    with ReleasedServer(tmp_path, source) as old, Client(old.url) as client:
        for tag, manifest in PUSHED.items():
            client.push("team/app", manifest, tag)
        client.push("team/gone", PUSHED["image"], "latest")
        client.delete(f"/v2/team/gone/manifests/{PUSHED['image'].digest}").raise_for_status()
        location = client.post("/v2/team/app/blobs/uploads/").headers["location"]
        half = client.patch(location, content=LAYER.content[:HALF])
        assert half.status_code == 202, half.text
        begun = half.headers["location"]
        old.shut_down()
        data = old.data

    with RegistryServer(tmp_path, peer="") as server, Client(server.url) as client:
        assert absent(client, "team/app", PUSHED.values()) == []
        assert client.tags("team/app") == sorted(PUSHED)
        path = without_host(begun)
        rest = client.put(f"{path}{'&' if '?' in path else '?'}digest={LAYER.digest}", content=LAYER.content[HALF:])
        assert rest.status_code == 201, rest.text
        command("restore", f"team/gone@{PUSHED['image'].digest}", "--data", data)
        collect(data)
        assert absent(client, "team/app", PUSHED.values()) == []
        assert command("check", "--deep", "--data", data)[-1]["summary"]["damage"] == 0
        client.push("team/app", image(b"pushed by the new one"), "new")
        server.shut_down()

    if schema_of(source) != HEAD:
        require_refusal(source, data)


def schema_of(source: Path) -> str:
    found = SCHEMA.search((source / "src/roadstead/database/migrate.py").read_text())
    assert found
    return found[1]


def require_refusal(source: Path, data: Path) -> None:
    """The version before knows that it does not know this catalogue, and says what to do."""
    back = run(
        [sys.executable, "-m", "roadstead", "serve", "--data", data, "--listen", "127.0.0.1:0"],
        env={**os.environ, "PYTHONPATH": str(source / "src")},
        exit_code=None,
    )
    assert "start it with the version that wrote it" in back.stderr + back.stdout


def without_host(location: str) -> str:
    """A location without its host, which had another port."""
    return re.sub(r"^https?://[^/]+", "", location)
