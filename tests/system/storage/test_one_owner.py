"""One set of bytes has one owner: a second catalogue over the same blobs is refused, by whichever way it comes."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.faults.client import Client, digest_of
from tests.system.faults.server import PROGRAM, FaultyServer, environment
from tests.system.process import run, until

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSED: Final = 1
UNREACHABLE: Final = 3
LAYER: Final = secrets.token_bytes(10_000)
COMMANDS: Final = (
    ("gc", "--grace", "0"),
    ("rm", "kept", "--all", "--yes"),
    ("check", "--quarantine"),
    ("scrub", "--now"),
    ("restore", "kept:latest"),
)


@pytest.fixture
def folder(scratch: Path) -> Iterator[Path]:
    path = scratch / f"owner-{secrets.token_hex(3)}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def production(folder: Path) -> Path:
    """The data folder of a registry whose blobs are in ``folder/blobs``, beside registry:2's links."""
    with server(folder, "production") as first, Client(first.port) as client:
        client.push_image("kept", "latest", [LAYER])
        until(lambda: list(folder.glob("blobs/docker/**/current/link")) != [], what="the links are there")
        first.shut_down()
    (folder / "config.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: '{folder}/blobs'}}, delete: {{enabled: true}}}}\n"
    )
    return folder / "production"


def server(folder: Path, data: str, *words: str) -> FaultyServer:
    """A server with a data folder of its own on the same blobs."""
    made = FaultyServer(folder / f"{data}-{secrets.token_hex(2)}", data=folder / data)
    made.command += ["--storage", (folder / "blobs").as_uri(), *words]
    return made


def command(data: Path, *words: str, exit_code: int) -> str:
    return run([PROGRAM, *words, "--data", data], env=environment({}), exit_code=exit_code).both


def test_a_trial_beside_production(folder: Path, production: Path) -> None:
    """As one tries a new version: registry:2's file of production, and a data folder for the trial."""
    trial = FaultyServer(folder / "a", data=folder / "trial")
    trial.command += ["--config", str(folder / "config.yml"), "--adopt"]
    code, said = trial.launch()
    assert code == REFUSED, said
    assert f"--storage {(folder / 'blobs').as_uri()}" in said
    assert not (folder / "trial").exists(), "nothing is made"

    code, said = server(folder, "trial", "--adopt").launch()
    assert code == REFUSED, said
    assert str(production / "roadstead.db") in said
    assert "--claim-storage" in said
    for words in COMMANDS:
        said = command(folder / "trial", *words, "--config", str(folder / "config.yml"), exit_code=REFUSED)
        assert str(production / "roadstead.db") in said, said
    said = run([PROGRAM, "adopt", folder / "blobs", "--data", folder / "other"], exit_code=REFUSED).both
    assert str(production / "roadstead.db") in said, said
    require_whole(folder)


def test_while_production_runs(folder: Path, production: Path) -> None:
    """Also by force: whoever is at the bytes has them locked."""
    with server(folder, "production") as first, Client(first.port) as client:
        for words in (("--adopt",), ("--adopt", "--claim-storage")):
            code, said = server(folder, "trial", *words).launch()
            assert code in {REFUSED, UNREACHABLE}, said
        assert f"process {first.pid}" in said
        said = run(
            [PROGRAM, "adopt", folder / "blobs", "--data", folder / "other", "--force"], exit_code=UNREACHABLE
        ).both
        assert f"process {first.pid}" in said
        assert client.blob("kept", digest_of(LAYER)) == LAYER
        command(production, "gc", exit_code=0)
        first.shut_down()
    require_whole(folder)


def test_a_copied_catalogue(folder: Path, production: Path) -> None:
    """It has the same identity, but the server that is at the bytes has another data folder."""
    with server(folder, "production") as first:
        shutil.copytree(production, folder / "copy", ignore=shutil.ignore_patterns("*.lock"))
        code, said = server(folder, "copy").launch()
        assert code == UNREACHABLE, said
        assert f"process {first.pid}" in said
        for words in COMMANDS:
            assert f"process {first.pid}" in command(folder / "copy", *words, exit_code=UNREACHABLE)
        first.shut_down()
    require_whole(folder)


def test_a_whole_copy_is_a_registry_of_its_own(folder: Path) -> None:
    """Catalogue and bytes, as `cp -a` copies them: both may be served at the same time."""
    with FaultyServer(folder / "first") as first, Client(first.port) as client:
        client.push_image("kept", "latest", [LAYER])
        first.shut_down()
    shutil.copytree(first.data, folder / "copy")
    with FaultyServer(folder / "again", data=first.data) as again:
        with FaultyServer(folder / "second", data=folder / "copy") as second, Client(second.port) as client:
            assert client.blob("kept", digest_of(LAYER)) == LAYER
            command(folder / "copy", "gc", exit_code=0)
            second.shut_down()
        again.shut_down()


def test_taking_over_on_purpose(folder: Path, production: Path) -> None:
    """The old catalogue is kept out from then on."""
    with server(folder, "trial", "--adopt", "--claim-storage") as trial, Client(trial.port) as client:
        assert client.blob("kept", digest_of(LAYER)) == LAYER
        trial.shut_down()
    said = command(production, "gc", exit_code=REFUSED)
    assert str(folder / "trial" / "roadstead.db") in said
    with server(folder, "trial") as again:
        again.shut_down()


def test_rebuilding_takes_over_from_what_is_lost(folder: Path, production: Path) -> None:
    for file in production.glob("roadstead.db*"):
        file.unlink()
    settings = environment({"storage.url": (folder / "blobs").as_uri()})
    run([PROGRAM, "rebuild", "--data", production], env=settings)
    with server(folder, "production") as again, Client(again.port) as client:
        assert client.blob("kept", digest_of(LAYER)) == LAYER
        again.shut_down()


def test_what_was_released_may_be_taken_by_anybody(folder: Path, production: Path) -> None:
    command(production, "release", exit_code=0)
    with server(folder, "other", "--adopt") as other, Client(other.port) as client:
        assert client.blob("kept", digest_of(LAYER)) == LAYER
        other.shut_down()
    assert str(folder / "other" / "roadstead.db") in command(production, "gc", exit_code=REFUSED)


def test_released_and_taken_back(folder: Path, production: Path) -> None:
    for _ in range(2):
        command(production, "release", exit_code=0)
        with server(folder, "production", "--adopt") as again, Client(again.port) as client:
            assert client.blob("kept", digest_of(LAYER)) == LAYER
            again.shut_down()


def test_a_restored_backup_is_another_registry(folder: Path, production: Path) -> None:
    """It has bytes of its own, and never anybody else's."""
    command(production, "backup", str(folder / "backup"), exit_code=0)
    elsewhere = environment({"storage.url": (folder / "blobs").as_uri()})
    words: list[str | Path] = [PROGRAM, "restore-backup", folder / "backup", "--data", folder / "new"]
    said = run([*words, "--force"], env=elsewhere, exit_code=REFUSED).both
    assert str(production / "roadstead.db") in said
    run(words, env=environment({}))
    with server(folder, "production") as first, FaultyServer(folder / "second", data=folder / "new") as second:
        with Client(second.port) as client:
            assert client.blob("kept", digest_of(LAYER)) == LAYER
        second.shut_down()
        first.shut_down()
    require_whole(folder)


def test_the_banner_and_the_log_name_both_folders(folder: Path, production: Path) -> None:
    with server(folder, "production") as started:
        until(lambda: "stop with Ctrl-C" in started.log(), what="it greets")
        assert f"catalogue in {production}, blobs in {folder / 'blobs'};" in started.log()
        assert f'"data":"{production}","storage":"{folder / "blobs"}"' in started.log()
        started.shut_down()


def require_whole(folder: Path) -> None:
    """Production is as it was."""
    with server(folder, "production") as first, Client(first.port) as client:
        assert client.blob("kept", digest_of(LAYER)) == LAYER
        assert client.tags("kept") == ["latest"]
        first.check_data("--deep")
        first.shut_down()
