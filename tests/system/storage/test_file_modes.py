"""Who on the machine may read what: nobody but the owner, a group the blobs; what is adopted keeps its modes."""

from __future__ import annotations

import grp
import os
import secrets
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests import skips
from tests.system.faults.client import Client
from tests.system.faults.server import PROGRAM, FaultyServer, environment
from tests.system.process import run, until

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYER: Final = secrets.token_bytes(10_000)
UMASKS: Final = (0o000, 0o022, 0o077)
NOBODY: Final = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user of this machine can come to."""
    path = Path(tempfile.mkdtemp(prefix="roadstead-modes-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def serve(folder: Path, umask: int = 0o022, **settings: object) -> None:
    """A server with some content, which has ended."""
    named = {key.replace("__", "."): value for key, value in settings.items()}
    server = FaultyServer(
        folder / secrets.token_hex(2),
        data=folder / "data",
        settings={"links.interval_seconds": 0.1} | named,
        wrapper=["sh", "-c", f'umask {umask:03o}; exec "$@"', "sh"],
    )
    with server, Client(server.port) as client:
        client.push_image("app", secrets.token_hex(4), [secrets.token_bytes(100), LAYER])
        client.patch(client.begin("app"), b"unfinished")
        tags = server.data.glob("**/tags/*/current/link")
        until(lambda: any(True for _ in server.data.glob("**/_manifests/tags")) or any(tags), what="links are written")
        server.shut_down()


def modes(folder: Path) -> dict[str, set[str]]:
    """The modes of folders, blobs and other files below a folder."""
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*"):
        kind = "folder" if path.is_dir() else "file"
        found.setdefault(kind, set()).add(f"{stat.S_IMODE(path.lstat().st_mode):03o}")
    return found


@pytest.mark.parametrize("umask", UMASKS)
def test_a_stranger_reads_nothing(folder: Path, umask: int) -> None:
    serve(folder, umask)
    data = folder / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for path in [*data.glob("roadstead.*"), *data.glob("secrets/**/*")]:
        assert stat.S_IMODE(path.stat().st_mode) in {0o600, 0o700}, path
    assert modes(data / "registry" / "docker") == {"folder": {"700"}, "file": {"640"}}
    assert modes(data / "registry" / "uploads") == {"file": {"640"}}
    assert "open-to-others" not in check(data)


@pytest.mark.parametrize("umask", UMASKS)
def test_a_group_reads_the_blobs(folder: Path, umask: int) -> None:
    """It comes through the folders to the blobs, and neither to the catalogue nor to secrets."""
    if os.geteuid() != 0:
        skips.skip("only root has a second group to give", enable_with="sudo make test")
    group = grp.getgrgid(NOBODY).gr_name
    serve(folder, umask, storage__group=group)
    serve(folder, umask, storage__group=group)
    data = folder / "data"
    tree = data / "registry" / "docker"
    assert modes(tree) == {"folder": {"750"}, "file": {"640"}}
    assert {path.stat().st_gid for path in [data, data / "registry", tree, *tree.rglob("*")]} == {NOBODY}
    as_member = ["setpriv", "--reuid", "1", "--regid", str(NOBODY), "--clear-groups"]
    blob = next(path for path in tree.glob("**/data") if path.read_bytes() == LAYER)
    run([*as_member, "cat", blob])
    for path in (data / "roadstead.db", data / "secrets"):
        run([*as_member, "ls" if path.is_dir() else "cat", path], exit_code=None)
    run(["setpriv", "--reuid", "1", "--regid", "1", "--clear-groups", "cat", blob], exit_code=None)
    assert "open-to-others" not in check(data)


def test_a_group_that_there_is_not(folder: Path) -> None:
    server = FaultyServer(folder / "a", data=folder / "data", settings={"storage.group": "nobody-is-called-so"})
    code, said = server.launch()
    assert code == 3, said
    assert "storage.group" in said


@pytest.mark.parametrize("umask", UMASKS)
@pytest.mark.parametrize(("tree", "file"), [(0o755, "644"), (0o2775, "664")])
def test_an_adopted_tree_keeps_its_modes_and_owners(folder: Path, umask: int, tree: int, file: str) -> None:
    """What is added looks like the rest: registry:2 must be able to go on with it."""
    root = folder / "data"
    (root / "docker/registry/v2/blobs").mkdir(parents=True)
    for path in [root, *root.rglob("*")]:
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        path.chmod(tree)
    serve(folder, umask)
    assert modes(root / "docker") == {"folder": {f"{tree:03o}"}, "file": {file}}
    owner = NOBODY if os.geteuid() == 0 else os.geteuid()
    assert {path.stat().st_uid for path in (root / "docker").rglob("*")} == {owner}
    assert stat.S_IMODE(root.stat().st_mode) == tree
    assert {stat.S_IMODE(path.stat().st_mode) for path in root.glob("roadstead.db*")} == {0o600}


def test_check_says_where_an_old_folder_is_open(folder: Path) -> None:
    serve(folder)
    data = folder / "data"
    for path in (data, data / "registry"):
        path.chmod(0o755)
    (data / "roadstead.db").chmod(0o644)
    said = check(data)
    for path, mode in ((data, "755"), (data / "registry", "755"), (data / "roadstead.db", "644")):
        assert f"note\topen-to-others\t{path}\tits mode is {mode}" in said
    data.chmod(0o700)
    assert "open-to-others" not in check(data), "nobody comes to what is in it"


def check(data: Path) -> str:
    return run([PROGRAM, "check", "--data", data], env=environment({})).stdout


def test_a_folder_of_another_program_is_not_to_be_taken_from_it(folder: Path) -> None:
    """`adopt` by the wrong user: the remedy leaves registry:2 its files."""
    if os.geteuid() != 0:
        skips.skip("only root can be several users", enable_with="sudo make test")
    root = folder / "volume"
    (root / "docker/registry/v2/repositories").mkdir(parents=True)
    root.chmod(0o755)
    words: list[str | Path] = ["setpriv", "--reuid", "1", "--regid", "1", "--clear-groups", PROGRAM, "adopt", root]
    said = run(words, env=environment({}), exit_code=3).both
    assert "chown" not in said
    assert "sudo -u 'root' roadstead" in said
    assert "--data" in said
